"""What commands print: on any encoding, and without obeying what a text holds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from study.executors.base import detail_of, reason_of
from study.terminal.output import PrintedConsole, PrintedText, printable, printed_text

ESCAPES = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;title\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x1b\\",
    "8-bit": "\x9b31mred",
    "backspaces": "safe\x08\x08\x08\x08evil",
    "overwriting": "safe\revil",
    "right to left": "gpj.\u202eexe",
    "null": "a\x00b",
    "half of a character": "frame-\udcff.png",
}


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & set("\x1b\x07\x9b\x08\r\x00\u202e\udcff")
    shown.encode()
    for word in ("red", "title", "evil", "exe", "png"):
        assert (word in shown) == (word in text)


def test_letters_of_every_script_and_line_breaks_stay() -> None:
    text = "注意 é ñ 😀 العربية\n\tüber ± 3 %"
    assert printable(text) == text


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_rich_shows_texts_printable_wherever_they_stand(text: str, is_terminal: bool) -> None:
    def output(make: type[Console], text: str) -> str:
        console = make(
            file=io.StringIO(), force_terminal=is_terminal, width=80, color_system=None, legacy_windows=False
        )
        table = Table(text)
        table.add_row(Text(text))
        console.print(text, markup=False, highlight=False)
        console.print(table)
        with Progress(console=console, disable=not is_terminal) as bar:
            bar.add_task(text, total=None)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    written = output(PrintedConsole, text)
    harmless = output(Console, "x")
    assert written.count("\x1b") == harmless.count("\x1b"), "only those of Rich"
    assert not set(written) & set("\x07\x9b\x08\x00\u202e\udcff")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed_on_any_encoding(encoding: str) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with printed_text(out, err):
        print("注意 ± ✓ \udcff")
        print("Error: ✓", file=sys.stderr)
        Console().print("━ ✓")
    for stream in (out, err):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue().decode(encoding)


def test_a_stream_is_what_it_was_in_all_other_respects() -> None:
    stream = io.StringIO()
    printed = PrintedText(stream)
    printed.writelines(["a\x1b\n", "b\n"])
    assert stream.getvalue() == "a\N{REPLACEMENT CHARACTER}\nb\n"
    assert printed.isatty() is False
    assert printed.rich_proxied_file is stream


def test_a_failure_can_be_recorded_whatever_its_message_holds() -> None:
    error = FileNotFoundError(2, "No such file", "frame-\udcff.png")
    for text in (reason_of(error), detail_of(error)):
        text.encode()
        assert "frame-" in text
        assert ".png" in text


STUDY = """
title = "t"
question = "Does \\u001b[31m注意 help?"
repetitions = 2
[task]
function = "mine:train"
metric = "acc"
data_version = "1"
[base]
attention = false
[design]
kind = "one-factor"
reference = { attention = false }
[factors]
attention = [false, { value = true, label = "+ 注意" }]
"""


def study(folder: Path, *words: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "study", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_plan_is_printed_on_a_narrow_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    (tmp_path / "mine.py").write_text("def train(config, run): ...\n")
    (tmp_path / "s.toml").write_text(STUDY, encoding="utf-8")
    ended = study(tmp_path, "plan", "s.toml", encoding=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\x1b" not in ended.stdout
    assert b"help?" in ended.stdout


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS take UTF-8 names alone")
@pytest.mark.parametrize(
    "words",
    [
        ("plan", "s\udcff.toml"),
        ("plan", "\udcff/s.toml"),
        ("plan", "s.toml", "--set", "base.x=\udcff"),
        ("plan", "s.toml", "--preset", "\udcff"),
        ("status", "\udcff"),
        ("judge", "\udcff.csv"),
        ("reproduce", "\udcff\x1b[31m"),
        ("list", "\udcff"),
    ],
)
def test_names_that_are_not_utf_8_end_in_one_message(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    (tmp_path / "s.toml").write_text(STUDY, encoding="utf-8")
    (tmp_path / os.fsdecode(b"s\xff.toml")).write_text(STUDY, encoding="utf-8")
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    (tmp_path / os.fsdecode(b"\xff/s.toml")).write_text(STUDY, encoding="utf-8")
    ended = study(tmp_path, *words)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert b"\x1b" not in ended.stderr
    assert not (tmp_path / ".study").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS take UTF-8 names alone")
def test_a_working_folder_that_is_not_utf_8_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"p\xff")
    folder.mkdir()
    (folder / "study.toml").write_text('mlflow = "off"\n')
    (folder / "s.toml").write_text(STUDY, encoding="utf-8")
    ended = study(folder, "run", "s.toml")
    assert ended.returncode == 2
    assert "�" in ended.stderr.decode()
    assert sorted(path.name for path in folder.iterdir()) == ["s.toml", "study.toml"]
