"""No study file and no study.toml ends in a traceback: it is read, or refused in one line with exit code 2."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.config.compile import compile_study
from study.config.settings import settings as machine
from study.config.study import load
from study.config.tables import LARGEST_FILE
from study.errors import InputError

CLIPS = """
title = "t"
question = "Does it?"
repetitions = 2
seed = 3
[base]
dataset = { name = "faces", train_clips = 64, validation_clips = 32, test_clips = 32 }
lifting = { name = "attention", predictor_depth = 1 }
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
exclude = [{ splitter = "issm", reason = "x" }]
[factors]
splitter = ["even-odd", "issm", "none"]
[search]
trials = 2
sampler = "auto"
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"train.batch_size" = [8, 16]
[train]
epochs = 2
[analysis]
metric = "war"
rope = 1.0
[[claims]]
that = { splitter = "none" }
beats = { splitter = "even-odd" }
[preset.smoke]
"train.epochs" = 1
"""
OWN = """
question = "Does it?"
repetitions = { min = 5, max = 8 }
[task]
function = "mine_to_fuzz:train"
data_version = "1"
metric = { name = "acc", direction = "maximize", unit = "%" }
[base]
lr = 1e-3
depth = 4
name = "x"
model = { attention = true, heads = 2 }
[design]
kind = "factorial"
[factors]
"model.attention" = [true, { value = false, label = "none" }]
"lr" = [1e-3, 1e-2]
[analysis]
effects = ["lr"]
"""
SETTINGS = """
ledger = ".study/ledger"
reports = "reports"
workers = 1
runs_per_gpu = 1
silent_s = 0
device = "cpu"
loader_workers = 0
keep = "tested"
mlflow = "off"
components = []
[data.dfew]
root = "/data/dfew"
"""
HOSTILE = (
    *("nan", "-inf", "inf", "1e400", "-0.0", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *("[nan]", "{ name = 1979-05-27 }", "{ value = inf, label = 'x' }", "[[]]", "[{}]", "{}", "[]"),
    *("true", "0", "-1", "1", "1.0", "0.5", "10000000000000", "1" + "0" * 31, "9" * 400, "9" * 5000),
    *("0x" + "f" * 6000, "9223372036854775808", "-9223372036854775809"),
    *(
        "''",
        "' '",
        '"a\\u0000b"',
        '"a\\nb"',
        '"\\u001b[31m"',
        "'a' ",
        f"'{'a' * 5000}'",
        '"\\u202e"',
        '"\\ufeff"',
    ),
    *(
        "'/'",
        "'/dev/zero'",
        "'..'",
        "'con'",
        "'faces'",
        "'issm'",
        "{ name = 'issm' }",
        "{ name = 3 }",
        "{ name = '' }",
    ),
    *(
        "[" * 40 + "]" * 40,
        "[" * 2000 + "]" * 2000,
        "{ x = " * 40 + "1" + " }" * 40,
        "['a', 'a']",
        "[1, true]",
    ),
    *(
        "{ low = 0, high = nan }",
        "{ low = 1, high = 2, when = { splitter = 1979-05-27 } }",
        "{ min = 2, max = 1e9 }",
    ),
    *("{ looks = [2, 99999999999999999999] }", "[" + "1, " * 3000 + "1]", "'git:main'", "'a.b:c'"),
)
"""Values that no key allows, or few."""
KEYS = (
    *(
        "title",
        "seed",
        "repetitions",
        "recipe",
        "task",
        "base",
        "design",
        "factors",
        "search",
        "analysis",
        "claims",
    ),
    *(
        "preset",
        "train",
        "dataset",
        "name",
        "splitter",
        "network",
        "loss",
        "low",
        "kind",
        "reference",
        "within",
        "x",
    ),
    *('""', '"."', '"a..b"', '"a\\nb"', '"\\u001b"', "'train.lr'", "'train.epochs'", '"' + "k" * 300 + '"'),
    *(
        "x" + ".x" * 40,
        "x" + ".x" * 2000,
        "base.dataset",
        "base.backbone",
        "base.model",
        "search.space",
        "design.cells",
    ),
    *(
        "space",
        "trials",
        "metric",
        "that",
        "beats",
        "effect",
        "levels",
        "sd",
        "alpha",
        "measures",
        "reason",
        "exclude",
    ),
    *(
        "factors.code",
        "task.command",
        "task.sources",
        "task.env",
        "data",
        "data.faces",
        "data.faces.cache",
        "mlflow",
    ),
)
LONGEST = 3000
"""The most characters of a message: it names a few keys, and never a whole value."""


def mutated(text: str) -> st.SearchStrategy[bytes]:
    """Return a strategy of files: lines replaced, added, repeated or left out, or bytes changed."""
    lines = text.splitlines()
    places = st.integers(0, len(lines) - 1)
    values = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8).map(repr), st.integers().map(str))

    def replaced(line: str, value: str) -> str:
        key, equals, _ = line.partition(" = ")
        return f"{key}{equals}{value}" if equals else line

    @st.composite
    def by_line(draw: st.DrawFn) -> bytes:
        new = list(lines)
        for _ in range(draw(st.integers(1, 3))):
            at = draw(places)
            match draw(st.sampled_from(("replace", "replace", "add", "add", "repeat", "remove"))):
                case "replace":
                    new[at] = replaced(lines[at], draw(values))
                case "add":
                    new[at] += f"\n{draw(st.sampled_from(KEYS))} = {draw(values)}"
                case "repeat":
                    new[at] += f"\n{lines[at]}"
                case "remove":
                    new[at] = ""
        return "\n".join(new).encode(errors="surrogatepass")

    @st.composite
    def by_byte(draw: st.DrawFn) -> bytes:
        content = bytearray(text.encode())
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(content) - 1))
            content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        return bytes(content)

    return st.one_of(by_line(), by_line(), by_line(), by_byte())


def refused_or_read(read: Callable[[], object]) -> None:
    """Assert that reading ends, or is refused in one line of reasonable length with exit code 2."""
    refusal: InputError | None = None
    try:
        read()
    except InputError as error:
        refusal = error
    assert refusal is None or refusal.exit_code == 2
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < LONGEST


def study_is_refused_or_read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "s.toml").write_bytes(content)
        refused_or_read(lambda: compile_study(load(folder / "s.toml"), machine(folder), "cpu"))
        assert [path.name for path in folder.iterdir()] == ["s.toml"]


def settings_are_refused_or_read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.toml").write_bytes(content)
        refused_or_read(lambda: machine(folder))
        assert [path.name for path in folder.iterdir()] == ["study.toml"]


@pytest.fixture(autouse=True)
def _own_training(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("code")
    (folder / "mine_to_fuzz.py").write_text("def train(config, run):\n    run.report(1, acc=0.5)\n")
    monkeypatch.syspath_prepend(str(folder))


FEW = settings(max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=5000, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("text", [CLIPS, OWN], ids=["clips", "own"])
def test_study_files(text: str) -> None:
    FEW(given(mutated(text))(study_is_refused_or_read))()


def test_settings() -> None:
    settings(FEW, max_examples=200)(given(mutated(SETTINGS))(settings_are_refused_or_read))()


@pytest.mark.slow
@pytest.mark.parametrize("text", [CLIPS, OWN], ids=["clips", "own"])
def test_many_study_files(text: str) -> None:
    MANY(given(mutated(text))(study_is_refused_or_read))()


@pytest.mark.slow
def test_many_settings() -> None:
    MANY(given(mutated(SETTINGS))(settings_are_refused_or_read))()


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(CLIPS, encoding="utf-8-sig")
    assert load(tmp_path / "s.toml").title == "t"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seed = 3", "seed = " + "9" * 5000, "more than 40 digits"),
        ("seed = 3", "seed = 0x" + "f" * 6000, "seed: must be an integer of at most 40 digits"),
        ("seed = 3", "x = " + "[" * 2000 + "]" * 2000, "nested too deeply"),
        ("seed = 3", "x" + ".x" * 2000 + " = 1", "nested too deeply"),
        ('splitter = "even-odd" }', "splitter = nan }", "design.reference.splitter: must be a finite number"),
        ('that = { splitter = "none" }', "that = { splitter = 07:32:00 }", "claims.that.splitter: must be"),
        (
            'name = "faces"',
            'name = "faces", cache = "a\\u0000b"',
            "base.dataset.cache: must not hold the character",
        ),
        ("train_clips = 64", "train_clips = 10000000000000", "GiB of pixels; at most 20,000,000 clips"),
        ("repetitions = 2", "repetitions = 1" + "0" * 31, "repetitions: must be an integer from 1 to 10000"),
        ("epochs = 2", "epochs = 1000000000000", "train.epochs: must be an integer from 1 to"),
        ("[train]", '["tr\\nain"]', "the key 'tr\\nain' must be one line"),
        ('"issm", "none"]', '{ value = "issm", label = "a\\nb" }, "none"]', "label: must be one line"),
        (
            'kind = "one-factor"',
            'kind = "factorial"\n[factors.network]\n' + "\n".join(f"k{n} = [1, 2]" for n in range(60)),
            "cells",
        ),
    ],
)
def test_what_no_machine_holds_is_refused_before_anything(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = CLIPS.replace('exclude = [{ splitter = "issm", reason = "x" }]\n', "")
    text = text.replace('reference = { splitter = "even-odd" }\n', "") if says == "cells" else text
    assert old in text
    (tmp_path / "s.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        compile_study(load(tmp_path / "s.toml"), machine(tmp_path), "cpu")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_no_file_of_settings_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(InputError, match="bytes"):
        load(tmp_path / "s.toml")


@pytest.mark.parametrize(
    "change",
    [
        "seed=" + "9" * 5000,
        "base.x=" + "[" * 2000,
        "seed=1\nb=2",
        "a\nb=1",
        "x" + ".x" * 50 + "=1",
        "seed=nan",
        "=1",
    ],
)
def test_a_change_on_the_command_line_is_held_to_the_same(tmp_path: Path, change: str) -> None:
    (tmp_path / "s.toml").write_text(CLIPS)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "s.toml", None, [change])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("dataset", ["3", "[1]", "true", "{ size = 32 }"])
def test_a_data_set_that_is_no_component_does_not_stop_skipping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    from study.cli.context import with_skipping

    monkeypatch.chdir(tmp_path)
    text = CLIPS.replace(
        '{ name = "faces", train_clips = 64, validation_clips = 32, test_clips = 32 }', dataset
    )
    (tmp_path / "s.toml").write_text(text)
    changes = with_skipping(True, tmp_path / "s.toml", None, [])
    with pytest.raises(InputError):
        compile_study(load(tmp_path / "s.toml", None, changes), machine(tmp_path), "cpu")
