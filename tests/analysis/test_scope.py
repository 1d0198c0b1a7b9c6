"""For whom intervals speak: chosen by the study and by what its runs keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.lab import FAKE, Lab
from support.predicting_jobs import PERSONS, predictions
from support.text_report import write_text

from study.analysis import interim
from study.analysis.analyse import findings
from study.analysis.evidence import Evidence
from study.analysis.findings import LimitCode
from study.analysis.gather import gather
from study.engine import conductor
from study.engine.events import StudyConcluded
from study.engine.plan import repetitions
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.ledger.store import Snapshot
from study.tasks.clips.metrics import uar, war
from study.tracking.replay import replay

PREDICTING = {**FAKE, "evaluate": "support.predicting_jobs:evaluate"}
COMPUTES = {"war": war, "uar": uar}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_where_runs_keep_predictions_intervals_speak_for_new_clips(lab: Lab) -> None:
    lab.run(targets=PREDICTING)
    record = lab.ledger.study("s")
    evidence = gather(lab.ledger, record, COMPUTES)
    found = findings(evidence)
    assert (evidence.scope, found.scope) == ("population", "population")

    states = Snapshot(lab.ledger)
    right = np.array(
        [
            [
                kept.logits.argmax(axis=1) == kept.labels
                for repetition in repetitions(record, variant, states)
                if (kept := predictions(repetition.run))
            ]
            for variant in record.variants
        ]
    )
    gains = 100.0 * (right[1].astype(float) - right[0])  # (repetitions, clips)
    per_person = gains.reshape(len(gains), PERSONS, -1).mean(axis=2)  # persons have equally many clips
    n, m = per_person.shape
    a, c = per_person.mean(axis=1).var(ddof=1) / n, per_person.mean(axis=0).var(ddof=1) / m
    sc = (per_person - per_person.mean(axis=0)).var(axis=1, ddof=1).sum() / m / (n * (n - 1))
    assert c > sc, "the case is of use"
    df = max(n - 1.0, (a + c - sc) ** 2 / (a**2 / (n - 1) + c**2 / (m - 1) + sc**2 / ((n - 1) * (m - 1))))
    half = stats.t.ppf(0.975, df) * np.sqrt(a + c - sc)
    difference = found.variants[1].difference
    assert difference is not None
    mean = gains.mean()
    assert (difference.interval.low, difference.interval.high) == pytest.approx((mean - half, mean + half))
    assert difference.other is not None
    exact = stats.t.ppf(0.975, n - 1) * np.sqrt(a)
    assert difference.other.high == pytest.approx(mean + exact)


def test_the_scope_that_a_study_names_decides(lab: Lab) -> None:
    lab.run("analysis.scope=test-set", targets=PREDICTING)
    (name,) = lab.ledger.studies()
    evidence = gather(lab.ledger, lab.ledger.study(name), COMPUTES)
    found = findings(evidence)
    assert found.scope == "test-set"
    assert found.answer.endswith("on these test clips.")
    difference = found.variants[1].difference
    assert difference is not None
    assert difference.other is not None, "the other line is printed too"


def test_without_predictions_intervals_are_for_these_clips_and_a_named_population_is_refused(
    lab: Lab,
) -> None:
    lab.run()
    record = lab.ledger.study("s")
    assert gather(lab.ledger, record, COMPUTES).scope == "test-set"
    found = findings(gather(lab.ledger, replace(record, interval_scope="population"), COMPUTES))
    assert found.variants[1].difference is None
    assert LimitCode.NO_PREDICTIONS in {limit.code for limit in found.limits}


@pytest.mark.parametrize("change", ["analysis.scope=clips", "analysis.sd=-1", "analysis.sd=many"])
def test_other_scopes_and_spreads_are_refused(lab: Lab, change: str) -> None:
    with pytest.raises(InputError) as caught:
        lab.record(change)
    assert caught.value.exit_code == 2
    assert "analysis." in str(caught.value)


def test_the_expected_spread_of_a_study_is_what_its_power_rests_on(lab: Lab) -> None:
    found = lab.run("analysis.sd=1.5", "analysis.rope=2.0")
    assert found.power is not None
    assert (found.power.spread.sd, found.power.interval) == (1.5, None)
    assert found.power.effects == (2.0, 3.0, 4.0)


def test_looks_speak_for_the_same_examples_as_the_report(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Evidence] = []
    decide = interim.decide
    monkeypatch.setattr(
        interim, "decide", lambda evidence, *rest: seen.append(evidence) or decide(evidence, *rest)
    )
    text = lab.file.read_text().replace("repetitions = 3", "repetitions = { looks = [3, 4] }")
    lab.file.write_text(text)
    found = conductor.run(
        lab.record(),
        lab.ledger,
        InProcess(),
        lab.folder / "reports",
        lab.events.append,
        PREDICTING,
        computes=COMPUTES,
        write=write_text,
    )
    assert found.scope == "population"
    assert [evidence.scope for evidence in seen] == ["population"] * len(seen) != []


def test_a_rebuilt_mirror_concludes_as_the_report_does(lab: Lab) -> None:
    lab.run(targets=PREDICTING)
    reported = conductor.report(
        "s", lab.ledger, lab.folder / "reports", lab.events.append, COMPUTES, write=write_text
    )
    assert reported.scope == "population"
    *_, ended = replay(lab.ledger.study("s"), lab.ledger, lab.folder / "mirror", COMPUTES)
    assert isinstance(ended, StudyConcluded)
    assert ended.findings == reported
