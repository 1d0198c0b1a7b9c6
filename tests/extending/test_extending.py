"""A metric, an optimizer and a task of a user's own take one file each and work like built-in ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import cohen_kappa_score

import study
from study.config.registry import Registry
from study.executors.inprocess import InProcess
from study.ledger.predictions import load as predictions
from study.testing.report import check_component

HERE = Path(__file__).parent
CLIPS = """
title = "t"
question = "Does it?"
repetitions = 2
[base]
network = "plain"
dataset = { name = "faces", train_clips = 32, validation_clips = 14, test_clips = 21 }
[train]
epochs = 1
batch_size = 16
"""
RIDGE = """
title = "Ridge"
question = "Does a strong penalty hurt?"
repetitions = 3
task = { name = "diabetes" }
factors = { penalty = [0.0, 100.0] }
design = { kind = "one-factor", reference = { penalty = 0.0 } }
claims = [{ that = { penalty = 0.0 }, beats = { penalty = 100.0 } }]
analysis = { rope = 1.0 }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's folder with the three files."""
    for name in ("kappa", "lion", "diabetes"):
        shutil.copy(HERE / f"{name}.py", tmp_path)
    components = 'components = ["kappa", "lion", "diabetes"]\n'
    (tmp_path / "study.toml").write_text(components + 'device = "cpu"\nmlflow = "off"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(project: Path, text: str) -> tuple[study.Study, dict[str, Any]]:
    (project / "s.toml").write_text(text)
    requested = study.load("s.toml")
    requested.run(executor=InProcess(), listeners=[])
    return requested, json.loads((project / "reports" / "s" / "findings.json").read_text())


def test_a_metric_judges_epochs_and_variants(project: Path) -> None:
    design = '[factors]\n"train.lr" = [1e-3, 3e-3]\n[analysis]\nmetric = "cohens-kappa"\n'
    requested, found = run(project, CLIPS + design)
    assert found["metric"] == "cohens-kappa"
    for variant in found["variants"]:
        for repetition in variant["repetitions"]:
            kept = predictions(requested.ledger.root / "runs" / repetition["run"] / "test.npz")
            expected = cohen_kappa_score(kept.labels, kept.logits.argmax(axis=1))
            assert repetition["score"] == pytest.approx(expected, abs=1e-12)


def test_an_optimizer_trains_and_conforms(project: Path) -> None:
    _, found = run(project, CLIPS + '[factors]\noptimizer = ["adamw", "lion"]\n')
    assert [variant["name"] for variant in found["variants"]] == ["adamw", "lion"]
    assert all(len(variant["repetitions"]) == 2 for variant in found["variants"])
    outcomes = list(check_component("lion", "optimizer", Registry(["lion"])))
    assert outcomes
    assert not any(outcome.is_failure for outcome in outcomes)


def test_a_task_with_a_minimized_metric_gets_a_verdict(project: Path) -> None:
    requested, found = run(project, RIDGE)
    light, heavy = found["variants"]
    assert light["score"]["mean"] < heavy["score"]["mean"], "a lower error is better"
    assert heavy["difference"]["verdict"] == "hurts"
    assert found["claims"][0]["verdict"] == "supported"
    for variant, penalty in ((light, 0.0), (heavy, 100.0)):
        for repetition in variant["repetitions"]:
            spec = json.loads((requested.ledger.root / "runs" / repetition["run"] / "run.json").read_text())
            assert repetition["score"] == pytest.approx(by_scikit_learn(spec["seed"], penalty), rel=1e-9)


def by_scikit_learn(seed: int, penalty: float) -> float:
    from sklearn.datasets import load_diabetes

    from study.hashing import seed_of

    inputs, targets = load_diabetes(return_X_y=True)
    inputs = np.column_stack([np.ones(len(inputs)), inputs])
    fit = np.random.default_rng(seed_of(seed, "split")).permutation(342)[:242]
    model = Ridge(alpha=penalty, fit_intercept=False, solver="svd").fit(inputs[fit], targets[fit])
    return float(np.sqrt(np.mean((model.predict(inputs[342:]) - targets[342:]) ** 2)))
