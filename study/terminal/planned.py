"""The plan of a study as text: what it costs, its variants and effects, and the state of each training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from study.analysis.sentences.units import difference_with_unit
from study.config.recipes import FACTOR, name_for, recipe
from study.config.study import Layer, Origin, StudySpec
from study.engine.accept import file_names
from study.engine.cache import ABSENT, Difference, DifferenceKind, Status, TrainingList, TrainingStatus
from study.engine.plan import most_trainings, rungs, total_trainings
from study.ledger.grid import GRID
from study.ledger.record import StudyRecord, VariantRecord
from study.nested import flatten
from study.terminal.display import RUN_NOUNS, format_bytes, format_duration

if TYPE_CHECKING:
    from study.analysis.planning import TrainingTime  # slow: imports scipy
    from study.statistics.spread import Spread

MAX_DIFFERENCES = 3
"""The number of differences between runs that a plan lists."""


class Planned(Protocol):
    """What a plan says of its costs; `study.api.Plan` has it."""

    @property
    def study(self) -> StudyRecord: ...  # noqa: D102
    @property
    def listing(self) -> TrainingList: ...  # noqa: D102
    @property
    def trainings(self) -> int: ...  # noqa: D102
    @property
    def seconds(self) -> float | None: ...  # noqa: D102
    @property
    def time(self) -> TrainingTime | None: ...  # noqa: D102
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def bytes(self) -> float | None: ...  # noqa: D102
    @property
    def free_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def spread(self) -> Spread | None: ...  # noqa: D102


def format_costs(plan: Planned) -> str:
    """Return what the study costs: trainings, time, disk, and the power that they buy."""
    study = plan.study
    return "\n".join(
        [
            f"{study.name}: {study.question}",
            "",
            f"Trainings  {plan.trainings}: {format_totals(plan.listing)}",
            f"Time       {_time(plan)}",
            f"Disk       {_disk(plan)}",
            f"Power      {_power(plan)}",
        ]
    )


def _time(plan: Planned) -> str:
    if plan.seconds is None or plan.time is None:
        return "not known: no training of this or a similar study has been timed yet"
    if not plan.seconds:
        return "none: nothing is left to train"
    workers = f"{plan.workers} worker{'s' if plan.workers > 1 else ''}"
    return (
        f"about {format_duration(plan.seconds)} with {workers}, at {format_duration(plan.time.seconds)} a training "
        f"as in the study {plan.time.origin}"
    )


def _disk(plan: Planned) -> str:
    free = "" if plan.free_bytes is None else f"; {format_bytes(plan.free_bytes)} are free"
    if plan.bytes is None:
        return f"not known before a first training{free}"
    return f"about {format_bytes(plan.bytes)} more{free}"


def _power(plan: Planned) -> str:
    from study.terminal.power import power_of_study

    study = plan.study
    if plan.spread is None:
        return "not known: neither [analysis] sd nor an earlier study gives the spread; name one with --sd"
    effect = 2 * study.rope
    share = power_of_study(study, plan.spread)
    return (
        f"{share:.2f}: the probability that a true difference of {difference_with_unit(effect, study.primary.unit)} "
        "is called helps; more below"
    )


def format_plan(study: StudyRecord, listing: TrainingList) -> str:
    """Return the variants, the effects, and the state of each training."""
    lines = [
        "Variants:",
        *(f"  {variant.name}{' (reference)' if variant.is_reference else ''}" for variant in study.variants),
        *(f"  {line}" for line in study.design),
        "",
        f"Effects that get a verdict, in one family of {len(study.family)}:",
        *(f"  {effect.name}" for effect in study.family),
        "",
        _size_line(study),
        *_search_lines(study),
        *(line for variant in study.variants for line in _training_lines(variant, listing)),
        *(
            ["", "The data are not sound; `run` refuses them without --accept-data:"]
            if study.data.unsound
            else []
        ),
        *(f"  {reason}" for reason in study.data.unsound),
        "Nothing was trained; `run` tries each variant on one batch before it trains any.",
    ]
    return "\n".join(lines)


def values_of_reference(
    study: StudyRecord, spec: StudySpec, tables: Collection[str]
) -> Iterator[ValueOrigin]:
    """Yield each value of the reference with the key that ``--set`` takes, and where it was set.

    Args:
        study: The study.
        spec: The content of its file.
        tables: The keys that the task has at the top level of the file, such as ``train``.
    """
    reference = next(variant for variant in study.variants if variant.is_reference)
    origins = {**_recipe_origins(reference, spec), **spec.origins}
    for key, value in flatten(reference.template.config).items():
        kind = key.partition(".")[0]
        if factor := next((name for name in (key, kind) if name in spec.factors), None):
            yield ValueOrigin(f"design.reference.{factor}", value, "level of the reference")
        elif key in spec.search.space:
            yield ValueOrigin(f"search.space.{key}", value, "default; the search replaces it")
        else:
            yield ValueOrigin(key if kind in tables else f"base.{key}", value, _origin(key, origins))
    for key, path in reference.template.local_paths.items():
        yield ValueOrigin(f"base.{key}", path, "this machine")


@dataclass(frozen=True)
class ValueOrigin:
    """A value of a study's configuration."""

    key: str
    """As ``--set`` takes it."""
    value: Any
    origin: str


def format_values(values: Iterable[ValueOrigin]) -> str:
    """Return values with their origins, one a line."""
    rows = list(values)
    width = max(len(row.key) for row in rows)
    lines = (f"  {row.key:<{width}}  {row.value!s:<14} {row.origin}" for row in rows)
    return "\n".join(
        ["Values of the reference by the key that --set takes, and where each comes from:", *lines]
    )


def _size_line(study: StudyRecord) -> str:
    variants, repetitions = f"{len(study.variants)} variants", f"{study.repetitions} repetitions"
    if study.looks:
        return (
            f"Trainings: {total_trainings(study)} planned so far, at most {most_trainings(study)}: comparisons may be "
            f"closed after {', '.join(map(str, study.looks))} repetitions"
        )
    each = {study.folds_of(variant) for variant in study.variants}
    counts = " and ".join(str(len(of)) for of in sorted(each, key=len))
    folds = "" if each == {(None,)} else f" x {counts} fold(s)"
    total = total_trainings(study)
    if not study.trials:
        return f"Trainings: {total} = {variants} x {repetitions}{folds}"
    search_folds = "" if study.shared_folds else folds
    per_repetition = f" x {repetitions}" if study.scope == "repetition" else ""
    trials = sum(len(study.searches(variant)) for variant in study.variants) * study.trials
    line = f"Trainings: {total} = {variants}{per_repetition}{search_folds} x {study.trials} trials"
    if total == trials:
        return f"{line}: the best trial of each search is the repetition"
    return f"{line} + {total - trials}: one more training per repetition with what its search chose"


def _search_lines(study: StudyRecord) -> Iterator[str]:
    """Yield the settings of the search, and which of its trials may be pruned."""
    if not study.trials:
        return
    sampler = (
        f"sampler {study.sampler}" if study.sampler != GRID else f"all {study.trials} points of the space"
    )
    yield f"  Search: {sampler}, generations of {study.generation}, pruner {study.pruner}"
    if study.pruner == "none":
        return
    first = study.variants[0]
    epochs = first.run(study.first_point(first), study.seed, study.folds[0]).epochs
    if epochs is None:
        yield "    the epochs to compare are chosen as trainings report them: their number is not configured"
        return
    compared_epochs = rungs(study, epochs - 1)
    if not compared_epochs:
        yield f"    nothing is pruned: search.first_epoch is {study.first_epoch}, and there are {epochs} epochs"
    else:
        yield (
            f"    from trial {study.generation + 1} on, a trial continues after epoch "
            f"{', '.join(map(str, compared_epochs))} if it is in the best 1/{study.reduction} of the trials of "
            "earlier generations that reached it"
        )


def _training_lines(variant: VariantRecord, listing: TrainingList) -> Iterator[str]:
    """Yield the state of a variant's trainings, equal neighbours in one line."""
    yield f"  {variant.name}"
    own = [training for training in listing.decided if training.job.variant == variant.name]
    searches = (
        (key, tuple(_spans(list(group))))
        for key, group in groupby(own, lambda training: (training.job.run.fold, training.job.repetition))
    )
    for (fold, spans), alike in groupby(searches, lambda item: (item[0][0], item[1])):
        of_fold = f"fold {fold}, " if fold is not None else ""
        repetitions = [repetition + 1 for (_, repetition), _ in alike if repetition is not None]
        of_repetitions = f"repetition {_span(repetitions)}, " if repetitions else ""
        for span, status in spans:
            yield f"    {of_fold + of_repetitions + span:<32} {status}"
    for undetermined in listing.undetermined:
        if undetermined.variant == variant.name:
            yield f"    {undetermined.trainings} not yet determined: they follow from the search"


def _spans(trainings: list[TrainingStatus]) -> Iterator[tuple[str, str]]:
    """Yield the numbers of neighbouring trainings of one status, with the status."""
    for (purpose, status), group in groupby(
        trainings, lambda training: (training.job.purpose, _format_status(training))
    ):
        yield f"{RUN_NOUNS[purpose]} {_span([training.job.number + 1 for training in group])}", status


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _format_status(training: TrainingStatus) -> str:
    """Return the status of a training, with its differences from the most similar finished run."""
    differences = [_format_difference(difference) for difference in training.differences]
    more = len(differences) - MAX_DIFFERENCES
    reason = "; ".join(differences[:MAX_DIFFERENCES]) + (f", and {more} more" if more > 0 else "")
    epochs = training.job.run.epochs
    status = {
        Status.CACHED: "cached",
        Status.DIVERGED: "cached: it diverged",
        Status.PRUNED: f"pruned after epoch {training.epoch}",
        Status.FAILED: f"failed: {training.failure}",
        Status.UNFINISHED: f"unfinished, {training.epoch}{f' of {epochs}' if epochs else ''} epochs done",
        Status.NEW: "new",
    }[training.status]
    return f"{status}: {reason}" if reason else status


def _format_difference(difference: Difference) -> str:
    if difference.kind is DifferenceKind.DATA:
        return "the data differ"
    if difference.kind is DifferenceKind.CODE:
        modules = difference.modules
        return f"code of {file_names(modules)} changed" if modules else "code differs (of unknown files)"
    value, earlier = (
        "not there" if value is ABSENT else value for value in (difference.value, difference.earlier)
    )
    return f"{difference.key} differs: {value}, was {earlier}"


def format_totals(listing: TrainingList) -> str:
    """Return the number of trainings in each state; diverged ones count as cached."""
    counts = Counter(
        (Status.CACHED if training.status is Status.DIVERGED else training.status).value
        for training in listing.decided
    )
    counts["not yet determined"] = sum(undetermined.trainings for undetermined in listing.undetermined)
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _recipe_origins(reference: VariantRecord, spec: StudySpec) -> dict[str, Origin]:
    """Return the origin of each value, by dotted key, that the reference has from its level of the factor recipe."""
    levels = [level for level in spec.factors.get(FACTOR, ()) if level.text == reference.levels[FACTOR]]
    network = reference.template.config.get("network")
    if not levels or network is None:
        return {}
    name = name_for(levels[0].value, network["name"], spec.file)
    values = recipe(name, spec.file, Path(spec.file).parent).values
    return dict.fromkeys(flatten(values), Origin(Layer.RECIPE, name))


def _origin(key: str, origins: Mapping[str, Origin]) -> str:
    """Return where a value that no factor and no search sets was written."""
    kind = key.partition(".")[0]
    for path in (f"base.{key}", key, f"base.{kind}"):
        if path in origins:
            named_only = path == f"base.{kind}" != f"base.{key}" and not key.endswith(".name")
            return "default" if named_only else str(origins[path])
    return "default"
