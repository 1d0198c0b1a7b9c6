"""A study that is cut off at every step of every write: the same command goes on, to the same tables."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.conductors import folder_in_memory, tables
from support.small_study import small_study

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine.jobs import TARGETS
from study.errors import StudyError
from study.executors.inprocess import InProcess
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
STEPS = ((os, "fdopen"), (os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"))
CRASHED = 66
STUDY = small_study(epochs=2, seeds=2, trials=1)
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="a crash is a forked process that leaves; files are listed by /proc",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    folder = tmp_path_factory.mktemp("study")
    (folder / "s.toml").write_text(STUDY)
    return compile_study(load(folder / "s.toml"), settings(folder), "cpu")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module")
def undisturbed(study: StudyRecord) -> dict[str, Any]:
    with folder_in_memory() as folder:
        carry_out(study, folder)
        return tables(folder)


def carry_out(study: StudyRecord, root: Path) -> None:
    ledger = Ledger(root)
    with ledger.hold(study.name):
        conductor.carry_out(ledger.save(study), ledger, InProcess(), lambda event: None, FAKE)


class Steps:
    """Takes down the steps by which files change, and does something before or after one of them."""

    def __init__(
        self, patch: pytest.MonkeyPatch, at: int = -1, act: Callable[[], None] = lambda: None
    ) -> None:
        self.taken: list[str] = []
        self._at, self._act = at, act
        for owner, name in STEPS:
            real = (lambda descriptor: None) if name == "fsync" else getattr(owner, name)
            patch.setattr(owner, name, self._noting(name, real))

    def _noting(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            what = f"{name} {_kind_of(arguments[0])}"
            self._moment(f"before {what}")
            found = real(*arguments, **options)
            self._moment(f"after {what}")
            return found

        return step

    def _moment(self, what: str) -> None:
        self.taken.append(what)
        if len(self.taken) - 1 == self._at:
            self._act()


def _kind_of(file: object) -> str:
    """Return what sort of file a step is about, whatever run or decision it belongs to."""
    name = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else str(file)
    kept = re.sub(r"\.\w{8,12}$", "", Path(name).name.lstrip("."))
    return re.sub(r"[0-9a-f]{8,}|\d+", "#", kept)


def steps_of(study: StudyRecord, folder: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch)
        carry_out(study, folder)
        return steps.taken


def check_crash(study: StudyRecord, folder: Path, moment: int, undisturbed: dict[str, Any]) -> None:
    """Let a process that carries the study out be gone, without a word, at this moment; then go on."""
    if not (process := os.fork()):
        Steps(pytest.MonkeyPatch(), moment, lambda: os._exit(CRASHED))
        try:
            carry_out(study, folder)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == CRASHED
    with pytest.MonkeyPatch.context() as patch:
        Steps(patch)
        carry_out(study, folder)
    assert tables(folder) == undisturbed, f"after moment {moment}"


def check_full_disk(study: StudyRecord, folder: Path, moment: int, undisturbed: dict[str, Any]) -> None:
    """Let the disk be full at this moment, then no more."""
    with pytest.MonkeyPatch.context() as patch:
        Steps(patch, moment, no_space)
        with pytest.raises((OSError, StudyError), match="No space left"):
            carry_out(study, folder)
    with pytest.MonkeyPatch.context() as patch:
        Steps(patch)
        carry_out(study, folder)
    assert tables(folder) == undisturbed, f"after moment {moment}"


def can_be_full(step: str) -> bool:
    return step.startswith("before") and "unlink" not in step


def no_space() -> None:
    raise OSError(28, "No space left on device")


Check = Callable[[StudyRecord, Path, int, dict[str, Any]], None]
CHECKS = pytest.mark.parametrize(
    ("check", "applies"), [(check_crash, bool), (check_full_disk, can_be_full)], ids=["crash", "full disk"]
)


@CHECKS
def test_being_cut_off_at_each_kind_of_write_changes_no_table(
    study: StudyRecord,
    undisturbed: dict[str, Any],
    folder: Path,
    check: Check,
    applies: Callable[[str], bool],
) -> None:
    steps = steps_of(study, folder / "counted")
    for step in dict.fromkeys(filter(applies, steps)):
        moment = steps.index(step)
        check(study, folder / str(moment), moment, undisturbed)


@pytest.mark.slow
@CHECKS
def test_being_cut_off_at_any_step_of_any_write_changes_no_table(
    study: StudyRecord,
    undisturbed: dict[str, Any],
    folder: Path,
    check: Check,
    applies: Callable[[str], bool],
) -> None:
    for moment, step in enumerate(steps_of(study, folder / "counted")):
        if applies(step):
            check(study, folder / str(moment), moment, undisturbed)
