"""One optimizer step: forward and backward passes, gradient clipping, the update, the average of the weights.

Nothing in a step waits for the device: its loss and gradient norm stay there until the training loop reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from study.records import TimePart
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.stepping.clock import Clock

if TYPE_CHECKING:
    from study.tasks.clips.training.state import TrainState

Step = Callable[[Tensor, Tensor], Tensor]
"""Takes one step on clips (B, C, T, H, W) in [0, 1] and labels (B,), or class shares (B, classes).

It returns the loss and the norm of the gradients, float64 (2,) on the device.
"""


class EagerStep:
    """Takes steps operator by operator."""

    def __init__(self, state: TrainState) -> None:
        self._state = state

    def __call__(self, clips: Tensor, targets: Tensor) -> Tensor:
        """Take one step; see `Step`."""
        state = self._state
        for group, rate in zip(state.optimizer.param_groups, state.rates(), strict=True):
            group["lr"] = rate
        figures = update_weights(state, clips, targets, state.clock)
        state.steps_done += 1
        if state.ema:
            state.ema.update(state.network)
        state.clock.mark(TimePart.OPTIMIZER)
        return figures


def update_weights(state: TrainState, clips: Tensor, targets: Tensor, clock: Clock) -> Tensor:
    """Update the weights by the gradients of one batch, at the optimizer's rates; return what a `Step` returns."""
    state.optimizer.zero_grad()
    loss = accumulate_gradients(state, clips, targets, clock)
    parameters = [p for p in state.trained_parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if state.settings.clip_norm:
        nn.utils.clip_grads_with_norm_(parameters, state.settings.clip_norm, norm)
    state.optimizer.step()
    clock.mark(TimePart.OPTIMIZER)
    return torch.stack([loss, norm.detach().double()])


def accumulate_gradients(state: TrainState, clips: Tensor, targets: Tensor, clock: Clock) -> Tensor:
    """Run forward and backward passes on the micro-batches of a batch; return the batch's mean loss, float64.

    A micro-batch counts by its share of the clips.
    """
    total = torch.zeros((), dtype=torch.float64, device=clips.device)
    count = state.settings.accumulate
    for micro_clips, micro_targets in zip(
        clips.tensor_split(count), targets.tensor_split(count), strict=True
    ):
        if len(micro_clips):
            output = forward(state.network, micro_clips, state.settings.precision, state.classes)
            loss = state.loss(output, micro_targets)
            if len(micro_clips) < len(clips):
                loss = loss * (len(micro_clips) / len(clips))
            clock.mark(TimePart.FORWARD)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach().double()
            clock.mark(TimePart.BACKWARD)
    return total
