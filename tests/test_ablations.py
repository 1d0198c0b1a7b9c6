"""The studies in ablations/: every preset can be planned and every variant trained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
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
    """Return settings with tiny data sets in the layouts of DFEW, FERV39k and MAFW."""
    root = tmp_path_factory.mktemp("lab")
    for layout, clips in (("dfew", 70), ("ferv39k", 70), ("mafw", 110)):
        make(root / layout, layout=layout, clips=clips, size=32, folds=5)
    (root / "study.toml").write_text(
        "".join(f'[data.{layout}]\nroot = "{layout}"\n' for layout in ("dfew", "ferv39k", "mafw"))
    )
    return settings(root)


def compile_preset(
    path: Path, lab: Settings, preset: str | None = None, changes: tuple[str, ...] = ()
) -> StudyRecord:
    return compile_study(load(path, preset, changes), lab, "cpu")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_and_each_of_its_presets_can_be_planned(path: Path, lab: Settings) -> None:
    presets = tomllib.loads(path.read_text()).get("preset", {})
    assert {"smoke", "full"} <= set(presets) or path.stem in ("honesty", "a_a")
    for preset in (None, *presets):
        record = compile_preset(path, lab, preset)
        assert record.question.endswith("?")
        assert len(record.variants) >= 2
        assert record.name == (f"{path.stem}@{preset}" if preset else path.stem)


def first_runs(record: StudyRecord) -> Iterator[RunSpec]:
    for variant in record.variants:
        yield variant.run(record.first_point(variant), 0, record.folds_of(variant)[0])


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in STUDIES if path.stem not in ("honesty", "a_a")], ids=lambda path: path.stem
)
def test_every_variant_of_a_full_study_trains_two_steps(
    path: Path, lab: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of full size, on drawn clips in the layout of the data set."""
    import torch

    from study.config.registry import Registry
    from study.tasks.clips.data.seeded import build_dataset
    from study.tasks.clips.training import train
    from study.tasks.clips.training.batches import training_batches
    from study.tasks.clips.training.state import TrainState

    monkeypatch.setattr(train, "training_batches", lambda *args: islice(training_batches(*args), 2))
    monkeypatch.setattr(train, "steps_per_epoch", lambda *_: 2)
    record = compile_preset(path, lab, "full")
    for each in first_runs(record):
        small = {
            **each.table("train"),
            "batch_size": 2,
            "accumulate": 1,
        }  # a recipe may set both for its variant
        run = replace(each, config={**each.config, "train": small})
        registry = Registry(run.modules)
        state = TrainState.of(
            run, registry, build_dataset(registry, run.table("dataset")), torch.device("cpu")
        )
        before = [parameter.detach().clone() for parameter in state.network.parameters()]
        trained = train.train_epoch(state, 1)
        assert trained.diverged_step is None
        assert state.steps_done == 2
        after = state.network.parameters()
        assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
