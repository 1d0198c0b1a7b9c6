"""From what a study's author wrote to the full configuration of one training."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from study.config.registry import Config, Registry, legacy_default
from study.config.settings import Settings
from study.config.study import StudyKeys, StudySpec
from study.config.tables import Table, assign, fill, leaves
from study.errors import InputError, nearest, quoted
from study.hashing import file_digest
from study.task import Task


@dataclass(frozen=True)
class Resolved:
    """The full configuration of one training, with what of it lies on this machine."""

    config: dict[str, Any]
    local_paths: dict[str, str]
    """Folders and files by dotted key, which change no number."""
    legacy: dict[str, Any]
    """Values at which later-added parameters and kinds do not count, by dotted key."""


@dataclass(frozen=True)
class Resolver:
    """Resolves what a study's author wrote against what its task and the registry allow."""

    spec: StudySpec
    task: Task
    registry: Registry
    settings: Settings

    def resolve(self, values: Mapping[str, Any], section: str = "factors") -> Resolved:
        """Return the full configuration with levels and hyperparameters, by dotted key, on top of the study's own.

        Args:
            values: By dotted key.
            section: Where the study's author wrote these values, for messages.

        Raises:
            InputError: A key, component, parameter or value that does not exist or is not allowed.
        """
        self._check_tables()
        if self.task.kinds or self.task.tables:
            return self._components(values, section)
        tree: Table = copy.deepcopy(dict(self.spec.base))
        for key, value in values.items():
            assign(tree, key, copy.deepcopy(value), where=f"{self.spec.file}: {section}.{key}")
        return Resolved(tree, {}, leaves(self.spec.task.get("legacy", {})))

    def _check_tables(self) -> None:
        """Raise InputError where the file has a table that neither studies nor the task know."""
        known = [*StudyKeys.__dataclass_fields__, "preset", *self.task.tables]
        for key in self.spec.tables:
            if key not in self.task.tables:
                raise InputError(
                    f"{self.spec.file}: {key}: unknown key.{nearest(key, known)} Allowed: {quoted(known)}; what "
                    "every variant shares belongs in [base]."
                )

    def _components(self, values: Mapping[str, Any], section: str) -> Resolved:
        spec, registry, kinds = self.spec, self.registry, self.task.kinds
        tree: Table = {kind.name: kind.default for kind in kinds.values() if kind.default is not None}
        tree |= {name: {} for name in self.task.tables}
        tree |= copy.deepcopy(dict(spec.base))
        written = {key: f"{spec.file}: {key if key in self.task.tables else f'base.{key}'}" for key in tree}
        for key in spec.base:
            self._check_key(key, written[key])
        for key, value in values.items():
            kind = key.partition(".")[0]
            written[kind] = f"{spec.file}: {section}.{kind}"
            self._check_key(key, f"{spec.file}: {section}.{key}")
            if "." in key:
                if kind not in tree:
                    tree[kind] = self._part_defaults(tree, written).get(kind, {})
                assign(tree, key, copy.deepcopy(value))
            else:
                tree[key] = copy.deepcopy(value)  # another component, which has nothing of the base's

        config: dict[str, Any] = {}
        parts: dict[str, Any] = {}
        given: set[str] = set()
        roots = [kind.name for kind in kinds.values() if kind.default is not None]
        for kind in roots:
            value, own = self._hoisted(kind, tree[kind], written)
            parts |= own
            given |= set(own) & set(tree[kind] if isinstance(tree[kind], Mapping) else ())
            config[kind] = registry.resolve(kind, self._with_local_paths(kind, value), written[kind])
        for kind in tree:
            if kind not in (*roots, *parts, *self.task.tables) and not self._is_recipes(kind):
                raise InputError(self._no_part(kind, config, parts, written))
        for kind, default in parts.items():
            value = default if kind in given else tree.get(kind, default)
            config[kind] = registry.resolve(
                kind, self._with_local_paths(kind, value), written.get(kind, f"{spec.file}: base.{kind}")
            )
        for name, schema in self.task.tables.items():
            config[name] = asdict(fill(schema, tree[name], written[name]))
        return self._split(config)

    def _hoisted(self, kind: str, value: Any, written: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
        """Return a component's request without the parts in its table, and its parts with their defaults."""
        name = value if isinstance(value, str) else value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name not in self.registry.names(kind):
            return value, {}
        parts = dict(self.registry.parts(name, kind))
        if isinstance(value, Mapping):
            parts |= {key: item for key, item in value.items() if key in parts}
            value = {key: item for key, item in value.items() if key not in parts}
        return value, parts

    def _is_recipes(self, kind: str) -> bool:
        """Whether all that a kind has comes from the recipe, whose network another one may have replaced."""
        named = [w for key, w in self.spec.origins.items() if f"{key}.".startswith(f"base.{kind}.")]
        return bool(named) and all(where.startswith("recipe ") for where in named)

    def _part_defaults(self, tree: Table, written: Mapping[str, str]) -> dict[str, Any]:
        """Return the parts of every component that is asked for, each with its default."""
        parts: dict[str, Any] = {}
        for kind in self.task.kinds:
            if kind in tree:
                parts |= self._hoisted(kind, tree[kind], written)[1]
        return parts

    def _no_part(
        self, kind: str, config: Mapping[str, Config], parts: Iterable[str], written: Mapping[str, str]
    ) -> str:
        named = [(k, config[k]["name"]) for k in config if self.registry.parts(config[k]["name"], k)]
        of, name = named[0] if named else next((k, c["name"]) for k, c in config.items())
        has = f"its parts are {quoted(parts)}" if parts else "it is one whole"
        if not named and "network" in config:
            of, name = "network", config["network"]["name"]
        return f"{written[kind]}: the {of} {name!r} has no {kind}; {has}."

    def _check_key(self, key: str, where: str) -> None:
        """Raise InputError where a dotted key begins with nothing that a study can vary."""
        kind = key.partition(".")[0]
        known = [
            name for name, found in self.registry.kinds.items() if found.is_configured and name != "task"
        ]
        allowed = [*known, *self.task.tables]
        if kind not in allowed:
            raise InputError(f"{where}: unknown key.{nearest(kind, allowed)} Allowed: {quoted(allowed)}.")

    def _with_local_paths(self, kind: str, value: Any) -> Any:
        """Add the local_paths that study.toml knows for a component; the study's own win."""
        table = (
            {"name": value}
            if isinstance(value, str)
            else dict(value)
            if isinstance(value, Mapping)
            else value
        )
        if not isinstance(table, dict) or table.get("name") not in self.registry.names(kind):
            return value
        declared = self.registry.get(kind, table["name"]).parameters
        known = self.settings.local_paths(table["name"])
        own = {key: path for key, path in known.items() if key in declared and declared[key].is_local_path}
        return {**own, **table}

    def _split(self, config: Mapping[str, Config]) -> Resolved:
        """Part the configuration, which counts, from the local_paths on this machine, which do not."""
        counted: dict[str, Any] = {}
        local_paths: dict[str, str] = {}
        legacy: dict[str, Any] = {}
        for kind, table in config.items():
            counted[kind] = dict(table)
            if kind in self.task.tables:
                hints = get_type_hints(self.task.tables[kind], include_extras=True)
                legacy |= {f"{kind}.{key}": legacy_default(hint) for key, hint in hints.items()}
                continue
            declared = self.registry.get(kind, table["name"]).parameters
            for key, parameter in declared.items():
                if key not in table:
                    continue
                value = table[key]
                legacy[f"{kind}.{key}"] = parameter.legacy_default
                if parameter.is_local_path:
                    del counted[kind][key]
                    if value:
                        local_paths[f"{kind}.{key}"] = str(Path(value).expanduser().absolute())
                elif parameter.is_file and value != parameter.default:
                    path = Path(value).expanduser().absolute()
                    counted[kind][key] = file_digest(path)
                    local_paths[f"{kind}.{key}"] = f"{path}#{counted[kind][key]}"
        legacy = {key: value for key, value in legacy.items() if value is not None}
        for name, declared_kind in self.task.kinds.items():
            if declared_kind.legacy_default is not None and name in counted:
                legacy[name] = self.registry.resolve(name, declared_kind.legacy_default, name)
        return Resolved(counted, local_paths, legacy)
