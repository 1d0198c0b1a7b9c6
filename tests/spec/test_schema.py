"""`study schema`: the schema accepts every study of the repository and refuses what a study may not have."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.lowest import REPOSITORY
from typer.testing import CliRunner

from study.cli.app import app
from study.config.registry import Registry

STUDIES = sorted(
    path
    for folder in ("ablations", "docs/examples", "tests/own_training")
    for path in (REPOSITORY / folder).rglob("*.toml")
    if "factors" in (content := path.read_text(encoding="utf-8")) or "cells" in content
)
RIGHT = """
repetitions = { min = 5, max = 12 }
[base]
splitter = { name = "issm" }
[factors]
"lifting.heads" = [2, 4]
[train]
epochs = 3
"""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    printed = CliRunner().invoke(app, ["schema"], catch_exceptions=False).output
    schema = json.loads(printed)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def errors(validator: Draft202012Validator, text: str) -> list[Any]:
    return list(validator.iter_errors(tomllib.loads(text)))


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_study_of_the_repository_fits_the_schema(validator: Draft202012Validator, file: Path) -> None:
    assert not errors(validator, file.read_text(encoding="utf-8"))


def test_the_studies_that_are_tried_include_all_ablations() -> None:
    assert {path for path in STUDIES if path.parent.name == "ablations"} == set(
        (REPOSITORY / "ablations").glob("*.toml")
    )


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("repetitions = { min = 5, max = 12 }", "repetitions = 0"),
        ("repetitions = { min = 5, max = 12 }", "repetition = 5"),
        ("repetitions = { min = 5, max = 12 }", "repetitions = { min = 5, most = 12 }"),
        ('{ name = "issm" }', '{ name = "ism" }'),
        ('{ name = "issm" }', '"ism"'),
        ('{ name = "issm" }', '{ name = "issm", nothing = 1 }'),
        ("[2, 4]", "[]"),
        ("epochs = 3", "epochs = 'three'"),
        ("epochs = 3", "epochs = -1"),
        ("epochs = 3", "epoch = 3"),
        ("[train]", "[analysis]\nalpha = 0.9\n[train]"),
        ("[train]", "[search]\nsampler = 'grid'\n[train]"),
        ("[train]", "[[claims]]\nthus = {}\n[train]"),
        ("[train]", "[design]\nkind = 'two-factor'\n[train]"),
    ],
)
def test_what_a_study_may_not_have_does_not_fit(
    validator: Draft202012Validator, right: str, wrong: str
) -> None:
    assert not errors(validator, RIGHT)
    assert right in RIGHT
    assert errors(validator, RIGHT.replace(right, wrong))


def test_every_component_and_parameter_is_described(validator: Draft202012Validator) -> None:
    base = validator.schema["then"]["properties"]["base"]["properties"]
    for component in Registry(()):
        if component.kind in base:
            [found] = [
                option
                for option in base[component.kind]["anyOf"]
                if option.get("properties", {}).get("name", {}).get("const") == component.name
            ]
            public = {name for name, parameter in component.parameters.items() if not parameter.is_internal}
            assert set(found["properties"]) == {"name", *public}
            assert all(found["properties"][name]["description"] for name in public)
