"""Settings of this machine and lab, read from study.toml. None of them changes a number."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from study.config.located import locating
from study.config.registry import Range
from study.config.tables import fill, read_toml
from study.errors import shown, wrong_value
from study.names import require_utf8

FILE = "study.toml"
CACHE = ".study/data"
"""The default of a component's parameter ``cache``: a folder beside the ledger."""
WRITTEN_BY_DATA_SETS = ("cache", "pack")
"""Parameters of data sets that name a folder which they, or `study data pack`, write to."""
Keep = Literal["tested", "all"]


@dataclass(frozen=True)
class _Keys:
    """The keys of study.toml with their types and defaults."""

    ledger: Annotated[str, "folder of runs and studies"] = ".study/ledger"
    reports: Annotated[str, "folder that reports are written to"] = "reports"
    workers: Annotated[int, Range(1)] | Literal["auto"] = "auto"
    runs_per_gpu: Annotated[int, Range(1)] | Literal["auto"] = 1
    silent_s: Annotated[int, Range(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loader_workers: Annotated[int, Range(0)] = 0
    keep: Keep = "tested"
    mlflow: Annotated[str, "MLflow store, or 'off'"] = ""
    components: list[str] = field(default_factory=list)
    engine: Any = field(default_factory=dict)
    authors: Annotated[list[str], "names below the title of reports"] = field(default_factory=list)
    affiliation: Annotated[str, "the authors' institution, below their names"] = ""
    data: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Folders on this machine, and how much of the machine a study may use. Paths are absolute."""

    root: Path
    ledger: Path
    reports: Path
    workers: int | Literal["auto"]
    """Parallel runs; ``auto``: `runs_per_gpu` on each GPU, or one on each processor core."""
    runs_per_gpu: int | Literal["auto"]
    """Runs that share a GPU; ``auto``: as many as its memory and its idle time allow, measured while they run."""
    silent_s: int
    """Seconds without a report or output after which a worker is ended, and started once more; 0 for no limit."""
    device: Literal["auto", "cpu", "cuda"]
    loader_workers: int
    """Processes of a training's data loader; 0 loads in the training process."""
    keep: Keep
    """Which weights and predictions are kept: those that are tested, or those of beaten search trials too."""
    mlflow: str
    """The URI of the MLflow store; ``off`` for none."""
    artifacts: Path
    """The folder of MLflow's artifacts."""
    components: tuple[str, ...]
    """The user's modules of components."""
    engine: dict[str, dict[str, Any]]
    """Options of engines by their name; `study.engines` checks them."""
    authors: tuple[str, ...]
    """Names below the title of reports."""
    affiliation: str
    """The authors' institution, below their names."""
    data: dict[str, dict[str, str]]
    """Paths by component and parameter, ``{"dfew": {"root": …}}``; several in one are joined as in ``PATH``."""

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders outside of the ledger that the harness writes to."""
        reports = (self.reports, *self.reports.glob("*/"), *self.reports.glob("*/*/"))
        by_data_sets = (
            Path(table[key]) for table in self.data.values() for key in WRITTEN_BY_DATA_SETS if key in table
        )
        return (*reports, self.root / CACHE, self.code, self.artifacts.parent, *by_data_sets)

    @property
    def code(self) -> Path:
        """The folder of exported revisions of the user's code."""
        return self.ledger.parent / "code"

    def local_paths(self, component: str) -> dict[str, str]:
        """Return the paths of a component on this machine, by parameter."""
        return {"cache": str(self.root / CACHE), **self.data.get(component, {})}


def settings(start: Path) -> Settings:
    """Read the study.toml of `start` or of the nearest folder above it; return the defaults where there is none."""
    root = root_of(start)
    require_utf8(str(root), "the working folder")
    path = root / FILE
    given = read_toml(path) if path.is_file() else {}
    with locating(path):
        keys = fill(_Keys, given, f"{path}:")
    if keys.mlflow and keys.mlflow != "off" and "://" not in keys.mlflow:
        raise wrong_value(
            f"{path}: mlflow",
            f"must be 'off' or a URI such as 'sqlite:////folder/x.db'. Got {shown(keys.mlflow)} instead.",
        )
    data = _paths_by_component(keys.data, f"{path}: data")
    if not isinstance(keys.engine, dict) or not all(
        isinstance(table, dict) for table in keys.engine.values()
    ):
        raise wrong_value(f"{path}: engine", "must hold one table for each engine, such as [engine.ray].")
    store = root / ".study" / "mlflow"
    return Settings(
        root=root,
        ledger=_folder(root, keys.ledger, f"{path}: ledger"),
        reports=_folder(root, keys.reports, f"{path}: reports"),
        workers=keys.workers,
        runs_per_gpu=keys.runs_per_gpu,
        silent_s=keys.silent_s,
        device=keys.device,
        loader_workers=keys.loader_workers,
        keep=keys.keep,
        mlflow=keys.mlflow or sqlite_uri(store / "mlflow.db"),
        artifacts=store / "artifacts",
        components=tuple(keys.components),
        engine=keys.engine,
        authors=tuple(keys.authors),
        affiliation=keys.affiliation,
        data={
            name: {key: os.pathsep.join(str(root / path) for path in paths) for key, paths in table.items()}
            for name, table in data.items()
        },
    )


def _folder(root: Path, written: str, where: str) -> Path:
    """Return the absolute path of a folder that is written to; ``~`` is the home folder.

    Raises:
        InputError: The path names an environment variable, or is there and no folder.
    """
    if "$" in written:
        raise wrong_value(
            where,
            "variables such as $HOME are not replaced; write the path, or ~ for the home folder.",
            written,
        )
    try:
        folder = root / Path(written).expanduser()
    except RuntimeError:  # ~ of an unknown user
        raise wrong_value(where, f"the home folder of {shown(written)} is not known.") from None
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112  # a loop of links is no folder
        raise wrong_value(where, f"must be a folder. {shown(str(folder))} is none.")
    return folder


def sqlite_uri(file: Path) -> str:
    """Return the URI of a SQLite file.

    A path with characters that have a meaning in a URI is encoded, slashes included: MLflow takes the undecoded text
    for a path and creates the folders in it.
    """
    path = str(file)
    return f"sqlite:///{quote(path, safe='') if set(path) & set('?#%') else path}"


def root_of(start: Path) -> Path:
    """Return the nearest folder from `start` upwards with a study.toml; `start` itself where there is none."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / FILE).is_file()), start)


def _paths_by_component(given: Any, where: str) -> dict[str, dict[str, list[str]]]:
    """Return the tables of ``[data]``, each value as a list of paths; raise InputError where one is malformed."""
    if not isinstance(given, dict) or not all(isinstance(table, dict) for table in given.values()):
        raise wrong_value(
            where, "must hold one table for each data set, such as [data.dfew] with root = '…'."
        )
    found: dict[str, dict[str, list[str]]] = {}
    for name, table in given.items():
        for key, value in table.items():
            paths = value if isinstance(value, list) and key == "allow" else [value]
            if not all(isinstance(path, str) for path in paths):
                raise wrong_value(f"{where}.{name}.{key}", "must be a path in quotes.", value)
            found.setdefault(name, {})[key] = paths
    return found
