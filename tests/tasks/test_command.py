"""A program as a task: its arguments, its environment, the lines it writes, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.own_tasks import command_task, run_of

from study.errors import InputError, StudyError
from study.executors.base import Call, CallEnded
from study.executors.local import LocalWorkers
from study.ledger.layout import RESULT, TEST_RESULT
from study.records import RunSpec, Stopped
from study.reported import ReportError
from study.run import Diverged, Pruned
from study.tasks.own.placeholders import expand
from study.tasks.own.processes import GRACE_S
from study.tasks.own.training import ProgramError

PATIENCE_S = 20.0
WRITE = """
import json, os, sys, time
def line(**values):
    with open(os.environ["STUDY_METRICS"], "a") as file:
        file.write(json.dumps(values) + "\\n")
"""
CONFIG = {
    "lr": 0.001,
    "name": "a b",
    "model": {"depth": 4, "attention": True, "dropout": None, "sizes": [1, 2]},
    "off": False,
    "many": ["x", "y"],
    "none": [],
}


def script(project: Path, text: str, name: str = "train.py") -> list[str]:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(WRITE + dedent(text))
    return ["python", name]


def trained(project: Path, text: str, config: dict[str, Any] | None = None, **options: Any) -> Any:
    task = command_task(project, script(project, text), reads_config=True, **options)
    run = run_of(task, project / "runs" / "r", config)
    task.train(run)
    run.close()
    return run


@pytest.mark.parametrize(
    ("arguments", "become"),
    [
        (["--lr", "{lr}"], ["--lr", "0.001"]),
        (["--lr={lr}"], ["--lr=0.001"]),
        (["{name}"], ["a b"]),
        (["--depth", "{model.depth}"], ["--depth", "4"]),
        (["--attention", "{model.attention}"], ["--attention", "true"]),
        (["{--attention?model.attention}", "{--off?off}", "{--gone?gone}"], ["--attention"]),
        (["--many", "{many}"], ["--many", "x", "--many", "y"]),
        (["--many={many}"], ["--many=x", "--many=y"]),
        (["{many}"], ["x", "y"]),
        (["--none", "{none}", "rest"], ["rest"]),
        (["--model", "{model.sizes}", "x"], ["--model", "1", "--model", "2", "x"]),
        (["--all", "{model}"], ["--all", json.dumps(CONFIG["model"])]),
        (["--dropout", "{model.dropout}", "--gone", "{gone}", "--gone={gone}", "-x"], ["-x"]),
        (["model.depth={model.depth}", "+a={gone}"], ["model.depth=4"]),
        (["{folder}/{seed}-{lr}.txt"], ["/f/7-0.001.txt"]),
        (["--fold", "{fold}"], []),
        (["--verbose", "--lr", "{lr}", "--"], ["--verbose", "--lr", "0.001", "--"]),
        (['{{"a": 1}}', '{"lr": 2}', "{{lr}}"], ['{"a": 1}', '{"lr": 2}', "{lr}"]),
    ],
)
def test_placeholders_become_arguments(arguments: list[str], become: list[str]) -> None:
    assert expand(arguments, CONFIG, {"seed": 7, "fold": None, "folder": "/f"}, "task.command") == become


@pytest.mark.parametrize(
    ("arguments", "config", "phrase"),
    [
        (
            ["--lr", "{lrr}"],
            {"lr": 1},
            r"task\.command: the placeholder \{lrr\} names no key. Did you mean 'lr'",
        ),
        (
            ["--lr", "{lr}"],
            {"lr": 1, "model": {"depth": 2}},
            r"model\.depth: no placeholder of task\.command uses",
        ),
        (["{--flag?lr}"], {"lr": 1}, "'lr' switches an argument, so it must be true or false. Got 1"),
        (["{seed}"], {"seed": 1}, "seed: {seed} is a value of the run"),
        ([], {"epochs": 3}, "epochs: no placeholder"),
    ],
)
def test_placeholders_and_keys_must_fit(
    tmp_path: Path, arguments: list[str], config: Any, phrase: str
) -> None:
    with pytest.raises(InputError, match=phrase):
        command_task(tmp_path, ["python", "train.py", *arguments]).validate([config])


def test_keys_that_only_some_variants_have_are_known(tmp_path: Path) -> None:
    configs: list[dict[str, Any]] = [
        {"model": {"kind": "cnn"}},
        {"model": {"kind": "vit", "heads": 4}, "code": "."},
    ]
    command_task(tmp_path, ["python", "x.py", "{model.kind}", "--heads", "{model.heads}"]).validate(configs)
    command_task(tmp_path, ["python", "x.py", "{model}"]).validate(configs)
    command_task(tmp_path, ["python", "x.py"], reads_config=True).validate(configs)
    with pytest.raises(InputError, match=r"model\.heads"):
        command_task(tmp_path, ["python", "x.py", "{model.kind}"]).validate(configs)


@pytest.mark.parametrize(
    ("command", "phrase"),
    [
        (["pythn3", "x"], "task.command: could not be started: 'pythn3' not found. Did you mean 'python3"),
        (["./nothing.sh"], "task.command: could not be started: './nothing.sh' does not exist"),
        ([], "must be a program and its arguments"),
        ("python train.py", "must be a program and its arguments"),
        (["python", 1], "must be a program and its arguments"),
    ],
)
def test_a_command_that_cannot_start_is_said_before_the_study(
    tmp_path: Path, command: Any, phrase: str
) -> None:
    with pytest.raises(InputError, match=phrase):
        command_task(tmp_path, command).validate([{}])


def test_figures_come_from_lines_and_the_environment_says_all(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    command = script(
        tmp_path,
        """
        config = json.load(open(os.environ["STUDY_CONFIG"]))
        assert config == {"lr": 0.5, "model": {"depth": 2}}, config
        assert sys.argv[1:] == ["--lr", "0.5", os.environ["STUDY_WEIGHTS"]], sys.argv
        assert os.path.basename(os.getcwd()) == "work"
        assert os.environ["OMP_NUM_THREADS"] == "2" and os.environ["MINE"] == "yes"
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert os.environ["PYTHONHASHSEED"] == os.environ["STUDY_SEED"] == "3" and os.environ["STUDY_FOLD"] == "1"
        assert os.environ["STUDY_METRICS"] == os.path.join(os.environ["STUDY_FOLDER"], "metrics.jsonl")
        open(os.environ["STUDY_WEIGHTS"], "w").write("w")
        line(epoch=1, acc=0.25, train_loss=1.5)
        line(epoch=2, acc=0.5, extra=3)
        line(test={"acc": 0.75})
        """,
        "work/train.py",
    )
    task = command_task(
        tmp_path,
        [command[0], "train.py", "--lr", "{lr}", "{weights}"],
        cwd="work",
        threads=2,
        env={"MINE": "yes"},
        reads_config=True,
    )
    config = {"lr": 0.5, "model": {"depth": 2}}
    task.validate([config])
    run = run_of(task, tmp_path / "runs" / "r", config, fold=1)
    task.train(run)
    run.close()
    found = json.loads((run.folder / RESULT).read_text())
    assert [entry["validation"]["acc"] for entry in found["history"]] == [0.25, 0.5]
    assert [found["history"][0]["train_loss"], found["history"][1]["diagnostics"]] == [1.5, {"extra": 3.0}]
    assert found["has_weights"] is True
    assert json.loads((run.folder / TEST_RESULT).read_text())["metrics"] == {"acc": 0.75}


def test_epochs_arrive_while_the_command_runs(tmp_path: Path) -> None:
    arrived: list[float] = []
    task = command_task(
        tmp_path, script(tmp_path, "line(epoch=1, acc=0.5)\ntime.sleep(0.6)\nline(test={'acc': 0.5})")
    )
    run = run_of(task, tmp_path / "r")
    run._on_epoch = lambda epoch: arrived.append(time.monotonic())
    task.train(run)
    assert time.monotonic() - arrived[0] > 0.3


def test_a_line_that_is_not_complete_waits(tmp_path: Path) -> None:
    run = trained(
        tmp_path,
        """
        file = open(os.environ["STUDY_METRICS"], "a", buffering=1)
        file.write('{"epoch": 1, '); file.flush(); time.sleep(0.3)
        file.write('"acc": 0.5}\\n\\n')
        file.write('{"test": {"acc": 0.5}}')
        """,
    )
    assert [entry.validation["acc"] for entry in run.history] == [0.5]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (
            "print(file=open(os.environ['STUDY_METRICS'], 'a')); line(epoch=1, acc=0.5)\n"
            "print('epoch 2: 0.5', file=open(os.environ['STUDY_METRICS'], 'a'))",
            r"line 3 of metrics\.jsonl .*: epoch 2: 0\.5",
        ),
        (
            "print('[1]', file=open(os.environ['STUDY_METRICS'], 'a'))",
            r"line 1 of metrics\.jsonl .*JSON object",
        ),
        (
            "print('[' * 100_000, file=open(os.environ['STUDY_METRICS'], 'a'))",
            r"line 1 of metrics\.jsonl .*JSON object",
        ),
        ("line(acc=0.5)", r"line 1 of metrics\.jsonl .*'epoch' nor 'test'"),
        ("line(test=0.5)", "'test' .*object"),
        (
            "line(epoch=1, acc=0.5); line(epoch=1, acc=0.5)",
            r"line 2 of metrics\.jsonl: epoch 1 .*twice",
        ),
        (
            "line(epoch=2, acc=0.5); line(epoch=1, acc=0.5)",
            r"line 2 of metrics\.jsonl: epoch 1 .*after",
        ),
        ("line(epoch=1, acc='0.5')", r"line 1 of metrics\.jsonl: epoch 1 .*acc = '0\.5'"),
        ("line(epoch=1, accuracy=0.5)", "primary metric 'acc'.*'accuracy'"),
        ("line(epoch=1, acc=0.5)", r"task\.evaluate_command"),
        ("pass", "without reporting 'acc'"),
    ],
)
def test_what_a_command_writes_wrong_is_one_clear_message(tmp_path: Path, text: str, phrase: str) -> None:
    with pytest.raises(ReportError, match=f"(?i){phrase}"):
        trained(tmp_path, text)


def test_a_command_that_fails_shows_its_last_thirty_lines(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"command .*code 3\b") as error:
        trained(tmp_path, "[print('line', n) for n in range(50)]; sys.exit(3)")
    assert error.value.detail.splitlines() == [f"line {n}" for n in range(20, 50)]
    with pytest.raises(ProgramError, match="killed by SIGKILL"):
        trained(tmp_path, "os.kill(os.getpid(), 9)")


def test_nan_ends_the_command_as_diverged(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Diverged):
        trained(tmp_path, "line(epoch=1, acc=float('nan')); time.sleep(600)")
    assert time.monotonic() - began < GRACE_S
    with pytest.raises(Diverged):
        trained(tmp_path, "line(epoch=1, acc=float('nan')); sys.exit('the loss is not finite')")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Any, patience_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_pruning_ends_the_command_and_what_it_started(tmp_path: Path) -> None:
    task = command_task(
        tmp_path,
        script(
            tmp_path,
            """
            import subprocess
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            open(os.path.join(os.environ["STUDY_FOLDER"], "pids"), "w").write(f"{os.getpid()} {child.pid}")
            line(epoch=1, acc=0.1)
            time.sleep(600)
            """,
        ),
    )
    run = run_of(task, tmp_path / "r", rule={"1": 0.5})
    with pytest.raises(Pruned):
        task.train(run)
    run.close()
    assert isinstance(run.result, Stopped)
    assert not any(is_running(int(pid)) for pid in (run.folder / "pids").read_text().split())


def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    run = trained(
        tmp_path,
        """
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(os.path.join(os.environ["STUDY_FOLDER"], "pid"), "w").write(str(child.pid))
        line(epoch=1, acc=0.5); line(test={"acc": 0.5})
        """,
    )
    assert until(lambda: not is_running(int((run.folder / "pid").read_text())), 2)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkers]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    workers = LocalWorkers(1)
    yield workers
    workers.close()


def started(workers: LocalWorkers, folder: Path, job: str, *arguments: str, **fields: Any) -> None:
    spec = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    workers.submit(replace(Call("t", f"support.command_jobs:{job}", spec, folder, arguments), **fields))


def ended(workers: LocalWorkers) -> CallEnded:
    found: list[Any] = []
    assert until(lambda: found.extend(workers.wait(0.1)) or found)
    return found[-1]


def pids(folder: Path) -> list[int]:
    assert until(lambda: (folder / "pids").is_file() and (folder / "pids").read_text().count(" "))
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def test_closing_the_executor_ends_the_command_and_its_children(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    started(workers, tmp_path, "endless")
    running = pids(tmp_path)
    workers.close()
    assert not any(map(is_running, running))


def test_a_worker_that_is_killed_takes_its_command_with_it(workers: LocalWorkers, tmp_path: Path) -> None:
    started(workers, tmp_path, "endless")
    running = pids(tmp_path)
    guards = [pid for pid in children_of(workers) if pid not in running]
    workers._running[0].process.kill()
    assert ended(workers).ending == "died"
    assert until(lambda: not any(map(is_running, running)))
    assert until(lambda: not any(map(is_running, guards)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_command_that_ignores_sigterm_is_killed_with_its_worker(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    started(workers, tmp_path, "endless", "deaf")
    running = pids(tmp_path)
    workers._running[0].process.kill()
    assert until(lambda: not any(map(is_running, running)), GRACE_S + 3)


def children_of(workers: LocalWorkers) -> list[int]:
    tasks = Path(f"/proc/{workers._running[0].process.pid}/task")
    return [int(pid) for listed in tasks.glob("*/children") for pid in listed.read_text().split()]


def test_a_command_that_takes_too_long_is_ended(workers: LocalWorkers, tmp_path: Path) -> None:
    started(workers, tmp_path, "endless", timeout_s=1.0)
    running = pids(tmp_path)
    over = ended(workers)
    assert over.ending == "raised"
    assert "task.timeout_s = 1 s" in over.reason
    assert not any(map(is_running, running))


def test_a_failure_in_a_worker_has_the_last_output_and_no_traceback(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    started(workers, tmp_path, "failing")
    over = ended(workers)
    assert over.reason.endswith("code 1")
    lines = over.detail.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (30, "line 21", "last words")
    assert "line 49" in (tmp_path / "log-1.txt").read_text()


def test_a_command_may_use_interrupts_although_its_worker_ignores_them(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    started(workers, tmp_path, "interruptible")
    assert "without reporting" in ended(workers).reason


def test_evaluate_command_runs_on_the_weights_alone(tmp_path: Path) -> None:
    train = script(tmp_path, "line(epoch=1, acc=0.5); open(os.environ['STUDY_WEIGHTS'], 'w').write('0.75')")
    test = script(tmp_path, "line(test={'acc': float(open(sys.argv[1]).read())})", "test.py")
    task = command_task(tmp_path, train, [*test, "{weights}"])
    run = run_of(task, tmp_path / "r")
    task.train(run)
    run.close()
    assert not (run.folder / TEST_RESULT).exists()
    assert task.evaluate(run_of(task, tmp_path / "r")) == {"acc": 0.75}
    silent = command_task(tmp_path, train, ["python", "-c", ""])
    with pytest.raises(ReportError, match="without a line"):
        silent.evaluate(run_of(silent, tmp_path / "r"))
    forgetful = command_task(tmp_path, script(tmp_path, "line(epoch=1, acc=0.5)"), test)
    with pytest.raises(ReportError, match=r"nothing at .*weights.*task\.evaluate_command"):
        forgetful.train(run_of(forgetful, tmp_path / "other"))


def test_a_killed_command_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    text = """
        place = os.environ["STUDY_CHECKPOINT"]
        done = int(open(place).read()) if os.path.exists(place) else 0
        for epoch in range(done + 1, 4):
            line(epoch=epoch, acc=epoch / 10 + 0.05 * (done > 0))
            if epoch == 2 and not done:
                sys.exit("killed")
            open(place, "w").write(str(epoch))
        line(test={"acc": 0.5})
        """
    for resume, values in ((True, [0.1, 0.25, 0.35]), (False, None)):
        folder = tmp_path / str(resume)
        folder.mkdir()
        with pytest.raises(ProgramError):
            trained(folder, text, resume=resume)
        if values is None:
            with pytest.raises(ProgramError):
                trained(folder, text, resume=resume)
        else:
            run = trained(folder, text, resume=resume)
            assert [entry.validation["acc"] for entry in run.history] == pytest.approx(values)


def test_code_that_counts_is_followed_from_a_python_script(tmp_path: Path) -> None:
    script(tmp_path, "", "scripts/train.py")
    script(tmp_path, "", "scripts/helper.py")
    (tmp_path / "table.txt").write_text("x")
    task = command_task(
        tmp_path, ["torchrun", "--nproc=2", "scripts/train.py", "{lr}"], sources=["table.txt"]
    )
    found = task.sources({})
    assert (found.modules, found.root, found.files) == (
        ("train",),
        tmp_path / "scripts",
        (tmp_path / "table.txt",),
    )
    module = command_task(tmp_path, ["python", "-m", "scripts.train"]).sources({})
    assert (module.modules, module.root) == (("scripts.train",), tmp_path)


def test_code_that_counts_is_else_every_text_file_beside_the_script(tmp_path: Path) -> None:
    for name in (
        "bin/train.sh", "bin/src/a.c", "bin/conf.toml", "bin/.git/x", "bin/__pycache__/x", "bin/venv/pyvenv.cfg",
        "bin/out/report.md", "bin/data/d.csv", "other.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    (tmp_path / "bin" / "model.bin").write_bytes(b"\0\1")
    (tmp_path / "bin" / "large.txt").write_text("x" * 1_000_001)
    (tmp_path / "bin" / "study.toml").write_text("")
    (tmp_path / "bin" / "question.toml").write_text("[task]\n[factors]\n")
    task = command_task(tmp_path, ["sh", "bin/train.sh"], outputs=["bin/out"], data=["bin/data/*"])
    assert {str(path.relative_to(tmp_path)) for path in task.sources({}).files} == {
        "bin/train.sh", "bin/src/a.c", "bin/conf.toml",
    }  # fmt: skip
    assert len(command_task(tmp_path, ["make"]).sources({}).files) > 3


def test_an_exported_revision_runs_from_its_own_folder(tmp_path: Path) -> None:
    project, export = tmp_path / "project", tmp_path / "export"
    project.mkdir()
    script(project, "sys.exit('the wrong code')")
    command = script(export, "assert os.path.basename(os.getcwd()) == 'export'\n"
                             "assert os.environ['STUDY_HOME'].endswith('project')\n"
                             "line(epoch=1, acc=0.5); line(test={'acc': 0.5})")  # fmt: skip
    task = command_task(project, command, export=str(export), reads_config=True)
    run = run_of(task, project / "r", {"code": "."})
    task.train(run)
    assert task.sources({}).root == export


def test_identity_names_the_commands(tmp_path: Path) -> None:
    assert dict(command_task(tmp_path, ["python", "a.py"]).counts) == {"command": ["python", "a.py"]}
    both = command_task(tmp_path, ["a"], ["b"], env={"X": "1"}, cwd=".")
    assert dict(both.counts) == {"command": ["a"], "evaluate_command": ["b"], "env": {"X": "1"}, "cwd": "."}


def test_sigterm_ends_a_command_before_its_process(tmp_path: Path) -> None:
    """A batch system ends a worker: once it is gone, nothing of it is left."""
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(Path(__file__).parents[2])!r}]
from pathlib import Path
from support.command_jobs import endless
endless(None, Path({str(tmp_path)!r}), None)
"""
    import subprocess

    worker = subprocess.Popen([sys.executable, "-c", code])
    running = pids(tmp_path)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == -signal.SIGTERM
    assert not any(map(is_running, running))


def test_a_missing_program_in_a_worker_is_said(tmp_path: Path) -> None:
    task = command_task(tmp_path, ["{tool}"])
    with pytest.raises(StudyError, match="'nothing-of-the-kind'"):
        task.train(run_of(task, tmp_path / "r", {"tool": "nothing-of-the-kind"}))


@pytest.mark.parametrize(("of_worker", "of_task", "expected"), [("7", "6,7", "7"), ("0", "3", "3")])
def test_a_command_gets_its_worker_s_share_of_the_devices_that_the_task_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_worker: str, of_task: str, expected: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", of_worker)
    task = command_task(tmp_path, command=["true"], env={"CUDA_VISIBLE_DEVICES": of_task})
    spec = replace(run_of(task, tmp_path / "r", {}).spec, device="cuda")
    run = run_of(task, tmp_path / "r", {})
    run.spec = spec
    assert task._variables(run, {})["CUDA_VISIBLE_DEVICES"] == expected
