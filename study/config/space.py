"""The search space of a study: its dimensions, the types of their values, and what else sets the same keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from study.config.components.parameters import Unsearchable
from study.config.tables import fill
from study.errors import (
    ErrorCode,
    InputError,
    Mistake,
    conflict,
    missing_value,
    quoted,
    shown,
    unknown_name,
    wrong_value,
)
from study.hashing import canonical_json
from study.nested import flatten, value_at

if TYPE_CHECKING:
    from study.config.designs import Variant
    from study.config.resolve import Resolver
    from study.config.study import Level, StudySpec

UNSEARCHABLE = ("code",)
"""Keys of a user's own training that have a meaning of their own: a revision of the code."""
LARGEST = 1e100
"""The largest magnitude of a bound: the width of a range must be finite."""
LARGEST_INTEGER = 2**53
"""The largest integer that a sampler, which computes with floats, can tell from its neighbour."""
FEWEST_VALUES = 100
"""A narrower range of floats has so few values that choices are the better description."""


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter: a range of the parameter's type, or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None
    when: dict[str, Any] = field(default_factory=dict)
    """The levels, by factor, of the variants that have it; all variants have it where this is empty."""
    given: dict[str, list[str]] = field(default_factory=dict)
    """The names, by kind, of searched components with which trials have it; `when` in the file holds these too."""

    def is_of(self, levels: Mapping[str, str]) -> bool:
        """Return whether a variant with these levels has the dimension."""
        return all(levels[factor] in allowed for factor, allowed in self.when.items())

    @property
    def is_component(self) -> bool:
        """Whether its choices are tables of components, once it is typed."""
        return bool(self.choices) and all(isinstance(c, Mapping) and "name" in c for c in self.choices or ())

    @property
    def names(self) -> list[str]:
        """The names of the components that are its choices."""
        return [choice["name"] for choice in self.choices or ()]

    @property
    def values(self) -> list[Any]:
        """The choices, or the two bounds."""
        return self.choices if self.choices is not None else [self.low, self.high]


def dimensions(spec: StudySpec) -> dict[str, Dimension]:
    """Return the search space as it is written, by dotted key: dimensions of all variants first, each in order of key.

    Raises:
        InputError: A dimension that is neither a range nor a list of choices.
    """
    space: dict[str, Dimension] = {}
    written = flatten(spec.search.space, _is_dimension)
    for key, value in written.items():
        where = f"{spec.file}: search.space.{key}"
        if not isinstance(value, list | Mapping):
            raise wrong_value(
                where, f"must be a list of choices, or a table with 'low' and 'high'. Got {shown(value)}."
            )
        if key in space:
            raise conflict(where, "is written twice.")
        dimension = fill(Dimension, {"choices": value} if isinstance(value, list) else value, where)
        if dimension.choices is not None:
            if not dimension.choices or dimension.low is not None or dimension.high is not None:
                raise wrong_value(where, "must be choices (at least one) or a range, not both.")
            if dimension.log:
                raise conflict(f"{where}.log", "is of ranges; remove it, or write 'low' and 'high'.")
        elif dimension.low is None or dimension.high is None:
            raise wrong_value(where, "must have 'low' and 'high', or 'choices'.", value)
        elif not dimension.low < dimension.high or (dimension.log and dimension.low <= 0):
            raise wrong_value(where, "'low' must be below 'high', and above 0 where log = true.")
        elif max(abs(dimension.low), abs(dimension.high)) > LARGEST:
            raise wrong_value(
                where, f"bounds must be between -{LARGEST:g} and {LARGEST:g}. Got {shown(value)}."
            )
        if dimension.given:
            raise InputError(
                f"{where}.given: unknown key. Did you mean 'when'?",
                Mistake(ErrorCode.UNKNOWN_KEY, f"{where}.given", "given", ("when",), "when"),
            )
        conditions = flatten(dimension.when, lambda name, _: name in spec.factors)
        given = {
            kind: _named(names, f"{where}.when.{kind}")
            for kind, names in conditions.items()
            if kind in written
        }
        when = {
            factor: _levels_meant(levels, factor, spec, f"{where}.when")
            for factor, levels in conditions.items()
            if factor not in given
        }
        space[key] = replace(dimension, when=when, given=given)
    if space and not spec.search.trials:
        raise missing_value(
            f"{spec.file}: search.trials", "must be at least 1 where there is a search space."
        )
    if spec.search.trials and not space:
        raise missing_value(
            f"{spec.file}: search.space",
            f"must have a dimension for the {spec.search.trials} trials to search.",
        )

    def place(item: tuple[str, Dimension]) -> tuple[bool, bool, str]:
        key, dimension = item
        is_below = "." in key and key.partition(".")[0] in space
        return is_below or bool(dimension.given), bool(dimension.when), key

    return dict(sorted(space.items(), key=place))


def _named(given: Any, where: str) -> list[str]:
    """Return the names of components in a condition; raise InputError where it holds something else."""
    names = given if isinstance(given, list) else [given]
    if not names or not all(isinstance(name, str) for name in names):
        raise wrong_value(where, "must be the name of a searched component, or a list.", given)
    return names


def _levels_meant(given: Any, factor: str, spec: StudySpec, where: str) -> list[str]:
    """Return the printed levels of a factor that ``when`` names, by value, label, or name of the component.

    Raises:
        InputError: An unknown factor or level.
    """
    if factor not in spec.factors:
        raise unknown_name(where, f"{factor!r} is no factor of this study", factor, spec.factors)
    levels = spec.factors[factor]
    found: list[str] = []
    for value in given if isinstance(given, list) else [given]:
        meant = [level.text for level in levels if _is_meant(value, level)]
        if not meant:
            names = [level.text for level in levels]
            text = f"must be one of the factor's levels, {quoted(names)}, or a list of them. Got {shown(value)} instead"
            raise unknown_name(f"{where}.{factor}", text, str(value), names, "")
        found += meant
    return list(dict.fromkeys(found))


def _is_meant(value: Any, level: Level) -> bool:
    named = level.value.get("name") if isinstance(level.value, Mapping) else None
    is_equal = canonical_json(value) == canonical_json(level.value)
    return is_equal or (isinstance(value, str) and value in (level.label, level.text, named))


def _is_dimension(key: str, table: Mapping[str, Any]) -> bool:
    """Return whether a table of the search space is a dimension and not a table of dimensions."""
    return bool(set(table) & set(Dimension.__dataclass_fields__))


def typed_space(spec: StudySpec, resolver: Resolver, variants: Iterable[Variant]) -> dict[str, Dimension]:
    """Return the search space with values of the parameters' types: whole bounds of a float are floats.

    Raises:
        InputError: A key that cannot be searched, a value that a variant does not allow, or a range of another
            type than the parameter's.
    """
    space: dict[str, Dimension] = {}
    variants = tuple(variants)
    for key, dimension in dimensions(spec).items():
        where = f"{spec.file}: search.space.{key}"
        having = [variant for variant in variants if dimension.is_of(variant.levels)]
        if not having:
            raise conflict(f"{where}.when", "no variant has these levels together.")
        built = [one for each in having for one in _with_components(each, dimension, key, space, where)]
        for variant in built:
            typed = _typed(key, dimension, variant, resolver, where)
            if (other := space.setdefault(key, typed)) != typed or _types(other) != _types(typed):
                raise conflict(
                    where, f"is an integer in one variant and a number in another: {variant.name!r}."
                )
    return space


def _with_components(
    variant: Variant, dimension: Dimension, key: str, space: Mapping[str, Dimension], where: str
) -> Iterator[Variant]:
    """Yield a variant with every choice of the searched component that a dimension is of.

    Raises:
        InputError: A condition names no searched component, or none of its choices.
    """
    for kind, names in dimension.given.items():
        searched = space.get(kind)
        if searched is None or not searched.is_component or not searched.is_of(variant.levels):
            raise conflict(
                f"{where}.when", f"{kind!r} is neither a factor nor a searched component of these variants."
            )
        if missing := [name for name in names if name not in searched.names]:
            text = f"must name choices of {kind}, {quoted(searched.names)}. Got {missing[0]!r} instead"
            raise unknown_name(f"{where}.when.{kind}", text, missing[0], searched.names, "")
    kind = key.partition(".")[0]
    of_kind = space.get(kind)
    if kind == key or of_kind is None or not of_kind.is_component or not of_kind.is_of(variant.levels):
        yield variant
        return
    for choice in of_kind.values:
        if choice["name"] in dimension.given.get(kind, of_kind.names):
            yield replace(
                variant, values={**variant.values, kind: choice}, config={**variant.config, kind: choice}
            )


def _typed_component(
    key: str, dimension: Dimension, variant: Variant, resolver: Resolver, where: str
) -> Dimension:
    """Return a dimension whose choices are the full tables of a kind's components.

    Raises:
        InputError: A kind that cannot be searched, a range, or a component with parts or a file of its own.
    """
    kind = resolver.task.kinds.get(key)
    if kind is not None and not kind.is_searchable:
        raise wrong_value(
            where,
            f"the {key} cannot be searched: its runs would be compared on other data. Make it a factor.",
        )
    if dimension.choices is None:
        raise conflict(where, "a component has no range; write a list of names.")
    choices: list[Any] = []
    for given in dimension.choices:
        resolved = resolver.resolve({**variant.values, key: given}, section="search.space")
        choice = resolved.config[key]
        declared = resolver.registry.get(key, choice["name"]).parameters
        if any(parameter.is_part for parameter in declared.values()):
            raise conflict(
                where, f"the {key} {choice['name']!r} has parts of its own; make {key!r} a factor."
            )
        if any(f"{key}.{name}" in resolved.local_paths for name in declared):
            raise conflict(where, f"the {key} {choice['name']!r} reads a file; make {key!r} a factor.")
        choices.append(choice)
    _check_choices(choices, where)
    return replace(dimension, choices=choices)


def _types(dimension: Dimension) -> list[type]:
    return [type(value) for value in dimension.values]


def _typed(key: str, dimension: Dimension, variant: Variant, resolver: Resolver, where: str) -> Dimension:
    """Return a dimension with values of the type that its parameter has in one variant."""
    if "." not in key and key in variant.config and key in resolver.registry.kinds:
        return _typed_component(key, dimension, variant, resolver, where)
    if key == resolver.task.epochs_key and resolver.spec.search.pruner != "none":
        raise conflict(where, "pruning compares trials epoch by epoch, so their number cannot be searched.")
    annotation = check_searchable(key, variant.config, resolver, where)
    values = dimension.values
    if annotation is not None:
        resolved = (resolver.resolve({**variant.values, key: v}, section="search.space") for v in values)
        values = [value_at(one.config, key) for one in resolved]
        number = _number_type(annotation)
    else:
        base = value_at(variant.config, key)
        number = type(base) if type(base) in (int, float) else None
        if dimension.choices is None and number is None:
            number = _undeclared_type(base, dimension, where)
    if dimension.choices is not None:
        values = [float(v) if number is float and type(v) is int else v for v in values]
        _check_choices(values, where)
        return replace(dimension, choices=values)
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if number is None:
        raise conflict(where, "a range must be of a number; write a list of choices.")
    if number is float:
        typed = replace(dimension, low=float(low), high=float(high))
        if float(high) - float(low) < FEWEST_VALUES * math.ulp(max(abs(low), abs(high))):
            raise wrong_value(where, "'low' and 'high' are too close to differ as numbers; write choices.")
        return typed
    if not (isinstance(low, int) and isinstance(high, int)):
        raise wrong_value(
            where,
            f"is an integer, so 'low' and 'high' must be integers. Got {low!r} and {high!r} instead; for a "
            "training of your own, the value in [base] or of the level says the type.",
        )
    if max(abs(low), abs(high)) > LARGEST_INTEGER:
        raise wrong_value(where, f"bounds must be between -2**53 and 2**53. Got {low} and {high} instead.")
    return dimension


def _undeclared_type(base: Any, dimension: Dimension, where: str) -> type | None:
    """Return the type of a range whose parameter nothing declares; None where the value in [base] is no number."""
    if base is not None:
        return None
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        raise conflict(
            where,
            f"may be an integer or a number: write low = {dimension.low}.0 for a number, or set an integer at "
            "this key in [base].",
        )
    return float


def _check_choices(values: list[Any], where: str) -> None:
    """Raise InputError where two choices are equal, such as 1, 1.0 and true, or one is no value of a configuration."""
    for position, value in enumerate(values):
        try:
            canonical_json(value)
        except (ValueError, TypeError):
            raise wrong_value(
                where, f"a choice must hold finite numbers and text. Got {shown(value)}."
            ) from None
        if twice := [other for other in values[:position] if other == value]:
            raise conflict(where, f"the choices {twice[0]!r} and {value!r} are equal; remove one of them.")


def _number_type(annotation: Any) -> type | None:
    """Return float or int where an annotation allows a number, float where it allows both; else None."""
    if get_origin(annotation) is Annotated:
        return _number_type(get_args(annotation)[0])
    if annotation in (int, float):
        return annotation  # type: ignore[no-any-return]
    if get_origin(annotation) in (Union, UnionType):
        allowed = {_number_type(member) for member in get_args(annotation)} - {None}
        return float if float in allowed else int if allowed else None
    return None


def check_searchable(key: str, config: Mapping[str, Any], resolver: Resolver, where: str) -> Any:
    """Return the annotation of the parameter at a dotted key; None for a key of a training of the user's own.

    Raises:
        InputError: A key that a search cannot set.
    """
    task, registry = resolver.task, resolver.registry
    kind, _, name = key.partition(".")
    if not task.kinds and not task.tables:
        if kind in UNSEARCHABLE:
            raise wrong_value(where, f"{kind!r} cannot be searched; make it a factor.")
        return None
    if kind in task.tables:
        hints = get_type_hints(task.tables[kind], include_extras=True)
        if name not in hints:
            raise unknown_name(where, "unknown key", name, hints, code=ErrorCode.UNKNOWN_KEY)
        allowed = [f"{kind}.{field}" for field, hint in hints.items() if not _is_fixed(hint)]
        if _is_fixed(hints[name]):
            raise wrong_value(
                where, f"cannot be searched. Allowed: {quoted(allowed)}, and components' parameters."
            )
        return hints[name]
    if kind not in config:
        resolver.resolve({key: {}}, section="search.space")
        raise unknown_name(where, "unknown key", key, (), "", ErrorCode.UNKNOWN_KEY)
    if kind in task.kinds and not task.kinds[kind].is_searchable:
        raise wrong_value(
            where,
            f"the {kind} cannot be searched: its runs would be compared on other data. Make it a factor.",
        )
    if name in ("", "name"):
        raise conflict(where, f"a component is searched by its kind: write {kind!r}.")
    component = registry.get(kind, config[kind]["name"])
    declared = {
        parameter: of
        for parameter, of in component.parameters.items()
        if not (of.is_part or of.is_internal or of.is_local_path or of.is_file)
    }
    first, _, rest = name.partition(".")
    if first in component.parameters and component.parameters[first].is_part:
        instead = f"write {name!r}" if rest else f"make {first!r} a factor"
        raise conflict(where, f"{first!r} is a component of its own; {instead}.")
    if first not in declared or _is_fixed(declared[first].annotation):
        allowed = [f"{kind}.{parameter}" for parameter in declared]
        raise unknown_name(
            where,
            f"the {kind} {component.name!r} has no parameter {name!r} that can be searched",
            name,
            declared,
            f"Allowed: {quoted(allowed)}; a parameter that only some variants have needs 'when'.",
        )
    return declared[first].annotation


def _is_fixed(annotation: Any) -> bool:
    return any(isinstance(item, Unsearchable) for item in get_args(annotation)[1:])


def check_overlaps(spec: StudySpec, kinds: Iterable[str]) -> None:
    """Raise InputError where a factor and the search, or two factors, set the same key: one would undo the other.

    Args:
        spec: The study.
        kinds: The kinds of components of its task, ``registry.kinds``.
    """
    kinds = frozenset(kinds)
    for key, dimension in dimensions(spec).items():
        path = _in_its_component(key, kinds)
        for factor, levels in spec.factors.items():
            allowed = dimension.when.get(factor)
            varied = [level for level in levels if allowed is None or level.text in allowed]
            if any(_overlap(path, other) for other in _keys_set(factor, varied, kinds)):
                raise conflict(
                    f"{spec.file}: search.space.{key}",
                    f"is searched and set by the levels of the factor {factor!r}, so "
                    "variants would be trained with the same value. Remove it here, or from the factor.",
                )
    set_by = {
        factor: set(_keys_set(factor, levels, kinds | {factor})) for factor, levels in spec.factors.items()
    }
    for factor, of_levels in set_by.items():
        for other, others in set_by.items():
            if factor < other and (both := sorted(of_levels & others) or _inside(of_levels, others)):
                raise conflict(
                    f"{spec.file}: factors.{other}",
                    f"sets {both[0]!r}, as does the factor {factor!r}. Remove it from one of them.",
                )


def _keys_set(factor: str, levels: Iterable[Level], kinds: frozenset[str]) -> Iterator[str]:
    """Yield every dotted key that levels of a factor set; the name of a component is the key ``name``."""
    for level in levels:
        for key, value in flatten({factor: level.value}).items():
            path = _in_its_component(key, kinds)
            yield f"{path}.name" if path in kinds and isinstance(value, str) else path
    if factor in kinds:
        yield f"{factor}.name"


def _in_its_component(key: str, kinds: frozenset[str]) -> str:
    """Return a key with its innermost component first: ``network.splitter.frozen`` is ``splitter.frozen``."""
    names = key.split(".")
    if names[0] not in kinds:
        return key
    first = max(position for position, name in enumerate(names) if name in kinds)
    return ".".join(names[first:])


def _inside(some: Iterable[str], others: Iterable[str]) -> list[str]:
    return [one for one in some for other in others if _overlap(one, other)]


def _overlap(key: str, other: str) -> bool:
    """Return whether two dotted keys are the same, or one is inside the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
