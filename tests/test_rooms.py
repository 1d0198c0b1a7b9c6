"""The house: which room may know which. Every import of the package is read and compared with the plan."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import study

ROOT = Path(study.__file__).parent

ROOMS = (
    "errors",
    "hashing",
    "registry",
    "records",
    "statistics",
    "spec",
    "design",
    "ledger",
    "data",
    "components",
    "training",
    "profiling",
    "search",
    "plan",
    "reuse",
    "estimate",
    "overview",
    "gc",
    "executors",
    "analysis",
    "reporting",
    "events",
    "agenda",
    "outcomes",
    "tracking",
    "dashboard",
    "prepare",
    "conductor",
    "retell",
    "progress",
    "testing",
    "bench",
    "commands",
    "cli",
    "__main__",
)

KNOWS_NOTHING_OF_THE_REST = {"statistics"}
TEST_RESULT_READERS = {"records", "ledger", "training", "analysis", "testing"}
ONLY_FOR_THE_COMMAND_LINE = {"testing", "bench"}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "study":
                names = [f"study.{alias.name}" for alias in node.names if alias.name != "__version__"]
        found |= {name.split(".")[1] for name in names if name.startswith("study.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_knows_only_the_rooms_above_it(path: Path) -> None:
    own = room(path)
    assert own in ROOMS, f"{own} has no place in the plan of the house"
    above = set(ROOMS[: ROOMS.index(own) + 1])
    if own in KNOWS_NOTHING_OF_THE_REST:
        above = {own}
    if own not in (*ONLY_FOR_THE_COMMAND_LINE, "commands", "cli"):
        above -= ONLY_FOR_THE_COMMAND_LINE
    assert imported_rooms(path) <= above


def test_executors_know_nothing_of_training() -> None:
    for path in (ROOT / "executors").glob("*.py"):
        assert not imported_rooms(path) & {"training", "components", "data"}


def test_reports_read_findings_and_no_results() -> None:
    for path in (ROOT / "reporting").rglob("*.py"):
        assert imported_rooms(path) <= {"reporting", "analysis", "errors", "ledger", "hashing"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("study.ledger"):
                only_writes = node.module == "study.ledger" and [alias.name for alias in node.names] == [
                    "files"
                ]
                assert only_writes or node.module == "study.ledger.files", f"{path} reads more than findings"


def test_only_analysis_reads_test_results() -> None:
    for path in FILES:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        names |= {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
        if names & {"TestResult", "test_result", "Measurement", "measurement"}:
            assert room(path) in TEST_RESULT_READERS, path
        if names & {"test_result", "measurement"} and path != ROOT / "ledger" / "store.py":
            assert room(path) == "analysis", path
