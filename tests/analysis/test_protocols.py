"""What a report says of how its figures came about: through ledger, gathering, analysis and Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from small_study import small_study

from study.engine import conductor
from study.analysis.analyse import findings as analyse
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.ledger.record import SplitSizes, StudyRecord
from study.ledger.store import Ledger
from study.config.compile import TARGETS, prepare
from study.records import Failure, RunResult, from_json, to_json
from study.config.registry import Registry
from study.reporting.markdown import OPTIMISTIC, render
from study.config.settings import settings
from study.config.study import load

STUDY = small_study(epochs=4, seeds=3, claim=True)
SEARCH = """
[search]
trials = 8
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"""
FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
WITH_SCENES = {**FAKE, "evaluate": "scene_jobs:evaluate"}


class Lab:
    """A study carried out by the trainer that trains nothing."""

    def __init__(self, folder: Path) -> None:
        (folder / "s.toml").write_text(STUDY)
        self.folder = folder
        self.file = folder / "s.toml"
        self.ledger = Ledger(folder / "ledger")

    def search(self) -> None:
        self.file.write_text(STUDY + SEARCH)

    def record(self, *changes: str, **data: Any) -> StudyRecord:
        record = prepare(load(self.file, None, changes), Registry(), settings(self.folder), "cpu")
        return replace(record, data=replace(record.data, **data))

    def run(self, record: StudyRecord, targets: Any = FAKE) -> Findings:
        return conductor.run(
            record, self.ledger, InProcess(), self.folder / "reports", lambda event: None, targets
        )

    def folded(self, *changes: str, folds: int = 3, **data: Any) -> StudyRecord:
        sizes = (SplitSizes(80, 20, 50, 0.3),) * folds
        return replace(self.record(*changes, sizes=sizes, **data), folds=tuple(range(1, folds + 1)))

    def report(self, name: str) -> str:
        return (self.folder / "reports" / name / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_an_epoch_chosen_on_test_earns_no_verdict_and_judges_no_claim(lab: Lab) -> None:
    lab.search()
    found = lab.run(lab.record(is_optimistic=True))
    assert [variant.difference for variant in found.variants] == [None, None]
    assert [claim.verdict for claim in found.claims] == ["not judged"]
    assert found.answer.startswith("No verdict, every figure is optimistic")
    assert "optimistic" in found.warnings[0]
    markdown = lab.report(found.name)
    for word in ("helps", "hurts", "equivalent", "inconclusive", "Supported", "Refuted"):
        assert word not in markdown
    assert "**Not judged:**" in markdown


def test_every_table_and_figure_of_optimistic_figures_is_marked(lab: Lab) -> None:
    lab.search()
    found = lab.run(lab.record(is_optimistic=True))
    markdown = lab.report(found.name)
    captions = re.findall(r"^\*\*(?:Table|Figure) \d+\.\*\* .*", markdown, flags=re.MULTILINE)
    assert len(captions) > 8
    assert all("Optimistic, chosen on the test split" in caption for caption in captions)
    lab.run(lab.record())
    assert OPTIMISTIC not in lab.report(found.name)


def test_a_study_without_a_selection_split_at_the_end_is_told_whole(lab: Lab) -> None:
    lab.search()
    found = lab.run(lab.record("confirm.final=train+val"))
    markdown = lab.report(found.name)
    assert "train and selection splits for all epochs, the last one is tested (train+val)" in markdown
    assert "| Last epoch |" in markdown
    assert not any("too short" in warning for warning in found.warnings)
    for variant in found.variants:
        assert variant.score is not None
        assert [seed.selection for seed in variant.seeds] == [None] * 3
        assert [seed.best_epoch for seed in variant.seeds] == [4] * 3
        assert all(curve.selection == () and len(curve.train_loss) == 4 for curve in variant.curves)
    assert "there is no curve of a selection split" in markdown
    assert all(trial.score is not None for variant in found.variants for trial in variant.trials)


def test_last_epochs_are_no_sign_of_a_short_training_where_nothing_was_selected(lab: Lab) -> None:
    assert any("too short" in warning for warning in lab.run(lab.record()).warnings)


@pytest.mark.parametrize("final", ["best", "train+val"])
def test_the_mean_over_folds_is_the_plain_mean_of_the_folds_figures(lab: Lab, final: str) -> None:
    found = lab.run(lab.folded(f"confirm.final={final}"))
    for variant in found.variants:
        for metric, stated in [
            ("war", variant.score),
            ("uar", variant.secondary["uar"]),
            ("recall/happy", variant.secondary["recall/happy"]),
        ]:
            of_folds = [
                fmean(seed.metrics[metric] for seed in variant.seeds if seed.fold == fold)
                for fold in (1, 2, 3)
            ]
            assert stated is not None
            assert stated.mean == pytest.approx(fmean(of_folds))


def test_clips_that_were_trained_on_for_the_last_time_count_among_those_folds_share(lab: Lab) -> None:
    assert gather(lab.ledger, lab.folded()).folds[0].train == 80
    assert gather(lab.ledger, lab.folded("confirm.final=train+val")).folds[0].train == 100


def test_scenes_are_told_over_seeds_and_folds(lab: Lab) -> None:
    record = lab.folded(folds=2, scenes={"Action": 8, "War": 4})
    found = lab.run(record, WITH_SCENES)
    for variant in found.variants:
        assert {scene: mean.mean for scene, mean in variant.scenes.items()} == pytest.approx(
            {"Action": 75.0, "War": 25.0}
        )
    assert re.search(
        r"^\| War \| 4 \| 25\.0 ± [\d.]+ \| 25\.0 ± [\d.]+ \|$", lab.report(found.name), re.MULTILINE
    )


def test_data_sets_without_scenes_have_no_table_of_them(lab: Lab) -> None:
    found = lab.run(lab.record())
    assert "## Scenes" not in lab.report(found.name)
    assert found.variants[0].scenes == {}


def test_what_the_data_were_stands_among_the_facts(lab: Lab) -> None:
    found = lab.run(lab.record(facts={"version": "16 frames, interpolated", "test views": "2 x 2"}))
    markdown = lab.report(found.name)
    assert "| data, version | 16 frames, interpolated |" in markdown
    assert "| data, test views | 2 x 2 |" in markdown
    assert found.facts["data digest"] in markdown


def test_the_digest_of_each_fold_is_told(lab: Lab) -> None:
    record = lab.folded()
    variants = tuple(replace(v, digests={"1": "aaa", "2": "bbb", "3": "ccc"}) for v in record.variants)
    told = gather(lab.ledger, replace(record, variants=variants)).facts["data digest"]
    assert told == f"{record.data.digest} (fold 1 aaa, fold 2 bbb, fold 3 ccc)"


def test_clips_that_were_skipped_limit_the_conclusion_and_are_all_in_a_file(lab: Lab) -> None:
    skipped = tuple(f"lists/set_1.csv:{row}: clip {row:05d}: an empty folder" for row in range(1, 6))
    found = lab.run(lab.record(skipped=skipped))
    (warning,) = (text for text in found.warnings if "left out" in text)
    assert warning.startswith("5 clips of the data set's lists were left out")
    assert skipped[0] in warning
    assert "; and 2 more." in warning
    assert skipped[3] not in warning
    file = lab.folder / "reports" / found.name / "skipped.txt"
    assert file.read_text(encoding="utf-8").splitlines() == list(skipped)
    lab.run(lab.record())
    assert not file.exists()


def test_a_seed_that_failed_is_missed_in_every_mean(lab: Lab) -> None:
    record = lab.record()
    lab.run(record)
    issm = record.variants[1]
    gone = next(iter(analyse(gather(lab.ledger, record)).variants[1].seeds)).run
    folder = lab.ledger.root / "runs" / gone
    for name in ("result.json", "test.json"):
        (folder / name).unlink()
    (folder / "failure.json").write_text(to_json(Failure(gone, "train", "out of memory", "")))
    found = conductor.report(record.name, Ledger(lab.ledger.root), lab.folder / "reports", lambda event: None)
    markdown = lab.report(record.name)
    assert f"{issm.name}: seed 1: out of memory" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| issm")]
    means = [row for row in rows if "`" not in row and "| even" not in row]
    assert means
    for row in means:
        if "issm | issm" not in row:  # the table of levels holds no mean
            assert "2 of 3" in row, row
    svg = {
        name: (lab.folder / "reports" / record.name / "figures" / f"{name}.svg").read_bytes()
        for name in ("recalls", "learning")
    }
    complete = replace(found, variants=tuple(replace(v, planned=len(v.seeds)) for v in found.variants))
    from study.reporting.figures import draw

    whole = draw(complete)
    assert all(whole[name] != drawn for name, drawn in svg.items())


def test_a_class_missing_in_a_fold_is_not_averaged_away(lab: Lab) -> None:
    record = lab.record()
    found = lab.run(record)
    gone = found.variants[1].seeds[0].run
    path = lab.ledger.root / "runs" / gone / "test.json"
    path.write_text(path.read_text().replace('"recall/sad"', '"recall/else"'))
    again = analyse(gather(Ledger(lab.ledger.root), record))
    assert again.variants[1].runs["recall/sad"] == 2
    assert re.search(r"\(2 of 3\)", render(again))
    assert "(2 of 3)" not in render(found)


def test_trials_that_were_stopped_say_after_which_epoch(lab: Lab) -> None:
    lab.search()
    record = lab.record("search.pruner=halving", "search.trials=12", "search.generation=3")
    found = lab.run(record)
    stopped = [trial for variant in found.variants for trial in variant.trials if trial.stopped_after]
    assert stopped
    for trial in stopped:
        assert trial.score is not None
        assert trial.best_so_far is not None
    markdown = lab.report(found.name)
    assert f"| stopped after epoch {stopped[0].stopped_after} |" in markdown
    assert "successive halving" in found.facts["search"]
    assert any("stopped early" in note for note in found.notes)
    assert all(len(variant.trials) == 12 for variant in found.variants)
    assert not any("unequal budgets" in warning for warning in found.warnings)


def test_operators_that_no_seed_can_fix_are_named(lab: Lab) -> None:
    record = lab.record()
    found = lab.run(record)
    path = lab.ledger.root / "runs" / found.variants[0].seeds[0].run / "result.json"
    result = from_json(RunResult, path.read_bytes())
    path.write_text(to_json(replace(result, nondeterministic=("upsample_bilinear2d_backward_cuda",))))
    again = analyse(gather(Ledger(lab.ledger.root), record))
    assert any("upsample_bilinear2d_backward_cuda" in warning for warning in again.warnings)
    assert again.facts["determinism"] == "warn"


def test_a_search_that_could_judge_nothing_is_refused_before_it_begins(lab: Lab) -> None:
    lab.search()
    with pytest.raises(InputError, match=r"nothing to judge its trials by.*confirm\.final"):
        lab.record("train.fit=train+val")
