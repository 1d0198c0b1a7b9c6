"""Every mistake in a study gets one clear message and exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config.designs import variants
from study.errors import InputError
from study.config.compile import prepare
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load

GOOD = """
title = "t"
question = "Does it?"
[base]
dataset = "faces"
lifting = { name = "attention", predictor_depth = 1 }
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
[search]
trials = 2
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
[confirm]
seeds = 2
[[claims]]
that = { splitter = "issm" }
beats = { splitter = "even-odd" }
[profile.smoke]
"train.epochs" = 1
"""


@pytest.fixture
def say(tmp_path: Path):
    """Return the message that a changed study, profile or setting is answered with."""

    def message(
        old: str = "", new: str = "", profile: str | None = None, changes: tuple[str, ...] = ()
    ) -> str:
        assert old in GOOD
        file = tmp_path / "bad.toml"
        file.write_text(GOOD.replace(old, new))
        with pytest.raises(InputError) as error:
            prepare(load(file, profile, changes), Registry(), settings(tmp_path), "cpu")
        assert error.value.exit_code == 2
        assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]
        return str(error.value)

    return message


def test_the_study_itself_is_good(tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    names = [v.name for v in variants(load(file), Registry(), settings(tmp_path))]
    assert names == ["even-odd", "issm"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"issm"]', '"isssm"]', "factors.splitter: unknown splitter 'isssm'. Did you mean 'issm'?"),
        ("predictor_depth = 1", "predictr_depth = 1", "Did you mean 'predictor_depth'?"),
        ("predictor_depth = 1", "predictor_depth = 9", "must be an integer from 0 to 3. Got 9 instead."),
        ("predictor_depth = 1", 'predictor_depth = "1"', "must be an integer from 0 to 3. Got '1' instead."),
        ('["even-odd", "issm"]', "[]", "factors.splitter: must be a list of levels that is not empty"),
        (
            '{ splitter = "even-odd" }\n[factors]',
            '{ splitter = "odd" }\n[factors]',
            "must be one of the factor's levels",
        ),
        ('{ splitter = "even-odd" }\n[factors]', "{}\n[factors]", "must name a level of 'splitter'"),
        (
            '{ splitter = "even-odd" }\n[factors]',
            '{ spliter = "even-odd" }\n[factors]',
            "Did you mean 'splitter'?",
        ),
        ('"issm"]', '"even-odd"]', "names a level twice"),
        ('"issm"]', '{ name = "even-odd" }]', "resolve to the same configuration"),
        ('["even-odd", "issm"]', '["even-odd"]', "nothing to compare"),
        (
            "[factors]\nsplitter",
            "[factors]\nspliter",
            "factors.spliter: unknown key. Did you mean 'splitter'?",
        ),
        ("trials = 2", "trials = -1", "search.trials: must be an integer of at least 0. Got -1 instead."),
        ("trials = 2", "trails = 2", "search.trails: unknown key. Did you mean 'trials'?"),
        ("low = 3e-4", "low = 3e-1", "'low' must be below 'high'"),
        ('"train.lr" =', '"train.rl" =', "unknown key. Did you mean 'lr'"),
        ('"train.lr" =', '"trian.lr" =', "Did you mean 'train'?"),
        (
            "{ low = 3e-4, high = 1e-2, log = true }",
            "[-1.0, 2.0]",
            "train.lr: must be a number of at least 0",
        ),
        ('title = "t"', "", "title: is missing. It must be a string."),
        ('title = "t"', "title = 3", "title: must be a string. Got 3 instead."),
        ("[confirm]", "[confrim]", "confrim: unknown key. Did you mean 'confirm'?"),
        ('kind = "one-factor"', 'kind = "one-fact"', "Did you mean 'one-factor'?"),
        ('that = { splitter = "issm" }', 'that = { splitter = "isms" }', "claims[0].that: no variant has"),
        ('that = { splitter = "issm" }', 'that = { split = "issm" }', "is no factor of this study"),
        ('that = { splitter = "issm" }', 'that = { splitter = "even-odd" }', "the other another variant"),
        ('dataset = "faces"', 'dataset = "face"', "unknown dataset 'face'. Did you mean 'faces'?"),
        ('dataset = "faces"', 'datset = "faces"', "unknown key. Did you mean 'dataset'?"),
        ('dataset = "faces"', 'dataset = { name = "dfew", root = "/nowhere" }', "/nowhere"),
        ("[design]", "[design", "not valid TOML"),
        ('"issm"]', "1979-05-27]", "a level must be a name, a table, a number or a list"),
        ("[profile.smoke]", "[profile]\nsmoke = 1\n[other]", "must hold one table a profile"),
        ("high = 1e-2", "high = inf", "search.space.train.lr.high: must be"),
        ("[search.space]", "[search.other]", "search.other: unknown key"),
    ],
)
def test_a_mistake_in_the_file(say, old: str, new: str, says: str) -> None:
    message = say(old, new)
    assert says in message
    assert "bad.toml" in message
    assert "\n" not in message


def test_a_mistake_on_the_command_line(say) -> None:
    assert "no profile 'smok'. Did you mean 'smoke'?" in say(profile="smok")
    assert "must be key=value" in say(changes=("train.epochs",))
    assert "weight_decay: must be a number of at least 0. Got inf" in say(changes=("train.weight_decay=inf",))
    assert "search.space: must be a table. Got 3" in say(changes=("search.space=3",))
    assert "train.epochs: must be an integer of at least 1. Got 0 instead." in say(
        changes=("train.epochs=0",)
    )
    assert "the value is not valid TOML" in say(changes=("base.dataset={name=",))


def test_a_data_root_without_its_split_lists_says_what_was_looked_for(say, tmp_path: Path) -> None:
    root = tmp_path.parent / "empty root"
    root.mkdir()
    message = say(changes=(f'base.dataset={{name="dfew", root="{root}", folds=[1]}}',))
    assert str(root) in message
    assert "set_1.csv" in message


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "issm.toml").write_text(GOOD)
    with pytest.raises(InputError, match=r"isms.toml: no such file. Did you mean 'issm.toml'\?"):
        load(tmp_path / "isms.toml")


def test_values_compose_in_one_direction_and_remember_their_origin(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD + '"confirm.seeds" = 4\n')
    spec = load(file, "smoke", ["confirm.seeds=7", "base.dataset.size=64"])
    assert (spec.train.epochs, spec.confirm.seeds, spec.search.trials) == (1, 7, 2)
    assert spec.base["dataset"] == {"name": "faces", "size": 64}
    assert spec.origins["train.epochs"] == "profile smoke"
    assert spec.origins["confirm.seeds"] == "--set"
    assert spec.origins["search.trials"] == "study"
    assert spec.name.startswith("s@smoke-")


def test_a_place_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('[data.faces]\ncache = "here"\n')
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    cell = variants(load(file), Registry(), settings(tmp_path))[0]
    assert cell.places == {"dataset.cache": str(tmp_path / "here")}
    assert "cache" not in cell.config["dataset"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("worker = 2", "worker: unknown key. Did you mean 'workers'?"),
        ("workers = 0", "workers: must be an integer of at least 1 or 'auto'. Got 0 instead."),
        ('[data]\ndfew = "/data"', "must hold one table a data set"),
        ("[data.dfew]\nroot = 3", "data.dfew.root: must be a path in quotes"),
    ],
)
def test_a_mistake_in_study_toml(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError) as error:
        settings(tmp_path)
    assert says in str(error.value)
