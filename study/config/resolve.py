"""Resolve the values of a study file to the full configuration of one training."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from study.config.recipes import FACTOR, Recipe, compose, name_for, recipe
from study.config.registry import Config, Registry, component_table, in_trials, legacy_default
from study.config.settings import Settings
from study.config.study import Layer, StudyKeys, StudySpec
from study.config.tables import Table, assign, fill
from study.errors import ErrorCode, conflict, quoted, unknown_name
from study.hashing import file_digest
from study.nested import flatten, value_at
from study.task import Task


@dataclass(frozen=True)
class Resolved:
    """The full configuration of one training, separated into values that count and paths on this machine."""

    config: dict[str, Any]
    local_paths: dict[str, str]
    """Folders and files by dotted key, which change no number."""
    legacy: dict[str, Any]
    """Legacy defaults by dotted key: later-added parameters and kinds do not count at these values."""
    in_trials: dict[str, Any]
    """Values by dotted key that trials of a search have in place of those of `config`."""


@dataclass(frozen=True)
class Resolver:
    """Resolves the values of a study file against its task and the registry."""

    spec: StudySpec
    task: Task
    registry: Registry
    settings: Settings

    def resolve(self, values: Mapping[str, Any], section: str = "factors") -> Resolved:
        """Return the full configuration: the study's shared values, replaced by levels and hyperparameters.

        Args:
            values: Levels and hyperparameters by dotted key.
            section: The section of the study file that holds them, for messages.

        Raises:
            InputError: A key, component, parameter or value that does not exist or is not allowed.
        """
        self._check_tables()
        values = dict(
            sorted(values.items(), key=lambda item: item[0].count("."))
        )  # a component, then what it holds
        if self.task.kinds or self.task.tables:
            return self._resolve_components(values, section)
        config: Table = copy.deepcopy(dict(self.spec.base))
        for key, value in values.items():
            assign(config, key, copy.deepcopy(value), where=f"{self.spec.file}: {section}.{key}")
        own = flatten(self.spec.task.get("in_trials", {}))
        return Resolved(config, {}, flatten(self.spec.task.get("legacy", {})), _differing(own, config))

    def _check_tables(self) -> None:
        """Raise InputError where the file has a table that is neither a study's nor the task's."""
        known = [*StudyKeys.__dataclass_fields__, "preset", *self.task.tables]
        for key in self.spec.tables:
            if key not in self.task.tables:
                raise unknown_name(
                    f"{self.spec.file}: {key}",
                    "unknown key",
                    key,
                    known,
                    f"Allowed: {quoted(known)}; what every variant shares belongs in [base].",
                    ErrorCode.UNKNOWN_KEY,
                )

    def _resolve_components(self, values: Mapping[str, Any], section: str) -> Resolved:
        """Return the full configuration of a task that has kinds of components or tables of settings."""
        spec, registry, kinds = self.spec, self.registry, self.task.kinds
        base, inherited = self._with_recipe(values)
        values = {key: value for key, value in values.items() if key != FACTOR}
        tables: Table = {kind.name: kind.default for kind in kinds.values() if kind.default is not None}
        tables |= {name: {} for name in self.task.tables}
        tables |= copy.deepcopy(base)
        where = {key: f"{spec.file}: {key if key in self.task.tables else f'base.{key}'}" for key in tables}
        for key in base:
            self._check_key(key, where[key])
        for key, value in values.items():
            kind = key.partition(".")[0]
            where[kind] = f"{spec.file}: {section}.{kind}"
            self._check_key(key, f"{spec.file}: {section}.{key}")
            if "." in key:
                if kind not in tables:
                    tables[kind] = self._default_parts(tables).get(kind, {})
                assign(tables, key, copy.deepcopy(value))
            else:
                tables[key] = copy.deepcopy(value)  # another component inherits nothing from [base]

        config: dict[str, Any] = {}
        parts: dict[str, Any] = {}
        nested: set[str] = set()
        """Parts that are set inside the table of their component."""
        roots = [kind.name for kind in kinds.values() if kind.default is not None]
        for kind in roots:
            value, own = self._separate_parts(kind, tables[kind])
            parts |= own
            nested |= set(own) & set(tables[kind] if isinstance(tables[kind], Mapping) else ())
            config[kind] = registry.resolve(kind, self._with_local_paths(kind, value), where[kind])
        for kind in tables:
            known = (*roots, *parts, *self.task.tables, *inherited)
            if kind not in known and not self._is_from_recipe(kind):
                raise conflict("", self._unused_kind(kind, config, parts, where))
        for kind, default in parts.items():
            value = default if kind in nested else tables.get(kind, default)
            config[kind] = registry.resolve(
                kind, self._with_local_paths(kind, value), where.get(kind, f"{spec.file}: base.{kind}")
            )
        for name, schema in self.task.tables.items():
            config[name] = asdict(fill(schema, tables[name], where[name]))
        return self._separate_paths(config)

    def _separate_parts(self, kind: str, value: Any) -> tuple[Any, dict[str, Any]]:
        """Return a component without the parts in its table, and its parts, defaults included, by kind."""
        name = (component_table(value) or {}).get("name")
        if not isinstance(name, str) or name not in self.registry.names(kind):
            return value, {}
        parts = dict(self.registry.parts(name, kind))
        if isinstance(value, Mapping):
            parts |= {key: item for key, item in value.items() if key in parts}
            value = {key: item for key, item in value.items() if key not in parts}
        return value, parts

    def recipe_of(self, values: Mapping[str, Any]) -> tuple[str, Recipe] | None:
        """Return the name of the recipe that a variant inherits, and the recipe; None where there is none.

        Args:
            values: The variant's levels by dotted key.
        """
        where, root = f"{self.spec.file}: factors.{FACTOR}", Path(self.spec.file).parent
        if FACTOR not in values or not self.task.kinds:
            name = self.spec.recipe
            return (name, recipe(name, f"{self.spec.file}: recipe", root)) if name else None
        kind = self.task.kinds.get("network")
        network = values.get("network", self.spec.base.get("network", kind and kind.default))
        name = name_for(values[FACTOR], str((component_table(network) or {}).get("name")), where)
        return str(name), recipe(name, where, root)

    def _with_recipe(self, values: Mapping[str, Any]) -> tuple[Table, set[str]]:
        """Return the study's shared values completed by the recipe of a variant, and the kinds that it alone sets."""
        spec = self.spec
        if FACTOR not in values or (found := self.recipe_of(values)) is None:
            return dict(spec.base), set()
        name, inherited = found
        if unknown := [key for key in inherited.values if key not in ("base", *self.task.tables)]:
            raise conflict(
                f"{spec.file}: factors.{FACTOR}",
                f"the recipe {name!r} sets {quoted(unknown)}; a recipe that is a level "
                f"may set {quoted(['base', *self.task.tables])}.",
            )
        own = {key: value for key, value in spec.base.items() if key not in spec.tables}
        tree, _ = compose({"base": own, **{key: spec.base[key] for key in spec.tables}}, inherited)
        base = {**tree.pop("base"), **tree}
        return base, set(base) - set(spec.base)

    def _is_from_recipe(self, kind: str) -> bool:
        """Return whether only the recipe sets values of a kind: it is ignored where the network has no such part."""
        prefix = f"base.{kind}."
        layers = {origin.layer for key, origin in self.spec.origins.items() if f"{key}.".startswith(prefix)}
        return layers == {Layer.RECIPE}

    def _default_parts(self, tables: Table) -> dict[str, Any]:
        """Return the parts of every configured component by kind, each with its default."""
        parts: dict[str, Any] = {}
        for kind in self.task.kinds:
            if kind in tables:
                parts |= self._separate_parts(kind, tables[kind])[1]
        return parts

    def _unused_kind(
        self, kind: str, config: Mapping[str, Config], parts: Iterable[str], where: Mapping[str, str]
    ) -> str:
        """Return the message for a kind that no configured component has as a part."""
        owners = [(of, config[of]["name"]) for of in config if self.registry.parts(config[of]["name"], of)]
        owner_kind, owner = owners[0] if owners else next((of, c["name"]) for of, c in config.items())
        allowed = f"its parts are {quoted(parts)}" if parts else "it has no parts"
        if not owners and "network" in config:
            owner_kind, owner = "network", config["network"]["name"]
        return f"{where[kind]}: the {owner_kind} {owner!r} has no {kind}; {allowed}."

    def _check_key(self, key: str, where: str) -> None:
        """Raise InputError where a dotted key does not begin with a kind or table that a study can vary."""
        kind = key.partition(".")[0]
        configured = [name for name, of in self.registry.kinds.items() if of.is_configured and name != "task"]
        allowed = [*configured, *self.task.tables]
        if kind not in allowed:
            raise unknown_name(where, "unknown key", kind, allowed, code=ErrorCode.UNKNOWN_KEY)

    def _with_local_paths(self, kind: str, value: Any) -> Any:
        """Return a component with the paths that study.toml has for it; the study's own take precedence."""
        table = component_table(value)
        if table is None or table.get("name") not in self.registry.names(kind):
            return value
        declared = self.registry.get(kind, table["name"]).parameters
        paths = self.settings.local_paths(table["name"])
        return {
            **{key: path for key, path in paths.items() if key in declared and declared[key].is_local_path},
            **table,
        }

    def _separate_paths(self, config: Mapping[str, Config]) -> Resolved:
        """Separate the configuration, which counts, from the paths on this machine, which do not."""
        counted: dict[str, Any] = {}
        local_paths: dict[str, str] = {}
        legacy: dict[str, Any] = {}
        trials: dict[str, Any] = {}
        for kind, table in config.items():
            counted[kind] = dict(table)
            if kind in self.task.tables:
                hints = get_type_hints(self.task.tables[kind], include_extras=True)
                legacy |= {f"{kind}.{key}": legacy_default(hint) for key, hint in hints.items()}
                trials |= {f"{kind}.{key}": in_trials(hint) for key, hint in hints.items()}
                continue
            declared = self.registry.get(kind, table["name"]).parameters
            for key, parameter in declared.items():
                if key not in table:
                    continue
                value = table[key]
                legacy[f"{kind}.{key}"] = parameter.legacy_default
                trials[f"{kind}.{key}"] = parameter.in_trials
                if parameter.is_local_path:
                    del counted[kind][key]
                    if value:
                        paths = value if isinstance(value, list) else [value]
                        absolute = (str(Path(path).expanduser().absolute()) for path in paths)
                        local_paths[f"{kind}.{key}"] = os.pathsep.join(absolute)
                elif parameter.is_file and value != parameter.default:
                    path = Path(value).expanduser().absolute()
                    counted[kind][key] = file_digest(path)
                    local_paths[f"{kind}.{key}"] = f"{path}#{counted[kind][key]}"
        legacy = {key: value for key, value in legacy.items() if value is not None}
        for name, declared_kind in self.task.kinds.items():
            if declared_kind.legacy_default is not None and name in counted:
                legacy[name] = self.registry.resolve(name, declared_kind.legacy_default, name)
        return Resolved(counted, local_paths, legacy, _differing(trials, counted))


def _differing(values: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, by dotted key, that are there and are not those of a configuration."""
    return {key: value for key, value in values.items() if value not in (None, value_at(config, key))}
