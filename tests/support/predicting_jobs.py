"""Fake test jobs that keep predictions of 60 clips of 12 persons, as the built-in task does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from study.files import write
from study.ledger.predictions import Predictions, save
from study.records import RunSpec, TestResult, from_json, to_json
from study.tasks.clips.metrics import uar, war
from study.testing import fake

CLIPS, PERSONS = 60, 12


def predictions(spec: RunSpec) -> Predictions:
    """Return predictions in which persons differ in difficulty, and more is right with ISSM."""
    labels = np.arange(CLIPS) % 3
    people = np.arange(CLIPS) // (CLIPS // PERSONS)
    rng = np.random.default_rng(spec.seed % 2**32)
    share = 0.5 + 0.03 * people + 0.1 * (spec.config["splitter"]["name"] == "issm")
    right = rng.random(CLIPS) < share
    logits = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    return Predictions(np.arange(CLIPS).astype(str), np.char.add("p", people.astype(str)), labels, logits)


def evaluate(spec: RunSpec, folder: Path, on_epoch: Any) -> None:
    """Write a test result with its predictions."""
    fake.evaluate(spec, folder, on_epoch)
    kept = predictions(spec)
    save(folder / "test.npz", kept)
    metrics = {"war": war(kept.labels, kept.logits), "uar": uar(kept.labels, kept.logits)}
    result = from_json(TestResult, (folder / "test.json").read_bytes())
    write(folder / "test.json", to_json(replace(result, metrics=metrics, examples=CLIPS)))
