"""Damaged files of a ledger: detected, named and made again; never read as data, never overwritten if unreadable."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support.lab import Lab

from study.analysis.findings import Findings, LimitCode
from study.engine import conductor
from study.errors import InputError, StudyError
from study.ledger.reading import write_record
from study.ledger.store import Ledger
from study.records import Failure, TestResult, from_json
from study.tasks.clips.data.files.store import CachedRows

SOME, ALL = 100, 1000
"""Damaged ledgers that every run of the tests tries, and that the slow tests try."""
SWAPPED = 0.2
"""The share of damage that swaps two files."""
CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": lambda data, draw: _flipped(data, draw.randrange(len(data)), 1 << draw.randrange(8)),
    "zeroed": lambda data, draw: _overwritten(data, draw.randrange(len(data)), b"\0" * 16),
    "cut": lambda data, draw: data[: draw.randrange(len(data))],
    "doubled": lambda data, _: data + data,
    "digit": lambda data, draw: _other_digit(data, draw),
    "NaN": lambda data, draw: _other_digit(data, draw, b"NaN"),
    "infinite": lambda data, draw: _other_digit(data, draw, b"1e999"),
    "string": lambda data, draw: _other_digit(data, draw, b'"5"'),
    "removed line": lambda data, draw: _without_line(data, draw),
    "empty table": lambda *_: b"{}\n",
    "list": lambda *_: b"[]\n",
    "null": lambda *_: b"null\n",
    "number": lambda *_: b"1\n",
    "deep": lambda *_: b"[" * 100_000,
    "deep table": lambda *_: b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "schema": lambda *_: b'{"schema": "1"}\n',
    "schema of lists": lambda *_: b'{"schema": [1], "run": "r"}\n',
    "surrogate": lambda *_: b'{"run": "\\ud800"}\n',
    "long number": lambda *_: b'{"run": ' + b"9" * 5000 + b"}\n",
}


def _flipped(data: bytes, index: int, bit: int) -> bytes:
    return data[:index] + bytes([data[index] ^ bit]) + data[index + 1 :]


def _overwritten(data: bytes, index: int, value: bytes) -> bytes:
    return (data[:index] + value + data[index + len(value) :])[: len(data)]


def _other_digit(data: bytes, draw: random.Random, value: bytes | None = None) -> bytes:
    digits = [index for index, byte in enumerate(data) if chr(byte).isdigit()]
    index = draw.choice(digits) if digits else 0
    return data[:index] + (value or str(draw.randrange(10)).encode()) + data[index + 1 :]


def _without_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return b"".join(lines)


def figures(found: Findings) -> list[object]:
    """Return all that the findings say, times and warnings left out."""
    return [
        found.answer,
        *(found.claims),
        *((v.name, v.repetitions, v.trials, v.chosen) for v in found.variants),
    ]


@dataclass(frozen=True)
class Sound:
    """A finished study with a copy of its ledger, and its findings."""

    folder: Path
    figures: list[object]

    def restored(self) -> Lab:
        """Return the study with its undamaged ledger."""
        shutil.rmtree(self.folder / "ledger", ignore_errors=True)
        shutil.copytree(self.folder / "copy", self.folder / "ledger")
        return Lab(self.folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    lab = Lab(tmp_path_factory.mktemp("sound"))
    found = figures(lab.run(write=lambda *_: None))
    shutil.copytree(lab.ledger.root, lab.folder / "copy")
    return Sound(lab.folder, found)


def damage(ledger: Path, draw: random.Random) -> tuple[set[str], list[str]]:
    """Damage some files of a ledger; return them and how."""
    damaged, how = set(), []
    files = sorted(path for path in ledger.rglob("*.json") if path.is_file())
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        path = draw.choice(files)
        damaged.add(str(path))
        if draw.random() < SWAPPED:
            other = draw.choice([file for file in files if file.parent.parent == path.parent.parent])
            first, second = path.read_bytes(), other.read_bytes()
            path.write_bytes(second)
            other.write_bytes(first)
            damaged.add(str(other))
            how.append(f"swapped {path} {other}")
        else:
            kind = draw.choice(sorted(CHANGES))
            data = path.read_bytes()
            path.write_bytes(CHANGES[kind](data, draw) if data else b"")
            how.append(f"{kind} {path}")
    return damaged, how


def try_damaged(number: int, sound: Sound) -> bool:
    """Damage the ledger, then report and run the study; return whether it was run.

    The findings are those of the undamaged ledger, or a message names the file that is damaged.
    """
    lab, draw = sound.restored(), random.Random(number)
    damaged, how = damage(lab.ledger.root, draw)

    def found_or_refused(act: Callable[[], Findings]) -> Findings | None:
        try:
            return act()
        except StudyError as error:
            if not any(file in str(error) for file in damaged):
                raise AssertionError(how) from error
            return None

    ledger = Ledger(lab.ledger.root)
    reported = found_or_refused(
        lambda: conductor.report("s", ledger, lab.folder, lambda _: None, write=lambda *_: None)
    )
    assert reported is None or figures(reported) == sound.figures or is_said_to_be_damaged(reported), how
    again = found_or_refused(lambda: lab.run(write=lambda *_: None))
    assert again is None or figures(again) == sound.figures, how
    assert again is None or not is_said_to_be_damaged(again), how
    return again is not None


def is_said_to_be_damaged(found: Findings) -> bool:
    return any(limit.code == LimitCode.DAMAGED for limit in found.limits)


def test_a_damaged_ledger_yields_the_same_findings_or_a_message(sound: Sound) -> None:
    run = sum(try_damaged(number, sound) for number in range(SOME))
    assert run > 0.9 * SOME, "few kinds of damage need a person"


@pytest.mark.slow
def test_many_damaged_ledgers_yield_the_same_findings_or_a_message(sound: Sound) -> None:
    for number in range(SOME, ALL):
        try_damaged(number, sound)


# Single cases


def a_run(lab: Lab) -> tuple[Path, str]:
    """Return the folder of a tested run, and its id."""
    folder = sorted(lab.ledger.root.glob("runs/*/test.json"))[0].parent
    return folder, folder.name


@pytest.fixture
def lab(sound: Sound) -> Lab:
    return sound.restored()


def test_a_test_result_damaged_in_its_middle_is_tested_again(
    lab: Lab, caplog: pytest.LogCaptureFixture, sound: Sound
) -> None:
    folder, _ = a_run(lab)
    whole = (folder / "test.json").read_bytes()
    (folder / "test.json").write_bytes(_overwritten(whole, len(whole) // 2, b"\xff" * 8))
    reported = conductor.report(
        "s", Ledger(lab.ledger.root), lab.folder, lambda _: None, write=lambda *_: None
    )
    (limit,) = [limit for limit in reported.limits if limit.code == LimitCode.DAMAGED]
    assert f"runs/{folder.name}/test.json" in limit.sentence
    with caplog.at_level(logging.WARNING, "study"):
        assert figures(lab.run(write=lambda *_: None)) == sound.figures
    assert [job.run.id for job in lab.started("evaluate")] == [folder.name]
    assert not lab.started("train")
    assert (folder / "test.json").read_bytes() == whole


def test_a_changed_digit_is_not_read_as_a_result(lab: Lab, sound: Sound) -> None:
    folder, run = a_run(lab)
    record = json.loads((folder / "result.json").read_text())
    record["validation"]["war"] = 0.99
    (folder / "result.json").write_text(json.dumps(record))
    assert figures(lab.run(write=lambda *_: None)) == sound.figures
    assert [job.run.id for job in lab.started()] == [run]


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("name", ["result.json", "test.json", "run.json"])
def test_the_record_of_another_run_is_detected_also_in_ledgers_without_checksums(
    lab: Lab, sound: Sound, name: str, is_sealed: bool
) -> None:
    first, second = sorted(path.parent for path in lab.ledger.root.glob("runs/*/test.json"))[:2]
    record = json.loads((second / name).read_text())
    if not is_sealed:
        del record["of"], record["checksum"]
    (first / name).write_text(json.dumps(record))
    assert figures(lab.run(write=lambda *_: None)) == sound.figures
    begun = [*lab.started("train"), *lab.started("evaluate")]
    assert {job.run.id for job in begun} <= {first.name}
    assert bool(begun) == (name != "run.json")


def test_a_ledger_without_checksums_is_read_as_before(lab: Lab, sound: Sound) -> None:
    for path in lab.ledger.root.rglob("*.json"):
        record = json.loads(path.read_text())
        del record["of"], record["checksum"]
        record.pop("files", None)
        path.write_text(json.dumps(record["content"] if list(record) == ["content"] else record))
    assert figures(lab.run(write=lambda *_: None)) == sound.figures
    assert not lab.started()


def test_an_empty_suggestion_is_asked_again(lab: Lab, sound: Sound) -> None:
    file = sorted(lab.ledger.root.glob("studies/s/suggestions/*.json"))[0]
    whole = file.read_bytes()
    for content in ("{}", '{"train.lr": "fast"}', '{"train.lr": 1e9}', "[1]"):
        file.write_text(content)
        assert figures(Lab(lab.folder).run(write=lambda *_: None)) == sound.figures
        assert file.read_bytes() == whole


def test_a_file_that_cannot_be_read_stops_the_study_and_is_not_overwritten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = a_run(lab)
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == folder / name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for name in ("result.json", "test.json", "run.json"):
        before = real(folder / name)
        if name == "run.json":
            (folder / "test.json").unlink()  # so that a job begins
        with pytest.raises(StudyError, match=rf"{name}: cannot be read: Permission denied") as error:
            Lab(lab.folder).run(write=lambda *_: None)
        assert error.value.exit_code == 1
        assert real(folder / name) == before


def test_damaged_predictions_have_their_test_made_again(lab: Lab) -> None:
    folder, run = a_run(lab)
    record = from_json(TestResult, (folder / "test.json").read_bytes())
    (folder / "test.npz").write_bytes(b"predictions")
    digest = hashlib.sha256(b"predictions").hexdigest()
    write_record(folder / "test.json", replace(record, files={"test.npz": digest}))
    assert Ledger(lab.ledger.root).state(run).tested
    (folder / "test.npz").write_bytes(b"predictionz")
    assert not Ledger(lab.ledger.root).state(run).tested


def test_accepted_code_that_was_changed_by_hand_is_refused_with_what_to_do(lab: Lab) -> None:
    lab.ledger.accept_code({"new": "old"})
    file = lab.ledger.root / "accepted.json"
    file.write_text(file.read_text().replace("old", "older"))
    with pytest.raises(InputError, match=r"accepted.json: was changed after it was written.*'checksum'"):
        Ledger(lab.ledger.root).accepted_code()
    file.write_text('{"new": "older"}')
    assert Ledger(lab.ledger.root).accepted_code() == {"new": "older"}


@pytest.mark.parametrize("content", ["{}", "[]", "1", '{"schema": "1"}', "[" * 100_000, "NaN", "null", '"x"'])
def test_json_of_another_shape_is_one_line_with_the_file(content: str) -> None:
    with pytest.raises(InputError, match=r"^failure\.json: not a readable Failure: it [^\n]*$"):
        from_json(Failure, content, "failure.json")


# Caches


def rows(path: Path, asked: list[int]) -> CachedRows:
    def compute(index: int) -> np.ndarray:
        asked.append(index)
        return np.full((4, 8), index + 1, dtype=np.uint8)

    return CachedRows((3, 4, 8), compute, path)


@pytest.mark.parametrize("kind", ["flipped", "zeroed", "cut", "without checksums", "of another file"])
def test_a_damaged_cache_of_pixels_is_computed_again(tmp_path: Path, kind: str) -> None:
    path, asked, every = tmp_path / "rows.npy", list[int](), np.arange(3)
    whole = rows(path, asked).read(every)
    assert whole[:, 0, 0].tolist() == [1, 2, 3]
    assert rows(path, asked).read(every).tolist() == whole.tolist()
    assert asked == [0, 1, 2]
    content = path.read_bytes()
    if kind == "of another file":
        CachedRows((3, 4, 8), lambda index: np.zeros((4, 8), np.uint8), tmp_path / "b.npy").read(every)
        content, damaged = (tmp_path / "b.npy").read_bytes(), (tmp_path / "b.npy").read_bytes()
    elif kind == "without checksums":
        damaged = content[:-12]
    elif kind == "zeroed":
        damaged = content[:128] + b"\0" * 96 + content[-12:]
    else:
        damaged = _flipped(content, 180, 1) if kind == "flipped" else content[:-20]
    path.write_bytes(damaged)
    assert rows(path, asked).read(every).tolist() == whole.tolist()
    assert asked == [0, 1, 2, 0, 1, 2]
    assert np.load(path).tolist() == whole.tolist()
