from __future__ import annotations

from pathlib import Path

import pytest

from study.config.designs import variants
from study.errors import InputError
from study.config.registry import Registry
from study.config.recipes import RECIPES
from study.config.settings import settings
from study.config.study import load, resolve

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
[profile.mended]
recipe = "ifdd-fixed"
[profile.short]
"train.epochs" = 2
"""


@pytest.fixture
def study(tmp_path: Path):
    """Return a function that reads a changed study and returns it with its reference's configuration."""

    def read(old="", new="", profile=None, changes=()):
        assert old in STUDY
        file = tmp_path / "s.toml"
        file.write_text(STUDY.replace(old, new))
        spec = load(file, profile, changes)
        return spec, resolve(spec, Registry(), settings(tmp_path), {"splitter": "even-odd"})[0]

    return read


@pytest.mark.parametrize("name", RECIPES)
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
    assert spec.origins["train.lr"] == spec.origins["base.loss.reduction"] == f"recipe {name}"


def test_the_recipes_differ_in_the_accidents_alone(study):
    _, released = study()
    _, fixed = study(profile="mended")
    differing = {
        f"{kind}.{key}": (value, fixed[kind][key])
        for kind, table in released.items()
        for key, value in table.items()
        if fixed[kind][key] != value
    }
    assert differing == {"train.schedule": ("ifdd-released", "cosine"), "loss.reduction": ("sum", "mean")}


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
        "train.lr": "study",
        "train.epochs": "profile short",
        "train.mixup": "--set",
        "train.cutmix": "recipe ifdd-released",
        "base.loss.context_weight": "study",
        "base.loss.label_smoothing": "recipe ifdd-released",
        "base.augmentation.hue": "--set",
        "base.backbone": "study",
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


def test_a_factor_can_mend_one_accident_at_a_time(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        STUDY.replace('splitter = "even-odd" }', '"loss.reduction" = "sum" }').replace(
            'splitter = ["even-odd", "issm"]', '"loss.reduction" = ["sum", "mean"]'
        )
    )
    found = variants(load(file), Registry(), settings(tmp_path))
    assert [v.config["loss"]["reduction"] for v in found] == ["sum", "mean"]
    assert {v.config["loss"]["label_smoothing"] for v in found} == {0.1}


def test_without_a_recipe_nothing_is_augmented_or_mixed(study):
    spec, config = study('recipe = "ifdd-released"', "")
    assert config["augmentation"] == {"name": "none"}
    assert {config["train"][key] for key in ("mixup", "cutmix", "ema")} == {0}
    assert not any(origin.startswith("recipe") for origin in spec.origins.values())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"ifdd-released"', '"ifdd-relased"', "recipe: unknown recipe 'ifdd-relased'. Did you mean 'ifdd-re"),
        ('"ifdd-released"', "3", "recipe: unknown recipe 3. Allowed: 'ifdd-released' or 'ifdd-fixed'."),
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
