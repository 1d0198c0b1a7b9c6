"""What a report says of how its figures came about: through ledger, gathering, analysis and Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from support.small_study import small_study
from support.text_report import render, write_text

from study.analysis.analyse import findings as analyse
from study.analysis.evidence import Evidence
from study.analysis.findings import Findings, Limit, LimitCode
from study.analysis.gather import gather
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine.jobs import TARGETS
from study.executors.inprocess import InProcess
from study.ledger.predictions import Predictions, save
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from study.metrics import Metric
from study.records import Failure, RunResult, SplitSizes, from_json, to_json
from study.reporting.figure_specs import has_learning_curves
from study.reporting.text import OPTIMISTIC

STUDY = small_study(epochs=4, seeds=3, claim=True)
SEARCH = """
[search]
trials = 8
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"""
FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
WITH_BREAKDOWNS = {**FAKE, "evaluate": "support.broken_down_jobs:evaluate"}
FINAL = 'fit = "train+val"\n'


def codes(result: Evidence | Findings) -> set[LimitCode]:
    return {limit.code for limit in result.limits}


class Lab:
    """A study carried out by the trainer that trains nothing."""

    def __init__(self, folder: Path) -> None:
        (folder / "s.toml").write_text(STUDY)
        self.folder = folder
        self.file = folder / "s.toml"
        self.ledger = Ledger(folder / "ledger")

    def ask(self, *sections: str) -> None:
        final = FINAL if FINAL in sections else ""
        study = STUDY.replace("[train]\n", f"[train]\n{final}")
        self.file.write_text(study + "".join(section for section in sections if section != FINAL))

    def record(self, *changes: str, **data: Any) -> StudyRecord:
        record = compile_study(load(self.file, None, changes), settings(self.folder), "cpu")
        return replace(record, data=replace(record.data, **data))

    def run(self, record: StudyRecord, targets: Any = FAKE, write: Any = write_text) -> Findings:
        return conductor.run(
            record,
            self.ledger,
            InProcess(),
            self.folder / "reports",
            lambda event: None,
            targets,
            write=write,
        )

    def folded(self, *changes: str, folds: int = 3, **data: Any) -> StudyRecord:
        sizes = (SplitSizes(80, 20, 50, trained=data.pop("trained", None)),) * folds
        return replace(self.record(*changes, sizes=sizes, **data), folds=tuple(range(1, folds + 1)))

    def report(self, name: str) -> str:
        return (self.folder / "reports" / name / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_an_epoch_chosen_on_test_earns_no_verdict_and_judges_no_claim(lab: Lab) -> None:
    lab.ask(SEARCH)
    found = lab.run(lab.record(is_optimistic=True))
    assert [variant.difference for variant in found.variants] == [None, None]
    assert [claim.verdict for claim in found.claims] == ["not judged"]
    assert "No verdict" in found.answer
    assert found.limits[0].code == LimitCode.OPTIMISTIC
    markdown = lab.report(found.name)
    for word in ("helps", "hurts", "equivalent", "inconclusive", "Supported", "Refuted"):
        assert word not in markdown
    assert "**Not judged:**" in markdown


def test_every_table_and_figure_of_optimistic_figures_is_marked(lab: Lab) -> None:
    lab.ask(SEARCH)
    found = lab.run(lab.record(is_optimistic=True))
    markdown = lab.report(found.name)
    captions = re.findall(r"^\*\*(?:Table|Figure) \d+\.\*\* .*", markdown, flags=re.MULTILINE)
    assert len(captions) > 8
    assert all(OPTIMISTIC in caption for caption in captions)
    lab.run(lab.record())
    assert OPTIMISTIC not in lab.report(found.name)


def test_a_study_without_a_selection_split_at_the_end_is_reported_whole(lab: Lab) -> None:
    lab.ask(FINAL, SEARCH)
    found = lab.run(lab.record())
    markdown = lab.report(found.name)
    assert "(train+val)" in markdown
    assert "| Last epoch |" in markdown
    assert LimitCode.UNDERTRAINED not in codes(found)
    for variant in found.variants:
        assert variant.score is not None
        assert [run.validation for run in variant.repetitions] == [None] * 3
        assert [run.best_epoch for run in variant.repetitions] == [4] * 3
        assert all(curve.validation == () and len(curve.train_loss) == 4 for curve in variant.curves)
    assert has_learning_curves(found) == (True, False), "train losses, and no validation"
    assert all(trial.score is not None for variant in found.variants for trial in variant.trials)


@pytest.mark.parametrize("final", ["", FINAL])
def test_the_mean_over_folds_is_the_plain_mean_of_the_folds_figures(lab: Lab, final: str) -> None:
    lab.ask(final)
    found = lab.run(lab.folded())
    for variant in found.variants:
        for metric, stated in [("war", variant.score), ("uar", variant.secondary["uar"])]:
            of_folds = [
                fmean(run.metrics[metric] for run in variant.repetitions if run.fold == fold)
                for fold in (1, 2, 3)
            ]
            assert stated is not None
            assert stated.mean == pytest.approx(fmean(of_folds))


def test_clips_that_were_trained_on_for_the_last_time_count_among_those_folds_share(lab: Lab) -> None:
    assert gather(lab.ledger, lab.folded()).folds[0].train == 80
    assert gather(lab.ledger, lab.folded(trained=100)).folds[0].train == 100


def test_folds_of_unknown_size_count_as_equal_parts_and_the_report_says_so(lab: Lab) -> None:
    record = lab.folded()
    evidence = gather(lab.ledger, replace(record, data=replace(record.data, sizes=())))
    assert evidence.overlap == pytest.approx(1 / 2), "one fold in three is tested on, two are trained on"
    assert LimitCode.FOLD_SIZES_UNKNOWN in codes(evidence)


def test_data_that_nothing_tracks_limit_the_conclusion(lab: Lab) -> None:
    assert LimitCode.DATA_UNTRACKED in codes(gather(lab.ledger, lab.record(digest="")))
    assert LimitCode.DATA_UNTRACKED not in codes(gather(lab.ledger, lab.record()))


def test_what_the_task_states_of_data_and_runs_is_reported(lab: Lab) -> None:
    record = replace(lab.record(warnings=("The clips are synthetic.",)), facts={"precision": "bf16"})
    evidence = gather(lab.ledger, record)
    assert Limit(LimitCode.DATA, *record.data.warnings) in evidence.limits
    assert evidence.facts["precision"] == "bf16"
    assert all(evidence.facts.values()), "what has no value has no line"


def test_a_metric_that_tests_lack_is_computed_from_the_predictions(lab: Lab) -> None:
    record = lab.record()
    lab.run(record)
    right = Metric("right", "right", unit="", scale=1.0)
    extended = replace(record, metrics=(*record.metrics, right))
    for variant in gather(lab.ledger, record).variants:
        for run in variant.repetitions[:2]:
            names = np.array(["a", "b", "c"])
            logits = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
            path = lab.ledger.root / "runs" / run.run / "test.npz"
            save(path, Predictions(names, names, np.array([1, 0, 0]), logits))
    computes = {"right": lambda labels, scores: float((scores.argmax(1) == labels).mean())}
    found = analyse(gather(Ledger(lab.ledger.root), extended, computes))
    assert found.variants[0].secondary["right"].mean == pytest.approx(2 / 3)
    assert found.variants[0].runs["right"] == 2
    assert found.variants[0].score == analyse(gather(lab.ledger, record)).variants[0].score


def test_breakdowns_are_averaged_over_repetitions_and_folds(lab: Lab) -> None:
    found = lab.run(lab.folded(folds=3), WITH_BREAKDOWNS)
    for variant in found.variants:
        means = {row: mean.mean for row, mean in variant.breakdowns["scene"].items()}
        assert means == pytest.approx({"Action": 75.0, "War": 100 / 3})
    assert re.search(
        r"^\| War \| 6 \| 33\.3 \[0, 100\] \| 33\.3 \[0, 100\] \| 0\.0 \[0\.0, 0\.0\] \|$",
        lab.report(found.name),
        re.MULTILINE,
    )


def test_tests_without_breakdowns_have_no_table_of_them(lab: Lab) -> None:
    targets = {**FAKE, "evaluate": "support.broken_down_jobs:plain"}
    found = lab.run(lab.record(), targets)
    assert "## Breakdown" not in lab.report(found.name)
    assert found.variants[0].breakdowns == {}


def test_what_the_data_were_stands_among_the_facts(lab: Lab) -> None:
    version = "16 frames, interpolated"
    found = lab.run(lab.record(facts={"version": version, "test views": "2 x 2"}))
    markdown = lab.report(found.name)
    assert f"| data, version | {version} |" in markdown
    assert "| data, test views | 2 x 2 |" in markdown
    assert found.facts["data digest"] in markdown


def test_the_digest_of_each_fold_is_reported(lab: Lab) -> None:
    record = lab.folded()
    variants = tuple(replace(v, digests={"1": "aaa", "2": "bbb", "3": "ccc"}) for v in record.variants)
    fact = gather(lab.ledger, replace(record, variants=variants)).facts["data digest"]
    assert fact.startswith(record.data.digest)
    assert re.findall(r"fold (\d) (\w+)", fact) == [("1", "aaa"), ("2", "bbb"), ("3", "ccc")]


def test_clips_that_were_skipped_limit_the_conclusion_and_are_all_in_a_file(lab: Lab) -> None:
    skipped = tuple(f"lists/set_1.csv:{row}: clip {row:05d}: an empty folder" for row in range(1, 6))
    found = lab.run(lab.record(skipped=skipped), write=None)
    (warning,) = (limit.sentence for limit in found.limits if limit.code == LimitCode.SKIPPED_EXAMPLES)
    assert warning.startswith("5 clips ")
    assert skipped[0] in warning
    assert "2 more" in warning
    assert skipped[3] not in warning
    file = lab.folder / "reports" / found.name / "skipped.txt"
    assert file.read_text(encoding="utf-8").splitlines() == list(skipped)
    lab.run(lab.record(), write=None)
    assert not file.exists()


def test_a_failed_repetition_is_missing_in_every_mean(lab: Lab) -> None:
    record = lab.record()
    lab.run(record, WITH_BREAKDOWNS)
    issm = record.variants[1]
    gone = next(iter(analyse(gather(lab.ledger, record)).variants[1].repetitions)).run
    folder = lab.ledger.root / "runs" / gone
    for name in ("result.json", "test.json"):
        (folder / name).unlink()
    reason = "out of memory"
    (folder / "failure.json").write_text(to_json(Failure(gone, "train", reason, "")))
    found = conductor.report(record.name, Ledger(lab.ledger.root), lab.folder / "reports", lambda event: None)
    markdown = lab.report(record.name)
    assert re.search(rf"^- {issm.name}: repetition 1\b.*{reason}$", markdown, re.MULTILINE)
    rows = [line for line in markdown.splitlines() if line.startswith("| issm")]
    means = [row for row in rows if "`" not in row and "| even" not in row]
    assert means
    for row in means:
        if "issm | issm" not in row:  # the table of levels holds no mean
            assert "2 of 3" in row or "of 2" in row, row  # the mean lacks a run, or the pair does
    svg = {
        name: (lab.folder / "reports" / record.name / "figures" / f"{name}.svg").read_bytes()
        for name in ("breakdown", "learning")
    }
    complete = replace(found, variants=tuple(replace(v, planned=len(v.repetitions)) for v in found.variants))
    from study.reporting.figures.draw import draw

    whole = draw(complete)
    assert all(whole[f"figures/{name}.svg"] != rendered for name, rendered in svg.items())


def test_a_row_missing_in_a_test_is_not_averaged_away(lab: Lab) -> None:
    record = lab.record()
    found = lab.run(record, WITH_BREAKDOWNS)
    gone = found.variants[1].repetitions[0].run
    path = lab.ledger.root / "runs" / gone / "test.json"
    path.write_text(path.read_text().replace('"War": 0', '"Peace": 0'))
    again = analyse(gather(Ledger(lab.ledger.root), record))
    assert again.variants[1].runs["scene/War"] == 2
    assert re.search(r"\(2 of 3\)", render(again))
    assert "(2 of 3)" not in render(found)


def test_trials_that_were_stopped_say_after_which_epoch(lab: Lab) -> None:
    lab.ask(SEARCH)
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
    assert all(len(variant.trials) == 3 * 12 for variant in found.variants)
    assert LimitCode.UNEQUAL_BUDGETS not in codes(found)


def test_operators_that_no_seed_can_fix_are_named(lab: Lab) -> None:
    record = lab.record()
    found = lab.run(record)
    path = lab.ledger.root / "runs" / found.variants[0].repetitions[0].run / "result.json"
    result = from_json(RunResult, path.read_bytes())
    path.write_text(to_json(replace(result, nondeterministic=("upsample_bilinear2d_backward_cuda",))))
    again = analyse(gather(Ledger(lab.ledger.root), record))
    (sentence,) = (limit.sentence for limit in again.limits if limit.code == LimitCode.NONDETERMINISTIC)
    assert "upsample_bilinear2d_backward_cuda" in sentence
