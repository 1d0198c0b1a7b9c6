"""Recipes: what they hold, and how a study is put on top of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.config.compile import compile_study
from study.config.designs import variants_of
from study.config.recipes import compose, recipe
from study.config.registry import Registry
from study.config.resolve import Resolver
from study.config.settings import settings
from study.config.study import Layer, Origin, load
from study.errors import InputError
from study.tasks.clips.nets.ifdd.network import configured

OWN = """
help = "mine"
recipe = "ifdd-fixed"
"train.epochs" = 3
[base]
augmentation = "none"
"lifting.heads" = 2
"""


def released(**parts):
    return configured(Registry(), {**recipe("ifdd-released", "").values["base"], **parts})


def test_the_released_network_is_what_the_authors_code_builds():
    config = released()
    assert config["network"] | {"weights": ""} == {"name": "ifdd", "stages": [2, 3], "weights": ""}
    assert config["backbone"]["name"] == "mfvit-xs"
    assert config["backbone"]["width"] == 96
    assert (config["splitter"]["name"], config["splitter"]["positions"]) == ("issm", "released")
    shown = config["lifting"]
    assert (shown["name"], shown["heads"], shown["output"], shown["order"]) == (
        "attention",
        8,
        "released",
        "update-first",
    )
    assert (config["readout"]["name"], config["readout"]["group"]) == ("token-weights", "dynamic")
    assert config["head"] == {"name": "linear", "dropout": 0.5}


def test_the_fixed_network_differs_from_the_released_one_in_the_accidents_alone():
    fixed = configured(Registry(), recipe("ifdd-fixed", "").values["base"])
    differing = {
        f"{kind}.{key}": (value, fixed[kind][key])
        for kind, table in released().items()
        for key, value in table.items()
        if fixed[kind][key] != value
    }
    assert differing == {
        "splitter.positions": ("released", "corrected"),
        "lifting.output": ("released", "residual"),
    }


def test_a_recipe_of_ones_own_starts_from_another_and_may_write_dotted_keys(tmp_path):
    (tmp_path / "my_recipe.toml").write_text(OWN)
    found = recipe("my_recipe.toml", "s.toml: recipe", tmp_path)
    assert found.help == "mine"
    assert found.values["train"]["epochs"] == 3
    assert found.values["train"]["lr"] == 1e-4
    assert found.values["base"]["augmentation"] == "none"
    assert found.values["base"]["lifting"] == {"name": "attention", "output": "residual", "heads": 2}


def test_recipes_of_ones_own_start_from_files_beside_them(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/first.toml").write_text("[train]\nlr = 1.0\nepochs = 1\n")
    (tmp_path / "inner/second.toml").write_text('recipe = "first.toml"\n[train]\nepochs = 2\n')
    found = recipe("inner/second.toml", "s.toml: recipe", tmp_path)
    assert found.values == {"train": {"lr": 1.0, "epochs": 2}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('recipe = "ifdd-fxed"', "my_recipe.toml: recipe: unknown recipe 'ifdd-fxed'. Did you mean"),
        ('recipe = "my_recipe.toml"', "my_recipe.toml: recipe: inherits itself"),
        ("recipe = 3", "my_recipe.toml: recipe: must be a name or the path"),
        ("help = 3", "my_recipe.toml: help: must be a string. Got 3"),
        ("help = ", "my_recipe.toml: not valid TOML"),
    ],
)
def test_a_wrong_recipe_of_ones_own_names_its_file(tmp_path, text, says):
    (tmp_path / "my_recipe.toml").write_text(text)
    with pytest.raises(InputError) as error:
        recipe("my_recipe.toml", "s.toml: recipe", tmp_path)
    assert says in str(error.value)


def test_a_recipe_file_that_is_not_there_is_named_with_the_nearest_one(tmp_path):
    (tmp_path / "my_recipe.toml").write_text(OWN)
    with pytest.raises(InputError, match=r"my_recip\.toml: no such file\. Did you mean 'my_recipe.toml'"):
        recipe("my_recip.toml", "s.toml: recipe", tmp_path)


def test_a_study_lies_above_its_recipe():
    tree = {"base": {"lifting": {"heads": 4}, "splitter": "even-odd"}, "train": {"lr": 1.0}}
    whole, given = compose(tree, recipe("ifdd-fixed", ""))
    assert whole["base"]["lifting"] == {"name": "attention", "output": "residual", "heads": 4}
    assert whole["base"]["splitter"] == "even-odd"
    assert (whole["train"]["lr"], whole["train"]["epochs"]) == (1.0, 100)
    assert {"base.lifting.name", "base.lifting.output", "train.epochs", "base.head"} <= set(given)
    assert not {"base.lifting.heads", "base.splitter", "train.lr"} & set(given)


def test_another_component_leaves_out_all_that_the_recipe_says_of_its_kind():
    tree = {"base": {"lifting": {"name": "conv"}, "augmentation": "none", "network": "ifdd"}}
    whole, _ = compose(tree, recipe("ifdd-fixed", ""))
    assert whole["base"]["lifting"] == {"name": "conv"}
    assert whole["base"]["augmentation"] == "none"
    assert whole["base"]["network"] == {"name": "ifdd", "stages": [2, 3]}


STUDY = """
title = "t"
question = "Does it?"
recipe = "ifdd-released"
[base]
backbone = "conv-tiny"
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
[preset.fixed]
recipe = "ifdd-fixed"
[preset.short]
"train.epochs" = 2
"""


def resolver(spec, folder):
    registry = Registry()
    return Resolver(spec, registry.task({"name": "clips"}), registry, settings(folder))


@pytest.fixture
def study(tmp_path: Path):
    """Return a function that reads a changed study and returns it with its reference's configuration."""

    def read(old="", new="", preset=None, changes=()):
        assert old in STUDY
        file = tmp_path / "s.toml"
        file.write_text(STUDY.replace(old, new))
        spec = load(file, preset, changes)
        return spec, resolver(spec, tmp_path).resolve({"splitter": "even-odd"}).config

    return read


@pytest.mark.parametrize("name", ["ifdd-released", "ifdd-fixed", "ifdd-training"])
def test_a_recipe_holds_the_settings_of_the_release(study, name):
    spec, config = study("ifdd-released", name)
    train = config["train"]
    assert (train["lr"], train["weight_decay"], train["epochs"], train["batch_size"]) == (1e-4, 1e-3, 100, 16)
    assert (train["warmup_epochs"], train["mixup"], train["cutmix"]) == (10, 0.8, 1.0)
    assert (train["mix_probability"], train["ema"], train["clip_norm"]) == (1, 0, 0)
    assert config["loss"] | {"reduction": ""} == {
        "name": "cross-entropy-context",
        "label_smoothing": 0.1,
        "context_weight": 0.1,
        "context": "relaxed",
        "reduction": "",
    }
    shown = config["augmentation"]
    assert (shown["name"], shown["flip"], shown["scale_low"], shown["scale_high"]) == (
        "standard",
        0.5,
        0.5,
        1,
    )
    assert {shown[name] for name in ("brightness", "contrast", "saturation", "hue")} == {0.4}
    assert spec.origins["train.lr"] == spec.origins["base.loss.reduction"] == Origin(Layer.RECIPE, name)


def test_the_recipes_differ_in_the_accidents_alone(study):
    _, released = study()
    _, fixed = study(preset="fixed")
    differing = {
        f"{kind}.{key}": (value, fixed[kind][key])
        for kind, table in released.items()
        for key, value in table.items()
        if fixed[kind][key] != value
    }
    assert differing == {
        "schedule.name": ("ifdd-released", "cosine"),
        "loss.reduction": ("sum", "mean"),
        "lifting.output": ("released", "residual"),
    }


def test_what_the_study_says_wins_and_the_rest_stays_the_recipes(study):
    spec, config = study(
        "[design]",
        '[train]\nlr = 3e-3\n[base.loss]\nname = "cross-entropy-context"\ncontext_weight = 1.0\n[design]',
        "short",
        ["base.augmentation.hue=0.1", "train.mixup=0.2"],
    )
    assert (config["train"]["lr"], config["train"]["epochs"], config["train"]["mixup"]) == (3e-3, 2, 0.2)
    assert config["train"]["batch_size"] == 16
    assert (config["loss"]["context_weight"], config["loss"]["label_smoothing"]) == (1.0, 0.1)
    assert (config["augmentation"]["hue"], config["augmentation"]["contrast"]) == (0.1, 0.4)
    expected = {
        "train.lr": Origin(Layer.STUDY),
        "train.epochs": Origin(Layer.PRESET, "short"),
        "train.mixup": Origin(Layer.SET),
        "train.cutmix": Origin(Layer.RECIPE, "ifdd-released"),
        "base.loss.context_weight": Origin(Layer.STUDY),
        "base.loss.label_smoothing": Origin(Layer.RECIPE, "ifdd-released"),
        "base.augmentation.hue": Origin(Layer.SET),
        "base.backbone": Origin(Layer.STUDY),
    }
    assert {key: spec.origins[key] for key in expected} == expected


def test_a_component_that_is_named_alone_keeps_the_recipes_parameters(study):
    _, config = study("[design]", '[base.loss]\nname = "cross-entropy-context"\n[design]')
    assert config["loss"]["reduction"] == "sum"
    _, config = study('backbone = "conv-tiny"', 'loss = "cross-entropy-context"')
    assert config["loss"]["reduction"] == "sum"


@pytest.mark.parametrize("written", ['"none"', '{ name = "none" }'])
def test_another_component_takes_nothing_from_the_recipe(study, written):
    spec, config = study('backbone = "conv-tiny"', f"augmentation = {written}")
    assert config["augmentation"] == {"name": "none"}
    assert not [key for key in spec.origins if key.startswith("base.augmentation.") and "name" not in key]


def test_a_factor_can_fix_one_accident_at_a_time(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        STUDY.replace('splitter = "even-odd" }', '"loss.reduction" = "sum" }').replace(
            'splitter = ["even-odd", "issm"]', '"loss.reduction" = ["sum", "mean"]'
        )
    )
    found = variants_of(spec := load(file), resolver(spec, tmp_path))
    assert [v.config["loss"]["reduction"] for v in found] == ["sum", "mean"]
    assert {v.config["loss"]["label_smoothing"] for v in found} == {0.1}


def test_without_a_recipe_nothing_is_augmented_or_mixed(study):
    spec, config = study('recipe = "ifdd-released"', "")
    assert config["augmentation"] == {"name": "none"}
    assert {config["train"][key] for key in ("mixup", "cutmix", "ema")} == {0}
    assert Layer.RECIPE not in {origin.layer for origin in spec.origins.values()}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"ifdd-released"', '"ifdd-relased"', "recipe: unknown recipe 'ifdd-relased'. Did you mean 'ifdd-re"),
        (
            '"ifdd-released"',
            "3",
            "recipe: unknown recipe 3. Allowed: 'former-dfer-training', 'former-dfer', 'ifdd-fixed', 'ifdd-rel",
        ),
        ("recipe = ", "recip = ", "recip: unknown key. Did you mean 'recipe'?"),
        (
            "[design]",
            "[train]\nmix_probability = 2\n[design]",
            "must be a number from 0 to 1. Got 2 instead.",
        ),
        ('backbone = "conv-tiny"', 'augmentation = "standrad"', "Did you mean 'standard'?"),
    ],
)
def test_a_mistake_is_said(study, old, new, says):
    with pytest.raises(InputError) as error:
        study(old, new)
    assert says in str(error.value)
    assert "s.toml" in str(error.value)


PUBLISHED = """
title = "t"
question = "Does it?"
recipe = "{}"
[base]
dataset = {{ name = "dfew", root = "DFEW" }}
[factors]
"train.ema" = [0.0, 0.9]
"""


@pytest.mark.parametrize(
    ("name", "train", "optimizer", "schedule", "dataset"),
    [
        (
            "former-dfer",
            {"lr": 0.01, "weight_decay": 1e-4, "epochs": 100, "batch_size": 32, "mixup": 0.0},
            {"name": "sgd", "momentum": 0.9},
            {"name": "steps", "every": 40, "factor": 0.1},
            {"frames": 16, "size": 112, "neighbours": 2, "short": "first", "views": "1x1"},
        ),
        (
            "m3dfel",
            {"lr": 5e-4, "weight_decay": 0.05, "epochs": 300, "batch_size": 256, "warmup_epochs": 20.0},
            {"name": "adamw"},
            {"name": "cosine"},
            {"frames": 16, "size": 112, "sampling": "starts"},
        ),
        (
            "mae-dfer",
            {
                "lr": 1e-3,
                "weight_decay": 0.05,
                "batch_size": 256,
                "layer_decay": 0.75,
                "mixup": 0.8,
                "cutmix": 1.0,
                "normalise": "imagenet",
            },
            {"name": "adamw"},
            {"name": "cosine"},
            {"frames": 16, "size": 160, "views": "2x1"},
        ),
    ],
)
def test_recipes_of_prior_methods_hold_what_was_published(
    tmp_path: Path, name: str, train: Any, optimizer: Any, schedule: Any, dataset: Any
) -> None:
    """The values are those of the methods' papers and code, as ``peers.md`` of the specification lists them."""
    file = tmp_path / "s.toml"
    file.write_text(PUBLISHED.format(name))
    config = resolver(load(file), tmp_path).resolve({}).config
    assert config["network"]["name"] == name
    for kind, values in (
        ("train", train),
        ("optimizer", optimizer),
        ("schedule", schedule),
        ("dataset", dataset),
    ):
        assert {key: config[kind][key] for key in values} == values
    smoothing = 0.0 if name == "former-dfer" else 0.1
    assert config["loss"]["label_smoothing"] == smoothing
    assert config["augmentation"].get("erase", 0.0) == (0.25 if name == "mae-dfer" else 0.0)
    if name == "m3dfel":
        assert config["network"]["kinetics"] == "kinetics-400"
    if name == "mae-dfer":
        assert (config["network"]["drop_path"], config["augmentation"]["name"]) == (0.1, "randaugment")


VARIED = """
title = "t"
question = "Does it?"
[base]
dataset = { name = "faces", train_clips = 32, validation_clips = 14, test_clips = 14 }
[design]
kind = "factorial"
[[design.exclude]]
network = "plain"
recipe = "own"
reason = "has none"
[factors]
network = ["plain", { value = { name = "former-dfer", width = 0.125 }, label = "former" }]
recipe = ["ifdd-training", { value = { former-dfer = "mine.toml" }, label = "own" }]
[train]
epochs = 2
"""
MINE = """
help = "Mine"
recipe = "former-dfer-training"
[train]
lr = 0.5
epochs = 7
"""


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """Return the file of a study whose factor is the recipe."""
    (tmp_path / "mine.toml").write_text(MINE)
    (tmp_path / "s.toml").write_text(VARIED)
    return tmp_path / "s.toml"


def test_a_factor_recipe_gives_each_network_its_own_training(varied: Path) -> None:
    spec = load(varied)
    found = {v.name: v.config for v in variants_of(spec, resolver(spec, varied.parent))}
    assert found.keys() == {"reference", "former", "former, own"}
    own, shared = found["former, own"], found["former"]
    assert (own["optimizer"]["name"], own["train"]["lr"], own["train"]["mixup"]) == ("sgd", 0.5, 0.0)
    assert (shared["optimizer"]["name"], shared["train"]["lr"], shared["train"]["mixup"]) == (
        "adamw",
        1e-4,
        0.8,
    )
    assert {config["train"]["epochs"] for config in found.values()} == {2}  # the study is above any recipe
    assert own["network"] == shared["network"]
    assert {config["dataset"]["train_clips"] for config in found.values()} == {32}


def test_what_was_run_names_every_recipe_with_its_variants(varied: Path) -> None:
    facts = compile_study(load(varied), settings(varied.parent), "cpu").facts["recipe"]
    assert "mine.toml (Mine): former, own" in facts
    assert "ifdd-training (IFDD's training" in facts
    assert facts.index("reference") < facts.index("mine.toml")


def test_a_recipe_of_all_variants_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.replace('"ifdd-released"', '"ifdd-training"'))
    facts = compile_study(load(file), settings(tmp_path), "cpu").facts
    assert facts["recipe"].startswith("ifdd-training (")
    assert "recipe" not in compile_study(load(without(file)), settings(tmp_path), "cpu").facts


def without(file: Path) -> Path:
    """Write the study without its recipe beside it."""
    other = file.with_name("other.toml")
    other.write_text(file.read_text().replace('recipe = "ifdd-training"\n', ""))
    return other


def test_the_plan_says_which_recipe_a_value_of_the_reference_is_from(varied: Path) -> None:
    from study.terminal.planned import values_of_reference

    spec = load(varied)
    record = compile_study(spec, settings(varied.parent), "cpu")
    origins = {each.key: each.origin for each in values_of_reference(record, spec, ["train"])}
    assert origins["train.mixup"] == "recipe ifdd-training"
    assert origins["train.epochs"] == "study"
    assert origins["base.augmentation.hue"] == "recipe ifdd-training"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "former-dfer =",
            "former-dfr =",
            "has no recipe for the network 'former-dfer'. Did you mean 'former-dfr'?",
        ),
        (
            '"mine.toml"',
            '"former-dfer-trainin"',
            "factors.recipe: unknown recipe 'former-dfer-trainin'. Did you",
        ),
        ("[base]", 'recipe = "ifdd-fixed"\n[base]', "recipe: is a factor too"),
        ('"mine.toml"', "3", "factors.recipe: unknown recipe 3"),
        ('"mine.toml"', '"search.toml"', "the recipe 'search.toml' sets 'search'"),
    ],
)
def test_a_wrong_level_of_the_factor_recipe_is_named(varied: Path, old: str, new: str, says: str) -> None:
    (varied.parent / "search.toml").write_text("[search]\ntrials = 3\n")
    assert old in VARIED
    varied.write_text(VARIED.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        variants_of(spec := load(varied), resolver(spec, varied.parent))
    assert says in str(error.value)
    assert "s.toml" in str(error.value)
