"""Ablations and benchmarks of trainings: ``study.load("ablations/issm.toml").run()``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.api import Plan, Study, judge, load
    from study.config.registry import Part, Range, component
    from study.errors import InputError, StudyError
    from study.metrics import Metric
    from study.records import Breakdown, DataInfo, Profile
    from study.run import Diverged, Pruned, Run
    from study.task import Kind, Sources, Task

__version__ = "0.1.0"

__all__ = [
    "Breakdown",
    "DataInfo",
    "Diverged",
    "Findings",
    "InputError",
    "Kind",
    "Metric",
    "Part",
    "Plan",
    "Profile",
    "Pruned",
    "Range",
    "Run",
    "Sources",
    "Study",
    "StudyError",
    "Task",
    "component",
    "judge",
    "load",
]

_MODULES = {
    "analysis.findings": ("Findings",),
    "api": ("Plan", "Study", "judge", "load"),
    "config.registry": ("Part", "Range", "component"),
    "errors": ("InputError", "StudyError"),
    "metrics": ("Metric",),
    "records": ("Breakdown", "DataInfo", "Profile"),
    "run": ("Diverged", "Pruned", "Run"),
    "task": ("Kind", "Sources", "Task"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import study`` is cheap."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"study.{module}"), name)
    raise AttributeError(f"module 'study' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
