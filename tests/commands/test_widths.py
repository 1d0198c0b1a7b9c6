"""What commands print on a terminal of 80 or 120 columns: no broken word, no line that the terminal has to wrap."""

from __future__ import annotations

from itertools import chain

import pytest
from support.command_lab import CommandLab
from support.terminal import lines_on_a_terminal

COMMANDS = (
    ["status"],
    ["status", "s", "--once"],
    ["plan", "s.toml"],
    ["list", "issm"],
    ["judge", "scores.csv", "--out", "judged"],
)
WIDE = 1000


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_lines_end_between_words(finished: CommandLab, words: list[str]) -> None:
    scores = "".join(
        f"{v},{r},{0.5 + i / 9 + r / 99}\n" for i, v in enumerate(("base", "new")) for r in range(5)
    )
    (finished.folder / "scores.csv").write_text(f"variant,repetition,score\n{scores}")
    whole = set(chain(*map(str.split, lines_on_a_terminal(words, WIDE, finished.folder))))
    for width in (80, 120):
        lines = lines_on_a_terminal(words, width, finished.folder)
        assert set(chain(*map(str.split, lines))) <= whole
        assert [line for line in lines if len(line) > width and len(line.split()) > 1] == []
