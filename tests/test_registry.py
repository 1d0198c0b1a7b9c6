"""Components by name: what users may write, and what they are told where they may not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from study import hashing
from study.errors import InputError
from study.config.registry import KINDS, Registry

PART = '''
from typing import Annotated, Literal
import a_module_that_does_not_exist_but_is_never_imported
from study.config.registry import Range, component

@component("splitter")
def my_split(
    features: object,
    *,
    depth: Annotated[int, Range(0, 3), "layers"] = 1,
    mode: Annotated[Literal["soft", "hard"], "how"] = "soft",
    rate: Annotated[float, Range(0.0), "speed"] = 0.5,
):
    """Split as I like it."""
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str, name: str = "my_parts") -> str:
        (tmp_path / f"{name}.py").write_text(text)
        hashing.module_path.cache_clear()
        return name

    return write


def test_declarations_are_read_without_running_the_module(module) -> None:
    registry = Registry([module(PART)])
    assert "my-split" in registry.names("splitter")
    assert registry.get("splitter", "my-split").help == "Split as I like it."
    resolved = registry.resolve("splitter", {"name": "my-split", "depth": 3, "rate": 2}, "x")
    assert resolved == {"name": "my-split", "depth": 3, "mode": "soft", "rate": 2.0}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("my-splti", "Did you mean 'my-split'?"),
        ({"name": "my-split", "dpeth": 1}, "Did you mean 'depth'?"),
        ({"name": "my-split", "depth": 4}, "must be an integer from 0 to 3. Got 4 instead."),
        ({"name": "my-split", "depth": True}, "must be an integer from 0 to 3. Got True instead."),
        ({"name": "my-split", "depth": 1.0}, "must be an integer from 0 to 3. Got 1.0 instead."),
        (
            {"name": "my-split", "mode": "sofd"},
            "must be 'soft' or 'hard'. Got 'sofd' instead. Did you mean 'soft'?",
        ),
        ({"name": "my-split", "rate": -1}, "must be a number of at least 0. Got -1 instead."),
        ({"depth": 1}, "must be the name of a splitter or a table with 'name'"),
        (3, "must be the name of a splitter or a table with 'name'. Got 3 instead."),
    ],
)
def test_a_mistake_is_answered_with_what_is_allowed(module, value, says) -> None:
    with pytest.raises(InputError) as error:
        Registry([module(PART)]).resolve("splitter", value, "s.toml: base.splitter")
    assert says in str(error.value)
    assert str(error.value).startswith("s.toml: base.splitter")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"""Split as I like it."""', "pass"), "needs a docstring"),
        (('Annotated[int, Range(0, 3), "layers"]', "int"), "needs one line of help"),
        (('Annotated[int, Range(0, 3), "layers"]', "Annotated[Depth, 'layers']"), "may use only"),
        (("= 0.5", "= sum([1])"), "must be a literal"),
    ],
)
def test_a_badly_declared_component_names_file_and_line(module, change, says) -> None:
    with pytest.raises(InputError, match=r"my_parts\.py:7") as error:
        Registry([module(PART.replace(*change))])
    assert says in str(error.value)


def test_two_components_of_one_name_are_refused(module) -> None:
    with pytest.raises(InputError, match=r"already registered by study\.tasks\.clips\.nets"):
        Registry([module(PART.replace("my_split", "even_odd"))])


def test_a_missing_module_is_named(module) -> None:
    with pytest.raises(InputError, match="'nowhere'"):
        Registry(["nowhere"])


def test_a_broken_plug_in_is_a_warning_until_it_is_used(module, monkeypatch, caplog) -> None:
    import importlib.metadata as metadata

    broken = metadata.EntryPoint("half-done", f"{module('def (', 'half')}:part", "study.tasks.clips.nets")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [broken])
    registry = Registry()
    assert "half-done" in caplog.text
    with pytest.raises(InputError, match="The plug-in of that name is broken"):
        registry.resolve("splitter", "half-done", "x")


def test_every_kind_has_a_component_and_every_parameter_a_line_of_help() -> None:
    registry = Registry()
    assert {component.kind for component in registry} == set(KINDS)
    for component in registry:
        assert component.help.endswith(".")
        assert all(parameter.help for parameter in component.parameters.values())


def test_every_default_is_allowed_by_its_own_annotation() -> None:
    for component in Registry():
        for parameter in component.parameters.values():
            if not (parameter.required or parameter.is_part):
                parameter.check(parameter.default, component.name)


def test_listing_components_imports_no_torch() -> None:
    code = "import sys; from study.config.registry import Registry; list(Registry()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
