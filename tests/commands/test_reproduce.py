"""``study reproduce``: one run, trained again from its folder alone."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.edits import edit
from typer.testing import CliRunner

from study.cli import app as cli
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError, StudyError
from study.hashing import file_digest
from study.ledger.predictions import load as load_predictions
from study.ledger.predictions import save
from study.ledger.store import Ledger
from study.records import RunSpec, to_json
from study.tasks.work import train

STUDY = """
title = "t"
question = "Does it?"
[base]
dataset = { name = "faces", train_clips = 40, validation_clips = 14, test_clips = 14 }
backbone = "conv-tiny"
[train]
batch_size = 8
epochs = 3
[design]
kind = "one-factor"
reference = { "train.ema" = 0.0 }
[factors]
"train.ema" = [0.0, 0.9]
"""


FORGETFUL = '''
from torch import nn
from study import component


class Forgetful(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(shape.channels, classes)
        self.seen = 0

    def forward(self, clips):
        self.seen += self.training
        return self.head(clips.mean((2, 3, 4))) * (1 + self.seen)


@component("network")
def forgetful(shape, classes, build):
    """Counts its steps in a plain attribute."""
    return Forgetful(shape, classes)
'''
DIFFERENT = "DIFFERENT: "
Recorded = tuple[RunSpec, Path]
"""A run and its folder."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path]:
    """Return a run that was trained, and the folder of a ledger that holds it."""
    root = tmp_path_factory.mktemp("lab")
    (root / "s.toml").write_text(STUDY)
    record = compile_study(load(root / "s.toml"), settings(root), "cpu")
    run = record.variants[0].run({}, 1, None)
    ledger = Ledger(root / "ledger")
    ledger.save(record)
    ledger.begin(run)
    train(run, ledger.run_folder(run), lambda epoch: None)
    return run, ledger.root


@pytest.fixture
def recorded(
    trained: tuple[RunSpec, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[RunSpec, Path]:
    """Return the run and its folder in a ledger that a test may spoil, seen from that ledger's lab."""
    run, root = trained
    shutil.copytree(root, tmp_path / ".study" / "ledger")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("")
    return run, tmp_path / ".study" / "ledger" / "runs" / run.id


def reproduce(run: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["reproduce", run])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def verdicts(output: str) -> dict[str, str]:
    """Return what is said of each compared part of the run."""
    parts = "history|weights|predictions|result"
    return dict(re.findall(rf"^ *({parts}) +(.*)$", output, flags=re.MULTILINE))


def files(root: Path) -> dict[str, str]:
    return {str(path): file_digest(path) for path in root.rglob("*") if path.is_file()}


def respecified(run: RunSpec, folder: Path, **changes: Any) -> RunSpec:
    """Make the recorded run one of another request, as if it had been trained so."""
    other = replace(run, **changes)
    edit(folder / "result.json", run=other.id)
    (folder / "run.json").write_text(to_json(other))
    return other


def test_a_run_reproduces_and_nothing_in_the_ledger_is_changed(recorded: Recorded) -> None:
    run, folder = recorded
    before = files(folder.parent.parent)
    code, output = reproduce(run.id)
    assert code == 0
    lines = output.splitlines()
    assert "changed" not in output
    assert [line.split(",")[0] for line in lines[2:5]] == [f"  epoch {n} of 3" for n in (1, 2, 3)]
    assert all(line.endswith(": as recorded") for line in lines[2:5])
    assert [line.split(":")[0].split() for line in lines[5:9]] == [
        [what, "identical"] for what in ("history", "weights", "predictions", "result")
    ]
    assert files(folder.parent.parent) == before


def test_a_network_that_a_test_cannot_load_does_not_reproduce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training itself is repeated bit for bit; what it leaves behind is not the network that was trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "study.toml").write_text('components = ["forgetful"]')
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    (tmp_path / "s.toml").write_text(STUDY.replace('backbone = "conv-tiny"', 'network = "forgetful"'))
    run = compile_study(load(tmp_path / "s.toml"), settings(tmp_path), "cpu").variants[0].run({}, 1, None)
    ledger = Ledger(tmp_path / ".study" / "ledger")
    ledger.begin(run)
    train(run, ledger.run_folder(run), lambda epoch: None)
    code, output = reproduce(run.id)
    assert code == 1
    assert "weights      identical" in output
    assert "does not predict what it predicted in training" in output.splitlines()[-1]


def test_a_run_is_found_by_its_beginning_and_by_its_folder(recorded: Recorded, tmp_path: Path) -> None:
    run, folder = recorded
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    for name in (run.id[:6], run.id[3:9], str(tmp_path / "elsewhere" / "copy")):
        assert reproduce(name)[0] == 0


def test_search_trials_whose_weights_are_gone_are_compared_in_what_is_left(recorded: Recorded) -> None:
    run, folder = recorded
    (folder / "weights.safetensors").unlink()
    (folder / "validation.npz").unlink()
    code, output = reproduce(run.id)
    assert code == 0
    assert verdicts(output)["weights"].startswith("not compared")
    assert verdicts(output)["history"].startswith("identical")


def test_the_first_epoch_that_differs_is_named_with_both_values(recorded: Recorded) -> None:
    run, folder = recorded
    result = json.loads((folder / "result.json").read_text())
    now = result["history"][1]["train_loss"]
    result["history"][1]["train_loss"] = now + 0.25
    edit(folder / "result.json", history=result["history"])
    code, output = reproduce(run.id)
    assert code == 1
    found = verdicts(output)
    assert found["history"].startswith(DIFFERENT)
    assert re.search(rf"epoch 2\b.*train loss {now + 0.25!r}, now {now!r}", found["history"])
    assert "epoch 1 of" in output.split("not as recorded")[0]
    assert found["weights"].startswith("identical")


def test_the_tensors_that_differ_are_named_and_by_how_much(recorded: Recorded) -> None:
    run, folder = recorded
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    first, second, *_ = sorted(weights)
    weights[first].view(-1)[0] += 0.5
    weights[second].view(-1)[0] -= 2.0
    (folder / "weights.safetensors").write_bytes(safetensors.torch.save(weights))
    code, output = reproduce(run.id)
    assert code == 1
    found = verdicts(output)
    assert found["weights"].startswith(DIFFERENT)
    assert re.search(rf"\b2 of {len(weights)}\b.*{first}\b.* 2\b.*{second}\b", found["weights"])
    assert found["predictions"].startswith("identical")


def test_the_clips_that_differ_are_named_and_how_many_change_class(recorded: Recorded) -> None:
    run, folder = recorded
    kept = load_predictions(folder / "validation.npz")
    logits = kept.logits.copy()
    logits[3, logits[3].argmin()] = np.float32(100)
    save(folder / "validation.npz", replace(kept, logits=logits))
    code, output = reproduce(run.id)
    assert code == 1
    found = verdicts(output)["predictions"]
    assert found.startswith(DIFFERENT)
    assert re.search(rf"\b1 of 14\b.*{re.escape(str(kept.ids[3]))}", found)
    assert "class of 1" in found


def test_another_result_is_shown(recorded: Recorded) -> None:
    run, folder = recorded
    edit(folder / "result.json", parameters=7, nondeterministic=["put_"])
    code, output = reproduce(run.id)
    assert code == 1
    found = verdicts(output)["result"]
    assert found.startswith(DIFFERENT)
    assert "parameters 7, now " in found
    assert "nondeterministic ('put_',), now ()" in found


def test_other_code_data_and_libraries_are_shown_before_training(recorded: Recorded) -> None:
    run, folder = recorded
    known = folder.parent.parent / "code"
    parts = json.loads((known / f"{run.code_digest}.json").read_text())["content"]
    backbone = "study.tasks.clips.nets.video.backbones"
    assert backbone in parts
    (known / "1234567890abcdef.json").write_text(json.dumps({**parts, backbone: "other"}))
    result = json.loads((folder / "result.json").read_text())
    result["machine"]["versions"]["torch"] = "1.0"
    result["machine"]["hardware"] = "Abacus"
    edit(folder / "result.json", machine=result["machine"])
    other = respecified(run, folder, code_digest="1234567890abcdef", data_digest="fedcba0987654321")
    code, output = reproduce(str(folder))
    before_training = output.split("Training again")[0]
    changes = {
        backbone: (run.code_digest, "1234567890abcdef"),
        "data": (run.data_digest, "fedcba0987654321"),
        "torch": (torch.__version__.partition("+")[0], "1.0"),
        "hardware": ("", "Abacus"),
    }
    for what, (now, recorded_as) in changes.items():
        assert re.search(rf"\b{what}\b.*{re.escape(now)}.*\b{recorded_as}\b", before_training), what
    assert other.id in before_training
    assert code == 0


def test_a_mistake_is_one_message_and_exit_code_2(recorded: Recorded, tmp_path: Path) -> None:
    run, folder = recorded
    with pytest.raises(InputError, match="'r2-ffff'"):
        reproduce("r2-ffff")
    shutil.copytree(folder, folder.with_name(run.id[:-1] + "x"))
    with pytest.raises(InputError, match=r"2 runs .*'r2-'"):
        reproduce("r2-")
    edit(folder / "run.json", seed=2)
    with pytest.raises(InputError, match=rf"result\.json.*{run.id}"):
        reproduce(run.id)
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match="no result"):
        reproduce(run.id)
    assert InputError.exit_code == 2


def test_a_run_that_cannot_be_trained_here_is_a_mistake_and_not_a_difference(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = recorded
    reason = "The GPU ran out of memory"

    def no_memory(*_: object) -> None:
        raise StudyError(reason)

    with monkeypatch.context() as patch:
        patch.setattr("study.tasks.work.train", no_memory)
        with pytest.raises(InputError, match=reason):
            reproduce(str(folder))
    monkeypatch.setattr("study.executors.devices.cuda_devices", lambda: ())
    run = respecified(*recorded, device="cuda")
    with pytest.raises(InputError, match=f"{run.id} .*GPU.*none"):
        reproduce(str(folder))


@pytest.mark.parametrize("name", ["weights.safetensors", "validation.npz"])
def test_a_damaged_file_is_one_message_that_names_it(recorded: Recorded, name: str) -> None:
    run, folder = recorded
    (folder / name).write_bytes((folder / name).read_bytes()[:500])
    with pytest.raises(InputError, match=f"{name}: not a file of"):
        reproduce(run.id)
