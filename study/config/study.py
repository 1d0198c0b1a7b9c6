"""A study as its author writes it: every key known, every value of the right type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from study.config.recipes import compose, recipe
from study.config.registry import Range
from study.config.tables import Table, assign, fill, leaves, parse_setting, read_toml
from study.errors import InputError, nearest, quoted
from study.hashing import canonical_json, digest

TASK_KEYS = ("function", "command")
"""Keys of ``[task]`` that name the task where ``name`` is absent."""
DEFAULT_TASK = "clips"
MOST_REPETITIONS = 10_000


@dataclass(frozen=True)
class Level:
    """One value of a factor."""

    value: Any
    label: str = ""
    """What reports call it; the value itself where it is empty."""

    @property
    def text(self) -> str:
        """The label, or the value as a reader would write it."""
        return self.label or written(self.value)


@dataclass(frozen=True)
class Design:
    """Which cells of the factors' grid are trained."""

    kind: Literal["one-factor", "leave-one-out", "factorial"] = "one-factor"
    reference: dict[str, Any] = field(default_factory=dict)
    """The level of every factor that variants are compared with; those in `within` have none.

    Where it names none at all, each factor's is the one that ``[base]`` has, or the first.
    """
    within: list[str] = field(default_factory=list)
    """Factors whose levels are strata: the design is made, and compared, inside each of them."""


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter: a range (of integers where both ends are integers), or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None


@dataclass(frozen=True)
class Search:
    """Optuna's budget, the same for every variant."""

    trials: Annotated[int, Range(0)] = 0
    generation: Annotated[int, Range(1)] = 4
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    space: dict[str, Any] = field(default_factory=dict)
    pruner: Literal["none", "halving"] = "none"
    """``halving``: a trial stops after an epoch at which it is not among the best of earlier generations."""
    reduction: Annotated[int, Range(2)] = 3
    """Of how many trials one goes on, and by which factor the epochs grow at which that is asked."""
    first_epoch: Annotated[int, Range(1)] = 1
    """After which a trial may first be stopped."""
    storage: str = ""
    """URL of an Optuna storage that trials are mirrored to for its dashboard; it changes no number."""


@dataclass(frozen=True)
class Analysis:
    """What is compared, and how large a difference matters."""

    metric: str | dict[str, Any] = ""
    """The primary metric: a name, or a table with its parameters; the task's first where it is empty."""
    metrics: list[str] = field(default_factory=list)
    """Metrics that are described beside the task's own."""
    rope: Annotated[float, Range(0.0)] = 0.5
    """The least difference of interest, in the metric's scaled unit."""
    alpha: Annotated[float, Range(0.001, 0.5)] = 0.05
    measures: list[str] = field(default_factory=list)
    """Of what the networks' parts do, taken of repetitions; asking for one trains nothing."""


@dataclass(frozen=True)
class Claim:
    """What the author expects, written before the results are known."""

    that: dict[str, Any]
    beats: dict[str, Any]


@dataclass(frozen=True)
class StudyKeys:
    """The keys of a study file; tables of the task's own come beside them."""

    factors: Any
    title: str = ""
    question: str = ""
    design: Any = field(default_factory=dict)
    seed: Annotated[int, Range(0)] = 0
    repetitions: Annotated[int, Range(1, MOST_REPETITIONS)] = 5
    recipe: str = ""
    task: Any = field(default_factory=dict)
    base: Any = field(default_factory=dict)
    search: Any = field(default_factory=dict)
    confirm: Any = field(default_factory=dict)
    analysis: Any = field(default_factory=dict)
    claims: Any = field(default_factory=list)


@dataclass(frozen=True)
class StudySpec:
    """One question, as it was written; what its task allows is checked when it is compiled."""

    name: str
    file: str
    title: str
    question: str
    seed: int
    repetitions: int
    task: Mapping[str, Any]
    """The ``[task]`` table, with ``name``."""
    base: Mapping[str, Any]
    """What every variant shares: ``[base]`` and the task's own tables, such as ``[train]``."""
    tables: tuple[str, ...]
    """The keys of `base` that are tables of their own in the file; only those that the task declares may be."""
    design: Design
    factors: Mapping[str, tuple[Level, ...]]
    search: Search
    confirm: Mapping[str, Any]
    """Values by dotted key that repetitions have in place of those of trials."""
    analysis: Analysis
    claims: tuple[Claim, ...]
    origins: Mapping[str, str]
    """Where each value came from, by dotted key."""


def load(path: Path, preset: str | None = None, changes: Sequence[str] = ()) -> StudySpec:
    """Read a study file; `preset` and `changes` (``key=value``) make another study of it.

    Values compose in one direction: defaults, study.toml's local_paths, the recipe, the study, its preset, `changes`.

    Raises:
        InputError: Anything in the file that no task allows; the message names the key.
    """
    tree = read_toml(path)
    if "profile" in tree and "preset" not in tree:
        raise InputError(f"{path}: profile: is called 'preset' now; write [preset.smoke].")
    presets = tree.pop("preset", {})
    if not isinstance(presets, Mapping) or not all(isinstance(table, Mapping) for table in presets.values()):
        raise InputError(f"{path}: preset: must hold one table a preset, such as [preset.smoke].")
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if preset is not None:
        if preset not in presets:
            allowed = f"Allowed: {quoted(presets)}." if presets else "The study has no presets."
            raise InputError(f"{path}: no preset {preset!r}.{nearest(preset, presets)} {allowed}")
        layers.append((f"preset {preset}", presets[preset]))
    if changes:
        layers.append(("--set", dict(parse_setting(change) for change in changes)))

    origins = dict.fromkeys(leaves(tree), "study")
    for origin, layer in layers:
        for key, value in layer.items():
            assign(tree, key, value)
            origins = {old: where for old, where in origins.items() if not (old + ".").startswith(key + ".")}
            origins |= dict.fromkeys(leaves({key: value}), origin)
    if "recipe" in tree:
        tree, given = compose(tree, recipe(tree["recipe"], f"{path}: recipe", path.parent))
        origins |= dict.fromkeys(given, f"recipe {tree['recipe']}")
    return _checked(tree, path, name_of(path, preset, changes), origins)


def name_of(path: Path, preset: str | None = None, changes: Sequence[str] = ()) -> str:
    """Return the name of the study that a file, a preset and changes make: ``issm``, ``issm@smoke``."""
    marks = [preset] if preset else []
    if changes:
        marks.append(digest(sorted(changes), 6))
    return "@".join([path.stem, "-".join(marks)]) if marks else path.stem


def _checked(tree: Table, path: Path, name: str, origins: Mapping[str, str]) -> StudySpec:
    where = f"{path}:"
    known = StudyKeys.__dataclass_fields__
    own = {key: value for key, value in tree.items() if key not in known and isinstance(value, Mapping)}
    keys = fill(StudyKeys, {key: value for key, value in tree.items() if key not in own}, where)
    if not isinstance(keys.claims, list):
        raise InputError(f"{where} claims: must be written as [[claims]]. Got {keys.claims!r} instead.")
    base = _table(keys.base, f"{where} base")
    _check_values(base | own, f"{where} base")
    factors = _factors(keys.factors, f"{where} factors")
    for key in own:
        if key in base:
            raise InputError(f"{where} {key}: is written twice, as [{key}] and in [base].")
    spec = StudySpec(
        name=name,
        file=str(path),
        title=keys.title or path.stem,
        question=keys.question or f"What difference does {' or '.join(factors)} make?",
        seed=keys.seed,
        repetitions=keys.repetitions,
        task=_task(keys.task, f"{where} task"),
        base={**base, **own},
        tables=tuple(own),
        design=fill(Design, keys.design, f"{where} design"),
        factors=factors,
        search=fill(Search, keys.search, f"{where} search"),
        confirm=_confirm(keys.confirm, f"{where} confirm"),
        analysis=fill(Analysis, keys.analysis, f"{where} analysis"),
        claims=tuple(
            fill(Claim, claim, f"{where} claims[{number}]") for number, claim in enumerate(keys.claims)
        ),
        origins=origins,
    )
    dimensions(spec)
    _check_search(spec.search, f"{where} search")
    return spec


def _check_values(table: Mapping[str, Any], where: str) -> None:
    """Raise InputError where a configuration holds what is no finite number, text, list or table."""
    for key, value in leaves(table).items():
        try:
            canonical_json(value)
        except (ValueError, TypeError):
            raise InputError(
                f"{where}.{key}: must be a finite number, true, false, text, a list or a table. Got {value!r} instead."
            ) from None


def _table(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: must be a table. Got {given!r} instead.")
    return dict(given)


def _task(given: Any, where: str) -> dict[str, Any]:
    """Return the task's table with its name."""
    table = {"name": given} if isinstance(given, str) else _table(given, where)
    if "name" not in table:
        named = [key for key in TASK_KEYS if key in table]
        if len(named) > 1:
            raise InputError(f"{where}: has {quoted(named)}; write one of them.")
        if table and not named:
            raise InputError(f"{where}: must have one of 'name', {quoted(TASK_KEYS)}. Got {quoted(table)}.")
        table["name"] = named[0] if named else DEFAULT_TASK
    return table


def _confirm(given: Any, where: str) -> dict[str, Any]:
    """Return what repetitions have in place of trials' values, by dotted key."""
    table = leaves(_table(given, where))
    if "seeds" in table:
        raise InputError(f"{where}.seeds: is called 'repetitions' now, at the top of the file.")
    if "final" in table:
        raise InputError(f'{where}.final: write "train.fit" = {table["final"]!r} in [confirm] instead.')
    return table


def _check_search(search: Search, where: str) -> None:
    """Raise InputError where keys of the search do not go together."""
    if search.pruner != "none" and not search.trials:
        raise InputError(
            f"{where}.pruner: there are no trials to prune; set search.trials, or pruner = 'none'."
        )
    if search.storage and "://" not in search.storage:
        raise InputError(
            f"{where}.storage: must be the URL of an Optuna storage, such as 'sqlite:////folder/trials.db'. "
            f"Got {search.storage!r} instead."
        )


def _factors(given: Any, where: str) -> dict[str, tuple[Level, ...]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"{where}: must hold at least one factor, such as splitter = ['even-odd', 'issm'].")
    factors: dict[str, tuple[Level, ...]] = {}
    for key, levels in _factor_items(given):
        if not isinstance(levels, list) or not levels:
            raise InputError(
                f"{where}.{key}: must be a list of levels that is not empty. Got {levels!r} instead."
            )
        found = tuple(_level(level, f"{where}.{key}") for level in levels)
        for what, values in (
            ("a level", [canonical_json(level.value) for level in found]),
            ("a label", [level.text for level in found]),
        ):
            if len(set(values)) < len(values):
                raise InputError(f"{where}.{key}: names {what} twice: {levels!r}.")
        factors[key] = found
    return factors


def _level(given: Any, where: str) -> Level:
    """Return a level; ``{ value = …, label = "…" }`` gives it a label."""
    if isinstance(given, Mapping) and "value" in given and set(given) <= {"value", "label"}:
        label = given.get("label", "")
        if not isinstance(label, str) or (not label.strip() and "label" in given):
            raise InputError(f"{where}: label: must be a string that is not empty. Got {label!r} instead.")
        return Level(_level(given["value"], where).value, label.strip())
    if not isinstance(given, str | bool | int | float | Mapping | list):
        raise InputError(f"{where}: a level must be a name, a table, a number or a list. Got {given!r}.")
    try:
        canonical_json(given)
    except (ValueError, TypeError):
        raise InputError(
            f"{where}: a level must hold finite numbers and text alone. Got {given!r}."
        ) from None
    return Level(given)


def written(value: Any) -> str:
    """Return a value as a reader would write it: ``issm(frozen=true)``, ``0.001``."""
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key}={written(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", ""))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _factor_items(given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return factors by dotted key, whether TOML wrote ``"train.lr"`` or ``train.lr``."""
    items: list[tuple[str, Any]] = []
    for key, value in given.items():
        items += (
            _factor_items(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
        )
    return items


def dimensions(spec: StudySpec) -> dict[str, Dimension]:
    """Return the search space by dotted key, in the order of the keys.

    Raises:
        InputError: A dimension that is neither a range nor a list of choices.
    """
    found: dict[str, Dimension] = {}
    for key, value in _space_items(spec.search.space):
        where = f"{spec.file}: search.space.{key}"
        if not isinstance(value, list | Mapping):
            raise InputError(
                f"{where}: must be a list of choices, or a table with 'low' and 'high'. Got {value!r}."
            )
        table = {"choices": value} if isinstance(value, list) else value
        dimension = fill(Dimension, table, where)
        if dimension.choices is not None:
            if not dimension.choices or dimension.low is not None or dimension.high is not None:
                raise InputError(f"{where}: must be choices (at least one) or a range, not both.")
        elif dimension.low is None or dimension.high is None:
            raise InputError(f"{where}: must have 'low' and 'high', or 'choices'. Got {value!r} instead.")
        elif not dimension.low < dimension.high or (dimension.log and dimension.low <= 0):
            raise InputError(f"{where}: 'low' must be below 'high', and above 0 where log = true.")
        found[key] = dimension
    if found and not spec.search.trials:
        raise InputError(f"{spec.file}: search.trials: must be at least 1 where there is a search space.")
    if spec.search.trials and not found:
        raise InputError(f"{spec.file}: search.space: must name what the {spec.search.trials} trials search.")
    return dict(sorted(found.items()))


def _space_items(given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return dimensions by dotted key, whether TOML wrote ``"train.lr"`` or ``train.lr``."""
    items: list[tuple[str, Any]] = []
    for key, value in given.items():
        nested = isinstance(value, Mapping) and not set(value) & set(Dimension.__dataclass_fields__)
        items += _space_items(value, f"{prefix}{key}.") if nested else [(prefix + key, value)]
    return items
