"""Layers: every import of the package is compared with the order in which packages may know one another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import study

ROOT = Path(study.__file__).parent

LAYERS = (
    "errors",
    "environment",
    "names",
    "files",
    "servers",
    "fonts",
    "followed",
    "hashing",
    "nested",
    "seeds",
    "generators",
    "metrics",
    "records",
    "machine",
    "system_metrics",
    "statistics",
    "ledger",
    "reported",
    "run",
    "task",
    "config",
    "engine",
    "executors",
    "engines",
    "analysis",
    "calibration",
    "reporting",
    "engine.events",
    "engine.queue",
    "engine.jobs",
    "engine.conductor",
    "tracking",
    "tasks",
    "testing",
    "terminal",  # text on any terminal: notebooks and benchmarks print progress and plans too
    "api",
    "bench",
    "cli",
    "__main__",
)
"""Low to high. A module that is named by itself stands above the rest of its package."""

ALONE = {"statistics"}
READERS_OF_TEST_RESULTS = {"records", "ledger", "run", "task", "tasks", "analysis", "calibration", "testing"}


def layer(module: str) -> str:
    """Return the layer of a module, named without ``study.``."""
    parts = module.split(".")
    whole = ".".join(parts[:2])
    return whole if whole in LAYERS else parts[0]


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, named without ``study.``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            for alias in node.names:
                below = ROOT.parent.joinpath(*base.split("."), alias.name)
                is_module = below.with_suffix(".py").is_file() or (below / "__init__.py").is_file()
                found.add(f"{base}.{alias.name}" if is_module else base)
    return {name.removeprefix("study.") for name in found if name.startswith("study.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_the_layers_below(path: Path) -> None:
    own = layer(module_of(path))
    assert own in LAYERS, f"{own} has no place in the list of layers"
    below = set(LAYERS[: LAYERS.index(own) + 1])
    if own in ALONE:
        below = {own}
    layers = {layer(name) for name in imported(path)}
    assert layers <= below, f"{path}: imports {sorted(layers - below)}"


def test_executors_know_nothing_of_what_is_trained() -> None:
    for path in (ROOT / "executors").glob("*.py"):
        assert not {layer(name) for name in imported(path)} & {"tasks", "task", "config"}, path


def test_reports_read_findings_and_no_results() -> None:
    for path in (ROOT / "reporting").rglob("*.py"):
        layers = {layer(name) for name in imported(path)}
        allowed = {
            "reporting",
            "analysis",
            "errors",
            "files",
            "fonts",
            "hashing",
            "metrics",
            "names",
            "records",
        }
        assert layers <= allowed, path


def test_only_analysis_reads_test_results() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        own = layer(module_of(path))
        if names & {"TestResult", "test_result", "Measurement", "measurement"}:
            assert own in READERS_OF_TEST_RESULTS, path
        if names & {"test_result", "measurement"} and path != ROOT / "ledger" / "store.py":
            assert own == "analysis", path


COMPUTING = {"scipy", "statistics", "random", "sklearn", "statsmodels"}
"""What computes statistics; `study.statistics` alone may import it."""
COMPARING = {"ceil", "inf", "isclose", "isfinite", "isinf", "isnan", "log", "nan"}
"""What analysis and reports may use of `math`: to place panels and values, and to leave values out."""
ARRANGING = {
    "abs",
    "arange",
    "argsort",
    "array",
    "array_equal",
    "asarray",
    "bool_",
    "clip",
    "concatenate",
    "count_nonzero",
    "flatnonzero",
    "float64",
    "full",
    "int32",
    "int64",
    "integer",
    "issubdtype",
    "linspace",
    "nanmax",
    "ndarray",
    "stack",
    "str_",
    "uint8",
    "unique",
    "vectorize",
}
"""What they may use of NumPy: to arrange values, pictures and the cells of a figure."""
ALLOWED = {"math": COMPARING, "numpy": ARRANGING, "np": ARRANGING}
MODULES = {"description"}
"""Modules of `study.statistics` that are imported whole."""
REDUCTIONS = {"cumsum", "dot", "mean", "median", "prod", "ptp", "std", "sum", "var"}
"""Methods of arrays that make one number of many."""


@pytest.mark.parametrize("package", ["analysis", "reporting"])
def test_reports_compute_no_figure(package: str) -> None:
    """Analysis and reports use and format what `statistics` computes.

    They import nothing that computes, reduce no array and divide no sum.
    """
    for path in (ROOT / package).rglob("*.py"):
        for found in computed(ast.parse(path.read_text())):
            raise AssertionError(f"{path}:{found}")


@pytest.mark.parametrize(
    "line",
    [
        "import statistics",
        "from statistics import fmean",
        "from scipy import stats",
        "from math import sqrt",
        "from numpy import mean",
        "math.hypot(a, b)",
        "np.corrcoef(a, b)",
        "values.mean()",
        "scores.std(ddof=1)",
        "sum(values) / len(values)",
        "sum(values) / n",
        "100 * sum(a) / total",
    ],
)
def test_a_figure_that_is_computed_on_the_way_to_a_report_is_found(line: str) -> None:
    assert list(computed(ast.parse(line)))


def computed(tree: ast.AST) -> Iterator[str]:
    """Yield where a module computes a statistic by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = {alias.name for alias in node.names}
            tops = {(module or name).partition(".")[0] for name in names}
            if tops & COMPUTING:
                yield f"{node.lineno}: imports {tops & COMPUTING}"
            if module in ALLOWED and not names <= ALLOWED[module]:
                yield f"{node.lineno}: {names - ALLOWED[module]}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            allowed = ALLOWED.get(node.value.id)
            if allowed is not None and node.attr not in allowed:
                yield f"{node.lineno}: {node.value.id}.{node.attr}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in REDUCTIONS
            and not (isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES)
        ):
            yield f"{node.lineno}: .{node.func.attr}()"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and "sum" in calls(node.left):
            yield f"{node.lineno}: divides a sum"


def calls(tree: ast.AST) -> set[str]:
    """Return the names of the functions that an expression calls."""
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
