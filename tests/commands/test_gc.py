"""``study gc``: which files are listed and freed, and which are kept."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from support.command_lab import DEAD_PROCESS, STUDY, CommandLab

from study.engine import gc
from study.engine.events import JobStarted
from study.files import write
from study.ledger.store import Ledger


def count_by_reason(items: list[gc.Reclaimable]) -> Counter[gc.Reason]:
    return Counter(item.reason for item in items)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 7200,) * 2)


def test_gc_keeps_every_file_that_a_report_or_a_resumed_study_reads(finished: CommandLab) -> None:
    before = contents(finished.folder / "reports")
    assert not [event for event in finished.run(write=None) if isinstance(event, JobStarted)]
    assert contents(finished.folder / "reports") == before, "a project that is copied is the same one"
    for job in finished.trainings():
        write(finished.folder_of(job) / "checkpoint.pt", b"as a crash between result and removal leaves it")
        make_old(unfinished_write(finished.folder_of(job)))
    freed = count_by_reason(gc.reclaimable(finished.ledger, unreferenced=True))
    finished.invoke("gc", "--unreferenced", "--yes")
    assert freed[gc.Reason.FINISHED_CHECKPOINT] == 10
    assert freed[gc.Reason.TRIAL_WEIGHTS] == 2 * 3 * 2
    assert not list(finished.folder.rglob("checkpoint.pt"))
    assert not [path for path in finished.folder.rglob(".*.*") if path.is_file()]
    finished.invoke("report", "s.toml")
    assert contents(finished.folder / "reports") == before
    finished.ledger = Ledger(finished.ledger.root)
    assert not [event for event in finished.run(write=None) if isinstance(event, JobStarted)]
    assert contents(finished.folder / "reports") == before
    assert finished.invoke("gc").endswith("nothing to free.\n")


def unfinished_write(folder: Path) -> Path:
    aside = folder / ".result.json.a1b_2c3d.partial"
    aside.write_bytes(b"{")
    return aside


def test_repetitions_keep_their_weights_and_trials_keep_none(finished: CommandLab) -> None:
    finished.invoke("gc", "--yes")
    for job in finished.trainings():
        for name in ("weights.safetensors", "validation.npz"):
            assert (finished.folder_of(job) / name).is_file() == (job.purpose == "repetition")


def test_keep_all_keeps_the_weights_of_trials(finished: CommandLab) -> None:
    (finished.folder / "study.toml").write_text('mlflow = "off"\nkeep = "all"\n')
    assert finished.invoke("gc").endswith("nothing to free.\n")


def test_files_are_only_listed_without_yes(finished: CommandLab) -> None:
    before = contents(finished.ledger.root)
    output = finished.invoke("gc")
    assert "--yes" in output
    assert contents(finished.ledger.root) == before
    size = sum(
        (finished.folder_of(j) / name).stat().st_size
        for j in finished.trainings()
        if j.purpose == "search"
        for name in ("weights.safetensors", "validation.npz")
    )
    assert output.splitlines()[1].split()[-3:] == ["12", str(size), "B"]


def test_unreferenced_runs_are_freed_on_request_only(finished: CommandLab) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 1"))
    finished.run()
    assert not count_by_reason(gc.reclaimable(finished.ledger))[gc.Reason.UNREFERENCED_RUN]
    finished.invoke("gc", "--unreferenced", "--yes")
    finished.ledger = Ledger(finished.ledger.root)
    assert len(list((finished.ledger.root / "runs").iterdir())) == 2 * (3 + 1)
    assert finished.status().counts.done == 8


def test_gc_keeps_the_files_of_running_studies_and_claimed_runs(finished: CommandLab) -> None:
    before = contents(finished.ledger.root)
    with finished.ledger.hold("s"):
        assert finished.invoke("gc", "--unreferenced", "--yes").endswith("nothing to free.\n")
    assert contents(finished.ledger.root) == before
    trial = next(job for job in finished.trainings() if job.purpose == "search")
    assert finished.ledger.acquire(finished.folder_of(trial)) is None
    finished.invoke("gc", "--yes")
    assert (finished.folder_of(trial) / "weights.safetensors").is_file()
    finished.ledger.release(finished.folder_of(trial))


def test_files_that_come_into_use_after_they_were_listed_are_kept(finished: CommandLab) -> None:
    listed = gc.reclaimable(finished.ledger)
    trial = finished.folder_of(next(job for job in finished.trainings() if job.purpose == "search"))
    holder = f"elsewhere {os.getpid()} x"
    write(trial / "claim", holder)
    freed = gc.free(listed, finished.ledger)
    assert len(listed) - len(freed) == 2
    assert (trial / "weights.safetensors").is_file()
    assert (trial / "claim").read_text() == holder


def test_an_unfinished_training_keeps_its_checkpoint(lab: CommandLab) -> None:
    lab.run(tasks=1)
    waiting = next(job for job in lab.trainings() if not lab.ledger.state(job.run.id).final)
    write(lab.folder_of(waiting) / "checkpoint.pt", b"[]")
    lab.invoke("gc", "--yes")
    assert (lab.folder_of(waiting) / "checkpoint.pt").is_file()


def test_checkpoints_of_pruned_trials_are_freed_and_their_study_resumes_without_them(lab: CommandLab) -> None:
    lab.file.write_text(STUDY.replace("trials = 3", 'trials = 12\npruner = "halving"'))
    lab.run()
    assert list(lab.ledger.root.rglob("checkpoint.pt"))
    assert count_by_reason(gc.reclaimable(lab.ledger))[gc.Reason.PRUNED_CHECKPOINT]
    lab.invoke("gc", "--yes")
    assert not list(lab.ledger.root.rglob("checkpoint.pt"))
    assert not [event for event in lab.run() if isinstance(event, JobStarted)]


def test_locks_of_dead_processes_are_freed_and_those_of_running_ones_are_kept(finished: CommandLab) -> None:
    trial = finished.folder_of(finished.trainings()[0])
    dead, living = trial / "claim", finished.ledger.root / "studies" / "s" / "lock"
    write(dead, f"{os.uname().nodename} {DEAD_PROCESS} x")
    write(living, f"another-host {DEAD_PROCESS} x")
    assert not gc.reclaimable(finished.ledger), "the study is held, so nothing of it is listed"
    write(living, f"{os.uname().nodename} {DEAD_PROCESS} x")
    assert count_by_reason(gc.reclaimable(finished.ledger))[gc.Reason.STALE_LOCK] == 2
    finished.invoke("gc", "--yes")
    assert not dead.exists()
    assert not living.exists()


def test_a_recent_temporary_file_is_kept(finished: CommandLab) -> None:
    young = unfinished_write(finished.folder_of(finished.trainings()[0]))
    finished.invoke("gc", "--yes")
    assert young.exists()


def test_the_freed_file_names_are_those_that_trainings_write() -> None:
    from study.ledger.layout import CHECKPOINTS, TEST_INPUTS, VALIDATION_PREDICTIONS
    from study.tasks.clips.task import ClipsTask
    from study.tasks.function import FunctionTask

    for task in (ClipsTask, FunctionTask):
        assert task.checkpoint_name in CHECKPOINTS
        assert {task.weights_name, VALIDATION_PREDICTIONS} <= set(TEST_INPUTS)


def test_gc_frees_what_a_crash_left_in_every_folder_that_is_written_to(
    finished: CommandLab, tmp_path: Path
) -> None:
    (tmp_path / "study.toml").write_text('mlflow = "off"\n[data.clips]\npack = "packed"\nroot = "clips"\n')
    folders = [
        tmp_path / name
        for name in (
            "reports",
            "reports/s",
            "reports/s/figures",
            ".study/data",
            ".study/code",
            ".study/mlflow",
            "packed",
            ".study/ledger",
            ".study/ledger/looks",
            ".study/ledger/code",
            ".study/ledger/studies/s/sessions",
        )
    ]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        make_old(unfinished_write(folder))
    export = tmp_path / ".study/code/.export-abcd.partial"
    (export / "tree").mkdir(parents=True)
    make_old(export)
    kept = [
        tmp_path / ".study/data/.young.partial",
        tmp_path / "reports/.mine.template",
        tmp_path / "clips/.x.partial",
    ]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    make_old(kept[1])
    make_old(kept[2])
    finished.invoke("gc", "--yes")
    assert not list(tmp_path.rglob(".result.json.a1b_2c3d.partial"))
    assert not export.exists()
    assert all(path.exists() for path in kept)
