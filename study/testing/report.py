"""The report of a component's conformance: what ``study check component NAME`` prints, one line a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from study.config.registry import Component, Registry
from study.errors import StudyError, quoted, unknown_name
from study.testing.components import SUBJECTS, Case, cases_of, checks, required_parameters
from study.testing.functions import FUNCTIONS


@dataclass(frozen=True)
class Line:
    """The result of one check as text."""

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
        ``passed  network two-layers: is deterministic``, or ``FAILED  …: `` and what is wrong. A kind without a
        suite, or a component with required parameters, gives one line that says so.

    Raises:
        InputError: There is no such component.
    """
    kinds = [kind] if kind else [each for each in registry.kinds if name in registry.names(each)]
    if not kinds:
        known = sorted({component.name for component in registry})
        raise unknown_name("NAME", f"unknown component {name!r}", name, known, "")
    for each_kind in kinds:
        component = registry.get(each_kind, name)
        needed = required_parameters(component)
        if each_kind == "dataset":
            yield from _check_dataset(component, registry)
        elif each_kind not in (*SUBJECTS, *FUNCTIONS):
            yield Line(f"{each_kind} {name}: the kind {each_kind!r} has no suite.")
        elif needed:
            yield Line(
                f"{each_kind} {name}: not checked, as it needs {quoted(needed)}, which has no default."
            )
        else:
            for case in cases_of(component, registry):
                yield from _check_case(case, registry)


def _check_case(case: Case, registry: Registry) -> Iterator[Line]:
    changed = f" with {case.changed} = {case.config[case.changed]!r}" if case.changed else ""
    subject = f"{case.kind} {case.config['name']}{changed}"
    titled = list[tuple[str, Callable[[], None]]]()
    if reason := _failure_reason(lambda: titled.extend(checks(case, registry))):
        yield Line(f"FAILED  {subject}: it cannot be built: {reason}", is_failure=True)
    elif not titled:
        yield Line(f"refused {subject}: not valid with the other defaults")
    reasons = set[str]()
    for title, check in titled:
        reason = _failure_reason(check)
        if reason not in reasons:  # an error in its forward pass fails every check
            yield _result(f"{subject}: {title}", reason)
        if reason:
            reasons.add(reason)


def _result(check: str, reason: str) -> Line:
    return Line(f"FAILED  {check}: {reason}", is_failure=True) if reason else Line(f"passed  {check}")


def _failure_reason(check: Callable[[], object]) -> str:
    """Return in one line why a check fails, empty if it passes."""
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
    reason = _failure_reason(lambda: conform_dataset(lambda: registry.build("dataset", config)))
    yield _result(f"{subject}: every split", reason)
