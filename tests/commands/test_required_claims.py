"""``--require-claims``: a claim that no longer holds fails a build, with a code of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli.app import app
from study.errors import InputError

STUDY = """
title = "t"
question = "Does attention help?"
repetitions = 3
[task]
function = "claimed:train"
metric = "acc"
data_version = "1"
[base]
attention = false
gain = 0.1
[design]
kind = "one-factor"
reference = { attention = false }
[factors]
attention = [false, true]
[[claims]]
that = { attention = true }
beats = { attention = false }
"""
TRAINING = """
def train(config, run):
    if config["attention"] and config["gain"] > 1:
        raise ValueError("out of luck")
    noise = (run.seed_for("noise") % 1000) / 1e6 if config["attention"] else 0
    score = 0.5 + (config["gain"] + noise) * config["attention"] + (run.seed % 5) / 100
    run.report(1, acc=score)
    run.test(acc=score)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "study.toml").write_text('mlflow = "off"\nworkers = 1\n')
    (tmp_path / "claimed.py").write_text(TRAINING)
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path


def code(*words: str) -> int:
    return CliRunner().invoke(app, list(words), catch_exceptions=False).exit_code


@pytest.mark.parametrize(
    ("gain", "plain", "strict"),
    [("0.1", 0, 0), ("-0.1", 3, 3), ("2.0", 1, 1)],
    ids=["supported", "refuted", "failed runs"],
)
def test_a_run_ends_with_the_code_of_its_claims(gain: str, plain: int, strict: int) -> None:
    words = ["s.toml", "--set", f"base.gain={gain}"]
    assert code("run", *words) == (1 if plain == 1 else 0), "claims are not required unless asked for"
    assert code("run", *words, "--require-claims") == plain
    assert code("run", *words, "--require-claims=strict") == strict
    if plain != 1:
        assert code("report", *words, "--require-claims") == plain


def test_an_undecided_claim_fails_a_strict_build_alone(project: Path) -> None:
    (project / "results.csv").write_text(
        "variant,repetition,score\n"
        + "".join(f"base,{n},0.5\nnew,{n},{0.5 + 0.1 * (-1) ** n}\n" for n in range(6))
    )
    words = ["judge", "results.csv", "--claim", "new"]
    assert code(*words) == 0
    assert code(*words, "--require-claims") == 0
    assert code(*words, "--require-claims=strict") == 4


def test_requiring_claims_of_a_study_without_any_is_refused_before_it_trains(project: Path) -> None:
    (project / "s.toml").write_text(STUDY.partition("[[claims]]")[0])
    for words in (["run", "s.toml", "--require-claims"], ["run", "s.toml", "--explore", "--require-claims"]):
        with pytest.raises(InputError):
            CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    assert not (project / ".study" / "ledger").exists()


def test_an_exploration_prints_a_ranking_and_no_report(project: Path) -> None:
    result = CliRunner().invoke(app, ["run", "s.toml", "--explore"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (project / "reports" / "s" / "exploration.md").read_text() in result.stdout
    assert not (project / "reports" / "s" / "report.md").exists()
