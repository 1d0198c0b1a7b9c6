"""Names in any script are drawn if the machine has a font, and named if it has none; reports name no home folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import example_findings
from support.tiny_font import write_font

from study import fonts
from study.analysis.findings import Findings
from study.reporting.figures.draw import draw
from study.reporting.shown import shown, shown_text
from study.reporting.write import write

SCRIPTS = {
    "Chinese": "注意力",
    "Japanese": "カナ",
    "Korean": "주의",
    "Devanagari": "हिन",
    "Thai": "ไทย",
    "emoji": "🙂",
    "Ethiopic": "ሰላም",
}


@pytest.fixture(autouse=True)
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the fonts of the machine, which differ from one to the next."""
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())


def named(name: str) -> Findings:
    """Return findings in which the last variant, title and question have a name."""
    return replace(example_findings.findings(["even-odd", name]), title=name, question=f"{name}?")


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_drawn_where_the_machine_has_a_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert fonts.fallback(text).missing == "".join(sorted(set(text)))
    write_font(tmp_path / "Tiny.ttf", text, f"Tiny{ord(text[0]):x}")
    monkeypatch.setattr(fonts, "_system_fonts", lambda: (tmp_path / "Tiny.ttf",))
    found = fonts.fallback(f"Latin {text}")
    assert (found.files, found.missing, found.sentence) == ((tmp_path / "Tiny.ttf",), "", "")
    drawn = draw(named(text))["figures/repetitions.pdf"]
    assert f"Tiny{ord(text[0]):x}".encode() in drawn, "a PDF names the fonts that it embeds"


def test_what_no_font_has_is_named_in_one_sentence_and_still_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    write(named("注意"), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.count("cannot show") == 1
    assert "script: cjk" in text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_letters_of_the_own_font_need_no_other() -> None:
    found = fonts.fallback("über ± Ελληνικά лаб \t\n\x1b\udcff")
    assert (found.files, found.sentence) == ((), "")


def test_a_font_of_placeholders_counts_for_nothing() -> None:
    files = [Path("/f/LastResortHE-Regular.ttf"), Path("/f/NotoSans-Regular.ttf")]
    assert fonts.usable(files) == files[1:]


def test_files_that_are_no_fonts_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn.ttf").write_bytes(b"\0" * 100)
    monkeypatch.setattr(fonts, "_system_fonts", lambda: (tmp_path / "torn.ttf", tmp_path / "gone.ttf"))
    assert fonts.fallback("注").missing == "注"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice/lab/w.pt", "~/lab/w.pt"),
        ("see '/home/alice'", "see '~'"),
        ("/Users/bob/x and /home/eve/y", "~/x and ~/y"),
        (r"C:\Users\bob\data", r"~\data"),
        ("/me/mine/x", "~/x"),
        ("/me/mine2/x", "/me/mine2/x"),
        ("a/home/b/c", "a/home/b/c"),
        ("frame-\udcff.png", "frame-�.png"),
        ("http://me:secret@host/db", "http://me:…@host/db"),
    ],
)
def test_home_folders_of_anybody_are_left_out(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/me/mine"))
    assert shown_text(text) == expected


def test_no_file_of_a_report_names_a_home_folder(tmp_path: Path) -> None:
    secret = "/home/alice/lab/weights.pt"
    findings = named(secret)
    findings = replace(
        findings,
        facts={**findings.facts, "weights": secret},
        notes=(secret,),
        configuration={"network": {"weights": secret}},
        skipped=(f"{secret}: not read",),
    )
    for file in write(findings, tmp_path):
        assert b"alice" not in file.read_bytes(), file
    variants = json.loads((tmp_path / "findings.json").read_text(encoding="utf-8"))["variants"]
    assert variants[-1]["name"] == "~/lab/weights.pt"


def test_findings_without_anything_to_hide_are_the_same_object() -> None:
    findings = example_findings.findings()
    assert shown(findings, fonts.Fallback((), "")) is findings
