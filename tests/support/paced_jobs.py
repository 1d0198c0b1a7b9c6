"""A trainer with pauses, and with a log outside the ledger of every epoch that was ever reported.

The environment variable ``PACE`` names the trainer, the log and the longest pause, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from study.records import Epoch, RunSpec
from study.testing import fake

evaluate, measure, profile = fake.evaluate, fake.measure, fake.profile


def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
    pace = json.loads(os.environ["PACE"])
    if pace["trainer"] == fake.__name__:
        assert "torch" not in sys.modules, "the fake trainer needs no torch"
    draw = random.Random(f"{pace['seed']} {spec.id}")

    def reported(epoch: Epoch) -> None:
        with Path(pace["log"]).open("a") as log:
            log.write(f"{spec.id} {epoch.epoch}\n")
        on_epoch(epoch)
        time.sleep(draw.uniform(0, pace["longest_s"]))

    importlib.import_module(pace["trainer"]).train(spec, folder, reported, rule)
