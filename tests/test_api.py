"""The Python interface: load, plan, run and read a study; importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import study
from study.engine.events import Event, JobStarted
from study.executors.inprocess import InProcess

ROOT = Path(study.__file__).parents[1]
STUDY = """
title = "Attention"
question = "Does attention help?"
repetitions = 3
[task]
function = "mine:train"
metric = { name = "acc", label = "accuracy" }
data_version = "1"
[base]
attention = false
epochs = 2
[design]
kind = "one-factor"
reference = { attention = false }
[factors]
attention = [false, true]
[analysis]
rope = 1.0
[preset.smoke]
repetitions = 2
"base.epochs" = 1
"""
TRAINING = """
def train(config, run):
    gain = 0.25 + (run.seed % 5) / 1000
    skill = 0.5 + gain * config["attention"] + (run.seed % 7) / 100
    for epoch in range(1, config["epochs"] + 1):
        run.report(epoch, acc=skill * epoch / config["epochs"])
    run.test(acc=skill)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A study of the user's own function, in a project that is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    (tmp_path / "mine.py").write_text(TRAINING)
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "attention.toml").write_text(STUDY)
    yield tmp_path / "ablations" / "attention.toml"
    sys.modules.pop("mine", None)


def fresh(code: str) -> str:
    """Return what a process that has imported nothing prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "pydantic", "mlflow", "optuna", "pandas", "scipy", "rich", "typer")
    assert fresh(f"import sys, study; print(sorted(set(sys.modules) & set({heavy})))") == "[]"


def test_loading_and_planning_import_no_torch(file: Path) -> None:
    code = (
        f"import sys, study; s = study.load({str(file)!r}, root={str(file.parents[1])!r}); str(s.plan());"
        "print(sorted(set(sys.modules) & {'torch', 'mlflow', 'optuna', 'matplotlib', 'mine'}))"
    )
    assert fresh(code) == "[]"


def test_public_names_are_sorted_and_importable() -> None:
    assert study.__all__ == sorted(study.__all__)
    assert set(study.__all__) <= set(dir(study))
    for name in study.__all__:
        assert getattr(study, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        study.no_such_name  # noqa: B018 - that it raises is the test


def test_a_plan_lists_the_trainings_and_trains_nothing(file: Path) -> None:
    loaded = study.load(file)
    assert (loaded.name, loaded.question) == ("attention", "Does attention help?")
    plan = loaded.plan()
    assert (plan.trainings, plan.cached) == (2 * 3, 0)
    for part in ("attention=false", "attention=true"):
        assert part in str(plan)
    assert repr(plan) == str(plan)
    assert not (file.parents[1] / ".study" / "ledger").exists()
    assert not (file.parents[1] / "reports").exists()


def test_a_study_is_run_and_its_findings_are_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd = pytest.importorskip("pandas")
    events: list[Event] = []
    loaded = study.load(file)
    found = loaded.run(executor=InProcess(), listeners=[events.append])
    assert isinstance(found, study.Findings)
    assert sum(isinstance(event, JobStarted) and event.job.kind == "train" for event in events) == 6
    assert capsys.readouterr().out == "", "own listeners replace the display"

    table = found.to_dataframe()
    assert isinstance(table, pd.DataFrame)
    assert list(table["variant"]) == ["attention=false"] * 3 + ["attention=true"] * 3
    off, on = (
        table[table["level/attention"] == level].set_index("repetition")["test/acc"]
        for level in ("false", "true")
    )
    assert list(off.index) == list(on.index) == [1, 2, 3]
    assert all(25.0 - 1e-9 <= gap <= 25.4 + 1e-9 for gap in on - off), "paired by repetition, in points"
    assert found.variants[1].difference is not None
    assert found.variants[1].difference.verdict == "helps"
    markdown = found._repr_markdown_()
    assert "Does attention help?" in markdown
    assert "attention=true" in markdown

    assert loaded.plan().cached == 6
    assert (loaded.reports / "report.md").is_file()
    assert loaded.report() == found


def test_a_second_run_trains_nothing_and_finds_the_same(file: Path) -> None:
    first = study.load(file).run(executor=InProcess(), listeners=[])
    events: list[Event] = []
    second = study.load(file).run(executor=InProcess(), listeners=[events.append])
    assert not [event for event in events if isinstance(event, JobStarted)]
    assert second == first


def test_presets_and_changes_are_studies_of_their_own(file: Path) -> None:
    smoke = study.load(file, "smoke")
    assert (smoke.name, smoke.plan().trainings) == ("attention@smoke", 2 * 2)
    by_text = study.load(file, changes=["base.epochs=5", "repetitions=4"])
    by_value = study.load(file, changes={"base.epochs": 5, "repetitions": 4})
    assert by_text.name == by_value.name != "attention"
    assert by_value.record.variants[0].template.config["epochs"] == 5
    assert by_value.record.repetitions == 4


def test_changes_may_hold_any_value_of_a_study(file: Path) -> None:
    values = {"base.table": {"a b": [1, 2.5, "three"], "on": True}, "base.word": 'a "quoted" – word'}
    config = study.load(file, changes=values).record.variants[0].template.config
    assert config["table"] == {"a b": [1, 2.5, "three"], "on": True}
    assert config["word"] == 'a "quoted" – word'


def test_a_study_is_loaded_from_another_folder_with_its_root(
    file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = file.parents[1]
    inside = study.load(file)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    outside = study.load(file, root=root)
    assert outside.settings.ledger == inside.settings.ledger == root / ".study" / "ledger"
    assert outside.record.file == inside.record.file == "ablations/attention.toml"


def test_an_invalid_file_raises_an_error_that_names_it(file: Path) -> None:
    file.write_text(STUDY.replace("attention = [false, true]", "attention = []"))
    with pytest.raises(study.InputError, match=r"attention\.toml: factors\.attention: must be a list"):
        study.load(file)
    with pytest.raises(study.InputError, match=r"Did you mean 'attention\.toml'\?"):
        study.load(file.with_name("atention.toml"))


def test_a_failed_run_is_in_the_findings_and_raises_nothing(file: Path) -> None:
    broken = TRAINING.replace(
        "    for epoch", '    if config["attention"]:\n        raise ValueError("out of luck")\n    for epoch'
    )
    (file.parents[1] / "mine.py").write_text(broken)
    found = study.load(file).run(executor=InProcess(), listeners=[])
    assert found.variants[1].difference is None
    assert [len(variant.repetitions) for variant in found.variants] == [3, 0]
    (file.parents[1] / "mine.py").write_text(TRAINING)
