"""Engines by name: where a study's trainings run, with the options of ``[engine.NAME]`` in study.toml.

An installed package registers an engine of its own under the entry-point group ``study.engines``::

    [project.entry-points."study.engines"]
    my-cluster = "my_package.engine:MyCluster"

The class is a `study.executors.base.Engine`; `study.testing.executors` has the tests that its executors must pass.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from study.config.settings import FILE, Settings
from study.config.tables import fill
from study.errors import shown, unavailable, unknown_name
from study.executors.base import Engine

LOCAL = "local"
BUILT_IN: Mapping[str, str] = {
    LOCAL: "study.executors.local:Local",
    "in-process": "study.executors.inprocess:InProcessEngine",
    "ray": "study.executors.ray_cluster:Ray",
    "slurm": "study.executors.slurm.settings:Slurm",
}
"""The classes of the built-in engines, imported when they are used."""
ON_THIS_MACHINE = (LOCAL, "in-process")
"""Engines whose calls run on the devices of this machine."""
PLUGINS = "study.engines"
"""The entry-point group of installed engines."""


def engine(name: str, settings: Settings, options: Mapping[str, Any] = MappingProxyType({})) -> Engine:
    """Return an engine with its options.

    Args:
        name: The name of a built-in or installed engine.
        settings: Has the tables ``[engine.NAME]`` of study.toml.
        options: Values that replace those of the table.

    Raises:
        InputError: An unknown engine or key, a wrong value, or an installed engine that cannot be imported.
    """
    known = _targets()
    for given, where in ((name, "--engine"), *((table, f"{FILE}: engine") for table in settings.engine)):
        if given not in known:
            raise unknown_name(where, f"unknown engine {shown(given)}", given, known)
    module, _, attribute = known[name].partition(":")
    try:
        kind: type[Engine] = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise unavailable(
            "--engine",
            f"the engine {name!r} cannot be imported from {known[name]!r}: {type(error).__name__}: {error}.",
        ) from error
    return fill(kind, {**settings.engine.get(name, {}), **options}, f"{FILE}: engine.{name}")


def _targets() -> dict[str, str]:
    """Return ``module:class`` of every engine; a built-in one keeps its name."""
    installed = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=PLUGINS)}
    return {**installed, **BUILT_IN}
