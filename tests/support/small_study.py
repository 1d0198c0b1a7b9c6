"""The study that most tests carry out: two variants on a few synthetic faces."""

from __future__ import annotations

HEAD = """
title = "t"
question = "Does it?"
[base.dataset]
name = "faces"
train_clips = 70
validation_clips = 14
test_clips = 14
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
"""
SPACE = """[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"""
CLAIM = """[[claims]]
that = { splitter = "issm" }
beats = { splitter = "even-odd" }
"""


def small_study(
    *,
    epochs: int,
    seeds: int,
    trials: int = 0,
    generation: int | None = None,
    claim: bool = False,
    scope: str = "repetition",
) -> str:
    """Return the study as TOML; without trials it searches nothing."""
    generations = "" if generation is None else f"generation = {generation}\n"
    shared = "" if scope == "repetition" else f'scope = "{scope}"\n'
    search = f"[search]\ntrials = {trials}\n{shared}{generations}{SPACE}" if trials else ""
    return f"repetitions = {seeds}\n{HEAD}[train]\nepochs = {epochs}\n{search}{CLAIM if claim else ''}"
