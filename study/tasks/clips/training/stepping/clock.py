"""Clocks: seconds of a training by what they were spent on, on the host or on the device's own timeline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import torch

from study.records import TimePart


class Clock(Protocol):
    """Adds up the seconds of a training by part."""

    def mark(self, part: TimePart) -> None:
        """Add the time since the last mark to `part`."""

    def totals(self) -> Mapping[TimePart, float]:
        """Return the seconds of each part so far, after a wait for the device."""


class NoClock:
    """Measures nothing: for steps that are recorded, and for probes."""

    def mark(self, part: TimePart) -> None:
        """Do nothing."""

    def totals(self) -> Mapping[TimePart, float]:
        """Return no part."""
        return {}


class HostClock:
    """Measures the time of this process, for devices that compute while it waits for them."""

    def __init__(self) -> None:
        self._totals: dict[TimePart, float] = {}
        self._last = time.perf_counter()

    def mark(self, part: TimePart) -> None:
        """Add the time since the last mark to `part`."""
        now = time.perf_counter()
        self._totals[part] = self._totals.get(part, 0.0) + now - self._last
        self._last = now

    def totals(self) -> Mapping[TimePart, float]:
        """Return the seconds of each part so far."""
        return dict(self._totals)


class CudaClock:
    """Measures the GPU's timeline by events, so that nothing waits for it before `totals` is called.

    A mark is reached on the timeline once the GPU has done all work before it and the host has set it. So the part that
    a mark ends includes the time in which the GPU waited for the host: the part `TimePart.DATA` is the time in which no
    clips were there, and 0 where they were read while the GPU computed.
    """

    def __init__(self) -> None:
        self._totals: dict[TimePart, float] = {}
        self._free: list[torch.cuda.Event] = []
        self._marks: list[tuple[TimePart, torch.cuda.Event]] = []
        self._last = self._event()

    def mark(self, part: TimePart) -> None:
        """Add the time since the last mark to `part`."""
        self._marks.append((part, self._event()))

    def totals(self) -> Mapping[TimePart, float]:
        """Return the seconds of each part so far, after a wait for the GPU."""
        if self._marks:
            self._marks[-1][1].synchronize()
        for part, event in self._marks:
            seconds = self._last.elapsed_time(event) / 1000
            self._totals[part] = self._totals.get(part, 0.0) + seconds
            self._free.append(self._last)
            self._last = event
        self._marks.clear()
        return dict(self._totals)

    def _event(self) -> torch.cuda.Event:
        """Return an event that is recorded on the current stream."""
        event: torch.cuda.Event = (
            self._free.pop() if self._free else torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        )
        event.record()
        return event


def clock_for(device: torch.device) -> Clock:
    """Return the clock that suits a device."""
    return CudaClock() if device.type == "cuda" else HostClock()
