"""``study check determinism`` on studies whose losses cannot be repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study.cli import app as cli
from study.cli.runs import representative_variants
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.ledger.record import StudyRecord

STUDY = """
title = "t"
question = "Does it?"
[base]
dataset = {{ name = "faces", train_clips = 40, validation_clips = 14, test_clips = 14 }}
backbone = "conv-tiny"
[train]
batch_size = 8
{train}
[design]
kind = "{kind}"
reference = {reference}
[factors]
{factors}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a lab's folder, the working folder, with the careless losses in its study.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "study.toml").write_text('components = ["support.careless_parts"]\ndevice = "cpu"\n')
    return tmp_path


def study(lab: Path, factors: dict[str, list[Any]], kind: str = "one-factor", train: str = "") -> Path:
    reference = ", ".join(f'"{key}" = {json.dumps(levels[0])}' for key, levels in factors.items())
    text = STUDY.format(
        kind=kind,
        reference=f"{{ {reference} }}",
        factors="\n".join(f'"{key}" = {json.dumps(levels)}' for key, levels in factors.items()),
        train=train,
    )
    (lab / "s.toml").write_text(text)
    return lab / "s.toml"


def check(file: Path, *options: str) -> tuple[int, dict[str, str], str]:
    """Return the exit code, the output on each variant, and the whole output."""
    result = CliRunner().invoke(cli.app, ["check", "determinism", str(file), "--steps", "4", *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    parts = re.split(r"\n  (?=\S)", result.output)
    return result.exit_code, {part.split("\n")[0].split(":")[0]: part for part in parts[1:]}, result.output


def test_what_cannot_be_repeated_is_shown_with_the_step_and_the_tensor(lab: Path) -> None:
    code, variants, output = check(study(lab, {"loss": ["forgetful", "random-loss", "breaking"]}))
    assert code == 1
    assert 's: 3 variants, 4 steps each, determinism = "warn"' in output
    assert "trained twice: bit-exact" in variants["forgetful"]
    assert "killed and resumed: DIVERGED, first in step 3: the loss; predictions by" in variants["forgetful"]
    assert "trained twice: DIVERGED, first in step 1: the loss" in variants["random-loss"]
    assert "the probe failed: ValueError: no second loss can be had here" in variants["breaking"]
    assert not (lab / ".study" / "ledger").exists()


def test_what_cannot_take_a_single_step_is_refused_with_its_variant(lab: Path) -> None:
    with pytest.raises(InputError, match="variant 'broken': the loss failed: ValueError: no loss can be had"):
        check(study(lab, {"loss": ["honest", "broken"]}))


def test_what_repeats_itself_but_for_rounding_ends_well_and_names_the_operator(lab: Path) -> None:
    code, variants, _ = check(study(lab, {"loss": ["honest", "rounding"]}))
    assert code == 0
    assert variants["honest"].split("\n")[1:3] == [
        "    trained twice: bit-exact",
        "    killed and resumed: bit-exact",
    ]
    assert "trained twice: within tolerance, first in step 1: " in variants["rounding"]
    assert "without a deterministic form: put_" in variants["rounding"]


def record(file: Path) -> StudyRecord:
    return compile_study(load(file, None, []), settings(file.parent), "cpu")


def test_only_combinations_with_a_new_component_are_trained(lab: Path) -> None:
    factors = {"loss": ["honest", "forgetful"], "train.ema": [0.0, 0.9], "splitter": ["even-odd", "issm"]}
    whole = record(study(lab, factors, kind="factorial"))  # type: ignore[arg-type]
    chosen = list(representative_variants(whole))
    assert len(whole.variants) == 8
    assert chosen[0].is_reference
    assert len(chosen) == 4
    for key in factors:
        kind, _, parameter = key.partition(".")
        tables = [variant.template.config[kind] for variant in chosen]
        assert len({table[parameter] if parameter else table["name"] for table in tables}) == 2
