"""Effects of a study: main effects, interactions and trends as findings, claims on them, and the answer they give."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats
from support.evidence import FOLDS, RMSE, evidence, variant
from support.text_report import render

from study.analysis.analyse import findings
from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import EffectFinding, Findings
from study.ledger.record import ClaimRecord, EffectKind, EffectRecord

NOISE = np.array([0.3, -0.2, 0.1, -0.4, 0.2])
CELLS = ("bare", "a", "b", "a, b")
A = EffectRecord(
    "A against none",
    EffectKind.MAIN,
    {"a": 0.5, "a, b": 0.5, "bare": -0.5, "b": -0.5},
    ("a",),
    ("A",),
    ("none",),
)
B = replace(
    A,
    name="B against none",
    weights={"b": 0.5, "a, b": 0.5, "bare": -0.5, "a": -0.5},
    factors=("b",),
    that=("B",),
)
BOTH = EffectRecord(
    "A × B",
    EffectKind.INTERACTION,
    {"a, b": 1.0, "bare": 1.0, "a": -1.0, "b": -1.0},
    ("a", "b"),
    ("A", "B"),
    ("none", "none"),
)
CLAIMS = (
    ClaimRecord("A", "none", "A against none"),
    ClaimRecord("B", "none", "B against none"),
    ClaimRecord("A × B", effect="A × B"),
)


def cell(name: str, shift: float, seed: int, **fields: object) -> VariantEvidence:
    """Return a variant whose scores are 60 plus a shift, shared noise and a little of its own."""
    own = np.random.default_rng(seed).normal(0, 0.1, 5)
    scores = [float(score) for score in 60 + shift + NOISE + own]
    return variant(name, scores, reference=name == "bare", **fields)  # type: ignore[arg-type]


def two_by_two(shifts: tuple[float, float, float, float], **fields: object) -> Evidence:
    arms = [cell(name, shift, seed) for seed, (name, shift) in enumerate(zip(CELLS, shifts, strict=True))]
    return evidence(*arms, **{"effects": (A, B, BOTH), "claims": CLAIMS, **fields})


def effect(found: Findings, name: str) -> EffectFinding:
    return next(effect for effect in found.effects if effect.name == name)


def scores_of(study: Evidence) -> dict[str, np.ndarray]:
    return {
        arm.name: np.array([100 * run.test.metrics["war"] for run in arm.repetitions])
        for arm in study.variants
    }


def test_each_effect_has_the_interval_of_its_contrast_in_one_family() -> None:
    study = two_by_two((0.0, 2.0, 0.0, 5.0))
    found = findings(study)
    assert found.comparisons == 3
    y = scores_of(study)
    values = {
        one.name: np.sum([weight * y[name] for name, weight in one.weights.items()], axis=0)
        for one in (A, B, BOTH)
    }
    norms = {"A against none": 1.0, "B against none": 1.0, "A × B": 2.0}
    s2 = {name: float(np.var(v, ddof=1)) / norms[name] ** 2 for name, v in values.items()}
    mean = np.mean(list(s2.values()))
    for name, contrast in values.items():
        others = [value for other, value in s2.items() if other != name]
        assert stats.f.sf(s2[name] / np.mean(others), 4, 8) > 0.05  # none is an outlier
        moderated = norms[name] ** 2 * (2 * mean + 4 * s2[name]) / 6
        half = stats.t.isf(0.05 / 6, 6) * sqrt(moderated / 5)
        corrected = effect(found, name).corrected
        assert (corrected.low, corrected.high) == pytest.approx(
            (contrast.mean() - half, contrast.mean() + half)
        )


def test_the_answer_says_whether_each_helps_and_whether_they_need_each_other() -> None:
    found = findings(two_by_two((0.0, 2.0, 0.0, 5.0)))
    assert [one.verdict for one in found.effects] == ["helps", "helps", "helps"]
    assert [claim.verdict for claim in found.claims] == ["supported"] * 3
    first = found.answer
    assert first.startswith("A helps by at least 1.0 points (+3.5); B helps by at least 1.0 points (+1.5)")
    assert "A and B reinforce each other by at least 1.0 points (+3.0)" in first


@pytest.mark.parametrize(
    ("shifts", "verdict", "claim"),
    [
        ((0.0, 3.0, 3.0, 6.0), "equivalent", "refuted"),
        ((0.0, 3.0, 3.0, 3.0), "hurts", "refuted"),
        ((0.0, 0.0, 0.0, 3.0), "helps", "supported"),
    ],
)
def test_an_interaction_is_judged_like_any_difference(
    shifts: tuple[float, float, float, float], verdict: str, claim: str
) -> None:
    found = findings(two_by_two(shifts))
    assert effect(found, "A × B").verdict == verdict
    assert found.claims[2].verdict == claim


def test_a_claim_of_the_opposite_sign_is_judged_so() -> None:
    claims = (ClaimRecord("A × B", effect="A × B", sign=-1),)
    assert findings(two_by_two((0.0, 3.0, 3.0, 3.0), claims=claims)).claims[0].verdict == "supported"
    assert findings(two_by_two((0.0, 0.0, 0.0, 3.0), claims=claims)).claims[0].verdict == "refuted"


def test_cells_of_a_factorial_get_no_verdict_of_their_own() -> None:
    found = findings(two_by_two((0.0, 2.0, 0.0, 5.0)))
    assert [one.difference for one in found.variants] == [None] * 4


def test_an_effect_without_all_its_runs_has_no_verdict_and_the_others_keep_theirs() -> None:
    study = two_by_two((0.0, 2.0, 0.0, 5.0))
    difference = EffectRecord(
        "a against bare", EffectKind.DIFFERENCE, {"a": 1.0, "bare": -1.0}, (), ("a",), ("bare",)
    )
    arms = tuple(replace(arm, repetitions=()) if arm.name == "a, b" else arm for arm in study.variants)
    found = findings(replace(study, variants=arms, effects=(difference, BOTH), claims=CLAIMS[2:]))
    assert [one.verdict for one in found.effects] == ["helps", None]
    assert found.claims[0].verdict == "undecided"
    assert "a, b has results for none" in effect(found, "A × B").sentence


def test_where_lower_is_better_a_lower_score_helps() -> None:
    arms = [
        variant(
            name, [float(20 + shift + x) for x in np.roll(NOISE, i)], reference=name == "bare", metric=RMSE
        )
        for i, (name, shift) in enumerate(zip(CELLS, (0.0, -3.0, 0.1, -3.0), strict=True))
    ]
    found = findings(evidence(*arms, metric=RMSE, metrics=(RMSE,), effects=(A, B), claims=CLAIMS[:1]))
    assert effect(found, "A against none").interval.mean == pytest.approx(-3.05)
    assert effect(found, "A against none").verdict == "helps"
    assert found.claims[0].verdict == "supported"
    assert found.answer.startswith("Yes, A helps")


def test_the_share_of_variance_of_a_dominant_effect_is_near_one() -> None:
    found = findings(two_by_two((0.0, 8.0, 0.0, 8.0)))
    assert effect(found, "A against none").omega_squared > 0.95
    assert effect(found, "B against none").omega_squared < 0.05


def test_folds_borrow_no_variance() -> None:
    arms = [
        variant(name, list(60 + shift + NOISE * (i + 1)), reference=name == "bare", folds=5)
        for i, (name, shift) in enumerate(zip(CELLS, (0.0, 2.0, 0.0, 5.0), strict=True))
    ]
    study = evidence(*arms, folds=FOLDS, effects=(A, B, BOTH))
    y = scores_of(study)
    values = sum(weight * y[name] for name, weight in A.weights.items())
    half = stats.t.isf(0.05 / 6, 4) * sqrt(np.var(values, ddof=1) * (1 / 5 + 0.25))
    corrected = effect(findings(study), "A against none").corrected
    assert corrected.high - corrected.low == pytest.approx(2 * half)


DILUTED = [(splitter, share) for share in ("0.2", "0.5", "0.8") for splitter in ("even-odd", "ISSM")]
GROWTH = EffectRecord(
    "ISSM × dilution 0.2 to 0.8",
    EffectKind.INTERACTION,
    {"ISSM 0.8": 1.0, "ISSM 0.2": -1.0, "even-odd 0.8": -1.0, "even-odd 0.2": 1.0},
    ("splitter", "dilution"),
    ("ISSM", "0.8"),
    ("even-odd", "0.2"),
    trends=("dilution",),
)


def diluted(gains: tuple[float, float, float]) -> Evidence:
    arms = []
    for seed, (splitter, share) in enumerate(DILUTED):
        gain = gains[("0.2", "0.5", "0.8").index(share)] if splitter == "ISSM" else 0.0
        arm = cell(f"{splitter} {share}", gain, seed)
        arms.append(
            replace(arm, reference=f"even-odd {share}", levels={"splitter": splitter, "dilution": share})
        )
    study = evidence(variant("bare", [1.0], reference=True))
    effects = (
        *(
            replace(
                A,
                name=f"ISSM against even-odd, dilution={share}",
                weights={f"ISSM {share}": 1.0, f"even-odd {share}": -1.0},
                that=("ISSM",),
                against=("even-odd",),
                stratum=f"dilution={share}",
            )
            for share in ("0.2", "0.5", "0.8")
        ),
        GROWTH,
    )
    claims = (ClaimRecord(GROWTH.name, effect=GROWTH.name),)
    return replace(study, variants=tuple(arms), effects=effects, claims=claims)


@pytest.mark.parametrize(
    ("gains", "begins"),
    [
        ((0.0, 2.0, 4.0), "Yes, ISSM helps more at dilution 0.8 than at 0.2"),
        ((4.0, 2.0, 0.0), "No, ISSM helps less at dilution 0.8 than at 0.2"),
        ((2.0, 2.0, 2.0), "No, the effect of ISSM is practically the same from dilution 0.2 to 0.8"),
    ],
)
def test_the_answer_says_whether_a_part_helps_more_along_a_number(
    gains: tuple[float, float, float], begins: str
) -> None:
    found = findings(diluted(gains))
    assert found.answer.startswith(begins)
    assert [one.difference is not None for one in found.variants] == [False, True] * 3


def test_strata_with_other_examples_add_their_variances() -> None:
    from study.analysis.values.scores import contrast
    from study.statistics.inference import estimate

    rng = np.random.default_rng(3)
    study = diluted((0.0, 2.0, 4.0))
    arms = []
    for arm in study.variants:
        m, share = (30, "0.2") if "0.2" in arm.name else (50, "0.8")
        runs = tuple(
            replace(
                run,
                replicates=tuple(run.test.metrics["war"] + rng.normal(0, 0.001, m)),
                sources=share,
            )
            for run in arm.repetitions
        )
        arms.append(replace(arm, repetitions=runs))
    study = replace(study, variants=tuple(arms), scope="population")
    parts = [contrast(study, {f"ISSM {share}": 1.0, f"even-odd {share}": -1.0}) for share in ("0.2", "0.8")]
    variances = [estimate(part.values, part.replicates).v_c for part in parts]
    whole = contrast(study, GROWTH.weights)
    assert whole.replicates.shape == (5, 80)
    assert estimate(whole.values, whole.replicates).v_c == pytest.approx(sum(variances))


def test_the_report_has_the_effects_and_what_is_to_be_known_of_the_design() -> None:
    found = findings(two_by_two((0.0, 2.0, 0.0, 5.0), design=("A fraction: 4 of 8 cells.",)))
    report = render(found)
    assert "## Effects" in report
    assert "A fraction: 4 of 8 cells." in report
    assert report.count("A × B") >= 2
    plain = findings(evidence(cell("bare", 0.0, 1), cell("a", 2.0, 2)))
    assert plain.effects == ()
    assert "## Effects" not in render(plain)
