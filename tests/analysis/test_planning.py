"""What is known before a study is trained: its spread, its time and the designs that fit a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.lab import Lab
from support.world import study as small_record

from study.analysis.analyse import findings
from study.analysis.gather import gather
from study.analysis.planning import MOST_REPETITIONS, budget, earlier_spread, offers, training_time
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.statistics.power import power
from study.statistics.spread import Spread


def with_epochs(study: StudyRecord, epochs: int) -> StudyRecord:
    """Return the study with a number of epochs."""
    variants = tuple(
        replace(
            variant,
            template=replace(
                variant.template, config={"train": {"epochs": epochs}}, epochs_key="train.epochs"
            ),
        )
        for variant in study.variants
    )
    return replace(study, variants=variants)


@pytest.mark.parametrize(
    ("text", "seconds", "of"),
    [
        ("24gpu-h", 86400, "gpu"),
        ("1.5cpu-h", 5400, "cpu"),
        ("30cpu-min", 1800, "cpu"),
        ("90min", 5400, "machine"),
        ("2 h", 7200, "machine"),
    ],
)
def test_a_budget_is_an_amount_of_time(text: str, seconds: float, of: str) -> None:
    found = budget(text)
    assert (found.seconds, found.of) == (seconds, of)


@pytest.mark.parametrize("text", ["", "24", "gpu-h", "-1h", "0h", "24tpu-h", "1e3h"])
def test_anything_else_is_refused_with_exit_code_2(text: str) -> None:
    with pytest.raises(InputError) as caught:
        budget(text)
    assert caught.value.exit_code == 2


def test_a_design_that_is_offered_fits_and_one_repetition_more_does_not() -> None:
    study = replace(small_record(variants=3), trials=0, rope=1.0, alpha=0.05)
    (offer,) = offers(study, seconds=1000.0, of_training=41.0, spread=Spread(1.2))
    assert (offer.repetitions, offer.trainings, offer.trials) == (8, 24, 0)  # 9 * 3 * 41 s is too long
    assert offer.seconds == 24 * 41.0
    assert offer.power is not None
    expected = [power(effect, 8, 1.2, 1.0, 0.05 / 2) for effect in (1.0, 1.5, 2.0)]
    assert offer.power == pytest.approx(expected)
    (large,) = offers(study, 1e9, 41.0, None)
    assert (large.repetitions, large.power) == (MOST_REPETITIONS, None)
    assert offers(study, 300.0, 41.0, None) == [], "three repetitions take longer"


def test_halving_makes_room_for_more() -> None:
    study = replace(
        with_epochs(small_record(variants=2), 9), trials=12, generation=4, reduction=3, first_epoch=1
    )
    by_design = {(o.trials, o.pruner): o for o in offers(study, 4000.0, 10.0, None)}
    assert by_design[20, "halving"].repetitions >= by_design[20, "none"].repetitions
    assert by_design[20, "halving"].seconds / by_design[20, "halving"].trainings < 10.0
    assert (4, "halving") not in by_design, "the first generation is never pruned"
    # after epochs 1 and 3 of 9 one of three continues: (1 + 2/3 + 6/9) / 9 of a training for each later trial
    both = [o for o in offers(study, 1e9, 1.0, None) if o.trials == 20]
    whole, halved = (next(o for o in both if o.pruner == pruner) for pruner in ("none", "halving"))
    searches = (whole.trainings - halved.trainings, whole.seconds - halved.seconds)
    assert searches[0] == 0
    later = round(searches[1] / (1 - (1 + 2 / 3 + 6 / 9) / 9), 6)
    assert later == int(later), "a whole number of trials is pruned"
    assert later % (2 * 16) == 0, "16 later trials in each search of 2 variants"


def test_the_spread_of_an_earlier_study_is_found(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run()
    earlier = lab.ledger.study("s")
    now = replace(earlier, name="later")
    found = earlier_spread(lab.ledger, now, {})
    evidence = gather(lab.ledger, earlier)
    differences = [v.difference for v in findings(evidence).variants if v.difference is not None]
    variances = [np.var(d.values, ddof=1) for d in differences]
    assert found is not None
    assert found.sd == pytest.approx(np.sqrt(np.mean(variances)))
    assert found.df == sum(d.n - 1 for d in differences)
    assert found.origin == earlier.name
    low, _ = found.interval() or (0, 0)
    assert low == pytest.approx(found.sd * np.sqrt(found.df / stats.chi2.ppf(0.975, found.df)))
    assert earlier_spread(lab.ledger, replace(now, metric="uar"), {}) is None, "another metric"
    assert earlier_spread(lab.ledger, earlier, {}) is None, "a study's own results are not known before it"


def test_trainings_of_this_ledger_say_how_long_one_takes(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    assert training_time(lab.ledger, lab.record()) is None
    lab.run()
    record = lab.ledger.study("s")
    own = training_time(lab.ledger, record)
    other = training_time(lab.ledger, replace(record, name="later", seed=record.seed + 1))
    assert own is not None
    assert other is not None
    assert own.origin == other.origin == record.name
    assert other.seconds == pytest.approx(own.seconds)
