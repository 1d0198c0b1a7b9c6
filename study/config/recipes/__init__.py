"""Recipes: TOML files of values that a study starts from, by name or path: ``recipe = "ifdd-fixed"``.

A recipe holds one line of ``help``, tables as a study writes them, and possibly a ``recipe`` that it starts from.
It lies above the defaults and below all that the study, its preset and ``--set`` say. A study that names a part of
the recipe's, such as ``loss.context_weight``, changes that alone; one that names another component of a kind leaves
out all that the recipe says of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.config.tables import Table, assign, leaves, read_toml
from study.errors import InputError, nearest, quoted

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """Values as a study would write them, and one line on what they are."""

    help: str
    values: Mapping[str, Any]


def recipe(name: Any, where: str, root: Path = Path()) -> Recipe:
    """Return a recipe by its name, or by the path of a TOML file.

    Args:
        name: A name, or a path that ends in ``.toml``.
        where: File and key, for messages.
        root: The folder that a path is relative to: that of the study file.

    Raises:
        InputError: No such recipe (the nearest one is named), no such file, or one that is no recipe.
    """
    if isinstance(name, str) and name.endswith(".toml"):
        return _read(root / Path(name).expanduser())
    if not isinstance(name, str) or name not in RECIPES:
        near = nearest(name, RECIPES) if isinstance(name, str) else ""
        raise InputError(
            f"{where}: unknown recipe {name!r}.{near} Allowed: {quoted(RECIPES)}, or the path of a TOML file."
        )
    return RECIPES[name]


def _read(path: Path, above: tuple[Path, ...] = ()) -> Recipe:
    """Read one recipe file and those that it starts from."""
    tree = read_toml(path)
    text = tree.pop("help", "")
    if not isinstance(text, str):
        raise InputError(f"{path}: help: must be a string. Got {text!r} instead.")
    under = tree.pop("recipe", None)
    values = _spread(tree)
    if under is None:
        return Recipe(text, values)
    if path.resolve() in above:
        raise InputError(f"{path}: recipe: starts from itself, by way of {under!r}.")
    if not isinstance(under, str):
        raise InputError(f"{path}: recipe: must be a name or the path of a TOML file. Got {under!r} instead.")
    is_path = under.endswith(".toml")
    if not is_path and under not in (known := [file.stem for file in _files()]):
        raise InputError(f"{path}: recipe: unknown recipe {under!r}.{nearest(under, known)}")
    file = path.parent / under if is_path else FOLDER / f"{under}.toml"
    return Recipe(text, compose(values, _read(file, (*above, path.resolve())))[0])


def _spread(tree: Mapping[str, Any]) -> Table:
    """Return the tables with dotted keys in quotes written out."""
    spread: Table = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for inner, below in value.items():
                assign(spread, f"{key}.{inner}", below)
        else:
            assign(spread, key, value)
    return spread


def _files() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"))


def compose(tree: Table, found: Recipe) -> tuple[Table, list[str]]:
    """Return a study's `tree` with the recipe under it, and the dotted keys of the values that the recipe gave."""
    whole: Table = {**tree, **{key: _above(tree.get(key, {}), under) for key, under in found.values.items()}}
    own = leaves(tree)
    return whole, [key for key in leaves(whole) if key not in own]


def _above(own: Any, under: Any) -> Any:
    """Return what is left of `under` when the study's `own` is put on top of it."""
    if isinstance(own, Mapping) and not own:
        return under
    if isinstance(own, Mapping) and isinstance(under, str):
        under = {"name": under}
    if not isinstance(under, Mapping):
        return own
    component = under.get("name")
    if component is not None and own == component:
        return under
    if not isinstance(own, Mapping) or own.get("name", component) != component:
        return own
    return {**under, **{key: _above(value, under.get(key)) for key, value in own.items()}}


RECIPES: Mapping[str, Recipe] = MappingProxyType({file.stem: _read(file) for file in _files()})
"""The recipes that come with the harness, by name."""
