"""The report of a component's conformance: what ``study check component NAME`` prints, one line a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from study.config.registry import Component, Registry
from study.errors import InputError, StudyError, nearest, quoted
from study.testing.components import SUBJECTS, Case, cases_of, checks, required_parameters
from study.testing.functions import FUNCTIONS


@dataclass(frozen=True)
class Line:
    """The outcome of one check, as a person reads it."""

    text: str
    is_failure: bool = False

    def __str__(self) -> str:
        return self.text


def check_component(name: str, kind: str | None, registry: Registry) -> Iterator[Line]:
    """Run the conformance suite of a component on all of its cases; yield one line for each check.

    Args:
        name: The component's name.
        kind: Its kind; None for every kind that has a component of the name.
        registry: Where it is registered.

    Yields:
        ``passed  network two-layers: owes its shapes``, or ``FAILED  …: `` and what is wrong; a line that says so
        where a kind has no suite or a component cannot be built without more parameters.

    Raises:
        InputError: There is no such component.
    """
    kinds = [kind] if kind else [of for of in registry.kinds if name in registry.names(of)]
    if not kinds:
        known = sorted({component.name for component in registry})
        raise InputError(f"unknown component {name!r}.{nearest(name, known)}")
    for of in kinds:
        component = registry.get(of, name)
        needed = required_parameters(component)
        if of == "dataset":
            yield from _check_dataset(component, registry)
        elif of not in (*SUBJECTS, *FUNCTIONS):
            yield Line(f"{of} {name}: the kind {of!r} has no suite.")
        elif needed:
            yield Line(f"{of} {name}: not checked, as it needs {quoted(needed)}, which has no default.")
        else:
            for case in cases_of(component, registry):
                yield from _lines(case, registry)


def _lines(case: Case, registry: Registry) -> Iterator[Line]:
    changed = f" with {case.changed} = {case.config[case.changed]!r}" if case.changed else ""
    subject = f"{case.kind} {case.config['name']}{changed}"
    built = list[tuple[str, Callable[[], None]]]()
    if reason := _failure(lambda: built.extend(checks(case, registry))):
        yield Line(f"FAILED  {subject}: it cannot be built: {reason}", is_failure=True)
    elif not built:
        yield Line(f"refused {subject}: does not go with the other defaults")
    reasons = set[str]()
    for title, check in built:
        reason = _failure(check)
        if reason not in reasons:  # one fault fails every check that calls the component
            yield _line(f"{subject}: {title}", reason)
        if reason:
            reasons.add(reason)


def _line(what: str, reason: str) -> Line:
    return Line(f"FAILED  {what}: {reason}", is_failure=True) if reason else Line(f"passed  {what}")


def _failure(check: Callable[[], object]) -> str:
    """Return in one line why a check fails, empty where it passes."""
    try:
        check()
    except (AssertionError, StudyError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _check_dataset(component: Component, registry: Registry) -> Iterator[Line]:
    from study.testing.datasets import conform as conform_dataset

    subject = f"dataset {component.name}"
    if needed := required_parameters(component):
        yield Line(
            f"{subject}: not checked, as it needs {quoted(needed)}, which has no default; check it in a test by "
            "study.testing.datasets.conform."
        )
        return
    config = registry.resolve("dataset", component.name, component.name)
    reason = _failure(lambda: conform_dataset(lambda: registry.build("dataset", config)))
    yield _line(f"{subject}: every split", reason)
