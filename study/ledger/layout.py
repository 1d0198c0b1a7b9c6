"""The name of every file and folder of the ledger.

::

    runs/<id>/run.json result.json test.json weights.safetensors …   one training
    runs/<id>/measure-<name>@<code>.json                             what its network's parts do
    studies/<name>/study.json suggestions/<decision>.json sessions/  one study
    studies/<name>/interims/<decision>.json                          which comparisons a look closed
    profiles/<id>/profile.json                                       what one network costs
    code/<digest>.json                                               what a digest of code is made of
    jobs/<submission>/calls.json ids.json <call>.epochs <call>.end   what jobs of a cluster have to do, and report
    looks/<digest>.json                                              what a report showed, and what was declared then
    accepted.json                                                    earlier code accepted as equal to today's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.hashing import digest

RUNS, STUDIES, PROFILES, CODE, LOOKS, JOBS = "runs", "studies", "profiles", "code", "looks", "jobs"
"""The folders of the ledger."""
ACCEPTED = "accepted.json"

REQUEST, HISTORY, RESULT, TEST_RESULT = "run.json", "history.json", "result.json", "test.json"
FAILURE, PROFILE = "failure.json", "profile.json"
"""In the folders of runs and of profiles."""
MEASURED, UNMEASURED, STOPPED = "measure-{}.json", "unmeasured-{}.json", "stopped-{}.json"
"""Patterns, filled with the key of a measure or with the digest of a pruning rule."""
VALIDATION_PREDICTIONS, TEST_PREDICTIONS, EXAMPLES = "validation.npz", "test.npz", "examples.npz"
TRAIN_PREDICTIONS = "train.npz"
"""Predictions of one batch of training clips, where the validation split is trained on."""
CLIPS_WEIGHTS, OWN_WEIGHTS = "weights.safetensors", "weights"
"""What is tested: a file of the clips task, a file or folder of a user's training."""
CLIPS_CHECKPOINT, OWN_CHECKPOINT = "checkpoint.pt", "checkpoint"
WEIGHTS, CHECKPOINTS = (CLIPS_WEIGHTS, OWN_WEIGHTS), (CLIPS_CHECKPOINT, OWN_CHECKPOINT)
TEST_INPUTS = (VALIDATION_PREDICTIONS, TRAIN_PREDICTIONS, *WEIGHTS)
"""What a training leaves for its test besides its result; search trials are not tested. Freed in this order."""
TEST_OUTPUTS = (TEST_PREDICTIONS, EXAMPLES)
"""What a test leaves besides its result."""
LOG = "log-{}.txt"
"""Output of a worker process, filled with the number of the attempt."""
OWN_METRICS, OWN_CONFIG, OWN_OUTPUT, OWN_OUTSIDE = (
    "metrics.jsonl",
    "config.json",
    "output.txt",
    "outside.json",
)
"""Files of a user's own training: its reports, configuration and output, and the files it read elsewhere."""
CLAIM = "claim"
"""Names the process that works in a folder."""

STUDY, SUGGESTIONS, SESSIONS, INTERIMS = "study.json", "suggestions", "sessions", "interims"
LOCK, STOP = "lock", "stop"
"""In a study's folder: names the process that carries it out, and asks that process to end."""


def fields_in(names: Iterable[str], pattern: str) -> list[str]:
    """Return what fills the braces of `pattern` in each file name that matches it."""
    before, after = pattern.split("{}")
    return [
        name.removeprefix(before).removesuffix(after)
        for name in names
        if name.startswith(before) and name.endswith(after)
    ]


def stopped_file(rule: Mapping[str, float]) -> str:
    """Return the name of the record of a trial that `rule` stopped."""
    return STOPPED.format(digest(rule))
