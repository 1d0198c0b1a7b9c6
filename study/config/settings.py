"""study.toml: this machine and this lab. Nothing in it changes a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from study.config.registry import Range
from study.config.tables import fill, read_toml
from study.errors import InputError

FILE = "study.toml"
CACHE = ".study/data"
"""What a component's parameter ``cache`` is where study.toml says nothing: a folder beside the ledger."""
Keep = Literal["confirmed", "all"]


@dataclass(frozen=True)
class _Keys:
    ledger: Annotated[str, "folder of runs and studies"] = ".study/ledger"
    reports: Annotated[str, "folder that reports are written to"] = "reports"
    workers: Annotated[int, Range(1)] | Literal["auto"] = "auto"
    runs_per_gpu: Annotated[int, Range(1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loader_workers: Annotated[int, Range(0)] = 0
    keep: Keep = "confirmed"
    mlflow: Annotated[str, "MLflow store, or 'off'"] = ""
    components: list[str] = field(default_factory=list)
    data: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Where things lie on this machine and how much of it a study may use. Paths are absolute."""

    root: Path
    ledger: Path
    reports: Path
    workers: int | Literal["auto"]
    """Runs at a time; ``auto``: `runs_per_gpu` on each GPU, or one on each processor core."""
    runs_per_gpu: int
    device: Literal["auto", "cpu", "cuda"]
    loader_workers: int
    """Processes a training reads its examples with; 0 for none of their own."""
    keep: Keep
    """Whose weights and predictions stay: those of confirmed runs alone, or those of search trials too."""
    mlflow: str
    """The URI of the MLflow store, ``off`` for none."""
    artifacts: Path
    components: tuple[str, ...]
    data: dict[str, dict[str, str]]
    """Places that components name, by the component: ``{"dfew": {"root": …}}``."""

    def local_paths(self, component: str) -> dict[str, str]:
        """Return the folders and files that a component has on this machine, by parameter."""
        return {"cache": str(self.root / CACHE), **self.data.get(component, {})}


def settings(start: Path) -> Settings:
    """Read the study.toml of `start` or of the nearest folder above it; defaults where there is none."""
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / FILE).is_file()), start)
    path = root / FILE
    given = read_toml(path) if path.is_file() else {}
    keys = fill(_Keys, given, f"{path}:")
    if keys.mlflow and keys.mlflow != "off" and "://" not in keys.mlflow:
        raise InputError(
            f"{path}: mlflow: must be 'off' or a URI such as 'sqlite:////folder/x.db'. Got {keys.mlflow!r} instead."
        )
    given_places = _places(keys.data, f"{path}: data")
    store = root / ".study" / "mlflow"
    return Settings(
        root=root,
        ledger=root / keys.ledger,
        reports=root / keys.reports,
        workers=keys.workers,
        runs_per_gpu=keys.runs_per_gpu,
        device=keys.device,
        loader_workers=keys.loader_workers,
        keep=keys.keep,
        mlflow=keys.mlflow or f"sqlite:///{store / 'mlflow.db'}",
        artifacts=store / "artifacts",
        components=tuple(keys.components),
        data={
            name: {key: str(root / value) for key, value in table.items()}
            for name, table in given_places.items()
        },
    )


def _places(given: Any, where: str) -> dict[str, dict[str, str]]:
    if not isinstance(given, dict) or not all(isinstance(table, dict) for table in given.values()):
        raise InputError(f"{where}: must hold one table a data set, such as [data.dfew] with root = '…'.")
    for name, table in given.items():
        for key, value in table.items():
            if not isinstance(value, str):
                raise InputError(f"{where}.{name}.{key}: must be a path in quotes. Got {value!r} instead.")
    return given
