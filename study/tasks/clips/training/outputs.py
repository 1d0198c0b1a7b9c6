"""Conversion of a network's result to an `Output`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from study.errors import code_error
from study.tasks.clips.nets.contract import Output

_MOST_NAMED = 4
_LOGITS = ("logits", "out", "output", "prediction", "predictions", "pred", "preds", "scores")
"""What networks call their logits."""


def as_output(result: Any, batch: int | None = None, classes: int | None = None) -> Output:
    """Return a network's result as an `Output`; plain logits become one.

    Args:
        result: Result of the network.
        batch: Number of clips in the input; None to leave the logits' shape unchecked, as in a trace.
        classes: Number of classes; None allows any.

    Raises:
        InputError: The result is neither logits (batch, classes) nor an `Output` with such logits.
    """
    output = Output(result) if isinstance(result, Tensor) else result
    if isinstance(output, Output) and isinstance(output.logits, Tensor):
        logits = output.logits
        if batch is None:
            return output
        fits = logits.ndim == 2 and len(logits) == batch and classes in (None, logits.shape[-1])
        if fits and logits.is_floating_point():
            return output
    raise code_error(
        "",
        f"the network must return float logits of shape ({batch or 'clips'}, {classes or 'classes'}), alone or as "
        f"Output(logits, …). Got {_description(result)} instead.{_remedy(result)}",
    )


def _remedy(result: Any) -> str:
    """Return how to pick the logits from a result that seems to hold them; empty if none does."""
    if isinstance(result, Mapping):
        names = [name for name, value in result.items() if _may_be_logits(value)]
        preferred = [name for name in names if name in _LOGITS]
        picked = f"[{(preferred or names)[0]!r}]" if names else ""
    elif isinstance(result, tuple | list) and not isinstance(result, Output):
        first = next((number for number, value in enumerate(result) if _may_be_logits(value)), None)
        picked = "" if first is None else f"[{first}]"
    else:
        names = [name for name in _LOGITS if _may_be_logits(getattr(result, name, None))]
        picked = f".{names[0]}" if names and not isinstance(result, Output) else ""
    if not picked:
        return ""
    return (
        " If these are among them, return them alone, or wrap the network in a module with "
        f"'def forward(self, clips): return self.network(clips){picked}'."
    )


def _may_be_logits(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 2


def _description(value: Any) -> str:
    """Return type and shape of a value in words."""
    if isinstance(value, Tensor):
        kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
        return f"a tensor{kind} of shape {tuple(value.shape)}"
    if isinstance(value, Output):
        return f"an Output whose logits are {_description(value.logits)}"
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(repr, list(value)[:_MOST_NAMED])) or 'nothing'}"
    if isinstance(value, tuple | list):
        parts = ", ".join(_description(part) for part in value[:_MOST_NAMED])
        return (
            f"a {type(value).__name__} of {len(value)}: {parts}"
            if value
            else f"an empty {type(value).__name__}"
        )
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
