"""How this ledger was made: by the version that wrote schema 1, with the trainer that trains nothing.

``python tests/ledgers/schema-1/make.py`` in a checkout of that version writes the ledger anew beside this
file. Nobody runs it again: the files are kept because they were written by that version and no later one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from study.engine import conductor
from study.executors.inprocess import InProcess
from study.ledger.store import Ledger
from study.config.compile import TARGETS, prepare
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load
from study.testing import fake

HERE = Path(__file__).parent
FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
UNLUCKY_TRIAL = 2


def main() -> None:
    study = HERE / "s.toml"
    trials = 0
    train, measure = fake.train, fake.measure

    def unlucky_training(spec, folder, on_epoch):
        nonlocal trials
        trials += 1
        if trials == UNLUCKY_TRIAL:
            raise RuntimeError("out of luck")
        train(spec, folder, on_epoch)

    def unlucky_measure(spec, folder, on_epoch, key):
        if key.startswith("probes"):
            raise RuntimeError("no luck here either")
        measure(spec, folder, on_epoch, key)

    fake.train, fake.measure = unlucky_training, unlucky_measure
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        record = prepare(load(study), Registry(), settings(home), "cpu")
        ledger = Ledger(home / "ledger")
        conductor.run(record, ledger, InProcess(), home / "reports", lambda event: None, FAKE)
        for name in ("runs", "studies", "profiles"):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(home / "ledger" / name, HERE / name)
        shutil.copy(home / "reports" / study.stem / "findings.json", HERE)


if __name__ == "__main__":
    main()
