"""`study export`: the archive, unpacked elsewhere, gives the same report, and its scores the same differences."""

from __future__ import annotations

import json
import shlex
import tarfile
from pathlib import Path

import pytest
from support.command_lab import CommandLab

from study.ledger import layout


@pytest.fixture
def unpacked(
    finished: CommandLab, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    finished.run(write=None)
    finished.invoke("export", "s.toml", "--out", "review/s.tar.gz")
    folder = tmp_path_factory.mktemp("elsewhere")
    with tarfile.open(finished.folder / "review" / "s.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    monkeypatch.chdir(folder / "s")
    return folder / "s"


def findings(folder: Path, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "reports" / name / "findings.json").read_text())
    return content


def test_report_and_judge_work_on_an_archive_that_is_unpacked_elsewhere(
    unpacked: Path, finished: CommandLab
) -> None:
    exported = findings(finished.folder, "s")
    for file in (unpacked / "reports" / "s").rglob("*"):
        if file.is_file():
            file.unlink()
    finished.invoke("report", "s.toml")
    assert findings(unpacked, "s") == exported
    [command] = [line for line in (unpacked / "README.md").read_text().splitlines() if " judge " in line]
    finished.invoke(*shlex.split(command)[1:])
    judged = findings(unpacked, "scores-judged")
    for ours, theirs in zip(exported["variants"], judged["variants"], strict=True):  # type: ignore[call-overload]
        assert theirs["name"] == ours["name"]
        assert theirs["score"]["mean"] == pytest.approx(ours["score"]["mean"])


def test_an_archive_holds_no_weights_and_says_what_trained(unpacked: Path, finished: CommandLab) -> None:
    assert any(finished.ledger.root.rglob(layout.CLIPS_WEIGHTS)), "the ledger has weights"
    names = {path.name for path in unpacked.rglob("*") if path.is_file()}
    assert not names & {*layout.WEIGHTS, *layout.CHECKPOINTS, layout.LOCK, layout.CLAIM}
    assert {"report.pdf", "report.md", "report.html", "report.tex", "runs.csv", "s.toml"} <= names
    [environment] = json.loads((unpacked / "environment.json").read_text())
    assert environment["runs"] == len(list((unpacked / "ledger" / "runs").iterdir()))
    assert {"versions", "hardware", "platform"} <= environment.keys()
    code = json.loads((unpacked / "code.json").read_text())
    assert set(code) == {variant.name for variant in finished.record().variants}


def test_an_archive_is_not_overwritten(finished: CommandLab) -> None:
    Path("s.tar.gz").write_text("mine")
    finished.input_error("export", "s")
    assert Path("s.tar.gz").read_text() == "mine"
