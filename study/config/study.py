"""`StudySpec`: read and validate a study file, with its recipe, preset and changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from study.config.recipes import FACTOR, compose, recipe
from study.config.registry import Range
from study.config.repetitions import repetitions_and_looks
from study.config.space import dimensions
from study.config.tables import Table, assign, check_values, fill, parse_setting, read_toml
from study.errors import (
    ErrorCode,
    InputError,
    conflict,
    missing_value,
    nearest,
    quoted,
    shown,
    unknown,
    unknown_name,
    wrong_value,
)
from study.hashing import canonical_json, digest
from study.names import (
    SEPARATOR,
    as_printed,
    checked_name,
    composed,
    format_value,
    has_invisible,
    require_utf8,
)
from study.nested import flatten

TASK_KEYS = ("function", "command")
"""Keys of ``[task]`` that name the task where ``name`` is absent."""
DEFAULT_TASK = "clips"
MOST_TRIALS = 10_000
LARGEST_INTEGER = 2**63 - 1


class Layer(StrEnum):
    """What can set a value of a study, lowest to highest."""

    RECIPE = "recipe"
    STUDY = "study"
    PRESET = "preset"
    SET = "--set"


@dataclass(frozen=True)
class Origin:
    """Where a value of a study was set."""

    layer: Layer
    name: str = ""
    """The name of the recipe or preset."""

    def __str__(self) -> str:
        return f"{self.layer} {self.name}".rstrip()


@dataclass(frozen=True)
class Level:
    """One value of a factor."""

    value: Any
    label: str = ""
    """The name in reports; the value itself where it is empty."""

    @property
    def text(self) -> str:
        """The label, or the formatted value."""
        return self.label or format_value(self.value)


@dataclass(frozen=True)
class Design:
    """Which cells of the factors' grid are trained."""

    kind: str = "one-factor"
    """The name of a registered design."""
    reference: dict[str, Any] = field(default_factory=dict)
    """The level of every factor in the reference; factors in `within` have none.

    Where it is empty, the reference has the level that ``[base]`` sets, or the first one.
    """
    within: list[str] = field(default_factory=list)
    """Factors whose levels are strata: the design is repeated, and compared, inside each of them."""
    exclude: list[dict[str, Any]] = field(default_factory=list)
    """Cells that are not trained: levels by factor, and ``reason``."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The design's own parameters, which the file writes beside the keys above."""


@dataclass(frozen=True)
class Search:
    """The search of hyperparameters, with the same budget for every variant."""

    trials: Annotated[int, Range(0)] = 0
    """The trainings of one search."""
    scope: Literal["repetition", "study"] = "repetition"
    """``repetition``: each repetition makes its own search, and its best trial is the repetition; ``study``: one
    search chooses for all repetitions, which are trained afresh."""
    shared_folds: bool = False
    """Whether the search of the first fold chooses for all folds, which leaks their test examples into it."""
    generation: Annotated[int, Range(1)] = 4
    """Trials that start together: what they try, and where they stop, follows from earlier generations alone."""
    sampler: Literal["auto", "tpe", "gp", "random"] = "auto"
    """``auto``: the first ten trials are quasi-random, TPE suggests the others."""
    space: dict[str, Any] = field(default_factory=dict)
    pruner: Literal["none", "halving"] = "none"
    """``halving``: a trial stops at a checked epoch where it is not among the best of earlier generations."""
    reduction: Annotated[int, Range(2)] = 3
    """One of this many trials continues at a checked epoch; also the ratio between successive checked epochs."""
    first_epoch: Annotated[int, Range(1)] = 1
    """The first checked epoch."""
    storage: str = ""
    """URL of an Optuna storage that mirrors the trials for its dashboard; it changes no number."""


@dataclass(frozen=True)
class Analysis:
    """The metrics that are compared, and the size of a difference that matters."""

    metric: str | dict[str, Any] = ""
    """The primary metric: a name, or a table with its parameters; the task's first where it is empty."""
    metrics: list[str] = field(default_factory=list)
    """Further metrics that reports describe, besides the task's own."""
    rope: Annotated[float, Range(0.0)] = 0.5
    """The least difference of interest, in the metric's scaled unit."""
    alpha: Annotated[float, Range(0.001, 0.5)] = 0.05
    scope: Literal["", "population", "test-set"] = ""
    """For whom intervals speak: new examples or exactly these; ``population`` by default if runs keep predictions."""
    sd: Annotated[float, Range(0.0)] | None = None
    """The expected standard deviation of paired differences, in the metric's scaled unit: the plan shows the power."""
    effects: list[str | list[str]] = field(default_factory=list)
    """What is compared: ``differences`` of variants, a factor's main effect, an interaction as a list of factors, or
    ``shapley``; the design's own where it is empty."""
    measures: list[str] = field(default_factory=list)
    """Measures of the repetitions' networks; adding one trains nothing."""


@dataclass(frozen=True)
class Claim:
    """An expected outcome of a comparison, written before the results are known.

    It has `that` and `beats`, levels by factor, or `effect`, one factor or the factors of an interaction, with `sign`.
    """

    that: dict[str, Any] = field(default_factory=dict)
    beats: dict[str, Any] = field(default_factory=dict)
    effect: str | list[str] = ""
    """One factor for its main effect or trend, several for their interaction."""
    levels: dict[str, Any] = field(default_factory=dict)
    """The level of each factor of `effect` that has several besides the reference's."""
    sign: Literal["positive", "negative"] = "positive"
    """The sign that the claim expects of `effect`, where positive is better."""


@dataclass(frozen=True)
class StudyKeys:
    """The keys of a study file, besides the tables of its task."""

    factors: Any = field(default_factory=dict)
    title: str = ""
    question: str = ""
    design: Any = field(default_factory=dict)
    seed: Annotated[int, Range(0)] = 0
    repetitions: Any = 5
    recipe: str = ""
    task: Any = field(default_factory=dict)
    base: Any = field(default_factory=dict)
    search: Any = field(default_factory=dict)
    analysis: Any = field(default_factory=dict)
    claims: Any = field(default_factory=list)


@dataclass(frozen=True)
class StudySpec:
    """The content of a study file; values that depend on the task are checked when the study is compiled."""

    name: str
    file: str
    title: str
    question: str
    seed: int
    repetitions: int
    """The most repetitions, where `looks` may close comparisons earlier."""
    looks: tuple[int, ...]
    """Numbers of repetitions after which comparisons are closed; empty where their number is fixed."""
    task: Mapping[str, Any]
    """The ``[task]`` table, with ``name``."""
    base: Mapping[str, Any]
    """Values that all variants share: ``[base]`` and the task's own tables, such as ``[train]``."""
    tables: tuple[str, ...]
    """The keys of `base` that are top-level tables in the file; the task must declare them."""
    design: Design
    factors: Mapping[str, tuple[Level, ...]]
    search: Search
    analysis: Analysis
    claims: tuple[Claim, ...]
    origins: Mapping[str, Origin]
    """Where each value was set, by dotted key."""
    recipe: str = ""
    """The recipe that all variants inherit; empty where there is none, or where it is a factor."""
    options: tuple[str, ...] = ()
    """What replaced values of the file, as options of the command line: ``--preset``, its name, ``--set``, a change."""


def load(path: Path, preset: str | None = None, changes: Sequence[str] = ()) -> StudySpec:
    """Read a study file; `preset` and `changes` (``key=value``) replace some of its values.

    Later values replace earlier ones: defaults, paths of study.toml, the recipe, the study, its preset, `changes`.

    Raises:
        InputError: A key or value that no task allows; the message names the key.
    """
    checked_name(path.stem, f"{path}")
    require_utf8(str(path), "the study file")
    tree = read_toml(path)
    if "profile" in tree and "preset" not in tree:
        raise unknown_name(
            f"{path}: profile",
            "is called 'preset' now; write [preset.smoke]",
            "profile",
            ["preset"],
            "",
            ErrorCode.UNKNOWN_KEY,
        )
    presets = tree.pop("preset", {})
    if not isinstance(presets, Mapping) or not all(isinstance(table, Mapping) for table in presets.values()):
        raise wrong_value(f"{path}: preset", "must hold one table for each preset, such as [preset.smoke].")
    for name in presets:
        checked_name(name, f"{path}: preset")
    replacements: list[tuple[Origin, Mapping[str, Any]]] = []
    if preset is not None:
        if preset not in presets:
            allowed = f"Allowed: {quoted(presets)}." if presets else "The study has no presets."
            raise InputError(
                f"{path}: no preset {preset!r}.{nearest(preset, presets)} {allowed}",
                unknown(ErrorCode.UNKNOWN_NAME, "preset", preset, presets),
            )
        replacements.append((Origin(Layer.PRESET, preset), presets[preset]))
    if changes:
        replacements.append((Origin(Layer.SET), dict(parse_setting(change) for change in changes)))

    origins = dict.fromkeys(flatten(tree), Origin(Layer.STUDY))
    for origin, values in replacements:
        for key, value in values.items():
            assign(tree, key, value)
            origins = {old: of for old, of in origins.items() if not f"{old}.".startswith(f"{key}.")}
            origins |= dict.fromkeys(flatten({key: value}), origin)
    check_values(tree, str(path))
    if "recipe" in tree:
        if isinstance(tree.get("factors"), Mapping) and FACTOR in tree["factors"]:
            raise conflict(f"{path}: recipe", "is a factor too, whose levels replace it. Remove it.")
        tree, inherited = compose(tree, recipe(tree["recipe"], f"{path}: recipe", path.parent))
        origins |= dict.fromkeys(inherited, Origin(Layer.RECIPE, str(tree["recipe"])))
    options = [] if preset is None else ["--preset", preset]
    for change in changes:
        options += ["--set", change]
    return replace(_spec_from(tree, path, name_of(path, preset, changes), origins), options=tuple(options))


def name_of(path: Path, preset: str | None = None, changes: Sequence[str] = ()) -> str:
    """Return the name of a study: its file's, with its preset and a digest of its changes, such as ``issm@smoke``.

    Raises:
        InputError: A preset that is no name, or a name that is too long.
    """
    stem = composed(path.stem)
    suffixes = [] if preset is None else [checked_name(preset, "--preset")]
    if changes:
        keys = [parse_setting(change)[0] for change in changes]
        is_ordered = any(
            f"{key}.".startswith(f"{other}.")
            for number, key in enumerate(keys)
            for position, other in enumerate(keys)
            if number != position
        )
        suffixes.append(digest(changes if is_ordered else sorted(changes), 6))
    if not suffixes:
        return stem
    return checked_name(f"{stem}{SEPARATOR}{'-'.join(suffixes)}", str(path), allowed=SEPARATOR)


def _spec_from(tree: Table, path: Path, name: str, origins: Mapping[str, Origin]) -> StudySpec:
    where = f"{path}:"
    if "confirm" in tree:
        raise conflict(
            f"{path}: confirm",
            "does not exist any more: the best trial of a search is tested as it is. Write "
            "'repetitions' at the top of the file, and fit = 'train+val' in [train]: trials are trained on train, and "
            "one more training with what each search chose follows.",
        )
    known = StudyKeys.__dataclass_fields__
    tables = {key: value for key, value in tree.items() if key not in known and isinstance(value, Mapping)}
    keys = fill(StudyKeys, {key: value for key, value in tree.items() if key not in tables}, where)
    if keys.seed > LARGEST_INTEGER:
        raise wrong_value(f"{where} seed", f"must be at most {LARGEST_INTEGER}.", keys.seed)
    if not isinstance(keys.claims, list):
        raise wrong_value(f"{where} claims", "must be written as [[claims]].", keys.claims)
    base = _require_table(keys.base, f"{where} base")
    _check_integers(base | tables, f"{where} base")
    factors = _factors(keys.factors, _listed(keys.design), f"{where} factors")
    for key in tables:
        if key in base:
            raise conflict(f"{where} {key}", f"is written twice, as [{key}] and in [base].")
    repetitions, looks = repetitions_and_looks(keys.repetitions, f"{where} repetitions")
    spec = StudySpec(
        name=name,
        file=str(path),
        title=keys.title or path.stem,
        question=keys.question or f"What difference does {' or '.join(factors)} make?",
        seed=keys.seed,
        repetitions=repetitions,
        looks=looks,
        task=_task(keys.task, f"{where} task"),
        base={**base, **tables},
        tables=tuple(tables),
        design=_design(keys.design, f"{where} design"),
        factors=factors,
        search=fill(Search, keys.search, f"{where} search"),
        analysis=fill(Analysis, keys.analysis, f"{where} analysis"),
        claims=tuple(
            fill(Claim, claim, f"{where} claims[{number}]") for number, claim in enumerate(keys.claims)
        ),
        origins=origins,
        recipe=keys.recipe,
    )
    dimensions(spec)
    _check_search(spec.search, f"{where} search")
    if looks and spec.search.trials and spec.search.scope == "study":
        raise wrong_value(
            f"{where} repetitions",
            "must be a number where search.scope = 'study': repetitions added for one search "
            "make wrong verdicts more frequent. Write search.scope = 'repetition'.",
        )
    return spec


def _check_integers(table: Mapping[str, Any], where: str) -> None:
    """Raise InputError where a configuration holds an integer that is too large for 64 bits."""
    for key, value in flatten(table).items():
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise wrong_value(f"{where}.{key}", f"must be at most {LARGEST_INTEGER}.", value)


def _require_table(given: Any, where: str) -> dict[str, Any]:
    """Return a table; raise InputError where the value is none."""
    if not isinstance(given, Mapping):
        raise wrong_value(where, "must be a table.", given)
    return dict(given)


def _task(given: Any, where: str) -> dict[str, Any]:
    """Return the ``[task]`` table, with ``name``."""
    table = {"name": given} if isinstance(given, str) else _require_table(given, where)
    if "name" not in table:
        named = [key for key in TASK_KEYS if key in table]
        if len(named) > 1:
            raise wrong_value(where, f"has {quoted(named)}; write one of them.")
        if table and not named:
            raise wrong_value(where, f"must have one of 'name', {quoted(TASK_KEYS)}. Got {quoted(table)}.")
        table["name"] = named[0] if named else DEFAULT_TASK
    return table


def _check_search(search: Search, where: str) -> None:
    """Raise InputError where keys of ``[search]`` are too large, or contradict each other."""
    for key, most in (
        ("trials", MOST_TRIALS),
        ("generation", MOST_TRIALS),
        ("reduction", 1000),
        ("first_epoch", 10**6),
    ):
        if getattr(search, key) > most:
            raise wrong_value(f"{where}.{key}", f"must be at most {most}.", getattr(search, key))
    if search.pruner != "none" and not search.trials:
        raise conflict(
            f"{where}.pruner", "there are no trials to prune; set search.trials, or pruner = 'none'."
        )
    if search.pruner != "none" and search.trials <= search.generation:
        raise conflict(
            f"{where}.pruner",
            f"trials are compared with those of earlier generations, and there is one generation. Set "
            f"search.generation below search.trials, {search.trials}, or pruner = 'none'.",
        )
    if search.storage and "://" not in search.storage:
        raise wrong_value(
            f"{where}.storage",
            f"must be the URL of an Optuna storage, such as 'sqlite:////folder/trials.db'. "
            f"Got {shown(search.storage)} instead.",
        )


def _design(given: Any, where: str) -> Design:
    """Return ``[design]``: keys that every design has, and the others as the design's own parameters."""
    table = _require_table(given, where)
    shared = [key for key in Design.__dataclass_fields__ if key != "parameters"]
    own = {key: value for key, value in table.items() if key not in shared}
    return replace(
        fill(Design, {key: value for key, value in table.items() if key in shared}, where), parameters=own
    )


def _listed(design: Any) -> dict[str, Any]:
    """Return the levels of each factor in the order in which the cells of a list name them."""
    cells = design.get("cells") if isinstance(design, Mapping) and design.get("kind") == "list" else None
    levels: dict[str, list[Any]] = {}
    for cell in cells if isinstance(cells, list) else ():
        if isinstance(cell, Mapping):
            for factor, value in flatten(cell, lambda _, table: "name" in table).items():
                if value not in levels.setdefault(factor, []):
                    levels[factor].append(value)
    return dict(levels)


def _factors(given: Any, listed: Mapping[str, Any], where: str) -> dict[str, tuple[Level, ...]]:
    """Return the levels of each factor by dotted key; raise InputError where one is malformed.

    Args:
        given: The table ``[factors]``.
        listed: Levels of factors that are not in it.
        where: For messages.
    """
    if not isinstance(given, Mapping) or not {**listed, **given}:
        raise missing_value(where, "must hold at least one factor, such as splitter = ['even-odd', 'issm'].")
    factors: dict[str, tuple[Level, ...]] = {}
    for key, levels in {**listed, **flatten(given)}.items():
        if not isinstance(levels, list) or not levels:
            raise wrong_value(f"{where}.{key}", "must be a list of levels that is not empty.", levels)
        parsed = tuple(_level(level, f"{where}.{key}") for level in levels)
        values = [canonical_json(level.value) for level in parsed]
        if len(set(values)) < len(values):
            raise conflict(f"{where}.{key}", f"names a level twice: {shown(levels)}.")
        labels = [as_printed(level.text) for level in parsed]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            same = [level.value for level, label in zip(parsed, labels, strict=True) if label == twice]
            raise conflict(
                f"{where}.{key}",
                f"names a label twice: the levels {shown(same[0])} and {shown(same[1])} are both shown "
                f"as {twice!r}. Give one a label of its own: {{ value = …, label = '…' }}.",
            )
        factors[key] = parsed
    return factors


def _level(given: Any, where: str) -> Level:
    """Return a level from a value, or from ``{ value = …, label = "…" }``."""
    if isinstance(given, Mapping) and "value" in given and set(given) <= {"value", "label"}:
        label = given.get("label", "")
        if not isinstance(label, str) or (not label.strip() and "label" in given):
            raise wrong_value(f"{where}: label", "must be a string that is not empty.", label)
        if has_invisible(label.strip()):
            raise wrong_value(f"{where}: label", "must be one line of characters that print.", label)
        return Level(_level(given["value"], where).value, label.strip())
    if isinstance(given, int) and abs(given) > LARGEST_INTEGER:
        raise wrong_value(where, f"must be at most {LARGEST_INTEGER}.", given)
    return Level(given)
