"""What a search may set: never what a factor sets, values of the parameter's type, and nothing that a run dies of."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from study.config.compile import _points_to_try, compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine.search import Ask, Tried, suggest
from study.errors import InputError
from study.ledger.record import StudyRecord

CLIPS = """
title = "t"
question = "Does it?"
repetitions = 2
[base]
dataset = "faces"
"""
SPLITTERS = 'factors.splitter = ["even-odd", "issm"]\n'
OWN = """
question = "Does it?"
task = { function = "mine:train", metric = { name = "acc" }, data_version = "1" }
base = { lr = 1e-3, depth = 4, width = 1, name = "x", bias = true, model = { attention = true, heads = 2 } }
"""
FACTOR = 'factors."model.attention" = [true, false]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("def train(config, run):\n    run.report(1, acc=0.5)\n")
    return tmp_path


def compiled(folder: Path, text: str, *changes: str, preset: str | None = None) -> StudyRecord:
    (folder / "s.toml").write_text(text)
    return compile_study(load(folder / "s.toml", preset, changes), settings(folder), "cpu")


def refused(folder: Path, text: str, *changes: str, preset: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        compiled(folder, text, *changes, preset=preset)
    assert "s.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def searching(space: str) -> str:
    return f"search.trials = 2\nsearch.space = {{ {space} }}\n"


def clips(factors: str, space: str = "", more: str = "") -> str:
    return f"{factors}{searching(space) if space else ''}{more}{CLIPS}"


def own(factors: str, space: str = "", more: str = "") -> str:
    return f"{OWN}{factors}{searching(space) if space else ''}{more}"


# Two variants, one run

HEADS = 'factors.lifting = [{ name = "attention", heads = 1 }, { name = "attention", heads = 2 }]\n'
NESTED = """factors.network = [
    { name = "ifdd", splitter = { name = "issm", frozen = true } }, { name = "ifdd", splitter = "even-odd" }]
"""


@pytest.mark.parametrize(
    ("factors", "space"),
    [
        ('factors."train.lr" = [1e-3, 1e-2]\n', '"train.lr" = { low = 3e-4, high = 1e-2, log = true }'),
        (HEADS, '"lifting.heads" = [1, 2, 4]'),
        (SPLITTERS, 'splitter = ["even-odd", "issm"]'),
        (SPLITTERS, '"splitter.name" = ["even-odd", "issm"]'),
        (NESTED, '"splitter.frozen" = [true, false]'),
        (NESTED, '"network.splitter.frozen" = [true, false]'),
        (
            'factors."train.lr" = [1e-3, 1e-2]\n'
            + SPLITTERS
            + 'design = { kind = "one-factor", within = ["train.lr"] }\n',
            '"train.lr" = [1e-3, 1e-2]',
        ),
    ],
)
def test_a_searched_key_that_a_level_sets_is_refused(folder: Path, factors: str, space: str) -> None:
    message = refused(folder, clips(factors, space))
    assert "search.space." in message
    assert "is searched and set by the levels of the factor" in message


@pytest.mark.parametrize(
    ("factors", "space"),
    [
        (FACTOR, '"model.attention" = [true, false]'),
        (FACTOR, "model = [{ attention = true }, { attention = false }]"),
        ("factors.model = [{ heads = 1 }, { heads = 2 }]\n", '"model.heads" = [1, 2]'),
        ('factors.model = ["small", "large"]\n', '"model.heads" = [1, 2]'),
        ("factors.lr = [0.1, 0.2]\n", "lr = { low = 0.1, high = 0.2 }"),
    ],
)
def test_so_it_is_in_a_training_of_the_users_own(folder: Path, factors: str, space: str) -> None:
    assert "set by the levels of the factor" in refused(folder, own(factors, space))


def test_a_key_beside_those_that_the_levels_set_is_searched(folder: Path) -> None:
    attention = 'factors.lifting = [{ name = "attention", predictor_depth = 1 }, "attention"]\n'
    attention = attention.replace("predictor_depth = 1", "predictor_depth = 2")
    record = compiled(folder, clips(attention, '"lifting.heads" = [1, 2]'))
    ids = {variant.run({"lifting.heads": 2}, 1, None).id for variant in record.variants}
    assert len(ids) == 2
    record = compiled(
        folder,
        own("factors.model = [{ attention = true }, { attention = false }]\n", '"model.heads" = [1, 2]'),
    )
    assert len({variant.run({"model.heads": 2}, 1, None).id for variant in record.variants}) == 2


def test_a_preset_and_a_change_are_held_to_the_same(folder: Path) -> None:
    text = (
        own("factors.lr = [0.1, 0.2]\n", "depth = [1, 2]")
        + "[preset.wide]\n'search.space' = { lr = [0.1, 0.2] }\n"
    )
    assert len(compiled(folder, text).variants) == 2
    assert "search.space.lr" in refused(folder, text, preset="wide")
    assert "search.space.lr" in refused(folder, text, "search.space={lr = [0.1, 0.2]}")
    assert "search.space.depth" in refused(folder, text, "factors={depth = [1, 2]}")


# Dimensions that only some variants have

LR = '"train.lr" = { low = 3e-4, high = 1e-2, log = true }'
FIELD = '"splitter.receptive_field" = { low = 0.5, high = 4.0, when = { splitter = "issm" } }'


def test_a_dimension_of_some_variants_is_tried_by_those_alone_and_changes_no_shared_value(
    folder: Path,
) -> None:
    for sampler in ("auto", "random"):
        record = compiled(folder, clips(SPLITTERS, f"{LR}, {FIELD}", f'search.sampler = "{sampler}"\n'))
        own = {variant.name: list(record.space_of(variant)) for variant in record.variants}
        assert own == {"even-odd": ["train.lr"], "issm": ["train.lr", "splitter.receptive_field"]}
        even_odd, issm = (
            suggest(Ask.of(record, record.searches(variant)[1], 1, ())) for variant in record.variants
        )
        assert even_odd == {"train.lr": issm["train.lr"]}
        run = record.variants[1].run(issm, 1, None)
        assert run.config["splitter"]["receptive_field"] == issm["splitter.receptive_field"]
        assert "receptive_field" not in record.variants[0].run(even_odd, 1, None).config["splitter"]


def test_variants_are_asked_the_same_points_and_repetitions_and_folds_others(folder: Path) -> None:
    record = replace(compiled(folder, clips(SPLITTERS, LR)), folds=(1, 2))
    arms = [
        [
            suggest(Ask.of(record, search, n, ()))["train.lr"]
            for search in record.searches(v)
            for n in range(10)
        ]
        for v in record.variants
    ]
    assert arms[0] == arms[1]
    assert len(set(arms[0])) == 10 * 2 * 2


def test_quasi_random_points_fill_every_dimension_evenly_and_do_not_move_together(folder: Path) -> None:
    space = {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}}
    points = [suggest(Ask("auto", space, ("a", "b"), number, 5)) for number in range(8)]
    for key in space:
        assert sorted(int(8 * point[key]) for point in points) == list(range(8)), "one in each eighth"
    quarters = {(point["a"] < 0.5, point["b"] < 0.5) for point in points}
    assert len(quarters) == 4


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ('{ spliter = "issm" }', "receptive_field.when: 'spliter' is no factor of this study. Did you mean"),
        ('{ splitter = "isms" }', "when.splitter: must be one of the factor's levels, 'even-odd' or 'issm'"),
        ('{ splitter = ["issm", "haar"] }', "Got 'haar' instead."),
    ],
)
def test_an_unknown_factor_or_level_of_a_condition_is_named(folder: Path, when: str, says: str) -> None:
    assert says in refused(folder, clips(SPLITTERS, FIELD.replace('{ splitter = "issm" }', when)))


def test_a_parameter_that_only_some_variants_have_needs_a_condition(folder: Path) -> None:
    assert "'when'" in refused(folder, clips(SPLITTERS, FIELD.replace(', when = { splitter = "issm" }', "")))


def test_a_condition_names_levels_by_value_label_or_component(folder: Path) -> None:
    levels = 'factors.splitter = ["even-odd", { value = { name = "issm", scale = "1" }, label = "ours" }, "issm"]\n'
    levels = levels.replace(', scale = "1"', ', offset_heads = "shared"')
    for when, having in (
        ('"issm"', {"ours", "issm"}),
        ('"ours"', {"ours"}),
        ('["ours", "issm"]', {"ours", "issm"}),
    ):
        record = compiled(folder, clips(levels, ", ".join([LR, FIELD.replace('"issm"', when)])))
        assert {v.name for v in record.variants if len(record.space_of(v)) == 2} == having


# What earlier files said


def test_a_file_with_confirm_is_answered_with_the_way_of_today(folder: Path) -> None:
    for text, changes in (
        (clips(SPLITTERS, LR, 'confirm."train.fit" = "train+val"\n'), ()),
        (clips(SPLITTERS, LR), ("confirm.lr=1",)),
    ):
        message = refused(folder, text, *changes)
        assert "confirm: " in message
        assert "fit = 'train+val' in [train]" in message


def test_two_factors_that_set_one_key_are_refused(folder: Path) -> None:
    message = refused(folder, clips(HEADS + 'factors."lifting.heads" = [1, 2]\n'))
    assert "sets 'lifting.heads'" in message
    both = compiled(folder, own('factors."model.heads" = [1, 2]\nfactors.model = ["small", "large"]\n'))
    for variant in both.variants:
        assert variant.levels["model.heads"] == str(variant.template.config["model"]["heads"])
        assert variant.levels["model"] == variant.template.config["model"]["name"]


# Values that become others


def values(record: StudyRecord, key: str, trials: int = 24, sampler: str = "auto") -> list[object]:
    history: tuple[Tried, ...] = ()
    for number in range(trials):
        parameters = suggest(Ask(sampler, record.space, tuple(record.space), number, 1, history))
        history = (*history, Tried(parameters, math.sin(number)))
    return [tried.parameters[key] for tried in history]


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("train.mix_probability", "0", "1"), ("head.dropout", "0", "0.5"), ("train.ema", "0.0", "0")],
)
def test_whole_bounds_of_a_declared_float_are_a_range_of_floats(
    folder: Path, key: str, low: str, high: str
) -> None:
    high = "0.99" if high == "0" else high
    record = compiled(folder, clips(SPLITTERS, f'"{key}" = {{ low = {low}, high = {high} }}'))
    tried = values(record, key)
    assert all(isinstance(value, float) and 0 <= value <= float(high) for value in tried)
    assert len(set(tried)) == 24
    assert type(record.first_point(record.variants[0])[key]) is float


def test_the_value_in_base_is_the_type_of_a_training_of_the_users_own(folder: Path) -> None:
    record = compiled(folder, own(FACTOR, "lr = { low = 0, high = 1 }, depth = { low = 1, high = 8 }"))
    assert len(set(values(record, "lr"))) == 24
    assert {type(value) for value in values(record, "lr")} == {float}
    assert set(values(record, "depth")) <= set(range(1, 9))
    assert {type(value) for value in values(record, "depth")} == {int}
    floats = compiled(folder, own(FACTOR, "lr = [1, 0.5]"))
    assert repr(floats.space["lr"]["choices"]) == "[1.0, 0.5]"


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("depth = { low = 8, high = 32.0 }", "must be integers"),
        ("depth = { low = 0.5, high = 2.5 }", "must be integers"),
        ("other = { low = 0, high = 1 }", "write low = 0.0 for a number"),
        ("name = { low = 0, high = 1 }", "must be of a number"),
        ("bias = { low = 0, high = 1 }", "must be of a number"),
        ("depth = [1, true]", "the choices 1 and True are equal"),
        ("depth = [1, 1.0]", "the choices 1 and 1.0 are equal"),
        ("lr = [1, 1.0]", "are equal"),
        ("lr = [0.1, 0.1]", "are equal"),
        ("model = [[1], [true]]", "is searched and set"),
        ("name = [[1], [true]]", "the choices [1] and [True] are equal"),
        ("lr = [0.1, nan]", "finite"),
        ("lr = { low = -1e308, high = 1e308 }", "bounds must be between"),
        ("lr = { low = 0.1, high = 0.10000000000000002 }", "too close"),
        ("depth = { low = 1, high = 1000000000000000000000000000000 }", "between -2**53 and 2**53"),
        ("lr = { low = 0, high = 0.1, log = true }", "above 0 where log"),
        ("lr = { low = -0.1, high = 0.1, log = true }", "above 0 where log"),
        ("lr = { choices = [0.1], log = true }", "is of ranges"),
        ("code = ['git:main', '.']", "cannot be searched"),
    ],
)
def test_a_dimension_that_has_no_one_meaning_is_refused(folder: Path, space: str, says: str) -> None:
    assert says in refused(folder, own(FACTOR, space))


def test_choices_of_several_types_stay_what_they_are(folder: Path) -> None:
    record = compiled(folder, own(FACTOR, 'name = ["1", 1, [1, 2], [2], false]'))
    for sampler in ("auto", "random", "tpe", "gp"):
        tried = values(record, "name", 40, sampler)
        assert {repr(value) for value in tried} == {"'1'", "1", "[1, 2]", "[2]", "False"}


@pytest.mark.parametrize(
    ("low", "high"), [(1e-3, 1.0000001e-3), (0.99999991, 0.99999995), (-1.0000001, -1.0), (1e6, 1e6 + 0.25)]
)
def test_a_narrow_range_is_searched_inside(low: float, high: float) -> None:
    space = {"x": {"low": low, "high": high}}
    tried = {suggest(Ask("random", space, ("x",), number, 1))["x"] for number in range(50)}
    assert all(low <= value <= high for value in tried)
    assert len(tried) >= 40, "50 random values of a range of at least 100"


def test_the_digits_of_a_usual_range_are_six() -> None:
    space = {"x": {"low": 1e-4, "high": 1e-2, "log": True}, "y": {"low": 0.9, "high": 0.999}}
    for number, sampler in product(range(20), ("auto", "random")):
        for value in suggest(Ask(sampler, space, tuple(space), number, 1)).values():
            assert value == float(f"{value:.6g}")


@pytest.mark.parametrize(
    "given", [".5", "1.", "+.1", "01", "True", "FALSE", "None", "null", "NaN", "Infinity"]
)
def test_a_change_that_only_python_reads_is_no_text(folder: Path, given: str) -> None:
    with pytest.raises(InputError, match="--set") as caught:
        compiled(folder, own(FACTOR), f"base.lr={given}")
    assert caught.value.exit_code == 2


def test_a_bare_word_is_still_text(folder: Path) -> None:
    record = compiled(folder, own(FACTOR), "base.name=adam-2")
    assert record.variants[0].template.config["name"] == "adam-2"


# What a run would die of


@pytest.mark.parametrize(
    "space",
    [
        '"train.determinism" = ["strict", "warn"]',
        '"train.precision" = ["fp32", "bf16"]',
        '"train.fit" = ["train", "train+val"]',
        '"train.stream" = [0, 1]',
        '"train.labels" = ["true", "shuffled"]',
        '"dataset.test_clips" = [14, 28]',
        'dataset = ["faces"]',
        '"dataset.cache" = ["a", "b"]',
        'network = ["ifdd", "plain"]',
        "readout = { low = 0, high = 1 }",
        'readout = ["mean", "mean"]',
        'readout = ["mean", "meam"]',
        '"readout.name" = ["token-weights", "mean"]',
        '"network.readout" = ["token-weights", "mean"]',
        'metric = ["war"]',
        '"optimizer.name" = ["adamw", "sgd"]',
        "train = [{ lr = 0.1 }]",
        '"train.lrr" = [0.1]',
        '"train.labels" = { low = 0, high = 1 }',
    ],
)
def test_what_cannot_be_searched_is_refused(folder: Path, space: str) -> None:
    assert "search.space." in refused(folder, clips(SPLITTERS, space))


def test_epochs_are_searched_only_without_pruning(folder: Path) -> None:
    text = clips(SPLITTERS, '"train.epochs" = [2, 4]')
    assert compiled(folder, text).space == {"train.epochs": {"choices": [2, 4], "log": False}}
    halving = ('search.pruner="halving"', "search.generation=1")
    assert "pruning" in refused(folder, text, *halving)


def test_batches_that_accumulation_does_not_divide_are_refused(folder: Path) -> None:
    text = clips(SPLITTERS, '"train.batch_size" = [8, 10]')
    assert "divide" in refused(folder, text, "train.accumulate=4")
    assert compiled(folder, text, "train.accumulate=2").space["train.batch_size"]["choices"] == [8, 10]
    ranged = clips(SPLITTERS, '"train.batch_size" = { low = 8, high = 16 }')
    assert "divide" in refused(folder, ranged, "train.accumulate=2")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("analysis.rope=1e308", "analysis.rope: must be below 100 points"),
        ("analysis.rope=100", "analysis.rope: must be below 100 points"),
        ("analysis.rope=-1", "analysis.rope"),
        ("analysis.rope=nan", "analysis.rope"),
        ("analysis.alpha=0", "analysis.alpha"),
        ("analysis.alpha=1", "analysis.alpha"),
        ("repetitions=0", "repetitions"),
        ("seed=-1", "seed"),
        ("seed=1e400", "seed"),
        ("seed=99999999999999999999999999", "seed"),
        ("search.trials=1000000000", "search.trials"),
        ("search.generation=1000000000", "search.generation"),
        ("search.reduction=99999999999999999999", "search.reduction"),
        ("search.first_epoch=99999999999999999999", "search.first_epoch"),
    ],
)
def test_a_number_that_nothing_can_be_made_of_is_refused(folder: Path, change: str, says: str) -> None:
    assert says in refused(folder, clips(SPLITTERS, '"train.lr" = [0.1, 0.2]'), change)


def test_a_metric_without_bounds_takes_a_large_difference_of_interest(folder: Path) -> None:
    loss = own(FACTOR).replace(
        '{ name = "acc" }', '{ name = "bytes", scale = 1, unit = "B", low = 0, high = false }'
    )
    if "high = false" in loss:
        loss = loss.replace(", low = 0, high = false", ', direction = "minimize"')
    message = refused(folder, loss, "analysis.rope=1e308")
    assert "analysis.rope" in message


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("timeout_s = 1e308", "task.timeout_s: must be at most"),
        ("threads = 1000000000", "task.threads: must be at most"),
        ("gpus = 1000000000", "task.gpus: must be at most"),
    ],
)
def test_an_option_that_no_machine_has_is_refused(folder: Path, task: str, says: str) -> None:
    assert says in refused(folder, own(FACTOR).replace("data_version", f"{task}, data_version"))


@pytest.mark.parametrize(
    "metric",
    [
        'unit = "", scale = 1e308',
        'unit = "", scale = 1e-308',
        'unit = "", scale = 1, high = 1e308',
        'unit = "", scale = 1, low = -1e308',
        "chance = 50",
        "chance = -0.1",
    ],
)
def test_a_metric_whose_values_have_no_finite_spread_is_refused(folder: Path, metric: str) -> None:
    text = own(FACTOR).replace('{ name = "acc" }', f'{{ name = "acc", {metric} }}')
    assert "metric" in refused(folder, text)


def test_every_integer_of_a_short_range_is_tried_before_a_study(folder: Path) -> None:
    from study.config.compile import try_variants

    record = compiled(folder, clips(SPLITTERS, '"lifting.heads" = { low = 1, high = 4 }'))
    with pytest.raises(InputError, match=r"lifting.heads = 3: lifting.heads: must divide"):
        try_variants(record)


def test_changes_from_python_keep_their_values_or_are_refused(folder: Path) -> None:
    from study.config.tables import as_setting, parse_setting

    for value in (1.0, 1e-5, 1, True, "1", "True", "a\x7fb", [1, 1.5, "x"], {"a": {"b": False}}):
        key, read = parse_setting(as_setting("k", value))
        assert (key, repr(read)) == ("k", repr(value))
    assert math.isnan(parse_setting(as_setting("k", math.nan))[1]), "refused as a number, never read as text"
    for wrong in (None, {1, 2}, b"x"):
        with pytest.raises(InputError, match="a change must be"):
            as_setting("k", wrong)


# Few points


@pytest.mark.parametrize(
    ("space", "trials", "points"),
    [
        ('"train.batch_size" = [8, 16]', 8, 2),
        ('"train.batch_size" = [8, 16], "lifting.heads" = { low = 1, high = 3 }', 6, 6),
        (
            '"train.batch_size" = [8, 16], '
            '"splitter.receptive_field" = { choices = [1.0, 2.0], when = { splitter = "issm" } }',
            9,
            4,
        ),
        ('"lifting.heads" = [2]', 5, 1),
    ],
)
def test_a_space_of_few_points_is_tried_once_at_each(
    folder: Path, space: str, trials: int, points: int
) -> None:
    record = compiled(folder, clips(SPLITTERS, space).replace("trials = 2", f"trials = {trials}"))
    assert (record.trials, record.sampler) == (points, "grid")
    variant = record.variants[-1]
    for search in record.searches(variant):
        tried = [suggest(Ask.of(record, search, number, ())) for number in range(record.trials)]
        assert len({repr(point) for point in tried}) == points


def test_a_space_of_more_points_than_trials_is_searched_as_it_was(folder: Path) -> None:
    for space, trials in (('"train.batch_size" = [8, 16, 32]', 2), (LR, 50)):
        record = compiled(folder, clips(SPLITTERS, space).replace("trials = 2", f"trials = {trials}"))
        assert (record.trials, record.sampler) == (trials, "auto")


# Components as dimensions

CHOSEN = """[search.space]
readout = ["token-weights", "mean"]
optimizer = ["adamw", { name = "sgd", nesterov = true }]
"optimizer.momentum" = { low = 0.5, high = 0.95, when = { optimizer = "sgd" } }
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"""


def choosing(text: str = CHOSEN, trials: int = 12) -> str:
    head = f"{SPLITTERS}search.trials = {trials}\n{CLIPS}"
    return f"{head}{text}"


@pytest.mark.parametrize("sampler", ["auto", "random", "tpe", "gp"])
def test_a_component_is_searched_with_the_parameters_that_it_has(folder: Path, sampler: str) -> None:
    record = replace(compiled(folder, choosing()), sampler=sampler)
    for variant in record.variants:
        history: tuple[Tried, ...] = ()
        search = next(iter(record.searches(variant)))
        for number in range(record.trials + 3):
            point = suggest(Ask.of(record, search, number, history))
            history = (*history, Tried(point, math.sin(number)))
            config = variant.run(point, 1, None).config
            assert config["readout"] == point["readout"]
            has_momentum = point["optimizer"]["name"] == "sgd"
            assert ("optimizer.momentum" in point) == has_momentum
            assert ("momentum" in config["optimizer"]) == has_momentum
            if has_momentum:
                assert config["optimizer"]["nesterov"]
                assert config["optimizer"]["momentum"] == point["optimizer.momentum"]
        names = {
            (tried.parameters["readout"]["name"], tried.parameters["optimizer"]["name"]) for tried in history
        }
        assert len(names) == 4


def test_a_trial_of_a_searched_component_is_the_run_of_a_study_that_names_it(folder: Path) -> None:
    searched = compiled(folder, choosing('[search.space]\nreadout = ["token-weights", "mean"]\n'))
    plain = compiled(folder, SPLITTERS + CLIPS + 'readout = "mean"\n')
    for one, other in zip(searched.variants, plain.variants, strict=True):
        points = [
            suggest(Ask.of(searched, next(iter(searched.searches(one))), number, ()))
            for number in range(searched.trials)
        ]
        (mean,) = [point for point in points if point["readout"]["name"] == "mean"]
        found, expected = one.run(mean, 1, None), other.run({}, 1, None)
        assert found.config == expected.config
        assert (searched.trials, searched.sampler) == (2, "grid")


def test_points_before_a_search_have_the_parameters_of_their_components(folder: Path) -> None:
    record = compiled(folder, choosing())
    variant = record.variants[0]
    assert "optimizer.momentum" not in record.first_point(variant)
    sgd = record.space["optimizer"]["choices"][1]
    assert record.point(variant, {"optimizer": sgd})["optimizer.momentum"] == 0.5
    tried = list(_points_to_try(record.space_of(variant), ("train",)))
    assert {"optimizer": sgd, "optimizer.momentum": 0.95} in tried


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (', when = { optimizer = "sgd" }', "", "has no parameter 'momentum' that can be searched"),
        ('when = { optimizer = "sgd" }', 'when = { optimizer = "sdg" }', "Did you mean 'sgd'?"),
        (
            'when = { optimizer = "sgd" }',
            "when = { optimizer = 3 }",
            "must be the name of a searched component",
        ),
        ('when = { optimizer = "sgd" }', 'when = { schedule = "cosine" }', "is no factor"),
        ('when = { optimizer = "sgd" }', 'when = { "train.lr" = "sgd" }', "nor a searched component"),
        ('when = { optimizer = "sgd" }', 'given = { optimizer = ["sgd"] }', "Did you mean 'when'?"),
        ('"optimizer.momentum"', '"optimizer.momentun"', "Did you mean 'momentum'?"),
    ],
)
def test_a_condition_on_a_searched_component_names_its_choices(
    folder: Path, old: str, new: str, says: str
) -> None:
    assert old in CHOSEN
    assert says in refused(folder, choosing(CHOSEN.replace(old, new)))
