"""The search space of a study: its dimensions, the types of their values, and what else sets the same keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from study.config.components.parameters import Unsearchable
from study.config.tables import fill
from study.errors import InputError, nearest, quoted
from study.hashing import canonical_json
from study.nested import flatten, value_at

if TYPE_CHECKING:
    from study.config.designs import Variant
    from study.config.resolve import Resolver
    from study.config.study import StudySpec

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

    @property
    def values(self) -> list[Any]:
        """The choices, or the two bounds."""
        return self.choices if self.choices is not None else [self.low, self.high]


def dimensions(spec: StudySpec) -> dict[str, Dimension]:
    """Return the search space as it is written, by dotted key, in the order of the keys.

    Raises:
        InputError: A dimension that is neither a range nor a list of choices.
    """
    space: dict[str, Dimension] = {}
    for key, value in flatten(spec.search.space, _is_dimension).items():
        where = f"{spec.file}: search.space.{key}"
        if not isinstance(value, list | Mapping):
            raise InputError(
                f"{where}: must be a list of choices, or a table with 'low' and 'high'. Got {value!r}."
            )
        if key in space:
            raise InputError(f"{where}: is written twice.")
        dimension = fill(Dimension, {"choices": value} if isinstance(value, list) else value, where)
        if dimension.choices is not None:
            if not dimension.choices or dimension.low is not None or dimension.high is not None:
                raise InputError(f"{where}: must be choices (at least one) or a range, not both.")
            if dimension.log:
                raise InputError(f"{where}.log: is of ranges; remove it, or write 'low' and 'high'.")
        elif dimension.low is None or dimension.high is None:
            raise InputError(f"{where}: must have 'low' and 'high', or 'choices'. Got {value!r} instead.")
        elif not dimension.low < dimension.high or (dimension.log and dimension.low <= 0):
            raise InputError(f"{where}: 'low' must be below 'high', and above 0 where log = true.")
        elif max(abs(dimension.low), abs(dimension.high)) > LARGEST:
            raise InputError(f"{where}: bounds must be between -{LARGEST:g} and {LARGEST:g}. Got {value!r}.")
        space[key] = dimension
    if space and not spec.search.trials:
        raise InputError(f"{spec.file}: search.trials: must be at least 1 where there is a search space.")
    if spec.search.trials and not space:
        raise InputError(
            f"{spec.file}: search.space: must have a dimension for the {spec.search.trials} trials to search."
        )
    return dict(sorted(space.items()))


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
    for key, dimension in dimensions(spec).items():
        where = f"{spec.file}: search.space.{key}"
        for variant in variants:
            typed = _typed(key, dimension, variant, resolver, where)
            if (other := space.setdefault(key, typed)) != typed or _types(other) != _types(typed):
                raise InputError(
                    f"{where}: is an integer in one variant and a number in another: {variant.name!r}."
                )
    return space


def _types(dimension: Dimension) -> list[type]:
    return [type(value) for value in dimension.values]


def _typed(key: str, dimension: Dimension, variant: Variant, resolver: Resolver, where: str) -> Dimension:
    """Return a dimension with values of the type that its parameter has in one variant."""
    if key == resolver.task.epochs_key and resolver.spec.search.pruner != "none":
        raise InputError(
            f"{where}: pruning compares trials epoch by epoch, so their number cannot be searched."
        )
    annotation = check_settable(key, variant.config, resolver, where, "searched")
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
        raise InputError(f"{where}: a range must be of a number; write a list of choices.")
    if number is float:
        typed = replace(dimension, low=float(low), high=float(high))
        if float(high) - float(low) < FEWEST_VALUES * math.ulp(max(abs(low), abs(high))):
            raise InputError(f"{where}: 'low' and 'high' are too close to differ as numbers; write choices.")
        return typed
    if not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(
            f"{where}: is an integer, so 'low' and 'high' must be integers. Got {low!r} and {high!r} instead; for a "
            "training of your own, the value in [base] or of the level says the type."
        )
    if max(abs(low), abs(high)) > LARGEST_INTEGER:
        raise InputError(f"{where}: bounds must be between -2**53 and 2**53. Got {low} and {high} instead.")
    return dimension


def _undeclared_type(base: Any, dimension: Dimension, where: str) -> type | None:
    """Return the type of a range whose parameter nothing declares; None where the value in [base] is no number."""
    if base is not None:
        return None
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        raise InputError(
            f"{where}: may be an integer or a number: write low = {dimension.low}.0 for a number, or set an integer at "
            "this key in [base]."
        )
    return float


def _check_choices(values: list[Any], where: str) -> None:
    """Raise InputError where two choices are equal, such as 1, 1.0 and true, or one is no value of a configuration."""
    for position, value in enumerate(values):
        try:
            canonical_json(value)
        except (ValueError, TypeError):
            raise InputError(f"{where}: a choice must hold finite numbers and text. Got {value!r}.") from None
        if twice := [other for other in values[:position] if other == value]:
            raise InputError(
                f"{where}: the choices {twice[0]!r} and {value!r} are equal; remove one of them."
            )


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


def check_settable(key: str, config: Mapping[str, Any], resolver: Resolver, where: str, how: str) -> Any:
    """Return the annotation of the parameter at a dotted key; None for a key of a training of the user's own.

    Raises:
        InputError: A key that a search, or ``[confirm]``, cannot set: `how` is ``searched`` or ``set``.
    """
    task, registry = resolver.task, resolver.registry
    kind, _, name = key.partition(".")
    if not task.kinds and not task.tables:
        if kind in UNSEARCHABLE:
            raise InputError(f"{where}: {kind!r} cannot be {how}; make it a factor.")
        return None
    if kind in task.tables:
        hints = get_type_hints(task.tables[kind], include_extras=True)
        if name not in hints:
            raise InputError(f"{where}: unknown key.{nearest(name, hints)} Allowed: {quoted(hints)}.")
        allowed = [f"{kind}.{field}" for field, hint in hints.items() if not _is_fixed(hint)]
        if how == "searched" and _is_fixed(hints[name]):
            raise InputError(
                f"{where}: cannot be searched. Allowed: {quoted(allowed)}, and components' parameters."
            )
        return hints[name]
    if kind not in config:
        resolver.resolve({key: {}}, section="search.space" if how == "searched" else "confirm")
        raise InputError(f"{where}: unknown key.")
    if kind in task.kinds and not task.kinds[kind].is_searchable:
        raise InputError(
            f"{where}: the {kind} cannot be {how}: its runs would be compared on other data. Make it a factor."
        )
    if name in ("", "name"):
        raise InputError(f"{where}: a component cannot be {how}; make {kind!r} a factor.")
    component = registry.get(kind, config[kind]["name"])
    declared = {
        parameter: of
        for parameter, of in component.parameters.items()
        if not (of.is_part or of.is_internal or of.is_local_path or of.is_file)
    }
    first, _, rest = name.partition(".")
    if first in component.parameters and component.parameters[first].is_part:
        instead = f"write {name!r}" if rest else f"make {first!r} a factor"
        raise InputError(f"{where}: {first!r} is a component of its own; {instead}.")
    if first not in declared or _is_fixed(declared[first].annotation):
        allowed = [f"{kind}.{parameter}" for parameter in declared]
        raise InputError(
            f"{where}: the {kind} {component.name!r} has no parameter {name!r} that can be {how}."
            f"{nearest(name, declared)} Allowed: {quoted(allowed)}."
        )
    return declared[first].annotation


def _is_fixed(annotation: Any) -> bool:
    return any(isinstance(item, Unsearchable) for item in get_args(annotation)[1:])


def typed_confirm(spec: StudySpec, resolver: Resolver, variants: Iterable[Variant]) -> dict[str, Any]:
    """Return the values of ``[confirm]`` by dotted key, with the types of their parameters.

    Raises:
        InputError: A key that a variant does not have, or that ``[confirm]`` cannot set.
    """
    typed = dict(spec.confirm)
    variants = tuple(variants)
    every = {key for variant in variants for key in flatten(variant.config)} if typed else set()
    for variant in variants if spec.confirm else ():
        known = flatten(variant.config)
        for key, value in spec.confirm.items():
            where = f"{spec.file}: confirm.{key}"
            if key not in known:
                who = f"the variant {variant.name!r} does not have" if key in every else "no variant has"
                raise InputError(f"{where}: {who} this key.{nearest(key, known)}")
            if check_settable(key, variant.config, resolver, where, "set") is not None:
                resolved = resolver.resolve({**variant.values, key: value}, section="confirm")
                typed[key] = value_at(resolved.config, key)
            elif type(known[key]) is float and type(value) is int:
                typed[key] = float(value)
    return typed


def check_overlaps(spec: StudySpec, kinds: Iterable[str]) -> None:
    """Raise InputError where a factor, the search and ``[confirm]`` set the same key: one would undo the other.

    Args:
        spec: The study.
        kinds: The kinds of components of its task, ``registry.kinds``.
    """
    kinds = frozenset(kinds)
    set_by = {factor: set(_keys_set(spec, factor, kinds)) for factor in spec.factors}
    searched = dimensions(spec)
    for section, keys in (("search.space", searched), ("confirm", spec.confirm)):
        for key in keys:
            for factor, of_levels in set_by.items():
                path = _in_its_component(key, kinds)
                if any(_overlap(path, other) for other in of_levels):
                    verb = "searched" if keys is searched else "set in [confirm]"
                    raise InputError(
                        f"{spec.file}: {section}.{key}: is {verb} and set by the levels of the factor {factor!r}, so "
                        "variants would be trained with the same value. Remove it here, or from the factor."
                    )
    for key in searched:
        for other in spec.confirm:
            if _overlap(_in_its_component(key, kinds), _in_its_component(other, kinds)):
                raise InputError(
                    f"{spec.file}: confirm.{other}: is searched too, so what the search chooses would not be used. "
                    "Remove one of the two."
                )
    set_by = {factor: set(_keys_set(spec, factor, kinds | {factor})) for factor in spec.factors}
    for factor, of_levels in set_by.items():
        for other, others in set_by.items():
            if factor < other and (both := sorted(of_levels & others) or _inside(of_levels, others)):
                raise InputError(
                    f"{spec.file}: factors.{other}: sets {both[0]!r}, as does the factor {factor!r}. Remove it from "
                    "one of them."
                )


def _keys_set(spec: StudySpec, factor: str, kinds: frozenset[str]) -> Iterator[str]:
    """Yield every dotted key that a level of a factor sets; the name of a component is the key ``name``."""
    for level in spec.factors[factor]:
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
