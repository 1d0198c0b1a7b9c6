"""Errors with `--json`: scripts find the kind, the key, what is allowed and the line without reading a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.cli import app as cli
from study.cli.new import _template
from study.config.located import lines_of_keys
from study.errors import ErrorCode, InputError, Mistake, classified

STUDY = _template("clips.toml")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    text = STUDY.substitute(
        name="s", file="s.toml", title='"t"', question='"q"', program="study", module="", script=""
    )
    (tmp_path / "s.toml").write_text(text)
    return tmp_path / "s.toml"


def error_of(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    monkeypatch.setattr("sys.argv", ["study", *words, "--json"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().out.splitlines()
    error: dict[str, Any] = json.loads(line)["error"]
    return error


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "type": (
        "epochs     = 9",
        'epochs     = "nine"',
        {"code": "wrong-value", "key": "train.epochs", "got": "nine", "nearest": None},
    ),
    "range": (
        "repetitions = 5 ",
        "repetitions = 0 ",
        {"code": "wrong-value", "key": "repetitions", "got": 0},
    ),
    "key": (
        "rope   = 1.0",
        "rop    = 1.0",
        {"code": "unknown-key", "key": "analysis.rop", "got": "rop", "nearest": "rope"},
    ),
    "component": (
        '["even-odd", "issm"]',
        '["even-odd", "ism"]',
        {"code": "unknown-name", "key": "factors.splitter", "got": "ism", "nearest": "issm"},
    ),
    "parameter": (
        'backbone = "conv-tiny"',
        'backbone = { name = "conv-tiny", widht = 3 }',
        {"code": "unknown-key", "key": "base.backbone.widht", "allowed": ["width"], "nearest": "width"},
    ),
    "choice": (
        "lr         = 6e-3",
        'precision = "fp8"',
        {"code": "wrong-value", "key": "train.precision", "got": "fp8"},
    ),
    "syntax": ("rope   = 1.0", "rope   = = 1", {"code": "syntax", "key": None}),
}


@pytest.mark.parametrize(("right", "wrong", "expected"), CASES.values(), ids=CASES)
def test_a_mistake_in_a_study_names_kind_key_value_and_line(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    right: str,
    wrong: str,
    expected: dict[str, Any],
) -> None:
    text = file.read_text()
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    error = error_of(["plan", "s.toml"], monkeypatch, capsys)
    assert {name: error[name] for name in expected} == expected
    assert error["file"] == "s.toml"
    assert wrong in file.read_text().splitlines()[error["line"] - 1]
    assert set(error) == {
        *("code", "exit_code", "message", "key", "got", "allowed", "nearest", "file", "line"),
    }


def test_a_value_of_a_preset_is_found_in_the_preset_and_one_of_the_command_line_nowhere(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text().replace('"train.epochs" = 1', '"train.epochs" = -1'))
    error = error_of(["plan", "s.toml", "--preset", "smoke"], monkeypatch, capsys)
    assert file.read_text().splitlines()[error["line"] - 1] == '"train.epochs" = -1'
    error = error_of(["plan", "s.toml", "--set", "train.epochs=-2"], monkeypatch, capsys)
    assert (error["key"], error["got"], error["line"]) == ("train.epochs", -2, None)


@pytest.mark.parametrize(
    ("words", "code", "nearest"),
    [
        (["plan", "t.toml"], "missing-file", "s.toml"),
        (["plan", "s.toml", "--preset", "smok"], "unknown-name", "smoke"),
        (["status", "nothing"], "unknown-name", None),
        (["list", "isssm"], "unknown-name", "issm"),
    ],
)
def test_a_name_that_does_not_exist_has_a_code_and_the_nearest_one(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: str,
    nearest: str | None,
) -> None:
    error = error_of(words, monkeypatch, capsys)
    assert (error["code"], error["nearest"], error["exit_code"]) == (code, nearest, 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["statsu"], {"code": "unknown-name", "key": "COMMAND", "got": "statsu", "nearest": "status"}),
        (["data", "chek"], {"code": "unknown-name", "key": "COMMAND", "got": "chek", "nearest": "check"}),
        (["plan", "s.toml", "--presett", "x"], {"code": "unknown-key", "nearest": "--preset"}),
        (["plan"], {"code": "missing-key", "key": "STUDY"}),
        (["plan", "s.toml", "--sd", "x"], {"code": "wrong-value", "key": "--sd", "got": "x"}),
        (
            ["run", "s.toml", "--require-claims=strct"],
            {
                "key": "--require-claims",
                "got": "strct",
                "allowed": ["not-refuted", "strict"],
                "nearest": "strict",
            },
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_a_record_too(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: dict[str, Any],
) -> None:
    error = error_of(words, monkeypatch, capsys)
    assert {name: error[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("right", "wrong", "code", "key"),
    [
        ("rope   = 1.0", "rope   = 1000.0", "wrong-value", "analysis.rope"),
        ('["even-odd", "issm"]', '["even-odd"]', "conflict", "factors"),
        ('"even-odd", "issm"', '"even-odd", "even-odd"', "conflict", "factors.splitter"),
    ],
)
def test_a_mistake_between_keys_has_a_code_a_key_and_a_line(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    right: str,
    wrong: str,
    code: str,
    key: str,
) -> None:
    file.write_text(file.read_text().replace(right, wrong))
    error = error_of(["plan", "s.toml"], monkeypatch, capsys)
    assert (error["code"], error["key"], error["file"]) == (code, key, "s.toml")
    assert error["line"] is not None


def test_a_part_that_refuses_its_values_is_named() -> None:
    error = InputError("lifting.heads: must divide the 10 channels of the features. Got 3.")

    def build() -> None:
        with classified(ErrorCode.WRONG_VALUE, "lifting"):
            raise error

    with pytest.raises(InputError):
        build()
    assert error.mistake == Mistake(ErrorCode.WRONG_VALUE, "lifting")
    placed = error.within("s.toml").mistake.placed()
    assert (placed.file, placed.key) == ("s.toml", "lifting")


def test_keys_are_found_in_tables_lists_of_tables_and_dotted_form() -> None:
    text = (
        '[a]\nb = 1\n"c.d" = 2\n[[claims]]\nthat = 1\n[[claims]]\nthat = 2\n[ x . "y" ]\nz.w = 3\n# no = 1\n'
    )
    assert dict(lines_of_keys(text)) == {
        "a": 1,
        "a.b": 2,
        "a.c.d": 3,
        "claims[0]": 4,
        "claims[0].that": 5,
        "claims[1]": 6,
        "claims[1].that": 7,
        "x.y": 8,
        "x.y.z.w": 9,
    }
