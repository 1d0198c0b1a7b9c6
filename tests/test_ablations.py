"""The studies in ablations/: every preset can be planned and every variant trained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.config.compile import compile_study
from study.config.settings import Settings, settings
from study.config.study import load
from study.ledger.record import StudyRecord
from study.records import RunResult, RunSpec, from_json
from study.tasks.clips.data.make import make

STUDIES = sorted((Path(__file__).parent.parent / "ablations").glob("*.toml"))
BATCH = 8
TINY = (
    "train.epochs=1",
    f"train.batch_size={BATCH}",
    f"base.dataset.train_clips={2 * BATCH}",
    "base.dataset.validation_clips=7",
    "base.dataset.test_clips=7",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with a tiny data set in DFEW's layout."""
    root = tmp_path_factory.mktemp("lab")
    make(root / "DFEW", clips=70, size=32, folds=5)
    (root / "study.toml").write_text('[data.dfew]\nroot = "DFEW"\n')
    return settings(root)


def compile_preset(
    path: Path, lab: Settings, preset: str | None = None, changes: tuple[str, ...] = ()
) -> StudyRecord:
    return compile_study(load(path, preset, changes), lab, "cpu")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_and_each_of_its_presets_can_be_planned(path: Path, lab: Settings) -> None:
    presets = tomllib.loads(path.read_text()).get("preset", {})
    assert {"smoke", "full"} <= set(presets) or path.stem == "honesty"
    for preset in (None, *presets):
        record = compile_preset(path, lab, preset)
        assert record.question.endswith("?")
        assert len(record.variants) >= 2
        assert record.name == (f"{path.stem}@{preset}" if preset else path.stem)


def first_runs(record: StudyRecord) -> Iterator[RunSpec]:
    for variant in record.variants:
        yield variant.run(record.first_point(variant), 0, record.folds[0])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_variant_trains_two_steps(path: Path, lab: Settings) -> None:
    from study.tasks.work import train

    record = compile_preset(path, lab, "smoke", TINY)
    for run in first_runs(record):
        folder = lab.ledger / "runs" / run.id  # studies share variants, and so their runs
        if not (folder / "result.json").is_file():
            train(run, folder, lambda epoch: None)
        result = from_json(RunResult, (folder / "result.json").read_text())
        assert result.status == "finished"
        assert len(result.history) == 1
