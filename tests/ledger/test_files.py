from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.errors import InputError
from study.files import write
from study.records import SCHEMA, Failure, from_json, to_json


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "folder" / "result.json"
    write(path, "old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", no_space) if call == "fsync" else (Path, "replace", no_space)))
    with pytest.raises(OSError, match="No space"):
        write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_record_of_a_newer_version_is_refused_by_number(tmp_path: Path) -> None:
    text = to_json(Failure("r", "train", "why", "")).replace(f'"schema": {SCHEMA}', '"schema": 99')
    with pytest.raises(InputError, match=r"schema 99.*upgrade study"):
        from_json(Failure, text, "failure.json")


def test_a_record_from_before_the_first_release_is_refused_with_what_to_do() -> None:
    text = to_json(Failure("r", "train", "why", "")).replace(f'"schema": {SCHEMA}', '"schema": 1')
    with pytest.raises(InputError, match=r"failure.json: .*before the first release.*Move its folder aside"):
        from_json(Failure, text, "failure.json")


def test_a_torn_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"failure.json: not a readable Failure"):
        from_json(Failure, to_json(Failure("r", "train", "why", ""))[:30], "failure.json")


def test_records_survive_the_disk() -> None:
    failure = Failure("r2-ä", "train", "why\nnot", "…")
    assert from_json(Failure, to_json(failure)) == failure
