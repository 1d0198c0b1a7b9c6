"""Every mistake in a study gets one clear message and exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import api
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import Layer, Origin, load
from study.errors import InputError

GOOD = """
title = "t"
question = "Does it?"
repetitions = 2
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
[train]
fit = "train+val"
[[claims]]
that = { splitter = "issm" }
beats = { splitter = "even-odd" }
[preset.smoke]
"train.epochs" = 1
"""


@pytest.fixture
def say(tmp_path: Path):
    """Return the message that a changed study, preset or setting is answered with."""

    def message(
        old: str = "", new: str = "", preset: str | None = None, changes: tuple[str, ...] = ()
    ) -> str:
        assert old in GOOD
        file = tmp_path / "bad.toml"
        file.write_text(GOOD.replace(old, new))
        with pytest.raises(InputError) as error:
            compile_study(load(file, preset, changes), settings(tmp_path), "cpu")
        assert error.value.exit_code == 2
        assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]
        return str(error.value)

    return message


def test_the_study_itself_is_good(tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    names = [variant.name for variant in compile_study(load(file), settings(tmp_path), "cpu").variants]
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
        (
            '{ splitter = "even-odd" }\n[factors]',
            '{ splitter = "even-odd" }\n[factors]\nreadout = ["mean", "gru"]',
            "must name a level of 'readout'",
        ),
        (
            '{ splitter = "even-odd" }\n[factors]',
            '{ spliter = "even-odd" }\n[factors]',
            "Did you mean 'splitter'?",
        ),
        ('"issm"]', '"even-odd"]', "names a level twice"),
        ('"issm"]', '{ name = "even-odd" }]', "names a label twice"),
        ('"issm"]', '{ value = { name = "even-odd" }, label = "x" }]', "resolve to the same configuration"),
        ('["even-odd", "issm"]', '["even-odd"]', "there is only one variant"),
        (
            '"even-odd" }\n[factors]\nsplitter',
            '"even-odd", spliter = "issm" }\n[factors]\nspliter = ["issm"]\nsplitter',
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
        ('beats = { splitter = "even-odd" }', "", "claims[0]: must have 'that' and 'beats', or 'effect'"),
        ('title = "t"', "title = 3", "title: must be a string. Got 3 instead."),
        ("[train]", "[trian]", "trian: unknown key. Did you mean 'train'?"),
        ("repetitions = 2", "repetition = 2", "repetition: unknown key. Did you mean 'repetitions'?"),
        ("repetitions = 2", "repetitions = 0", "repetitions: must be an integer from 1 to 10000. Got 0"),
        ('fit = "train+val"', "fti = 1", "train.fti: unknown key. Did you mean 'fit'?"),
        ('fit = "train+val"', 'fit = "all"', "train.fit: must be"),
        ('kind = "one-factor"', 'kind = "one-fact"', "Did you mean 'one-factor'?"),
        (
            'that = { splitter = "issm" }',
            'that = { splitter = "isms" }',
            "claims[0].that.splitter: must be one of the factor's levels, 'even-odd' or 'issm'. Got 'isms' instead. "
            "Did you mean 'issm'?",
        ),
        ('that = { splitter = "issm" }', 'that = { split = "issm" }', "is no factor of this study"),
        ('that = { splitter = "issm" }', 'that = { splitter = "even-odd" }', "are the same variant"),
        ('dataset = "faces"', 'dataset = "face"', "unknown dataset 'face'. Did you mean 'faces'?"),
        ('dataset = "faces"', 'datset = "faces"', "unknown key. Did you mean 'dataset'?"),
        ('dataset = "faces"', 'dataset = { name = "dfew", root = "/nowhere" }', "/nowhere"),
        ("[design]", "[design", "not valid TOML"),
        (
            '"issm"]',
            "1979-05-27]",
            "factors.splitter: must be a finite number, true, false, text, a list or a table",
        ),
        ("[preset.smoke]", "[preset]\nsmoke = 1\n[other]", "must hold one table for each preset"),
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
    assert "no preset 'smok'. Did you mean 'smoke'?" in say(preset="smok")
    assert "must be key=value" in say(changes=("train.epochs",))
    message = say(changes=("train.weight_decay=inf",))
    assert "train.weight_decay: must be a finite number" in message
    assert "Got inf" in message
    assert "search.space: must be a table. Got 3" in say(changes=("search.space=3",))
    assert "train.epochs: must be an integer from 1 to 100000. Got 0 instead." in say(
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
    file.write_text(GOOD + "repetitions = 4\n")
    spec = load(file, "smoke", ["repetitions=7", "base.dataset.size=64"])
    assert (spec.base["train"]["epochs"], spec.repetitions, spec.search.trials) == (1, 7, 2)
    assert spec.base["dataset"] == {"name": "faces", "size": 64}
    assert spec.origins["train.epochs"] == Origin(Layer.PRESET, "smoke")
    assert spec.origins["repetitions"] == Origin(Layer.SET)
    assert spec.origins["search.trials"] == Origin(Layer.STUDY)
    assert spec.name.startswith("s@smoke-")


def test_a_place_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('[data.faces]\ncache = "here"\n')
    file = tmp_path / "s.toml"
    file.write_text(GOOD)
    run = compile_study(load(file), settings(tmp_path), "cpu").variants[0].template
    assert run.local_paths == {"dataset.cache": str(tmp_path / "here")}
    assert "cache" not in run.config["dataset"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("worker = 2", "worker: unknown key. Did you mean 'workers'?"),
        ("workers = 0", "workers: must be an integer of at least 1 or 'auto'. Got 0 instead."),
        ('[data]\ndfew = "/data"', "must hold one table for each data set"),
        ("[data.dfew]\nroot = 3", "data.dfew.root: must be a path in quotes"),
    ],
)
def test_a_mistake_in_study_toml(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError) as error:
        settings(tmp_path)
    assert says in str(error.value)


def test_the_home_folder_may_begin_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "study.toml").write_text('ledger = "~/runs"\nreports = "here/reports"\n')
    read = settings(tmp_path)
    assert read.ledger == tmp_path / "home" / "runs"
    assert read.reports == tmp_path / "here" / "reports"


@pytest.mark.parametrize("key", ["ledger", "reports"])
@pytest.mark.parametrize(
    "folder", ["$HOME/runs", "${HOME}/runs", "~nobody-of-this-name/runs", "file", "loop"]
)
def test_a_folder_to_write_to_that_cannot_be_one_is_refused(tmp_path: Path, key: str, folder: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "study.toml").write_text(f'{key} = "{folder}"\n')
    with pytest.raises(InputError, match=key):
        settings(tmp_path)


def test_a_study_file_that_is_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.toml").symlink_to("s.toml")
    with pytest.raises(InputError, match=r"s\.toml"):
        api.load(tmp_path / "s.toml")


def test_levels_that_are_shown_alike_are_named_with_what_tells_them_apart(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'title = "t"\nquestion = "q"\n[base]\ndataset = "faces"\n[design]\nkind = "one-factor"\n'
        '[factors]\n"train.ema" = [0.0, 0.9999991, 0.9999992]\n'
    )
    with pytest.raises(InputError, match=r"0\.9999991 and 0\.9999992 .* label") as caught:
        load(tmp_path / "s.toml")
    assert "\n" not in str(caught.value)
