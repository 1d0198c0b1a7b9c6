"""What a study file may say, and what it comes to: levels, repetitions, presets, tasks, parts, metrics, names."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import Layer, Origin, load
from study.engine import conductor, plan
from study.engine.events import Event, JobStarted
from study.engine.jobs import TARGETS
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from study.records import RunSpec

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}

HEAD = """
title = "t"
question = "Does it?"
"""
GRID = """
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
"""
FUNCTION = """
[task]
function = "mine:train"
metric = { name = "acc", label = "accuracy" }
data_version = "1"
[base]
lr = 0.1
model = { depth = 4, attention = true }
[design]
kind = "one-factor"
reference = { "model.attention" = false }
[factors]
"model.attention" = [false, true]
"""


def compiled(
    folder: Path, text: str, preset: str | None = None, changes: tuple[str, ...] = (), name: str = "s"
) -> StudyRecord:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(HEAD + text)
    return compile_study(load(folder / f"{name}.toml", preset, changes), settings(folder), "cpu")


def refused(folder: Path, text: str, preset: str | None = None, changes: tuple[str, ...] = ()) -> str:
    """Return the one line that a study file is refused with; it names the file."""
    with pytest.raises(InputError) as caught:
        compiled(folder, text, preset, changes)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith(str(folder / "s.toml"))
    assert "\n" not in message
    return message


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a training of the user's own in ``mine.py``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("def train(config, run):\n    run.report(1, acc=0.5)\n")
    return tmp_path


# levels


def names(record: StudyRecord) -> list[str]:
    return [variant.name for variant in record.variants]


def test_a_label_names_its_variant_and_its_level(tmp_path: Path) -> None:
    labelled = GRID.replace('"issm"]', '{ value = "issm", label = "ISSM, ours" }]')
    record = compiled(tmp_path, labelled)
    assert names(record) == ["even-odd", "ISSM, ours"]
    assert record.variants[1].levels == {"splitter": "ISSM, ours"}
    assert record.variants[1].template.config["splitter"]["name"] == "issm"


def test_a_label_is_no_part_of_what_is_trained(tmp_path: Path) -> None:
    plain = compiled(tmp_path, GRID)
    labelled = compiled(tmp_path, GRID.replace('"issm"]', '{ value = "issm", label = "ours" }]'))
    ids = [[variant.run({}, 1, None).id for variant in record.variants] for record in (plain, labelled)]
    assert ids[0] == ids[1]


def test_a_reference_and_a_claim_may_use_labels_or_values(tmp_path: Path) -> None:
    labelled = GRID.replace('["even-odd", "issm"]', '[{ value = "even-odd", label = "plain" }, "issm"]')
    claim = '[[claims]]\nthat = { splitter = "issm" }\nbeats = { splitter = "plain" }\n'
    for reference in ("plain", "even-odd"):
        text = labelled.replace('{ splitter = "even-odd" }', f'{{ splitter = "{reference}" }}')
        (found,) = compiled(tmp_path, text + claim).claims
        assert (found.that, found.beats) == ("issm", "plain")


def test_a_variant_is_never_called_true_or_by_a_bare_number(tmp_path: Path, mine: Path) -> None:
    assert names(compiled(mine, FUNCTION)) == ["model.attention=false", "model.attention=true"]
    depth = FUNCTION.replace('"model.attention" = [false, true]', '"model.depth" = [2, 4]')
    depth = depth.replace('{ "model.attention" = false }', '{ "model.depth" = 2 }')
    assert names(compiled(mine, depth)) == ["model.depth=2", "model.depth=4"]
    labelled = FUNCTION.replace("[false, true]", '[false, { value = true, label = "+ attention" }]')
    assert names(compiled(mine, labelled)) == ["model.attention=false", "+ attention"]


@pytest.mark.parametrize(
    ("level", "says"),
    [
        ('{ value = "issm", label = "" }', "label: must be a string that is not empty. Got '' instead."),
        ('{ value = "issm", label = "  " }', "label: must be a string that is not empty."),
        ('{ value = "issm", label = 3 }', "label: must be a string that is not empty. Got 3 instead."),
        ('{ value = "issm", label = "even-odd" }', "factors.splitter: names a label twice"),
        ('{ value = "even-odd", label = "other" }', "factors.splitter: names a level twice"),
        ('{ value = "isssm", label = "ours" }', "unknown splitter 'isssm'. Did you mean 'issm'?"),
    ],
)
def test_a_level_that_a_reader_could_not_tell_apart_is_refused(tmp_path: Path, level: str, says: str) -> None:
    assert says in refused(tmp_path, GRID.replace('"issm"]', f"{level}]"))


def test_two_variants_of_one_name_are_refused(tmp_path: Path) -> None:
    """Levels of different factors may share a label only where no two variants end up with one name."""
    text = """
[design]
kind = "one-factor"
reference = { splitter = "even-odd", readout = "mean" }
[factors]
splitter = ["even-odd", { value = "issm", label = "ours" }]
readout = ["mean", { value = "gru", label = "ours" }]
"""
    message = refused(tmp_path, text)
    assert "two variants have the name 'ours'" in message
    assert "different labels" in message


@pytest.mark.parametrize(("base", "reference"), [("", "even-odd"), ('[base]\nsplitter = "issm"\n', "issm")])
def test_without_a_reference_it_is_what_base_has_or_the_first_level(
    tmp_path: Path, base: str, reference: str
) -> None:
    record = compiled(tmp_path, base + GRID.replace('reference = { splitter = "even-odd" }\n', ""))
    assert [variant.name for variant in record.variants if variant.is_reference] == [reference]


# keys that were called otherwise


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("[confirm]\nseeds = 3\n", "confirm", "'repetitions'"),
        ('[confirm]\nfinal = "train+val"\n', "confirm", "fit = 'train+val' in [train]"),
        ('[profile.smoke]\n"train.epochs" = 1\n', "profile", "[preset.smoke]"),
    ],
)
def test_an_earlier_name_is_refused_with_the_one_of_today(
    tmp_path: Path, text: str, key: str, says: str
) -> None:
    message = refused(tmp_path, GRID + text)
    assert f"s.toml: {key}: " in message
    assert says in message


def test_what_trains_on_validation_is_one_more_training_a_repetition_and_trials_do_not(
    tmp_path: Path,
) -> None:
    text = (
        "repetitions = 2\n"
        + GRID
        + """
[train]
epochs = 3
fit = "train+val"
[search]
trials = 2
[search.space]
"train.lr" = [1e-3, 2e-3]
"""
    )
    record = compiled(tmp_path, text)
    ledger, events = Ledger(tmp_path / "ledger"), list[Event]()
    conductor.carry_out(ledger.save(record), ledger, InProcess(), events.append, FAKE)
    jobs = [event.job for event in events if isinstance(event, JobStarted)]
    trained = Counter((job.purpose, job.run.config["train"]["fit"]) for job in jobs if job.kind == "train")
    assert trained["repetition", "train+val"] == 4
    assert set(trained) == {("search", "train"), ("repetition", "train+val")}
    assert {job.run.config["train"]["fit"] for job in jobs if job.kind == "evaluate"} == {"train+val"}
    assert plan.total_trainings(record) == 2 * 2 * (2 + 1)


# presets


PRESETS = """
[train]
epochs = 5
[preset.smoke]
"train.epochs" = 1
repetitions = 2
[preset.wide]
"base.backbone" = { name = "conv-tiny", width = 128 }
"""


def test_a_preset_is_a_study_of_its_own_name_and_set_comes_after_it(tmp_path: Path) -> None:
    plain = compiled(tmp_path, GRID + PRESETS)
    smoke = compiled(tmp_path, GRID + PRESETS, "smoke")
    longer = compiled(tmp_path, GRID + PRESETS, "smoke", ("train.epochs=2",))
    assert [record.name for record in (plain, smoke)] == ["s", "s@smoke"]
    assert longer.name.startswith("s@smoke-")
    assert [record.options for record in (plain, smoke)] == [(), ("--preset", "smoke")]
    assert longer.options == ("--preset", "smoke", "--set", "train.epochs=2")
    assert [record.repetitions for record in (plain, smoke, longer)] == [5, 2, 2]
    requested = [record.variants[0].template.epochs for record in (plain, smoke, longer)]
    assert requested == [5, 1, 2]
    wide = compiled(tmp_path, GRID + PRESETS, "wide").variants[0].template
    assert wide.config["backbone"]["width"] == 128


def test_a_preset_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    assert "no preset 'somke'. Did you mean 'smoke'? Allowed: 'smoke' or 'wide'" in refused(
        tmp_path, GRID + PRESETS, "somke"
    )
    assert "no preset 'smoke'. The study has no presets." in refused(tmp_path, GRID, "smoke")


def test_a_mistake_in_a_preset_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    text = GRID + '[preset.smoke]\n"train.epoch" = 1\n'
    assert compiled(tmp_path, text).name == "s"
    assert "train.epoch: unknown key. Did you mean 'epochs'?" in refused(tmp_path, text, "smoke")


# tasks


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'function = "mine:train"',
            'name = "functoin"',
            ("unknown task 'functoin'. Did you mean 'function'?", "'clips', 'command' or 'function'"),
        ),
        (
            'function = "mine:train"',
            'function = "mine:train"\ncommand = ["true"]',
            ("task: has 'function' or 'command'; write one of them.",),
        ),
        ('function = "mine:train"', "", ("task: must have one of 'name', 'function' or 'command'.",)),
        ('function = "mine:train"', 'function = "mine:trian"', ("mine", "trian", "Did you mean 'train'?")),
        ('function = "mine:train"', 'function = "mnie:train"', ("mnie",)),
        ('function = "mine:train"', "function = 3", ("task.function: must be a string. Got 3 instead.",)),
        ('data_version = "1"', 'data_vresion = "1"', ("task.data_vresion", "Did you mean 'data_version'?")),
        ('label = "accuracy"', 'lable = "accuracy"', ("task.metric", "lable", "Did you mean 'label'?")),
        ("[base]", "[baes]", ("baes: unknown key. Did you mean 'base'?",)),
        ("lr = 0.1", "lr = 0.1\n[serach]\ntrials = 3", ("serach: unknown key. Did you mean 'search'?",)),
    ],
)
def test_a_mistake_in_a_task_s_table_is_refused(
    mine: Path, old: str, new: str, says: tuple[str, ...]
) -> None:
    assert old in FUNCTION
    text = FUNCTION.replace(old, new)
    if "[serach]" in new:  # tables of one file may stand in any order, but their keys not
        text = FUNCTION + "[serach]\ntrials = 3\n"
    message = refused(mine, text)
    for part in says:
        assert part in message


def test_a_task_that_is_not_named_is_that_of_clips(tmp_path: Path) -> None:
    assert compiled(tmp_path, GRID).task == "clips"
    assert compiled(tmp_path, '[task]\nname = "clips"\n' + GRID).variants[0].run({}, 1, None).id == (
        compiled(tmp_path, GRID).variants[0].run({}, 1, None).id
    )


def test_a_function_is_configured_by_free_tables(mine: Path) -> None:
    record = compiled(mine, FUNCTION)
    assert record.task == "function"
    assert record.variants[1].template.config == {"lr": 0.1, "model": {"depth": 4, "attention": True}}
    assert (record.primary.name, record.primary.label) == ("acc", "accuracy")


def test_a_factor_or_a_searched_key_that_is_below_a_value_is_refused(mine: Path) -> None:
    assert "'lr' is a value, not a table" in refused(
        mine, FUNCTION.replace('"model.attention"', '"lr.attention"')
    )


# components


def one(record: StudyRecord) -> RunSpec:
    return record.variants[0].run({}, 1, None)


def test_parts_of_a_network_may_stand_in_its_table_or_beside_it(tmp_path: Path) -> None:
    beside = compiled(tmp_path, '[base]\nnetwork = "ifdd"\nbackbone = "mfvit-xs"\n' + GRID)
    inside = compiled(tmp_path, '[base]\nnetwork = { name = "ifdd", backbone = "mfvit-xs" }\n' + GRID)
    assert one(inside).config == one(beside).config
    assert one(inside).config["backbone"]["name"] == "mfvit-xs"
    assert "backbone" not in one(inside).config["network"]
    assert one(inside).id == one(beside).id


def test_a_part_inside_its_network_has_its_own_parameters_checked(tmp_path: Path) -> None:
    text = '[base]\nnetwork = { name = "ifdd", backbone = { name = "conv-tiny", wdith = 8 } }\n' + GRID
    message = refused(tmp_path, text)
    assert "the backbone 'conv-tiny' has no parameter 'wdith'" in message
    assert "Did you mean 'width'?" in message


def test_a_network_without_parts_takes_none(tmp_path: Path) -> None:
    text = '[base]\nnetwork = "r3d-18"\nbackbone = "conv-tiny"\n' + GRID
    message = refused(tmp_path, text)
    assert "r3d-18" in message
    assert "has no" in message


def test_optimizer_and_schedule_are_components_of_a_study(tmp_path: Path) -> None:
    plain = compiled(tmp_path, GRID)
    text = '[base]\noptimizer = { name = "sgd", momentum = 0.5 }\nschedule = "constant"\n' + GRID
    changed = compiled(tmp_path, text)
    assert one(changed).config["optimizer"]["momentum"] == 0.5
    assert one(changed).config["schedule"]["name"] == "constant"
    assert one(changed).id != one(plain).id
    named = compiled(tmp_path, '[base]\noptimizer = "adamw"\nschedule = "cosine"\n' + GRID)
    assert one(named).id == one(plain).id, "what every run had before the kinds existed"


def test_an_optimizer_may_be_a_factor(tmp_path: Path) -> None:
    text = """
[design]
kind = "one-factor"
reference = { optimizer = "adamw" }
[factors]
optimizer = ["adamw", "sgd"]
"""
    record = compiled(tmp_path, text)
    assert names(record) == ["adamw", "sgd"]
    assert len({variant.run({}, 1, None).id for variant in record.variants}) == 2


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ('optimizer = "admaw"', "base.optimizer: unknown optimizer 'admaw'. Did you mean 'adamw'?"),
        ('schedule = "cosin"', "base.schedule: unknown schedule 'cosin'. Did you mean 'cosine'?"),
        ('optimiser = "adamw"', "base.optimiser: unknown key. Did you mean 'optimizer'?"),
        ('metric = "war"', "base.metric: unknown key."),
        ('task = "clips"', "base.task: unknown key."),
        ("optimizer = 3", "base.optimizer: must be the name of a optimizer or a table with 'name'. Got 3"),
    ],
)
def test_an_unknown_kind_or_component_is_answered_with_the_nearest(
    tmp_path: Path, base: str, says: str
) -> None:
    assert says in refused(tmp_path, f"[base]\n{base}\n{GRID}")


# metrics


def analysed(**keys: str) -> str:
    return GRID + "[analysis]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def test_the_primary_metric_may_be_any_registered_one_with_parameters(tmp_path: Path) -> None:
    plain = compiled(tmp_path, GRID)
    macro = compiled(tmp_path, analysed(metric='"macro-f1"'))
    top = compiled(tmp_path, analysed(metric='{ name = "top-k", k = 3 }'))
    assert [record.metric for record in (plain, macro, top)] == ["war", "macro-f1", "top-k(k=3)"]
    assert [record.primary.label for record in (macro, top)] == ["macro-F1", "top-3 accuracy"]
    assert len({one(record).id for record in (plain, macro, top)}) == 3, "it says which epoch is the best"
    assert one(compiled(tmp_path, analysed(metric='"war"'))).id == one(plain).id


def test_metrics_that_are_described_beside_the_primary_one_train_nothing(tmp_path: Path) -> None:
    plain = compiled(tmp_path, GRID)
    more = compiled(tmp_path, analysed(metrics='["macro-f1"]'))
    assert [metric.name for metric in plain.metrics] == ["war", "uar"]
    assert [metric.name for metric in more.metrics] == ["war", "uar", "macro-f1"]
    assert one(more).id == one(plain).id


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"metric": '"wra"'}, "analysis.metric: unknown metric 'wra'. Did you mean 'war'?"),
        ({"metrics": '["macro-f2"]'}, "unknown metric 'macro-f2'. Did you mean 'macro-f1'?"),
        ({"metric": '{ name = "top-k", k = 0 }'}, "analysis.metric.k: must be"),
        ({"metric": "3"}, "analysis.metric: must be"),
        ({"metrics": '"war"'}, "analysis.metrics: must be"),
    ],
)
def test_an_unknown_metric_is_answered_with_the_nearest(
    tmp_path: Path, keys: dict[str, str], says: str
) -> None:
    assert says in refused(tmp_path, analysed(**keys))


def test_a_function_s_study_knows_the_metrics_that_it_declares(mine: Path) -> None:
    message = refused(mine, FUNCTION + '[analysis]\nmetric = "ac"\n')
    assert "analysis.metric: unknown metric 'ac'. Did you mean 'acc'? Allowed: 'acc'." in message


# names of studies


def in_project(home: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> StudyRecord:
    """Compile ``issm.toml`` from its own folder in a project, as a user does who has gone there."""
    (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "study.toml").write_text("")
    (home / folder / "issm.toml").write_text(HEAD + GRID)
    monkeypatch.chdir(home / folder)
    return compile_study(load(Path("issm.toml")), settings(Path.cwd()), "cpu")


def test_two_files_of_one_name_in_two_folders_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (in_project(tmp_path, folder, monkeypatch) for folder in ("a", "b"))
    ledger = Ledger(tmp_path / "ledger")
    ledger.save(first)
    with pytest.raises(InputError) as caught:
        ledger.save(second)
    for part in ("'issm'", "a/issm.toml", "b/issm.toml"):
        assert part in str(caught.value)
    assert ledger.study("issm").file == "a/issm.toml"
    ledger.save(first)


def test_a_file_that_was_moved_is_the_same_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.save(in_project(tmp_path, "a", monkeypatch))
    (tmp_path / "a" / "issm.toml").unlink()
    ledger.save(in_project(tmp_path, "b", monkeypatch))
    assert ledger.study("issm").file == "b/issm.toml"


def test_a_project_that_is_copied_with_its_ledger_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(tmp_path / "one" / "ledger").save(in_project(tmp_path / "one", "a", monkeypatch))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    copied = in_project(tmp_path / "other", "a", monkeypatch)
    assert Ledger(tmp_path / "other" / "ledger").save(copied).file == "a/issm.toml"


# recipes by path


def test_a_recipe_may_be_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(
        'help = "ours"\n[train]\nepochs = 9\nlr = 0.5\n[base]\nbackbone = { name = "conv-tiny", width = 32 }\n'
    )
    text = 'recipe = "ours.toml"\n' + GRID + "[train]\nepochs = 2\n"
    config = one(compiled(tmp_path, text)).config
    assert (config["train"]["epochs"], config["train"]["lr"]) == (2, 0.5), "the study's own is above it"
    assert config["backbone"]["width"] == 32
    (tmp_path / "study.toml").write_text("")
    spec = load(tmp_path / "s.toml")
    assert spec.origins["train.lr"] == Origin(Layer.RECIPE, "ours.toml")
    assert spec.origins["train.epochs"] == Origin(Layer.STUDY)


def test_a_recipe_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    assert "unknown recipe 'ifdd-fixd'. Did you mean 'ifdd-fixed'?" in refused(
        tmp_path, 'recipe = "ifdd-fixd"\n' + GRID
    )
    (tmp_path / "ours.toml").write_text("")
    (tmp_path / "s.toml").write_text(HEAD + 'recipe = "oars.toml"\n' + GRID)
    with pytest.raises(InputError, match=r"oars\.toml: no such file\. Did you mean 'ours\.toml'"):
        load(tmp_path / "s.toml")
