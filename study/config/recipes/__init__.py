"""Recipes: TOML files of values that a study inherits, by name or path: ``recipe = "ifdd-fixed"``.

A recipe holds one line of ``help``, tables in the form of a study's, and possibly a ``recipe`` that it inherits.
Its values replace the defaults and are replaced by those of the study, its preset and ``--set``. A study that sets
one parameter, such as ``loss.context_weight``, replaces that alone; one that names another component of a kind
replaces all values of the kind. Values without a component's name, such as those of a data set's sampling, are for
whichever component the study names.

A factor named ``recipe`` varies the recipe: its levels are recipes, or tables of a recipe for each network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.config.tables import Table, assign, read_toml
from study.errors import conflict, quoted, shown, unknown_name, wrong_value
from study.nested import flatten

FOLDER = Path(__file__).parent
FACTOR = "recipe"
"""The factor whose levels are recipes."""


@dataclass(frozen=True)
class Recipe:
    """Values in the form of a study's, and a description in one line."""

    help: str
    values: Mapping[str, Any]


def recipe(name: Any, where: str, root: Path = Path()) -> Recipe:
    """Return a recipe by its name, or by the path of a TOML file.

    Args:
        name: A name, or a path that ends in ``.toml``.
        where: File and key, for messages.
        root: The folder that a path is relative to: that of the study file.

    Raises:
        InputError: No such recipe (the message has the nearest name), no such file, or a malformed one.
    """
    if isinstance(name, str) and name.endswith(".toml"):
        return _read(root / Path(name).expanduser())
    if not isinstance(name, str) or name not in RECIPES:
        raise unknown_name(
            where,
            f"unknown recipe {shown(name)}",
            str(name),
            RECIPES,
            f"Allowed: {quoted(RECIPES)}, or the path of a TOML file.",
        )
    return RECIPES[name]


def name_for(level: Any, network: str, where: str) -> Any:
    """Return the recipe that a level of the factor `FACTOR` means: the level itself, or its entry for the network.

    Raises:
        InputError: The level is a table without an entry for the network.
    """
    if not isinstance(level, Mapping):
        return level
    if network not in level:
        raise unknown_name(
            where,
            f"a level has no recipe for the network {network!r}",
            network,
            level,
            f"It has recipes for {quoted(level)}.",
        )
    return level[network]


def _read(path: Path, heirs: tuple[Path, ...] = ()) -> Recipe:
    """Read a recipe file and those that it inherits; `heirs` are the files that inherit this one."""
    tree = read_toml(path)
    text = tree.pop("help", "")
    if not isinstance(text, str):
        raise wrong_value(f"{path}: help", "must be a string.", text)
    parent = tree.pop("recipe", None)
    values = _expand_dotted_keys(tree)
    if parent is None:
        return Recipe(text, values)
    if path.resolve() in heirs:
        raise conflict(f"{path}: recipe", f"inherits itself, through {parent!r}.")
    if not isinstance(parent, str):
        raise wrong_value(f"{path}: recipe", "must be a name or the path of a TOML file.", parent)
    is_path = parent.endswith(".toml")
    if not is_path and parent not in (known := [file.stem for file in _files()]):
        raise unknown_name(f"{path}: recipe", f"unknown recipe {shown(parent)}", parent, known, "")
    file = path.parent / parent if is_path else FOLDER / f"{parent}.toml"
    return Recipe(text, compose(values, _read(file, (*heirs, path.resolve())))[0])


def _expand_dotted_keys(tree: Mapping[str, Any]) -> Table:
    """Return tables in which quoted dotted keys, such as ``"train.lr"``, are nested tables."""
    expanded: Table = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for inner, nested in value.items():
                assign(expanded, f"{key}.{inner}", nested)
        else:
            assign(expanded, key, value)
    return expanded


def _files() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"))


def compose(tree: Table, inherited: Recipe) -> tuple[Table, list[str]]:
    """Return a study's tables completed by a recipe, and the dotted keys of the values that the recipe sets."""
    merged = {key: _merge(tree.get(key, {}), value) for key, value in inherited.values.items()}
    composed: Table = {**tree, **merged}
    own = flatten(tree)
    return composed, [key for key in flatten(composed) if key not in own]


def _merge(own: Any, inherited: Any) -> Any:
    """Return a study's value completed by the recipe's; another component of a kind inherits nothing."""
    if isinstance(own, Mapping) and not own:
        return inherited
    if isinstance(own, str) and isinstance(inherited, Mapping) and "name" not in inherited:
        return {"name": own, **inherited}
    if isinstance(own, Mapping) and isinstance(inherited, str):
        inherited = {"name": inherited}
    if not isinstance(inherited, Mapping):
        return own
    component = inherited.get("name")
    if component is not None and own == component:
        return inherited
    if not isinstance(own, Mapping) or (component and own.get("name", component) != component):
        return own
    return {**inherited, **{key: _merge(value, inherited.get(key)) for key, value in own.items()}}


RECIPES: Mapping[str, Recipe] = MappingProxyType({file.stem: _read(file) for file in _files()})
"""The recipes of the harness by name."""
