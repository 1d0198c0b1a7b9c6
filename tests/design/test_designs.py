"""Which cells of the grid are trained, and what each is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.config.designs import Variant, layout_of, variants_of
from study.config.layouts import factorial, fractional, ladder, leave_one_out, list_, one_factor
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
    cells = one_factor(REFERENCE, FACTORS).cells
    assert cells[0] == REFERENCE
    assert all(sum(cell[k] != REFERENCE[k] for k in cell) == 1 for cell in cells[1:])
    assert len(cells) == 1 + 2 + 1


def test_leave_one_out_takes_each_part_away_once_and_needs_two_levels() -> None:
    on_off = (Level(True), Level(False))
    parts = {"a": on_off, "b": on_off, "c": (Level(1), Level(0))}
    full = cell(a=True, b=True, c=1)
    assert leave_one_out(full, parts).cells == [
        full,
        full | cell(a=False),
        full | cell(b=False),
        full | cell(c=0),
    ]
    with pytest.raises(InputError, match="two levels of every factor"):
        leave_one_out(REFERENCE, FACTORS)


def test_a_factorial_has_every_combination_once() -> None:
    cells = factorial(REFERENCE, FACTORS).cells
    assert cells[0] == REFERENCE
    assert len({tuple(cell.items()) for cell in cells}) == len(cells) == 6


PARTS = {name: tuple(map(Level, (0, 1))) for name in "abcde"}
BARE = cell(a=0, b=0, c=0, d=0, e=0)


def test_a_ladder_keeps_each_step_and_compares_it_with_the_one_before() -> None:
    parts = {name: PARTS[name] for name in "abc"}
    bare = cell(a=0, b=0, c=0)
    layout = ladder(bare, parts, order=["b", "a", "c"])
    rungs = [bare, bare | cell(b=1), bare | cell(a=1, b=1), cell(a=1, b=1, c=1)]
    assert layout.cells == rungs
    assert layout.compared == [(rungs[1], rungs[0]), (rungs[2], rungs[1]), (rungs[3], rungs[2])]
    assert "b, a, c" in layout.notes[0]


def test_a_second_order_of_a_ladder_adds_only_the_cells_that_differ() -> None:
    parts = {name: PARTS[name] for name in "abc"}
    layout = ladder(cell(a=0, b=0, c=0), parts, second_order=["c", "b", "a"])
    assert len(layout.cells) == 4 + 2  # the bare and the whole system are in both
    assert len(layout.compared) == 6
    assert len(layout.notes) == 2


@pytest.mark.parametrize("order", [["a"], ["a", "b", "b"], ["a", "b", "c", "d"]])
def test_an_order_that_lacks_a_factor_is_refused(order: list[str]) -> None:
    with pytest.raises(InputError, match="order"):
        ladder(cell(a=0, b=0, c=0), {name: PARTS[name] for name in "abc"}, order=order)


@pytest.mark.parametrize(
    ("factors", "resolution", "cells"), [(3, 3, 4), (4, 4, 8), (5, 3, 8), (5, 5, 16), (5, 4, 16)]
)
def test_a_fraction_is_as_small_as_in_the_textbook(factors: int, resolution: int, cells: int) -> None:
    # Box, Hunter & Hunter (2005), table 6.22
    names = "abcde"[:factors]
    layout = fractional({n: BARE[n] for n in names}, {n: PARTS[n] for n in names}, resolution=resolution)
    assert len(layout.cells) == cells
    signs = np.array([[2 * cell[n].value - 1 for n in names] for cell in layout.cells])
    assert (signs.T @ signs == cells * np.eye(factors)).all()  # main effects are orthogonal
    assert min(map(len, layout.words)) >= resolution
    for word in layout.words:
        products = signs[:, [names.index(n) for n in word]].prod(axis=1)
        assert np.ptp(products) == 0


def test_a_fraction_says_what_it_cannot_tell_apart() -> None:
    names = "abcd"
    layout = fractional({n: BARE[n] for n in names}, {n: PARTS[n] for n in names})
    assert "resolution IV" in layout.notes[0]
    aliases = {note.partition(": ")[2].rstrip(".") for note in layout.notes[1:]}
    assert aliases == {"a × b = c × d", "a × c = b × d", "a × d = b × c"}


def test_factors_of_three_levels_have_no_fraction_and_few_factors_no_resolution() -> None:
    with pytest.raises(InputError, match="two levels"):
        fractional(REFERENCE, FACTORS)
    with pytest.raises(InputError, match="resolution V"):
        fractional(cell(a=0, b=0, c=0), {name: PARTS[name] for name in "abc"}, resolution=5)


def test_a_list_has_its_cells_alone() -> None:
    factors = {"a": tuple(map(Level, (1, 2, 3))), "b": tuple(map(Level, ("x", "y")))}
    layout = list_(REFERENCE, factors, cells=[{"a": 2, "b": "y"}, {"a": 3}, {"a": 1, "b": "x"}])
    assert layout.cells == [REFERENCE, cell(a=3, b="y"), cell(a=1, b="x")]
    for cells, match in (
        ([{"a": 3}], "must hold the reference"),
        ([{}, {"a": 2}], "is the same"),
        ([{}, {"a": 4}], r"cells\[1\].a: must be one of"),
        ([{}, {"z": 4}], "'z' is no factor"),
    ):
        with pytest.raises(InputError, match=match):
            list_(REFERENCE, factors, cells=cells)


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


SPLITTERS = '[factors]\nsplitter = ["even-odd", "issm"]\n"lifting.predictor_depth" = [0, 1, 2]\n'


def test_an_excluded_cell_is_left_out_with_its_reason(tmp_path: Path) -> None:
    text = (
        '[design]\nkind = "factorial"\n[[design.exclude]]\nsplitter = "issm"\n"lifting.predictor_depth" = 2\n'
        'reason = "too large for the machine"\n'
    )
    variants = designed(tmp_path, text + SPLITTERS)
    assert len(variants) == 5
    assert not [
        v for v in variants if (v.levels["splitter"], v.levels["lifting.predictor_depth"]) == ("issm", "2")
    ]


@pytest.mark.parametrize(
    ("exclusion", "message"),
    [
        ('splitter = "issm"', r"exclude\[0\].reason: must say why"),
        ('reason = "r"\nsplitter = "even-odd"', "is in the reference"),
        ('reason = "r"\nsplitter = "isms"', "Did you mean 'issm'"),
        ('reason = "r"\nspliter = "issm"', "Did you mean 'splitter'"),
        ('reason = "r"', "no cell of the design"),
    ],
)
def test_an_exclusion_that_cannot_be_meant_is_named(tmp_path: Path, exclusion: str, message: str) -> None:
    text = f'[design]\nkind = "factorial"\n[[design.exclude]]\n{exclusion}\n'
    with pytest.raises(InputError, match=message):
        designed(tmp_path, text + SPLITTERS)


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ('kind = "factoral"', "unknown design 'factoral'. Did you mean 'factorial'"),
        ('kind = "ladder"\nordre = ["splitter"]', "no parameter 'ordre'.*Did you mean 'order'"),
        ('kind = "ladder"\norder = ["splitter"]', "design: order: must name every factor once"),
        ('kind = "fractional"\nresolution = 6', "resolution: must be an integer from 3 to 5"),
        ('kind = "list"', "needs 'cells'"),
    ],
)
def test_an_error_in_a_design_names_key_and_remedy(tmp_path: Path, design: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        designed(tmp_path, f"[design]\n{design}\n{SPLITTERS}")


def test_a_list_needs_no_table_of_factors(tmp_path: Path) -> None:
    text = """
[design]
kind = "list"
[[design.cells]]
splitter = "even-odd"
lifting = { name = "attention", heads = 4 }
[[design.cells]]
splitter = "issm"
lifting = { name = "attention", heads = 4 }
"train.lr" = 0.01
[[design.cells]]
splitter = "issm"
lifting = "none"
"""
    whole = text.replace('"even-odd"\n', '"even-odd"\n"train.lr" = 0.001\n')
    variants = designed(tmp_path, whole)
    assert [v.levels["splitter"] for v in variants] == ["even-odd", "issm", "issm"]
    assert [v.config["train"]["lr"] for v in variants] == [0.001, 0.01, 0.001]
    assert [v.config["lifting"]["name"] for v in variants] == ["attention", "attention", "none"]


OWN = """
from typing import Annotated
from study.config.layouts import Layout
from study.config.registry import Range, component

@component("design")
def ends(reference, factors, *, most: Annotated[int, Range(1), "levels to try"] = 1):
    \"\"\"The last levels of each factor.\"\"\"
    cells = [{**reference, factor: level} for factor, levels in factors.items() for level in levels[-most:]]
    return Layout([reference, *(cell for cell in cells if cell != reference)])
"""


def test_a_design_of_one_s_own_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_designs.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "s.toml"
    file.write_text('[design]\nkind = "ends"\nmost = 2\n' + SPLITTERS)
    registry = Registry(["my_designs"])
    spec = load(file)
    layout = layout_of(spec, Resolver(spec, registry.task({"name": "clips"}), registry, settings(tmp_path)))
    assert [cell["lifting.predictor_depth"].value for cell in layout.cells] == [0, 0, 1, 2]
    file.write_text('[design]\nkind = "ends"\nmost = 0\n' + SPLITTERS)
    spec = load(file)
    with pytest.raises(InputError, match="most: must be an integer of at least 1"):
        layout_of(spec, Resolver(spec, registry.task({"name": "clips"}), registry, settings(tmp_path)))
