"""The family of a study: which contrasts each design judges, and what its claims are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config.designs import layout_of, variants_of
from study.config.effects import family_of
from study.config.registry import Registry
from study.config.resolve import Resolver
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.ledger.record import ClaimRecord, EffectKind, EffectRecord

Family = tuple[tuple[EffectRecord, ...], tuple[ClaimRecord, ...]]

TWO = '[factors]\nsplitter = ["even-odd", "issm"]\nreadout = ["mean", "token-weights"]\n'
THREE = TWO + '"loss.context_weight" = [0.0, 0.1]\n'
DEPTH = '[factors]\nsplitter = ["even-odd", "issm"]\n"lifting.predictor_depth" = [0, 1, 3]\n'
STRATA = (
    '[design]\nkind = "factorial"\nwithin = ["dataset.dilution"]\n'
    '[factors]\nsplitter = ["even-odd", "issm"]\n"dataset.dilution" = [0.2, 0.5, 0.8]\n'
)


def family(tmp_path: Path, text: str) -> Family:
    file = tmp_path / "s.toml"
    file.write_text('title = "t"\nquestion = "q"\n' + text)
    spec, registry = load(file), Registry()
    resolver = Resolver(spec, registry.task({"name": "clips"}), registry, settings(tmp_path))
    layout = layout_of(spec, resolver)
    return family_of(spec, layout, variants_of(spec, resolver, layout))


def kinds(family: Family) -> list[tuple[EffectKind, tuple[str, ...]]]:
    return [(effect.kind, effect.factors) for effect in family[0]]


def test_every_effect_is_a_contrast(tmp_path: Path) -> None:
    for text in ('[design]\nkind = "factorial"\n' + THREE, STRATA, '[design]\nkind = "ladder"\n' + DEPTH):
        for effect in family(tmp_path, text)[0]:
            assert sum(effect.weights.values()) == pytest.approx(0)


def test_a_factorial_judges_main_effects_and_two_way_interactions(tmp_path: Path) -> None:
    found = family(tmp_path, '[design]\nkind = "factorial"\n' + THREE)
    assert [len(factors) for _, factors in kinds(found)] == [1, 1, 1, 2, 2, 2]
    assert {kind for kind, _ in kinds(found)[3:]} == {EffectKind.INTERACTION}


def test_a_numeric_factor_of_three_levels_is_a_trend(tmp_path: Path) -> None:
    found = family(tmp_path, '[design]\nkind = "factorial"\n' + DEPTH)[0]
    assert [effect.kind for effect in found] == [EffectKind.MAIN, EffectKind.TREND, EffectKind.INTERACTION]
    trend = found[1]
    assert (trend.against, trend.that) == (("0",), ("3",))
    # sum (x - mean) y / sum (x - mean)^2 * range with x = 0, 1, 3, averaged over the two splitters
    expected = {"0": -4 / 3, "1": -1 / 3, "3": 5 / 3}
    by_depth = dict.fromkeys(expected, 0.0)
    for name, weight in trend.weights.items():
        depth = next((d for d in "13" if name.endswith(f"depth={d}")), "0")
        by_depth[depth] += weight
    scale = 3 / (16 / 9 + 1 / 9 + 25 / 9)
    assert by_depth == pytest.approx({depth: weight * scale for depth, weight in expected.items()})


def test_other_designs_judge_their_cells(tmp_path: Path) -> None:
    for kind in ("one-factor", "leave-one-out"):
        found = family(tmp_path, f'[design]\nkind = "{kind}"\n{THREE}')[0]
        assert [effect.kind for effect in found] == [EffectKind.DIFFERENCE] * 3
        assert {effect.against for effect in found} == {("reference",)}


def test_a_ladder_judges_each_step(tmp_path: Path) -> None:
    found = family(tmp_path, '[design]\nkind = "ladder"\n' + THREE)[0]
    assert [effect.against[0] for effect in found] == [
        "reference",
        "splitter=issm",
        "splitter=issm, readout=token-weights",
    ]


def test_a_fraction_judges_no_interaction_that_it_cannot_tell_from_a_main_effect(tmp_path: Path) -> None:
    found = family(tmp_path, '[design]\nkind = "fractional"\nresolution = 3\n' + THREE)
    assert [factors for _, factors in kinds(found)] == [("splitter",), ("readout",), ("loss.context_weight",)]


def test_a_study_may_name_fewer_effects(tmp_path: Path) -> None:
    named = '[analysis]\neffects = ["splitter", ["splitter", "readout"]]\n'
    assert [
        factors for _, factors in kinds(family(tmp_path, '[design]\nkind = "factorial"\n' + TWO + named))
    ] == [
        ("splitter",),
        ("splitter", "readout"),
    ]
    both = '[analysis]\neffects = ["differences", "lifting.predictor_depth"]\n'
    found = kinds(family(tmp_path, '[design]\nkind = "one-factor"\n' + DEPTH + both))
    assert [kind for kind, _ in found] == [EffectKind.DIFFERENCE] * 3 + [EffectKind.TREND]


def test_shapley_values_sum_to_the_whole_gain(tmp_path: Path) -> None:
    named = '[analysis]\neffects = ["shapley"]\n'
    found = family(tmp_path, '[design]\nkind = "factorial"\n' + THREE + named)[0]
    assert [effect.kind for effect in found] == [EffectKind.SHAPLEY] * 3
    total: dict[str, float] = {}
    for effect in found:
        for name, weight in effect.weights.items():
            total[name] = total.get(name, 0.0) + weight
    whole = "splitter=issm, readout=token-weights, loss.context_weight=0.1"
    assert total == pytest.approx({**dict.fromkeys(total, 0.0), whole: 1.0, "reference": -1.0})


def test_strata_have_their_own_effects_and_an_interaction_crosses_them(tmp_path: Path) -> None:
    found = family(tmp_path, STRATA)[0]
    assert [effect.stratum for effect in found] == [f"dataset.dilution={share}" for share in (0.2, 0.5, 0.8)]
    crossing = family(tmp_path, STRATA + '[[claims]]\neffect = ["splitter", "dataset.dilution"]\n')
    growth = crossing[0][-1]
    assert growth.trends == ("dataset.dilution",)
    assert growth.weights["issm, dataset.dilution=0.8"] == pytest.approx(1)
    assert growth.weights["even-odd, dataset.dilution=0.8"] == pytest.approx(-1)
    assert crossing[1][0].effect == growth.name


CLAIM = '[[claims]]\nthat = { splitter = "issm" }\nbeats = { splitter = "even-odd" }\n'


def test_a_claim_in_a_factorial_is_about_marginal_levels_and_joins_no_new_comparison(tmp_path: Path) -> None:
    effects, claims = family(tmp_path, '[design]\nkind = "factorial"\n' + TWO + CLAIM)
    assert len(effects) == 3
    assert claims == (ClaimRecord("issm", "even-odd", effects[0].name, 1),)
    reverse = CLAIM.replace('"issm"', '"x"').replace('"even-odd"', '"issm"').replace('"x"', '"even-odd"')
    assert family(tmp_path, '[design]\nkind = "factorial"\n' + TWO + reverse)[1][0].sign == -1


def test_a_claim_that_names_all_factors_compares_cells(tmp_path: Path) -> None:
    claim = CLAIM.replace("issm", 'issm", readout = "token-weights').replace(
        "even-odd", 'even-odd", readout = "mean'
    )
    effects, claims = family(tmp_path, '[design]\nkind = "factorial"\n' + TWO + claim)
    assert effects[-1].kind == EffectKind.DIFFERENCE
    assert effects[-1].weights == {"splitter=issm, readout=token-weights": 1.0, "reference": -1.0}
    assert claims[0].effect == effects[-1].name


def test_a_claim_may_compare_two_variants_that_are_not_the_reference(tmp_path: Path) -> None:
    text = '[design]\nkind = "one-factor"\n[factors]\nlifting = ["haar", "none", "attention"]\n'
    claim = '[[claims]]\nthat = { lifting = "attention" }\nbeats = { lifting = "none" }\n'
    effects, claims = family(tmp_path, text + claim)
    assert len(effects) == 3
    assert effects[-1].weights == {"attention": 1.0, "none": -1.0}
    assert claims[0].effect == effects[-1].name


def test_a_claim_on_a_factor_of_several_levels_names_one(tmp_path: Path) -> None:
    text = (
        '[design]\nkind = "factorial"\n[factors]\nsplitter = ["even-odd", "issm", "halves"]\n'
        'readout = ["mean", "token-weights"]\n[[claims]]\neffect = ["splitter", "readout"]\nsign = "negative"\n'
    )
    with pytest.raises(InputError, match=r"must mean one effect.*'levels'"):
        family(tmp_path, text)
    effects, claims = family(tmp_path, text + 'levels = { splitter = "halves" }\n')
    assert claims[0].sign == -1
    assert claims[0].effect == "halves × token-weights"
    assert len(effects) == 2 + 1 + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[analysis]\neffects = ["spliter"]',
            r"effects\[0\]: 'spliter' is no factor.*Did you mean 'splitter'",
        ),
        ('[analysis]\neffects = [["splitter", "splitter"]]', "each once"),
        ('[[claims]]\neffect = "splitter"\nthat = { splitter = "issm" }', "must have 'that' and 'beats', or"),
        ('[[claims]]\nthat = { splitter = "issm" }', "must have 'that' and 'beats', or"),
        ('[[claims]]\neffect = ["splitter", "reado"]', r"claims\[0\].effect: 'reado' is no factor"),
        (
            CLAIM.replace('"issm"', '"issm", readout = "mean"'),
            "must name the same factors; one lacks 'readout'",
        ),
        ('[[claims]]\neffect = "splitter"\nsign = "up"', "sign: must be 'positive' or 'negative'"),
    ],
)
def test_a_mistake_in_an_effect_or_claim_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        family(tmp_path, f'[design]\nkind = "factorial"\n{TWO}{text}\n')


def test_levels_of_strata_are_not_compared_and_a_claim_names_its_stratum(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are not compared"):
        family(tmp_path, STRATA + '[analysis]\neffects = ["dataset.dilution"]\n')
    with pytest.raises(InputError, match="matches several variants"):
        family(tmp_path, STRATA + CLAIM)
    named = CLAIM.replace(" }", ', "dataset.dilution" = 0.8 }')
    assert len(family(tmp_path, STRATA + named)[0]) == 3


def test_effects_that_the_cells_cannot_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cells that differ in 'splitter' or 'readout' alone"):
        family(
            tmp_path,
            '[design]\nkind = "one-factor"\n' + TWO + '[analysis]\neffects = [["splitter", "readout"]]\n',
        )
    with pytest.raises(InputError, match="kind = 'factorial'"):
        family(tmp_path, '[design]\nkind = "one-factor"\n' + TWO + '[analysis]\neffects = ["shapley"]\n')
