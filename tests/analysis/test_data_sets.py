"""Several data sets in one study: sizes, chance and folds are those of each variant's own data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.evidence import REFERENCE, two, variant
from support.world import study as small_record

from study.analysis.analyse import findings
from study.analysis.evidence import FoldSize, VariantData
from study.analysis.findings import LimitCode
from study.analysis.gather import gather
from study.config.comparable import check_data, check_scope, merged, with_own_data
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine.jobs import TARGETS
from study.engine.plan import ready, total_trainings
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.ledger.record import RunState, StudyRecord
from study.ledger.store import Ledger
from study.records import Breakdown, DataInfo, PublishedTable, SplitSizes, from_json, to_json

STUDY = """
question = "Does it?"
repetitions = 2
base = { dataset = "faces" }
[design]
within = ["dataset"]
[factors]
splitter = ["even-odd", "issm"]
dataset = [
    { name = "faces", train_clips = 70, validation_clips = 14, test_clips = 14 },
    { name = "faces", train_clips = 140, validation_clips = 14, test_clips = 280, imbalance = 1.0 },
]
[train]
epochs = 2
"""


def compiled(folder: Path, text: str) -> StudyRecord:
    (folder / "s.toml").write_text(text)
    return compile_study(load(folder / "s.toml"), settings(folder), "cpu")


def test_a_comparison_on_other_test_clips_is_refused(tmp_path: Path) -> None:
    text = STUDY.replace('within = ["dataset"]', "")
    with pytest.raises(InputError, match=r"test examples 14 and 280.*design.within") as caught:
        compiled(tmp_path, text)
    assert caught.value.exit_code == 2


def test_each_data_set_has_its_own_sizes_and_chance(tmp_path: Path) -> None:
    record = compiled(tmp_path, STUDY)
    ledger = Ledger(tmp_path / "ledger")
    fake = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
    conductor.run(record, ledger, InProcess(), tmp_path / "reports", lambda event: None, fake)
    evidence = gather(ledger, ledger.study("s"))
    data = [evidence.data_of(variant) for variant in evidence.variants]
    assert [of.examples_in_test for of in data] == [14, 14, 280, 280]
    assert data[0].chance == pytest.approx(1 / 7), "equally frequent classes"
    assert data[2].chance is not None
    assert data[2].chance > 0.2, "DFEW's largest class"
    assert "14 test clips" in evidence.facts["data set"]
    assert "280 test clips" in evidence.facts["data set"]
    at_chance = replace(
        evidence,
        variants=tuple(
            replace(
                variant,
                repetitions=tuple(
                    replace(
                        run, test=run.test and replace(run.test, metrics={**run.test.metrics, "war": 0.2})
                    )
                    for run in variant.repetitions
                ),
            )
            for variant in evidence.variants
        ),
    )
    near = [limit.sentence for limit in findings(at_chance).limits if limit.code is LimitCode.NEAR_CHANCE]
    assert len(near) == 2, "20 % is above guessing on the first data set, not on the second"
    assert "data of even-odd, dataset=faces(train_clips=140" in "; ".join(evidence.facts)
    report = (tmp_path / "reports" / "s" / "report.md").read_text()
    assert "Which 14 clips" in report
    assert "Which 280 clips" in report


def info(**changes: Any) -> DataInfo:
    sizes = tuple(SplitSizes(train, 10, test) for train, test in ((100, 20), (80, 40)))
    return replace(DataInfo("a", "d", folds=(1, 2), sizes=sizes, classes=7), **changes)


def records(*infos: DataInfo) -> StudyRecord:
    record = small_record(variants=len(infos), folds=(1, 2))
    of_their_own = tuple(replace(variant, reference=variant.name) for variant in record.variants)
    return replace(record, variants=tuple(with_own_data(of_their_own, infos)), data=merged(infos))


def test_folds_have_the_sizes_of_their_own_data(tmp_path: Path) -> None:
    larger = info(sizes=(SplitSizes(300, 10, 20), SplitSizes(300, 10, 20)))
    record = from_json(StudyRecord, to_json(records(info(), larger)).encode(), "here")
    evidence = gather(Ledger(tmp_path), record)
    first, second = evidence.variants
    assert evidence.overlap_of(first) == pytest.approx(60 / 180)
    assert evidence.overlap_of(second) == pytest.approx(40 / 600)
    assert evidence.data_of(second).examples_in_test == 40


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"folds": (1, 2, 3)}, "have the folds 1, 2 and 1, 2, 3"),
        ({"folds": ()}, "have the folds 1, 2 and none"),
        ({"name": "b"}, "the data set a and b"),
        ({"classes": 11}, "classes 7 and 11"),
        ({"sizes": (SplitSizes(100, 10, 20), SplitSizes(80, 10, 41))}, "test examples 20, 40 and 20, 41"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, other: dict[str, Any], says: str) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    spec, variants = load(tmp_path / "s.toml"), small_record(variants=2).variants
    check_data(spec, variants, [info(), info(sizes=tuple(replace(s, train=7) for s in info().sizes))])
    with pytest.raises(InputError) as caught:
        check_data(spec, variants, [info(), info(**other)])
    assert says in str(caught.value)


def test_strata_have_folds_of_their_own(tmp_path: Path) -> None:
    three = info(
        name="b",
        folds=(1, 2, 3),
        sizes=(SplitSizes(90, 10, 10),) * 3,
        digests={str(f): f"d{f}" for f in (1, 2, 3)},
    )
    single = info(name="c", folds=(), sizes=(SplitSizes(70, 10, 15),))
    record = replace(records(info(), three, single), trials=0, repetitions=2)
    record = from_json(StudyRecord, to_json(record).encode(), "here")
    assert [record.folds_of(variant) for variant in record.variants] == [(1, 2), (1, 2, 3), (None,)]
    assert total_trainings(record) == 2 * (2 + 3 + 1)
    runs = [
        (job.variant, job.run.fold)
        for job in ready(record, lambda run: RunState()).jobs
        if job.kind == "train"
    ]
    assert sorted(runs, key=str) == sorted(
        [("v0", f) for f in (1, 2)] * 2 + [("v1", f) for f in (1, 2, 3)] * 2 + [("v2", None)] * 2, key=str
    )
    evidence = gather(Ledger(tmp_path), record)
    assert [variant.planned for variant in evidence.variants] == [4, 6, 2]
    assert [evidence.overlap_of(variant) for variant in evidence.variants] == pytest.approx(
        [60 / 180, 30 / 270, 0]
    )
    assert "folds 1, 2, 3" in evidence.facts["data set"]


def test_each_stratum_is_judged_over_its_own_folds() -> None:
    rng = np.random.default_rng(2)
    arms = []
    for stratum, folds in (("d=1", 5), ("d=2", 0)):
        sizes = VariantData(500, 0.25, (FoldSize(400, 100),) * folds)
        for name, shift in (("even-odd", 0.0), ("issm", 1.0)):
            arm = variant(
                f"{name}, {stratum}",
                (60 + shift + rng.normal(0, 1, 10)).round(2).tolist(),
                reference=name == "even-odd",
                folds=folds,
            )
            arms.append(
                replace(
                    arm, reference=f"even-odd, {stratum}", levels={"splitter": name, "d": stratum}, data=sizes
                )
            )
    found = findings(replace(two(REFERENCE), variants=tuple(arms), claims=()))
    of_folds, of_repetitions = (v.difference for v in found.variants if v.difference is not None)
    assert (of_folds.n, of_repetitions.n, found.comparisons) == (5, 10, 2)
    scores = np.array([[run.score for run in v.repetitions] for v in found.variants])
    by_fold = (scores[1] - scores[0]).reshape(5, 2).mean(axis=1)
    t = by_fold.mean() / np.sqrt((1 / 5 + 100 / 400) * by_fold.var(ddof=1))
    assert of_folds.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert of_repetitions.p == pytest.approx(stats.ttest_rel(scores[3], scores[2]).pvalue)
    assert "over 5 folds and with 10 repetitions" in found.answer


def test_published_results_of_one_data_set_are_not_those_of_two() -> None:
    table = PublishedTable("A", 1, 1, (), "", (), (), {})
    assert merged([info(published=table), info(published=table)]).published == table
    assert merged([info(published=table), info(name="b")]).published is None
    assert merged([info(), info(digest="")]).digest == "", "one of them is not tracked"


def test_each_stratum_has_its_own_facts_and_published_rows(tmp_path: Path) -> None:
    tables = [PublishedTable(name, 1, 1, (), "", (), (), {}) for name in "AB"]
    infos = [
        info(name=name, published=table, facts={"faces": name})
        for name, table in zip("AB", tables, strict=True)
    ]
    evidence = gather(Ledger(tmp_path), records(*infos))
    assert list(evidence.published) == tables
    names = [variant.name for variant in evidence.variants]
    assert [evidence.facts[f"data of {name}, faces"] for name in names] == ["A", "B"]
    assert "data, faces" not in evidence.facts
    same = gather(Ledger(tmp_path), records(infos[0], replace(infos[0], sizes=info().sizes[::-1])))
    assert same.published == (tables[0],)
    assert same.facts["data, faces"] == "A"


def test_each_stratum_has_a_breakdown_of_its_own_classes() -> None:
    own = {"d=1": {"happy": 0.5, "sad": 0.7}, "d=2": {"joy": 0.2, "anger": 0.4}}
    arms = []
    for stratum, recalls in own.items():
        for name in ("even-odd", "issm"):
            arm = variant(f"{name}, {stratum}", REFERENCE, reference=name == "even-odd")
            runs = tuple(
                replace(
                    run,
                    test=run.test and replace(run.test, breakdowns=(Breakdown("class", "Recall", recalls),)),
                )
                for run in arm.repetitions
            )
            arms.append(
                replace(
                    arm,
                    reference=f"even-odd, {stratum}",
                    levels={"splitter": name, "d": stratum},
                    repetitions=runs,
                )
            )
    found = findings(replace(two(REFERENCE), variants=tuple(arms), claims=()))
    assert [(part.name, part.rows) for part in found.breakdowns] == [
        ("class, d=1", ("happy", "sad")),
        ("class, d=2", ("joy", "anger")),
    ]
    by_variant = {v.name: v.breakdowns for v in found.variants}
    assert list(by_variant["issm, d=2"]) == ["class, d=2"]
    assert by_variant["issm, d=2"]["class, d=2"]["joy"].mean == pytest.approx(20.0)
    assert found.variants[0].runs["class, d=1/happy"] == 5


def test_intervals_over_folds_cannot_be_for_exactly_these_clips(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY + '[analysis]\nscope = "test-set"\n')
    spec = load(tmp_path / "s.toml")
    with pytest.raises(InputError) as caught:
        check_scope(spec, [info()])
    assert caught.value.exit_code == 2
    check_scope(spec, [info(folds=(1,))])
