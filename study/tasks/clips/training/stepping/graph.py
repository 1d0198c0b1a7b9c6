"""Steps that are recorded as a graph and replayed, so that a small network does not wait for its launches.

What differs from one step to the next is copied into tensors of the graph before a replay: clips, targets, learning
rates (float32, where an eager step has Python's floats) and the weight of the newest state in the averaged weights.
So the numbers are those of an eager step up to the rounding of the learning rate, and ``train.graph`` counts in the
identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from study.errors import StudyError
from study.records import TimePart
from study.tasks.clips.training.stepping.clock import NoClock
from study.tasks.clips.training.stepping.step import update_weights

if TYPE_CHECKING:
    from study.tasks.clips.training.state import TrainState

Work = Callable[[], Tensor]
WARM_UPS = 3
"""Times that work is done on tensors of one kind before it is recorded: libraries choose their kernels in them."""


class Recorder(Protocol):
    """Records work on a device once, and replays it."""

    def warm_up(self, work: Work) -> Tensor:
        """Do the work and return its result, so that it can be recorded afterwards."""

    def record(self, work: Work) -> Work:
        """Record the work without doing it; return a function that does it, on the same tensors, each time."""


class CudaRecorder:
    """Records CUDA graphs (``torch.cuda.CUDAGraph``)."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm_up(self, work: Work) -> Tensor:
        """Do the work on a stream besides the default one, on which nothing can be recorded."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Work) -> Work:
        """Record the work as a graph.

        Raises:
            StudyError: It waits for the device, or does something else that a graph cannot hold.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                result = work()
        except RuntimeError as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise StudyError(
                "the training step cannot be recorded as a CUDA graph: the network, the loss or the optimizer "
                "reads values on the host, copies from it, or has other shapes each time. Set train.graph = false "
                f"(it makes other runs). Error: {reason}"
            ) from error

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class NoRecorder:
    """Does the work each time: the numbers of recorded steps, where every operator must be seen, or without a GPU."""

    def warm_up(self, work: Work) -> Tensor:
        """Do the work."""
        return work()

    def record(self, work: Work) -> Work:
        """Return the work itself."""
        return work


class Recorded:
    """A function of tensors that is done by replays, of one recording for each of their shapes and types.

    Args:
        function: Computes a tensor from tensors, and may change others, which stay where they are in memory.
        recorder: Records and replays.
    """

    def __init__(self, function: Callable[..., Tensor], recorder: Recorder) -> None:
        self._function, self._recorder = function, recorder
        self._recordings: dict[object, _Recording] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Return a copy of the function's value."""
        kind = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if kind not in self._recordings:
            self._recordings[kind] = _Recording(tuple(map(torch.empty_like, tensors)))
        recording = self._recordings[kind]
        for own, given in zip(recording.tensors, tensors, strict=True):
            own.copy_(given)
        work = partial(self._function, *recording.tensors)
        if recording.warm_ups < WARM_UPS:
            recording.warm_ups += 1
            return self._recorder.warm_up(work)
        if recording.replay is None:
            recording.replay = self._recorder.record(work)
        return recording.replay().clone()


@dataclass
class _Recording:
    """The tensors that a recording reads, and its replay once there is one."""

    tensors: tuple[Tensor, ...]
    warm_ups: int = 0
    replay: Work | None = None


class RecordedStep:
    """Takes steps by replays.

    Args:
        state: The training; its optimizer gets learning rates that are tensors, and is set to be ``capturable``.
        recorder: Records and replays.
    """

    def __init__(self, state: TrainState, recorder: Recorder) -> None:
        self._state, self._update = state, Recorded(self._work, recorder)
        self._rates = [torch.zeros((), device=state.device) for _ in state.optimizer.param_groups]
        self._share = torch.zeros((), device=state.device)

    def __call__(self, clips: Tensor, targets: Tensor) -> Tensor:
        """Take one step; see `Step`."""
        state = self._state
        for group, tensor, rate in zip(state.optimizer.param_groups, self._rates, state.rates(), strict=True):
            tensor.fill_(rate)
            group["lr"] = tensor
            if state.device.type == "cuda" and "capturable" in group:
                group["capturable"] = True
        if state.ema:
            self._share.fill_(state.ema.advance())
        figures = self._update(clips, targets)
        state.steps_done += 1
        state.clock.mark(TimePart.STEP)
        return figures

    def _work(self, clips: Tensor, targets: Tensor) -> Tensor:
        figures = update_weights(self._state, clips, targets, NoClock())
        if self._state.ema:
            self._state.ema.blend(self._state.network, self._share)
        return figures
