"""A Python function as a task: what it receives, what it may report, and the messages for mistakes."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from support.own_tasks import function_task, run_of

from study.errors import InputError, StudyError
from study.executors.base import Call, CallEnded
from study.executors.inprocess import InProcess
from study.ledger.layout import HISTORY, PROFILE, RESULT, TEST_RESULT
from study.records import RunResult, Stopped
from study.reported import ReportError
from study.run import Diverged, Pruned, RunStopped
from study.tasks.options import Compute
from study.tasks.own.references import Reference, UserImportError
from study.tasks.own.training import ProgramError

Write = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user, forgotten by Python afterwards."""
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)):
            del sys.modules[name]


def write(project: Path, text: str, name: str = "mine.py") -> Path:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(dedent(text))
    return project / name


def trained(project: Path, text: str, config: dict[str, Any] | None = None, **options: Any) -> Any:
    write(project, text)
    task = function_task(project, **options)
    run = run_of(task, project / "runs" / "r", config)
    task.train(run)
    run.close()
    return run


def result(run: Any) -> dict[str, Any]:
    return json.loads((run.folder / RESULT).read_text())


def test_a_function_has_its_configuration_and_leaves_a_result_and_a_sealed_test(project: Path) -> None:
    run = trained(
        project,
        """
        def train(config, run):
            assert isinstance(config["model"], dict)
            config["model"]["depth"] += 1  # its own copy
            for epoch in (1, 2):
                run.report(epoch, acc=config["lr"] * epoch, train_loss=0.5, grad_norm=2.0)
            run.weights.write_text("w")
            run.test(acc=0.75)
        """,
        {"lr": 0.1, "model": {"depth": 4}},
    )
    found = result(run)
    assert (found["status"], found["best_epoch"], found["validation"]) == ("finished", 2, {"acc": 0.2})
    assert found["has_weights"] is True
    assert found["history"][0]["diagnostics"] == {"grad_norm": 2.0}
    assert run.spec.config["model"]["depth"] == 4
    sealed = json.loads((run.folder / TEST_RESULT).read_text())
    assert (sealed["metrics"], sealed["seen_in_training"]) == ({"acc": 0.75}, True)


def test_random_numpy_and_torch_are_seeded_by_the_run(project: Path) -> None:
    text = """
        import random
        import numpy as np
        import torch

        def train(config, run):
            draws = [random.random(), float(np.random.rand()), float(torch.rand(1)), float(torch.get_num_threads())]
            run.report(1, acc=0.5, a=draws[0], b=draws[1], c=draws[2], threads=draws[3])
            run.test(acc=0.5)
        """
    write(project, text)
    task = function_task(project)
    draws = []
    for number, seed in enumerate((3, 3, 2**62 + 1)):
        run = run_of(task, project / "runs" / str(number), seed=seed)
        task.train(run)
        draws.append(run.history[0].diagnostics)
    assert draws[0] == draws[1]
    assert len({draws[0][name] for name in "abc"} & {draws[2][name] for name in "abc"}) == 0
    assert draws[0]["threads"] == 1
    assert {"numpy", "torch"} <= set(task.preload)
    assert all(importlib.util.find_spec(name) for name in task.preload)


def test_select_best_says_which_epoch_is_tested(project: Path) -> None:
    text = """
        def train(config, run):
            best = [run.report(epoch, acc=acc) for epoch, acc in ((1, 0.2), (2, 0.6), (3, 0.4))]
            assert best == [True, True, False]
            run.test(acc=0.5)
        """
    assert result(trained(project, text, select="best"))["best_epoch"] == 2
    assert result(trained(project, text))["best_epoch"] == 3


def test_a_minimized_metric_is_best_where_it_is_least(project: Path) -> None:
    text = """
        def train(config, run):
            for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.5)):
                run.report(epoch, loss=loss)
            run.test(loss=1.1)
        """
    run = trained(project, text, metric={"name": "loss", "direction": "minimize"}, select="best")
    assert result(run)["validation"] == {"loss": 1.0}


def test_returned_figures_stand_for_one_epoch(project: Path) -> None:
    run = trained(project, "def train(config, run):\n    run.test(acc=0.6)\n    return {'acc': 0.5}\n")
    assert result(run)["validation"] == {"acc": 0.5}


@pytest.mark.parametrize(
    ("body", "phrase"),
    [
        ("return 0.5", "must return nothing, or figures .* float"),
        ("run.report(1, acc=0.5); return {'acc': 0.5}", "after it had reported epochs"),
        ("run.report(1, acc=0.5); run.report(1, acc=0.5)", "epoch 1 was reported twice"),
        ("run.report(2, acc=0.5); run.report(1, acc=0.5)", "epoch 1 was reported after epoch 2"),
        ("run.report(0, acc=0.5)", "a whole number from 1"),
        ("run.report(1, accuracy=0.5)", "never the primary metric 'acc'. Did you mean 'accuracy'"),
        ("pass", r"call run.report\(epoch, acc=…\)"),
        ("run.report(1, acc='high')", "acc = 'high', of type str"),
        ("run.report(1, acc=61.0)", "acc = 61.0, above the highest possible value 1"),
        ("run.report(1, acc=0.5)", "either set task.evaluate.*run.test"),
        ("run.report(1, acc=0.5); run.test(loss=0.5)", "not the primary metric 'acc'"),
        ("run.report(1, acc=0.5); run.test(acc=float('nan'))", "must be a finite number"),
        (
            "run.report(1, acc=0.5); run.test(acc=0.5); run.examples(['a', 'b'], [0, 0.5])",
            "mean of run.examples is 0.25",
        ),
    ],
)
def test_what_was_not_promised_is_one_clear_message(project: Path, body: str, phrase: str) -> None:
    with pytest.raises(ReportError, match=f"(?i){phrase}"):
        trained(project, f"def train(config, run):\n    {body}\n")


def test_examples_that_agree_with_the_test_are_kept(project: Path) -> None:
    run = trained(
        project,
        """
        def train(config, run):
            run.report(1, acc=0.5)
            run.test(acc=0.25)
            run.examples(["a", "b", "c", "d"], [0, 0, 1, 0], sources=["p", "p", "q", "q"])
        """,
    )
    assert json.loads((run.folder / TEST_RESULT).read_text())["examples"] == 4


def test_predictions_are_checked_by_the_metric_of_the_user(project: Path) -> None:
    text = """
        import numpy as np

        def share(labels, scores):
            return float(np.mean(labels == scores.argmax(1)))

        def train(config, run):
            run.report(1, acc=0.5)
            run.predictions(["a", "b"], [0, 1], [[0.9, 0.1], [0.8, 0.2]])
            run.test(acc=config["claimed"])
        """
    metric = {"name": "acc", "compute": "mine:share"}
    trained(project, text, {"claimed": 0.5}, metric=metric)
    with pytest.raises(ReportError, match=r"acc.* 1\.0,.* 0\.5"):
        trained(project, text, {"claimed": 1.0}, metric=metric)


def test_a_value_that_is_not_finite_ends_the_training_as_diverged(project: Path) -> None:
    write(
        project,
        """
        def train(config, run):
            run.report(1, acc=0.5)
            run.report(2, acc=float("nan"))
            raise AssertionError("never reached")
        """,
    )
    task = function_task(project)
    run = run_of(task, project / "runs" / "r")
    with pytest.raises(Diverged):
        task.train(run)
    run.close()
    assert isinstance(run.result, RunResult)
    assert result(run)["status"] == "diverged"


def test_a_search_gives_a_trial_up(project: Path) -> None:
    write(project, "def train(config, run):\n    for e in (1, 2, 3): run.report(e, acc=0.1)\n")
    task = function_task(project)
    run = run_of(task, project / "runs" / "r", rule={"2": 0.5})
    with pytest.raises(Pruned):
        task.train(run)
    run.close()
    assert isinstance(run.result, Stopped)
    assert run.result.epoch == 2
    assert not (run.folder / RESULT).exists()


def test_evaluate_tests_what_the_training_left(project: Path) -> None:
    write(
        project,
        """
        def train(config, run):
            run.report(1, acc=0.5)
            run.weights.write_text("0.75")

        def test(config, run):
            return float(run.weights.read_text())

        def mapping(config, run):
            return {"acc": 0.5, "loss": 2.0}

        def calls(config, run):
            run.test(acc=0.25)

        def words(config, run):
            return "0.5 of them"

        def lacking(config, run):
            return {"accuracy": 0.5}
        """,
    )
    task = function_task(project, evaluate="mine:test")
    run = run_of(task, project / "runs" / "r")
    task.train(run)
    run.close()
    assert not (run.folder / TEST_RESULT).exists()
    assert task.evaluate(run_of(task, run.folder)) == {"acc": 0.75}
    for function, figures in (("mapping", {"acc": 0.5, "loss": 2.0}), ("calls", {"acc": 0.25})):
        other = function_task(project, evaluate=f"mine:{function}")
        assert other.evaluate(run_of(other, run.folder)) == figures
    for function, phrase in (("words", "must return figures"), ("lacking", "'acc'.*Did you mean 'accuracy'")):
        other = function_task(project, evaluate=f"mine:{function}")
        with pytest.raises(ReportError, match=phrase):
            other.evaluate(run_of(other, run.folder))


@pytest.mark.parametrize(
    ("body", "phrase"),
    [
        ("run.report(1, acc=0.5)", "saved nothing at .*weights, which task.evaluate needs"),
        ("run.report(1, acc=0.5); run.weights.with_suffix('.npy').touch()", "There is 'weights.npy'"),
        ("run.report(1, acc=0.5); run.weights.touch(); run.test(acc=0.5)", "computes them too"),
    ],
)
def test_what_evaluate_needs_is_asked_for_after_the_training(project: Path, body: str, phrase: str) -> None:
    write(project, f"def train(config, run):\n    {body}\ndef test(config, run): ...\n")
    task = function_task(project, evaluate="mine:test")
    with pytest.raises(ReportError, match=phrase):
        task.train(run_of(task, project / "runs" / "r"))


RESUMED = """
    def train(config, run):
        done = int(run.checkpoint.read_text()) if run.checkpoint.exists() else 0
        for epoch in range(done + 1, 5):
            best = run.report(epoch, acc=config["values"][epoch - 1])
            if best:
                run.weights.write_text(str(epoch))
            if epoch == config["killed_at"]:
                raise RuntimeError("killed")
            run.checkpoint.write_text(str(epoch))
        run.test(acc=0.5)
    """


def killed_then_again(project: Path, values: list[float], **options: Any) -> Any:
    write(project, RESUMED)
    task = function_task(project, **options)
    folder = project / "runs" / "r"
    with pytest.raises(RuntimeError):
        task.train(run_of(task, folder, {"values": [0.1, 0.2, 0.6, 0.4], "killed_at": 3}))
    run = run_of(task, folder, {"values": values, "killed_at": 0})
    epochs = []
    run._on_epoch = lambda epoch: epochs.append(epoch.epoch)
    task.train(run)
    run.close()
    return run, epochs


def test_a_killed_training_goes_on_and_its_epochs_replace_earlier_ones(project: Path) -> None:
    run, epochs = killed_then_again(project, [0, 0, 0.3, 0.2], resume=True, select="best")
    assert epochs == [3, 4]
    assert [entry.validation["acc"] for entry in run.history] == [0.1, 0.2, 0.3, 0.2]
    assert result(run)["best_epoch"] == 3
    assert run.weights.read_text() == "3", (
        "the best epoch of the replaced attempt must not be kept as the best"
    )
    assert not run.checkpoint.exists()


def test_without_resume_a_killed_training_starts_again(project: Path) -> None:
    run, epochs = killed_then_again(project, [0.3, 0.3, 0.3, 0.3])
    assert epochs == [1, 2, 3, 4]
    assert [entry.validation["acc"] for entry in run.history] == [0.3] * 4


def test_a_resumed_trial_that_was_already_given_up_does_not_train(project: Path) -> None:
    write(project, RESUMED)
    task = function_task(project, resume=True)
    folder = project / "runs" / "r"
    with pytest.raises(RuntimeError):
        task.train(run_of(task, folder, {"values": [0.1, 0.2, 0.3, 0.4], "killed_at": 3}))
    with pytest.raises(RunStopped):
        task.train(run_of(task, folder, {"values": [], "killed_at": 0}, rule={"2": 0.9}))


def test_a_profile_has_the_counts_of_a_known_network(project: Path) -> None:
    run = trained(
        project,
        """
        import torch
        from torch import nn

        def train(config, run):
            net = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU(), nn.BatchNorm1d(20))
            state = torch.get_rng_state()
            found = run.profile(net, torch.zeros(1, 10))
            assert torch.equal(state, torch.get_rng_state())
            assert net.training and int(net[2].num_batches_tracked) == 0
            run.report(1, acc=0.5)
            run.test(acc=0.5)
        """,
    )
    profile = json.loads((run.folder / PROFILE).read_text())
    assert profile["parameters"] == 10 * 20 + 2 * 20 == result(run)["parameters"]
    assert profile["flops"] == 2 * 10 * 20
    assert 10 * 20 <= profile["macs"] <= 10 * 20 + 5 * 20
    assert profile["input_shape"] == [1, 10]
    assert profile["latency_ms"] > 0
    assert profile["activation_bytes"] == 4 * (10 + 20 + 20) or profile["activation_bytes"] == 4 * (10 + 20)


def test_a_network_that_cannot_be_counted_is_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(
        project,
        """
        import torch
        from torch import nn

        class Odd(nn.Module):
            def forward(self, x):
                raise RuntimeError("only in training")

        def train(config, run):
            run.profile(Odd(), torch.zeros(1, 2))
            run.report(1, acc=0.5)
            run.test(acc=0.5)
        """,
    )
    assert "only in training" in caplog.text
    assert json.loads((run.folder / PROFILE).read_text())["flops"] is None


@pytest.mark.parametrize(
    ("text", "function", "phrase"),
    [
        ("def train(config): ...", "mine:train", r"mine.py:1: 'train' takes \(config\)"),
        ("def train(config, run, more): ...", "mine:train", r"def train\(config, run\)"),
        ("def train(config, run, *, lr): ...", "mine:train", r"def train\(config, run\)"),
        ("async def train(config, run): ...", "mine:train", "async"),
        ("class train: ...", "mine:train", "is a class"),
        ("def training(config, run): ...", "mine:train", "has no function 'train'. Did you mean 'training'"),
        ("def train(config, run): ...", "mien:train", "no module 'mien'.*Did you mean 'mine'"),
        ("x = 1\ndef train(config, run)\n", "mine:train", "mine.py:2: not valid Python"),
        ("", "mine.train", "must be 'module:function'"),
    ],
)
def test_mistakes_are_found_without_importing(project: Path, text: str, function: str, phrase: str) -> None:
    write(project, text + "\nraise RuntimeError('imported')" if "\nx" not in text else text)
    with pytest.raises(InputError, match=phrase):
        function_task(project, function).validate([{}])
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        "def train(config, run, *, debug=False): ...",
        "def train(*args): ...",
        "from elsewhere import train",
        "train = make()",
        "@hydra.main()\ndef train(cfg): ...",
        "try:\n    import a\nexcept ImportError:\n    def train(config, run): ...",
    ],
)
def test_what_can_only_be_known_by_importing_is_let_pass(project: Path, text: str) -> None:
    write(project, text)
    function_task(project).validate([{}])


def test_a_module_that_cannot_be_imported_says_why_and_where(project: Path) -> None:
    write(project, "import math\n\nimport no_such_library\ndef train(config, run): ...\n")
    task = function_task(project)
    task.validate([{}])
    with pytest.raises(UserImportError, match=r"mine\.py:3: ModuleNotFoundError: .*no_such_library") as error:
        task.check(run_of(task, project / "r").spec)
    assert "Traceback" in error.value.detail
    assert "mine" not in sys.modules


def test_a_module_that_ends_python_says_so(project: Path) -> None:
    write(project, "import os\nos._exit(7)\ndef train(config, run): ...\n")
    task = function_task(project)
    with pytest.raises(InputError, match=r"task\.function: .*'mine:train'.*code 7\b"):
        task.check(run_of(task, project / "r").spec)


def test_a_failure_of_the_users_code_keeps_its_traceback(project: Path) -> None:
    mistake = "a mistake of the user"
    write(project, f"def train(config, run):\n    raise ValueError({mistake!r})\n")
    write(
        project,
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from support.own_tasks import function_task, run_of
        def job(spec, folder, on_epoch):
            task = function_task({str(project)!r})
            task.train(run_of(task, folder))
        """,
        "job_of_mine.py",
    )
    sys.path.insert(0, str(project))
    task = function_task(project)
    run = run_of(task, project / "runs" / "r")
    executor = InProcess()
    executor.submit(Call("t", "job_of_mine:job", run.spec, run.folder))
    (ended,) = executor.wait(0)
    assert isinstance(ended, CallEnded)
    assert ended.reason == f"ValueError: {mistake}"
    assert 'mine.py", line 2' in ended.detail


def test_declared_data_count_by_their_content_and_nothing_else(project: Path) -> None:
    write(project, "a", "data/a.csv")
    write(project, "b", "data/below/b.csv")
    task = function_task(project, data=["data"])
    first = task.data({})
    assert first.name == "declared data"
    assert first.digest
    (project / "data" / "a.csv").touch()
    assert function_task(project, data=["data/**/*.csv"]).data({}).digest == first.digest
    write(project, "c", "data/a.csv")
    assert task.data({}).digest != first.digest
    assert function_task(project).data({}) == type(first)("not tracked", "")
    versions = [function_task(project, data_version=version).data({}).digest for version in ("1", "1", "2")]
    assert versions[0] == versions[1] != versions[2]
    with pytest.raises(InputError, match=r"task\.data: 'nothing/\*' "):
        function_task(project, data=["nothing/*"]).data({})


def test_data_that_moved_to_another_folder_are_the_same(project: Path) -> None:
    for name in ("one", "two"):
        write(project, "a", f"{name}/files/a.csv")
    one, two = (function_task(project, data=[str(project / name / "files" / "*")]) for name in ("one", "two"))
    assert one.data({}).digest == two.data({}).digest


def test_code_that_counts_is_what_the_functions_lie_in(project: Path) -> None:
    write(project, "def train(config, run): ...\n")
    write(project, "def test(config, run): ...\ndef score(labels, scores): ...\n", "pack/judge.py")
    write(project, "x", "extra/table.txt")
    task = function_task(
        project,
        evaluate="pack.judge:test",
        metric={"name": "acc", "compute": "pack.judge:score"},
        sources=["extra/*.txt"],
        version=2,
    )
    task.validate([{}])
    sources = task.sources({})
    assert set(sources.modules) == {"mine", "pack.judge"}
    assert sources.files == (project / "extra" / "table.txt",)
    assert (sources.root, sources.version) == (project, 2)


def test_options_at_their_defaults_leave_the_identity_alone(project: Path) -> None:
    assert dict(function_task(project).counts) == {"function": "mine:train"}
    task = function_task(
        project, evaluate="mine:test", select="best", env={"A": "1"}, gpus=2, resume=True, timeout_s=9
    )
    assert dict(task.counts) == {
        "function": "mine:train",
        "evaluate": "mine:test",
        "select": "best",
        "env": {"A": "1"},
        "gpus": 2,
    }
    assert task.environment["A"] == "1"
    assert task.environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"metric": None}, "task.metric: is missing"),
        ({"metric": "val_loss"}, 'task.metric.direction: is missing.*"minimize"'),
        (
            {"metric": {"name": "acc", "direction": "maximise"}},
            r"task.metric.direction: must be.*Did you mean 'maximize'",
        ),
        ({"metric": {"name": "acc", "lable": "x"}}, "task.metric.lable: unknown key. Did you mean 'label'"),
        ({"metric": {"label": "x"}}, "task.metric.name: is missing"),
        ({"metric": "epoch"}, "task.metric.name"),
        ({"metric": {"name": "acc", "low": 2.0, "high": 1.0}}, "task.metric.low: must be below high"),
        ({"metric": {"name": "acc", "compute": "nothing"}}, "task.metric.compute: must be 'module:function'"),
        ({"metrics": ["acc"]}, "give one of the two"),
        ({"metric": None, "metrics": ["acc", "acc"]}, r"task.metrics\[1\].name: 'acc' is declared twice"),
        ({"select": "bset"}, "task.select: .*Did you mean 'best'"),
        ({"threads": 0}, "task.threads"),
        ({"gpus": -1}, "task.gpus"),
        ({"timeout_s": -1}, "task.timeout_s"),
        ({"env": {"A": 1}}, "task.env.A: must be a string"),
        ({"folds": [1, 1]}, "task.folds"),
        ({"data": ["x"], "data_version": "1"}, "task.data_version"),
        ({"cwd": "nowhere"}, "task.cwd: .*nowhere is no folder"),
        ({"sources": "*.py"}, "task.sources: must be a list"),
    ],
)
def test_a_mistake_in_the_task_table_names_the_key(
    project: Path, options: dict[str, Any], phrase: str
) -> None:
    with pytest.raises(InputError, match=phrase):
        function_task(project, **options)


def test_metrics_are_declared_once_with_bounds_that_follow_from_their_unit(project: Path) -> None:
    def metric(given: Any) -> Any:
        return next(iter(function_task(project, metric=given).metrics.values()))

    assert (metric("acc").scale, metric("acc").low, metric("acc").high) == (100, 0, 1)
    psnr = metric({"name": "psnr", "unit": "dB"})
    assert (psnr.scale, psnr.low, psnr.high, psnr.worst) == (1, None, None, -math.inf)
    loss = metric({"name": "loss", "direction": "minimize"})
    assert (loss.unit, loss.scale, loss.worst) == ("", 1, math.inf)
    assert metric({"name": "gain", "low": "none", "high": "none"}).high is None
    two = function_task(project, metric=None, metrics=["acc", {"name": "loss", "direction": "minimize"}])
    assert list(two.metrics) == ["acc", "loss"]


def test_a_key_of_epochs_that_is_not_there_is_named(project: Path) -> None:
    write(project, "def train(config, run): ...\n")
    function_task(project).validate([{"lr": 1}])
    function_task(project, epochs="").validate([{"lr": 1}])
    with pytest.raises(InputError, match=r"task\.epochs: .*'train\.epoch'.*mean 'train\.epochs'"):
        function_task(project, epochs="train.epoch").validate([{"train": {"epochs": 3}}])


def test_what_prepares_a_study_runs_in_the_users_folder(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(
        project,
        "from pathlib import Path\ndef fetch(): Path('fetched').touch()\ndef broken(): raise OSError('offline')\n",
    )
    function_task(project, prepare="mine:fetch").prepare()
    assert (project / "fetched").exists()
    function_task(project, prepare=["python", "-c", "open('by_command', 'w')"]).prepare()
    assert (project / "by_command").exists()
    function_task(project, prepare=["python", "-c", "print('downloading')"]).prepare()
    assert "downloading" in capfd.readouterr().err
    with pytest.raises(ProgramError, match=r"task\.prepare .*code 1\b") as error:
        function_task(project, prepare="mine:broken").prepare()
    assert "OSError: offline" in error.value.detail
    with pytest.raises(InputError, match=r"task\.prepare: .*'no-such-program'"):
        function_task(project, prepare=["no-such-program"]).prepare()
    with pytest.raises(InputError, match=r"task\.prepare"):
        function_task(project, prepare=["a", 1]).prepare()
    assert function_task(project).prepare is None


def test_runs_that_write_one_file_outside_are_warned_of(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        project,
        """
        from pathlib import Path
        import time
        def train(config, run):
            time.sleep(0.02)
            Path("log.csv" if config["shared"] else f"{run.folder.name}.csv").write_text("x")
            (run.folder / "mine.txt").write_text("x")
            run.report(1, acc=0.5)
            run.test(acc=0.5)
        """,
    )
    task = function_task(project)
    for name, shared in (("a", False), ("b", False), ("c", True)):
        task.train(run_of(task, project / "runs" / name, {"shared": shared}))
    assert not caplog.records
    task.train(run_of(task, project / "runs" / "d", {"shared": True}))
    assert re.search(r"log\.csv .* several runs, .*\bc\b", caplog.text)


def test_an_earlier_attempt_without_result_leaves_nothing_to_the_next(project: Path) -> None:
    folder = project / "runs" / "r"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "file").touch()
    (folder / HISTORY).write_text("[")
    run = trained(
        project,
        "def train(config, run):\n"
        "    assert not run.checkpoint.exists()\n"
        "    run.report(1, acc=1.0)\n"
        "    run.test(acc=1.0)\n",
    )
    assert len(run.history) == 1


def test_a_framework_that_swallows_the_end_of_a_trial_changes_nothing(project: Path) -> None:
    write(
        project,
        """
        def train(config, run):
            try:
                run.report(1, acc=0.1)
            except Exception as error:
                if config["how"] == "wraps":
                    raise RuntimeError("the callback failed") from error
        """,
    )
    task = function_task(project)
    run = run_of(task, project / "runs" / "a", {"how": "wraps"}, rule={"1": 0.5})
    with pytest.raises(RunStopped):
        task.train(run)
    run.close()
    swallowed = run_of(task, project / "runs" / "b", {"how": "swallows"}, rule={"1": 0.5})
    task.train(swallowed)
    swallowed.close()
    for folder in ("a", "b"):
        assert list((project / "runs" / folder).glob("stopped-*.json"))
        assert not (project / "runs" / folder / RESULT).exists()


def test_a_script_that_exits_is_no_crash_of_the_study(project: Path) -> None:
    text = "import sys\ndef train(config, run):\n    run.report(1, acc=0.5)\n    run.test(acc=0.5)\n    sys.exit({})\n"
    assert result(trained(project, text.format(0)))["status"] == "finished"
    (project / "mine.py").unlink()
    del sys.modules["mine"]
    with pytest.raises(StudyError, match=r"mine:train .*sys\.exit\(3\)"):
        trained(project, text.format(3))


def test_code_of_another_folder_is_never_run_by_mistake(project: Path) -> None:
    text = "def train(config, run):\n    run.report(1, acc=0.5)\n    run.test(acc=0.5)\n"
    trained(project, text)
    write(project, text, "export/mine.py")
    other = function_task(project, export=str(project / "export"))
    with pytest.raises(InputError, match=r"'mine' .*already imported .*export"):
        other.train(run_of(other, project / "runs" / "o"))
    del sys.modules["mine"]
    other.train(run_of(other, project / "runs" / "o"))
    assert sys.modules["mine"].__file__ == str(project / "export" / "mine.py")


def test_a_configuration_can_be_kept_like_any_dict(project: Path) -> None:
    """As in a checkpoint beside the weights, which torch.load reads without trusting it."""
    run = trained(
        project,
        """
        import copy, json, pickle
        import torch
        import yaml

        def train(config, run):
            expected = {"lr": 0.5, "model": {"depth": 4, "sizes": [1, 2]}}
            torch.save({"config": config}, run.weights)
            assert torch.load(run.weights)["config"] == expected
            assert pickle.loads(pickle.dumps(config)) == json.loads(json.dumps(config)) == expected
            assert yaml.safe_load(yaml.safe_dump(config)) == expected
            for copied in (copy.copy(config), copy.deepcopy(config), config.copy(), dict(config), {**config}):
                assert copied == expected
            assert type(copy.deepcopy(config)["model"]) is dict
            run.report(1, acc=0.5)
            run.test(acc=0.5)
        """,
        {"lr": 0.5, "model": {"depth": 4, "sizes": [1, 2]}},
    )
    assert run.warnings == ()


def test_a_key_that_the_function_never_reads_is_a_warning(project: Path) -> None:
    run = trained(
        project,
        "def train(config, run):\n    config['model']['depth']\n    run.report(1, acc=0.5)\n    run.test(acc=0.5)\n",
        {"lr": 0.5, "model": {"depth": 4, "dropout": 0.1}},
    )
    (warning,) = run.warnings
    assert "lr, model.dropout" in warning
    assert "depth" not in warning


def test_what_a_module_and_a_metric_draw_at_random_is_seeded(project: Path) -> None:
    """The module draws when it is imported, the metric when it is computed, here and in the analysis."""
    text = """
        import random
        import numpy as np
        AT_IMPORT = random.random() + np.random.rand()

        def train(config, run):
            run.report(1, acc=AT_IMPORT / 2)
            run.test(acc=0.5)

        def score(labels, scores):
            return random.random() + np.random.rand()
    """
    drawn = []
    for _ in range(2):
        random.seed()
        np.random.seed()  # noqa: NPY002
        sys.modules.pop("mine", None)
        run = trained(project, text)
        compute = Compute(Reference("mine:score", "task.metric.compute", project, ("labels", "scores")))
        drawn.append((result(run)["validation"]["acc"], compute(np.zeros(2), np.zeros(2))))
        assert compute(np.zeros(2), np.zeros(2)) == drawn[-1][1]
    assert drawn[0] == drawn[1]
