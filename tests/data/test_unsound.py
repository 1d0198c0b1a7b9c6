"""Data that `study data check` calls not sound: `run` refuses them, unless they are accepted; the report says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import study
from study.analysis.findings import LimitCode
from study.cli.app import app
from study.errors import InputError
from study.executors.inprocess import InProcess

STUDY = """
title = "own clips"
question = "Does it train?"
repetitions = 1
[base]
dataset = { name = "clips", root = "tree", frames = 2, size = 16, validation_share = 0.25 }
network = "plain"
[design]
kind = "one-factor"
reference = { readout = "mean" }
[factors]
readout = ["mean", "gru"]
[train]
epochs = 1
batch_size = 8
"""
COPY, ABSENT = "have the content of a test clip", "rain has no clip of these classes: train: no clip of sad"


def tree(
    folder: Path, *, copied: bool = False, untrained: bool = False, with_two_labels: bool = False
) -> None:
    """Write 16 clips of two classes and a study of them; what is asked for makes the data unsound."""
    noise = np.random.default_rng(0)
    rows = ["path,label,split"]
    for number in range(16):
        clip = folder / "tree" / f"c{number}"
        clip.mkdir(parents=True)
        for frame in (1, 2):
            Image.fromarray(noise.integers(0, 255, (16, 16), dtype=np.uint8)).save(clip / f"{frame}.png")
        label, split = ("happy", "sad")[number % 2], "test" if number >= 12 else "train"
        if not (untrained and label == "sad" and split == "train"):
            rows.append(f"c{number},{label},{split}")
    for source, target in ((0, 12),) * copied + ((1, 2),) * with_two_labels:
        for frame in (1, 2):
            shutil.copy(folder / f"tree/c{source}/{frame}.png", folder / f"tree/c{target}/{frame}.png")
    (folder / "tree/clips.csv").write_text("\n".join(rows) + "\n")
    (folder / "s.toml").write_text(STUDY)
    (folder / "study.toml").write_text('mlflow = "off"\nworkers = 1\ndevice = "cpu"\n')


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "reason"), [({"copied": True}, COPY), ({"untrained": True}, ABSENT)], ids=["leak", "class"]
)
def test_run_refuses_what_the_check_calls_unsound(lab: Path, damage: dict[str, bool], reason: str) -> None:
    tree(lab, **damage)
    assert CliRunner().invoke(app, ["data", "check", "clips", "tree"]).exit_code == 1
    with pytest.raises(InputError, match="is not sound") as caught:
        CliRunner().invoke(app, ["run", "s.toml"], catch_exceptions=False)
    assert caught.value.exit_code == 2
    assert reason in str(caught.value)
    assert "--accept-data" in str(caught.value)
    assert not (lab / ".study").exists() or not list((lab / ".study").glob("ledger/runs/*"))
    planned = CliRunner().invoke(app, ["plan", "s.toml"], catch_exceptions=False)
    assert planned.exit_code == 0
    assert reason in planned.output


def test_accepted_data_are_trained_on_and_the_report_says_what_was_accepted(lab: Path) -> None:
    tree(lab, copied=True)
    findings = study.load("s.toml", accept_data=True).run(executor=InProcess(), listeners=[])
    (limit,) = [limit for limit in findings.limits if limit.code is LimitCode.DATA_UNSOUND]
    assert COPY in limit.sentence
    assert "accepted" in limit.sentence
    report = next((lab / "reports").glob("**/report.md")).read_text()
    assert "content of a test clip" in report


def test_sound_data_need_no_option_and_contradicting_labels_limit_the_conclusion(lab: Path) -> None:
    tree(lab)
    data = study.load("s.toml").record.data
    assert data.unsound == ()
    assert data.warnings == ()
    shutil.rmtree(lab / "tree")
    tree(lab, with_two_labels=True)
    data = study.load("s.toml").record.data
    assert data.unsound == ()
    assert "different labels" in data.warnings[0]


def test_a_line_break_in_a_file_name_does_not_break_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path)
    (tmp_path / "tree/c0/1\n1.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(app, ["data", "check", "clips", "tree"]).output
    assert any("clip c0" in line and "1\ufffd1.png" in line for line in printed.splitlines()), printed
