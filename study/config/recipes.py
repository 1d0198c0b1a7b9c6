"""Named tables of values that a study may start from: ``recipe = "ifdd-released"`` at the top of its file.

A recipe lies above the defaults and below all that the study, its profile and ``--set`` say. A study that names
a part of the recipe's, such as ``loss.context_weight``, changes that alone; one that names another component of
a kind leaves out all that the recipe says of the kind.

The two recipes of IFDD (Wang and Chai, AAAI 2025, arXiv 2412.13168v2) hold how it is trained, not its network or
its data. The authors depart from them for two data sets: on FERV39k, crops keep at least 80 % of the area
(``base.augmentation.scale_low = 0.8``); on MAFW, clips are 32 frames long, every second one of the video, and of 11
classes, which are settings of the data set. Gradients are not clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from study.errors import InputError, listing, nearest
from study.config.tables import Table, leaves


@dataclass(frozen=True)
class Recipe:
    """Values by section, as a study would write them, and one line on what they are."""

    help: str
    values: Mapping[str, Mapping[str, Any]]


def _ifdd(schedule: str, reduction: str) -> dict[str, dict[str, Any]]:
    return {
        "base": {
            "loss": {
                "name": "cross-entropy-context",
                "label_smoothing": 0.1,
                "context_weight": 0.1,
                "context": "relaxed",
                "reduction": reduction,
            },
            "augmentation": {
                "name": "standard",
                "flip": 0.5,
                "scale_low": 0.5,
                "scale_high": 1.0,
                "brightness": 0.4,
                "contrast": 0.4,
                "saturation": 0.4,
                "hue": 0.4,
            },
        },
        "train": {
            "epochs": 100,
            "batch_size": 16,
            "lr": 1e-4,
            "weight_decay": 1e-3,
            "warmup_epochs": 10.0,
            "clip_norm": 0.0,
            "schedule": schedule,
            "mixup": 0.8,
            "cutmix": 1.0,
            "mix_probability": 1.0,
        },
    }


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "ifdd-released": Recipe(
            "IFDD as its authors' code trains it: a learning rate that halves where the warm-up ends, and a context "
            "loss summed over the batch",
            _ifdd(schedule="ifdd-released", reduction="sum"),
        ),
        "ifdd-fixed": Recipe(
            "the same with both accidents mended: a cosine from the peak, and the context loss's mean",
            _ifdd(schedule="cosine", reduction="mean"),
        ),
    }
)


def recipe(name: Any, where: str) -> Recipe:
    """Return the recipe of that name; InputError names the nearest one where there is none."""
    if not isinstance(name, str) or name not in RECIPES:
        near = nearest(name, RECIPES) if isinstance(name, str) else ""
        raise InputError(f"{where}: unknown recipe {name!r}.{near} Allowed: {listing(RECIPES)}.")
    return RECIPES[name]


def compose(tree: Table, found: Recipe) -> tuple[Table, list[str]]:
    """Return a study's `tree` with the recipe under it, and the dotted keys of the values that the recipe gave."""
    whole: Table = {**tree, **{key: _above(tree.get(key, {}), under) for key, under in found.values.items()}}
    own = leaves(tree)
    return whole, [key for key in leaves(whole) if key not in own]


def _above(own: Any, under: Any) -> Any:
    """Return what is left of `under` when the study's `own` is put on top of it."""
    if not isinstance(under, Mapping):
        return own
    component = under.get("name")
    if component is not None and own == component:
        return under
    if not isinstance(own, Mapping) or own.get("name", component) != component:
        return own
    return {**under, **{key: _above(value, under.get(key)) for key, value in own.items()}}
