"""Constraints for pip, the lowest allowed versions: ``python tests/support/lowest.py > lowest.txt``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def lowest(lines: list[str], own: str = "ablation-study") -> dict[str, str]:
    """Return the lowest allowed version by distribution, extras of the project itself left out.

    Raises:
        ValueError: A requirement without a lower bound, or one that excludes its own lower bound.
    """
    found = {}
    for requirement in map(Requirement, lines):
        if requirement.name == own:
            continue
        bounds = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "~=", "==")]
        if not bounds or max(bounds) not in requirement.specifier:
            raise ValueError(f"{requirement}: no version that is its lower bound")
        found[requirement.name] = str(max(bounds))
    return found


def lowest_of_project() -> dict[str, str]:
    """Return the lowest versions of all direct dependencies, those of every extra included."""
    project = pyproject()["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return lowest([*project["dependencies"], *extras])


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest_of_project().items()))
