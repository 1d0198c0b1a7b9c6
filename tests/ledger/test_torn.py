"""A file that a crash of the disk left empty or half: named, and made again instead of read as data."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.lab import Lab

from study.engine import jobs

MADE_AGAIN = (
    "runs/*/result.json",
    "runs/*/test.json",
    "profiles/*/profile.json",
    "studies/s/suggestions/*.json",
    "studies/s/study.json",
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.parametrize("left", [0.0, 0.5], ids=["empty", "half"])
def test_torn_files_are_named_and_made_again(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    monkeypatch.setattr("study.reporting.write.write", lambda *_: None)
    first = lab.run()
    whole: dict[Path, bytes] = {}
    for number, pattern in enumerate(MADE_AGAIN):
        files = sorted(lab.ledger.root.glob(pattern))
        torn = files[number % len(files)]
        whole[torn] = torn.read_bytes()
        torn.write_bytes(whole[torn][: int(left * len(whole[torn]))])
    again = Lab(lab.folder)
    with caplog.at_level(logging.WARNING, "study.ledger.store"):
        second = again.run()
    for file, content in whole.items():
        assert f"{file} is torn" in caplog.text
        assert file.read_bytes() == content
    assert [variant.repetitions for variant in second.variants] == [
        variant.repetitions for variant in first.variants
    ]
    assert second.answer == first.answer
    assert not jobs.failures(again.record(), again.ledger)


def test_a_torn_request_is_written_again_before_its_run_is_trained(lab: Lab) -> None:
    run = lab.record().variants[0].run({}, 0, None)
    lab.ledger.begin(run)
    request = lab.ledger.run_folder(run) / "run.json"
    whole = request.read_text()
    request.write_text(whole[:100])
    lab.ledger.begin(run)
    assert request.read_text() == whole


def test_a_torn_history_shows_no_epochs(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    run = lab.record().variants[0].run({}, 0, None)
    folder = lab.ledger.run_folder(run)
    folder.mkdir(parents=True)
    (folder / "history.json").write_text('[{"epoch": 1, "tr')
    with caplog.at_level(logging.WARNING, "study.ledger.store"):
        assert lab.ledger.history(run) == ()
    assert "history.json is torn" in caplog.text


def test_a_torn_failure_is_no_reason_not_to_try(lab: Lab) -> None:
    run = lab.record().variants[0].run({}, 0, None)
    folder = lab.ledger.run_folder(run)
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text("")
    assert not lab.ledger.state(run.id).final
