"""A test job that finds its weights damaged at its first attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from study.errors import DamagedWeightsError
from study.files import remove
from study.ledger.layout import CLIPS_WEIGHTS, RESULT
from study.ledger.reading import Reader, differing_file
from study.records import Epoch, RunResult, RunSpec
from study.testing import fake


def evaluate(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    weights, mark = folder / CLIPS_WEIGHTS, folder / "attempted"
    if not mark.exists():
        mark.touch()
        weights.write_text("other bytes")
    result = Reader().record(RunResult, folder / RESULT)
    assert result is not None
    if differing_file(folder, result.files, (CLIPS_WEIGHTS,)):
        remove(weights)
        raise DamagedWeightsError("damaged")
    fake.evaluate(spec, folder, on_epoch)
