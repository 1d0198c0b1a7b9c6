"""A trainer with pauses, and with a log outside the ledger of every epoch that was ever reported.

``PACE`` in the environment of its process says which, where the log is and how long pauses may be.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from pathlib import Path

from study.testing import fake

evaluate, measure, profile = fake.evaluate, fake.measure, fake.profile


def train(spec, folder: Path, on_epoch, rule: str = "") -> None:
    pace = json.loads(os.environ["PACE"])
    if pace["trainer"] == fake.__name__:
        assert "torch" not in sys.modules, "the fake trainer needs no torch"
    draw = random.Random(f"{pace['seed']} {spec.id}")

    def reported(epoch) -> None:
        with Path(pace["log"]).open("a") as log:
            log.write(f"{spec.id} {epoch.epoch}\n")
        on_epoch(epoch)
        time.sleep(draw.uniform(0, pace["longest_s"]))

    importlib.import_module(pace["trainer"]).train(spec, folder, reported, rule)
