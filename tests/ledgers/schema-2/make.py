"""How this ledger was written: by the version that brought schema 2, with the trainer that trains nothing.

``python tests/ledgers/schema-2/make.py`` in a checkout of that version writes the ledger anew beside this file. Once
that version is released, the files stay as they are: what they show is that later versions read them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine.jobs import TARGETS
from study.executors.inprocess import InProcess
from study.ledger.store import Ledger
from study.records import Epoch, RunSpec
from study.testing import fake

HERE = Path(__file__).parent
FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
FAILING_TRIAL = 2
UNREAD = shutil.ignore_patterns("history.json", "*.npz", "*.safetensors", "lock", "claim")
HOME, PROGRAM = "/home/user/lab", "/home/user/study"
"""Stand in the records where the temporary folder and the checkout were."""


def main() -> None:
    study = HERE / "s.toml"
    trials = 0
    train, measure = fake.train, fake.measure

    def failing_training(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
        nonlocal trials
        trials += 1
        if trials == FAILING_TRIAL:
            raise RuntimeError("the second trial fails")
        train(spec, folder, on_epoch)

    def failing_measure(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], key: str) -> None:
        if key.startswith("probes"):
            raise RuntimeError("this measure fails")
        measure(spec, folder, on_epoch, key)

    setattr(fake, "train", failing_training)  # noqa: B010
    setattr(fake, "measure", failing_measure)  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(study, home)
        (home / "study.toml").touch()
        record = compile_study(load(home / study.name), settings(home), "cpu")
        ledger = Ledger(home / "ledger")
        conductor.run(record, ledger, InProcess(), home / "reports", lambda event: None, FAKE)
        for name in ("runs", "studies", "profiles", "code"):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(home / "ledger" / name, HERE / name, ignore=UNREAD)
            for file in (HERE / name).rglob("*.json"):
                text = file.read_text().replace(folder, HOME)
                file.write_text(text.replace(str(HERE.parents[2]), PROGRAM))
        shutil.copy(home / "reports" / study.stem / "findings.json", HERE)


if __name__ == "__main__":
    main()
