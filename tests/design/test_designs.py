"""Which cells of the grid are trained, and what each is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config.designs import Variant, factorial, leave_one_out, one_factor, variants_of
from study.config.registry import Registry
from study.config.resolve import Resolver
from study.config.settings import settings
from study.config.study import Level, load
from study.errors import InputError


def cell(**values: object) -> dict[str, Level]:
    return {factor: Level(value) for factor, value in values.items()}


FACTORS = {"a": tuple(map(Level, (1, 2, 3))), "b": tuple(map(Level, ("x", "y")))}
REFERENCE = cell(a=2, b="y")


def test_one_factor_changes_one_thing_at_a_time() -> None:
    cells = one_factor(REFERENCE, FACTORS, "")
    assert cells[0] == REFERENCE
    assert all(sum(cell[k] != REFERENCE[k] for k in cell) == 1 for cell in cells[1:])
    assert len(cells) == 1 + 2 + 1


def test_leave_one_out_takes_each_part_away_once_and_needs_two_levels() -> None:
    on_off = (Level(True), Level(False))
    parts = {"a": on_off, "b": on_off, "c": (Level(1), Level(0))}
    full = cell(a=True, b=True, c=1)
    assert leave_one_out(full, parts, "") == [
        full,
        full | cell(a=False),
        full | cell(b=False),
        full | cell(c=0),
    ]
    with pytest.raises(InputError, match="two levels of every factor"):
        leave_one_out(REFERENCE, FACTORS, "s.toml: design")


def test_a_factorial_has_every_combination_once() -> None:
    cells = factorial(REFERENCE, FACTORS, "")
    assert cells[0] == REFERENCE
    assert len({tuple(cell.items()) for cell in cells}) == len(cells) == 6


def designed(tmp_path: Path, text: str) -> tuple[Variant, ...]:
    file = tmp_path / "s.toml"
    file.write_text('title = "t"\nquestion = "q"\n' + text)
    spec, registry = load(file), Registry()
    return variants_of(spec, Resolver(spec, registry.task({"name": "clips"}), registry, settings(tmp_path)))


STRATA = """
[design]
kind = "factorial"
reference = { splitter = "even-odd" }
within = ["dataset.dilution"]
[factors]
splitter = ["even-odd", "issm"]
"dataset.dilution" = [0.2, 0.8]
"""


def test_strata_compare_inside_themselves_alone(tmp_path: Path) -> None:
    cells = designed(tmp_path, STRATA)
    assert [cell.name for cell in cells] == [
        "even-odd, dataset.dilution=0.2",
        "issm, dataset.dilution=0.2",
        "even-odd, dataset.dilution=0.8",
        "issm, dataset.dilution=0.8",
    ]
    assert [cell.is_reference for cell in cells] == [True, False, True, False]
    for cell in cells:
        assert cell.reference == f"even-odd, dataset.dilution={cell.levels['dataset.dilution']}"


def test_a_claim_in_strata_names_its_stratum(tmp_path: Path) -> None:
    claim = '[[claims]]\nthat = { splitter = "issm" }\nbeats = { splitter = "even-odd" }\n'
    with pytest.raises(InputError, match="matches several variants"):
        designed(tmp_path, STRATA + claim)
    whole = claim.replace(" }", ', "dataset.dilution" = 0.8 }')
    assert len(designed(tmp_path, STRATA + whole)) == 4


def test_levels_in_strata_have_no_reference(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are not compared"):
        designed(tmp_path, STRATA.replace('"even-odd" }', '"even-odd", "dataset.dilution" = 0.2 }'))
    with pytest.raises(
        InputError, match=r"design.within: 'dilution' is no factor .* Did you mean 'dataset.dilution'"
    ):
        designed(tmp_path, STRATA.replace('["dataset.dilution"]', '["dilution"]'))


def test_a_part_that_the_network_lacks_is_named(tmp_path: Path) -> None:
    text = (
        '[base]\nhaed = "linear"\n[design]\nkind = "one-factor"\nreference = { splitter = "issm" }\n'
        '[factors]\nsplitter = ["even-odd", "issm"]\n'
    )
    with pytest.raises(InputError, match="Did you mean 'head'"):
        designed(tmp_path, text)


def test_a_level_that_is_another_component_has_nothing_of_the_base_s(tmp_path: Path) -> None:
    text = """
[base]
lifting = { name = "attention", heads = 2, norm = false }
[design]
kind = "one-factor"
reference = { lifting = { name = "attention", heads = 4 } }
[factors]
lifting = [{ name = "attention", heads = 4 }, { name = "conv" }, "none"]
"""
    configs = [cell.config["lifting"] for cell in designed(tmp_path, text)]
    assert (configs[0]["heads"], configs[0]["norm"]) == (4, True)
    assert (configs[1]["name"], configs[1]["heads"]) == ("conv", 8)
    assert configs[2] == {"name": "none"}
