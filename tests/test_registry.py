"""Components by name: what users may write, and the errors where they may not."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.task import COMPONENTS, KINDS

Write = Callable[..., str]

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
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(text: str, name: str = "my_parts") -> str:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return name

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def refusal(*modules: str) -> str:
    with pytest.raises(InputError) as error:
        Registry(modules)
    return str(error.value)


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
        (('Annotated[int, Range(0, 3), "layers"]', "int"), "parameter 'depth' needs one line of help"),
        (('Annotated[int, Range(0, 3), "layers"]', "Annotated[Depth, 'layers']"), "'Depth' is not defined"),
        (('Annotated[int, Range(0, 3), "layers"]', "Annotated[Range, range(3)]"), "'range' is not defined"),
        (("= 0.5", "= sum([1])"), "parameter 'rate': the default must be a literal"),
        (("= 0.5", "= -1.0"), "the default: must be a number of at least 0. Got -1.0 instead."),
        (("    features: object,\n", ""), "must take (features) before the '*'. Got () instead."),
        (("*,", "*rest,"), "no *args, no **kwargs"),
        (('"splitter"', '"spliter"'), "unknown kind 'spliter'. Did you mean 'splitter'? Allowed: "),
        (('"splitter"', "KIND"), "must name a kind in quotes"),
        (('"splitter"', '"splitter", label="x"'), "a splitter has no attribute 'label'"),
    ],
)
def test_a_badly_declared_component_names_file_and_line(module, change, says) -> None:
    assert change[0] in PART
    message = refusal(module(PART.replace(*change)))
    assert "my_parts.py:7: " in message
    assert says in message


def test_a_component_that_is_a_class_is_an_error_and_not_overlooked(module) -> None:
    text = 'from study.config.registry import component\n@component("head")\nclass Mine:\n    """Mine."""\n'
    assert "my_parts.py:3: @component marks a function" in refusal(module(text))


def test_a_module_that_is_no_python_names_file_and_line(module) -> None:
    assert "my_parts.py:2: not valid Python" in refusal(module("x = 1\ndef ("))


def test_two_components_of_one_name_are_refused(module) -> None:
    message = refusal(module(PART.replace("my_split", "even_odd")))
    assert "my_parts.py:7: the splitter 'even-odd' is already registered by study.tasks.clips.nets" in message


def test_a_missing_module_is_named() -> None:
    assert "'nowhere'" in refusal("nowhere")


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    found = importlib.metadata.EntryPoint(name, f"{module}:part", "study.components")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [found] if group == found.group else []
    )


def test_a_plug_in_is_read_as_a_users_module_is(module, monkeypatch) -> None:
    plug_in(monkeypatch, "mine", module(PART))
    assert "my-split" in Registry().names("splitter")


@pytest.mark.parametrize(
    "text", ["def (", PART.replace('"splitter"', '"unheard"'), PART.replace("my_split", "issm")]
)
def test_a_broken_plug_in_is_a_warning_until_it_is_used(module, monkeypatch, caplog, text) -> None:
    plug_in(monkeypatch, "half-done", module(text, "half"))
    registry = Registry()
    assert "half-done" in caplog.text
    with pytest.raises(InputError, match="The plug-in of that name is broken"):
        registry.resolve("splitter", "half-done", "x")


# ---- shared declarations

SHARED = """
from dataclasses import dataclass, field
from typing import Annotated, Literal

from study.config.registry import Legacy, LocalPath, Range

Mode = Literal["soft", "hard"]
HALF = 0.5
Share = Annotated[float, Range(0, 1), "a share"]

@dataclass(frozen=True)
class Base:
    rate: Share = HALF
    mode: Annotated[Mode, Legacy("soft"), "how"] = "soft"

@dataclass(frozen=True)
class Group(Base):
    levels: Annotated[list[int], "which"] = field(default_factory=lambda: [1, 2])
    table: Annotated[dict, "anything"] = field(default_factory=dict)
    rate: Share = 0.25
    root: Annotated[str, LocalPath(), "where"] = ""
"""

USER = '''
import lab.shared
from lab import shared as s
from lab.shared import HALF as HALVED, Group as Options
from typing import Annotated
from study.config.registry import Range, component

Depth = Annotated[int, Range(0, 3), "layers"]

@component("augmentation")
def mine(*, depth: Depth = 1, share: s.Share = HALVED, options: Options):
    """Mine."""
    return depth, share, options

@component("augmentation")
def other(*, options: Options = Options(rate=1.0, mode="hard")):
    """Mine too."""
    return options
'''


@pytest.fixture
def shared(module) -> Registry:
    module(SHARED, "lab.shared")
    return Registry([module(USER)])


def test_names_of_annotations_are_followed_through_modules(shared) -> None:
    found = shared.get("augmentation", "mine").parameters
    assert list(found) == ["depth", "share", "rate", "mode", "levels", "table", "root"]
    assert found["depth"].allowed() == "an integer from 0 to 3"
    assert (found["share"].allowed(), found["share"].default) == ("a number from 0 to 1", 0.5)
    assert found["share"].help == found["rate"].help == "a share"


def test_fields_of_a_dataclass_are_parameters_with_their_marks_and_defaults(shared) -> None:
    found = shared.get("augmentation", "mine").parameters
    assert found["mode"].legacy_default == "soft"
    assert found["root"].is_local_path
    assert shared.resolve("augmentation", "mine", "x") == {
        "name": "mine",
        "depth": 1,
        "share": 0.5,
        "rate": 0.25,
        "mode": "soft",
        "levels": [1, 2],
        "table": {},
        "root": "",
    }
    with pytest.raises(InputError, match=r"rate: must be a number from 0 to 1\. Got 2 instead"):
        shared.resolve("augmentation", {"name": "mine", "rate": 2}, "x")


def test_a_builder_is_handed_the_dataclass_that_it_declares(shared) -> None:
    config = shared.resolve("augmentation", {"name": "mine", "levels": [3], "table": {"a": 1}}, "x")
    depth, share, options = shared.build("augmentation", config)
    assert (depth, share) == (1, 0.5)
    assert type(options).__name__ == "Group"
    assert (options.rate, options.mode, options.levels, options.table) == (0.25, "soft", [3], {"a": 1})


def test_a_builder_can_change_the_defaults_of_a_dataclass_that_it_shares(shared) -> None:
    resolved = shared.resolve("augmentation", "other", "x")
    assert (resolved["rate"], resolved["mode"], resolved["levels"]) == (1.0, "hard", [1, 2])
    assert shared.build("augmentation", resolved).rate == 1.0


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("Options(rate=1.0", "Options(rat=1.0"), "my_parts.py:16", "Group has no field 'rat'"),
        (("Options(rate=1.0", "Options(rate=7.0"), "my_parts.py:16", "must be a number from 0 to 1"),
        (("Options(rate=1.0", "dict(rate=1.0"), "my_parts.py:16", "the default must be Group(…)"),
        (("depth: Depth", "rate: Depth"), "my_parts.py:11", "'rate' is declared twice"),
        (("s.Share", "s.Shar"), "my_parts.py:11", "'Shar' is not defined in "),
        (("import HALF as", "import Base as"), "my_parts.py:11", "the default must be a literal"),
    ],
)
def test_a_shared_declaration_that_does_not_fit_names_file_and_line(module, change, place, says) -> None:
    module(SHARED, "lab.shared")
    assert change[0] in USER
    message = refusal(module(USER.replace(*change)))
    assert place in message
    assert says in message


def test_an_error_inside_a_shared_dataclass_names_its_own_file(module) -> None:
    module(SHARED.replace("rate: Share = 0.25", "rate: Shore = 0.25"), "lab.shared")
    message = refusal(module(USER))
    assert "shared.py:20: parameter 'rate': 'Shore' is not defined" in message
    assert "Did you mean 'Share'?" in message


def test_a_class_that_is_no_dataclass_is_refused_with_what_is_allowed(module) -> None:
    module(SHARED.replace("@dataclass(frozen=True)\nclass Group", "class Group"), "lab.shared")
    message = refusal(module(USER))
    assert "is no dataclass" in message
    assert "'Annotated', 'Literal', 'Range'" in message


RING = """
from typing import Annotated
from {other} import {theirs}, Real{other}
from study.config.registry import component
Real{name} = Annotated[int, "a number"]
"""


def test_modules_that_import_each_other_are_read(module) -> None:
    module(RING.format(name="one", other="two", theirs="Realtwo"), "one")
    module(RING.format(name="two", other="one", theirs="Realone"), "two")
    part = '\n@component("augmentation")\ndef ring(*, n: Realtwo = 1):\n    """Ring."""\n'
    registry = Registry([module(RING.format(name="one", other="two", theirs="Realtwo") + part, "one")])
    assert registry.get("augmentation", "ring").parameters["n"].help == "a number"


def test_a_name_that_leads_back_to_itself_is_an_error_and_no_endless_loop(module) -> None:
    module("from one import Name\n", "two")
    part = 'from two import Name\n@component("augmentation")\ndef ring(*, n: Name = 1):\n    """Ring."""\n'
    assert "'Name' of " in (message := refusal(module(part, "one")))
    assert "is defined by itself" in message


def test_a_dataclass_inside_itself_is_an_error_and_no_endless_loop(module) -> None:
    text = (
        "from dataclasses import dataclass\nfrom study.config.registry import component\n"
        "@dataclass\nclass Own:\n    own: Own\n"
        '@component("augmentation")\ndef ring(*, own: Own):\n    """Ring."""\n'
    )
    assert "Own is a field of itself" in refusal(module(text))


def test_relative_imports_of_a_users_package_are_followed(module) -> None:
    module(SHARED, "pack.shared")
    text = USER.replace("import lab.shared\nfrom lab import shared as s", "from . import shared as s")
    registry = Registry([module(text.replace("from lab.shared", "from .shared"), "pack.parts")])
    assert registry.get("augmentation", "mine").parameters["rate"].default == 0.25


# ---- kinds

OWN_KIND = '''
from typing import Annotated
from study.config.registry import Part, component

@component("network")
def two_streams(shape, classes, build, *, fusion: Annotated[Part, "joins both streams"] = "total"):
    """Two streams."""
    return build("fusion", fusion, 2, 3)

@component("fusion")
def total(left, right, *, scale: Annotated[int, "factor"] = 1):
    """Their sum."""
    return (left + right) * scale
'''


def test_a_users_network_has_parts_of_a_kind_of_its_own(module) -> None:
    registry = Registry([module(OWN_KIND)])
    assert "fusion" in registry.kinds
    assert registry.parts("two-streams") == {"fusion": "total"}
    config = registry.resolve("network", "two-streams", "x")
    fusion = registry.resolve("fusion", {"name": "total", "scale": 10}, "x")
    assert registry.build("network", {**config, "fusion": fusion}, None, 7, registry.build) == 50


def test_kinds_that_no_component_names_are_refused_at_their_line(module) -> None:
    message = refusal(module(OWN_KIND.replace("fusion: ", "fuse: ")))
    assert "my_parts.py:11: unknown kind 'fusion'. Did you mean 'fuse'? Allowed: 'dataset'" in message


def test_an_unknown_kind_or_task_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"unknown kind 'spliter'\. Did you mean 'splitter'"):
        Registry().get("spliter", "issm")
    with pytest.raises(InputError, match=r"unknown task 'clip'\. Did you mean 'clips'"):
        Registry(task="clip")


TASK = '''
from typing import Annotated
from study.config.registry import component
from study.task import Kind

KINDS = {"model": Kind("model", ("size",), default="small")}
COMPONENTS = ("my_models",)

@component("task")
def my_task(registry, *, options: Annotated[dict, "anything"] = {}, limit: Annotated[int | None, "n"] = None):
    """A task."""
    return registry, options, limit
'''
MODEL = '''
from study.config.registry import component
import a_module_that_does_not_exist

@component("model")
def small(size):
    """A model."""
'''


def test_a_users_task_brings_its_own_kinds_and_components(module) -> None:
    module(MODEL, "my_models")
    registry = Registry([module(TASK, "my_task_module")], "my-task")
    assert list(registry.kinds) == ["model", "task", "design"]
    assert registry.names("model") == ["small"]
    assert "my_models" not in sys.modules
    with_options: Any = registry.task({"name": "my-task", "options": {"a": [1]}})
    assert with_options == (registry, {"a": [1]}, None)


def test_components_of_another_task_are_left_out_and_not_an_error(module) -> None:
    module(MODEL, "my_models")
    modules = [module(TASK, "my_task_module"), module(PART)]
    assert Registry(modules, "my-task").names("splitter") == []
    assert "my-split" in Registry(modules).names("splitter")


def test_kinds_of_clips_have_the_defaults_of_a_study_that_names_nothing() -> None:
    defaults = {name: kind.default for name, kind in KINDS.items() if kind.is_configured and kind.default}
    assert defaults == {
        "dataset": "faces",
        "network": "ifdd",
        "loss": "cross-entropy-context",
        "augmentation": "none",
        "optimizer": "adamw",
        "schedule": "cosine",
    }
    assert {name for name, kind in KINDS.items() if not kind.is_configured} == {"metric", "measure"}
    assert {n: k.legacy_default for n, k in KINDS.items() if k.legacy_default} == {
        "optimizer": "adamw",
        "schedule": "cosine",
    }


# ---- metrics

METRIC = '''
from typing import Annotated
import numpy as np
from study.config.registry import Range, component

@component("metric", label="top-{k} accuracy", chance=0.1, low=0, about="share of hits", is_proportion=True)
def my_top(labels, logits, *, k: Annotated[int, Range(1), "guesses"] = 5, flag: Annotated[bool, "f"] = False):
    """Share of examples whose class is among the k best."""
    best = np.argsort(-logits, axis=1)[:, :k]
    return np.mean((best == labels[:, None]).any(1))

@component("metric", direction="minimize", high=None, unit="", scale=1)
def my_error(labels, logits):
    """Errors."""
    return 1
'''


def test_a_metric_is_a_function_with_attributes(module) -> None:
    registry = Registry([module(METRIC)])
    metric = registry.metric("my-top")
    assert (metric.name, metric.label, metric.chance, metric.low) == ("my-top", "top-5 accuracy", 0.1, 0.0)
    assert (metric.is_proportion, metric.about) == (True, "share of hits")
    other = registry.metric({"name": "my-error"})
    assert (other.direction, other.high, other.scale, other.title) == ("minimize", None, 1.0, "my-error")
    assert other.worst == float("inf")


def test_a_metric_is_named_after_the_parameters_that_differ_from_their_defaults(module) -> None:
    registry = Registry([module(METRIC)])
    assert registry.metric({"name": "my-top", "k": 5}).name == "my-top"
    one = registry.metric({"name": "my-top", "k": 1})
    assert (one.name, one.label) == ("my-top(k=1)", "top-1 accuracy")


def test_a_metric_is_imported_when_it_is_computed_also_in_another_process(module) -> None:
    metric = Registry([module(METRIC)]).metric({"name": "my-top", "k": 1})
    assert "my_parts" not in sys.modules
    labels = np.array([0, 1, 1, 0])
    logits = np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    again = pickle.loads(pickle.dumps(metric.compute))
    assert metric.compute(labels, logits) == again(labels, logits) == 0.75


def test_a_metric_that_returns_no_number_is_named(module) -> None:
    metric = Registry([module(METRIC.replace("return 1", 'return "one"'))]).metric("my-error")
    with pytest.raises(InputError, match=r"my_parts\.py:13: the metric 'my-error' must return a number"):
        metric.compute(np.zeros(2), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("chance=0.1", "chnce=0.1"), "a metric has no attribute 'chnce'. Did you mean 'chance'? Allowed: "),
        (("chance=0.1", 'chance="0.1"'), "attribute 'chance': must be a number or none. Got '0.1' instead."),
        (("chance=0.1", "chance=1 / 10"), "attribute 'chance' must be a literal"),
        (("chance=0.1", 'direction="up"'), "must be 'maximize' or 'minimize'. Got 'up' instead."),
        (("top-{k}", "top-{n}"), "{n} is no parameter of the metric; allowed: 'k' or 'flag'"),
    ],
)
def test_a_wrong_attribute_of_a_metric_names_file_and_line(module, change, says) -> None:
    assert change[0] in METRIC
    message = refusal(module(METRIC.replace(*change)))
    assert "my_parts.py:7: " in message
    assert says in message


# ---- the built-in components


def test_every_parameter_has_a_line_of_help_and_an_allowed_default() -> None:
    registry = Registry()
    assert {component.kind for component in registry} <= set(registry.kinds)
    for component in registry:
        assert component.help.endswith(".")
        for parameter in component.parameters.values():
            assert parameter.help
            if not (parameter.required or parameter.is_part):
                parameter.validated(parameter.default, component.name)


def listed(code: str) -> Any:
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def test_listing_everything_imports_no_component_and_nothing_heavy() -> None:
    loaded = listed(
        "import json, sys\n"
        "from study.config.recipes import RECIPES\n"
        "from study.config.registry import Registry\n"
        "registry = Registry()\n"
        "for found in registry:\n"
        "    [(p.help, p.allowed(), p.default, p.legacy_default) for p in found.parameters.values()]\n"
        "assert len(list(registry)) > 50 and RECIPES and registry.kinds\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert not {"torch", "torchvision", "sklearn", "mlflow", "optuna", "matplotlib"} & set(loaded)
    assert not set(COMPONENTS) & set(loaded)
