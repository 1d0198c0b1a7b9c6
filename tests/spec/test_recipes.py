"""Recipes: what they hold, and how a study is put on top of one."""

from __future__ import annotations

from pathlib import Path

import pytest

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
            "recipe: unknown recipe 3. Allowed: 'ifdd-fixed', 'ifdd-released' or 'ifdd-training', or the path",
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
