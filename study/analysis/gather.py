"""Reads the evidence of a study from the ledger; no other module reads test results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from study.analysis.described import Choice
from study.analysis.evidence import (
    Evidence,
    FoldSize,
    RepetitionEvidence,
    Scope,
    SearchSettings,
    TrialEvidence,
    VariantData,
    VariantEvidence,
)
from study.analysis.findings import Limit, LimitCode
from study.analysis.sentences.published import protocols
from study.analysis.sentences.units import quantity
from study.analysis.values.replicates import with_replicates
from study.engine import plan
from study.engine.accept import describe_accepted
from study.engine.search import STARTUP_TRIALS
from study.followed import UnfollowedKind
from study.ledger.grid import GRID
from study.ledger.layout import RUNS, TEST_PREDICTIONS
from study.ledger.record import Search, StudyRecord, VariantRecord
from study.ledger.store import SESSION, Ledger, Snapshot
from study.records import DataInfo, Machine, PublishedTable, RunSpec, TestResult
from study.statistics.description import fold_overlap

MOST_CALLS = 3
"""Maximum of calls that a limit lists."""
UNTRACKED = Limit(
    LimitCode.DATA_UNTRACKED,
    "The data are not tracked: a changed data file does not change the identity of a run, so old results may be "
    "reused for changed data; `[task] data` or `data_version` tracks them.",
)
UNSIZED = Limit(
    LimitCode.FOLD_SIZES_UNKNOWN,
    "The sizes of the folds are not known: intervals are widened as for folds of equal size that split the examples "
    "among them.",
)
CLOSED = {
    "futile": "more repetitions would hardly decide it",
    "examples": "only more test examples would decide it",
    "last-look": "no verdict after the last look",
}
"""Outcomes of looks in words, where they are no verdicts."""
NOTHING: Mapping[str, Callable[..., float]] = MappingProxyType({})


def gather(
    ledger: Ledger, study: StudyRecord, computes: Mapping[str, Callable[..., float]] = NOTHING
) -> Evidence:
    """Return the evidence of a study; reads the ledger and writes nothing.

    Args:
        ledger: The ledger that holds the study's runs.
        study: The study's record with its suggestions.
        computes: ``compute(labels, scores)`` by metric, for metrics that a test result lacks.
    """
    reference = next(variant for variant in study.variants if variant.is_reference)
    variants = tuple(_variant(ledger, study, variant, computes) for variant in study.variants)
    unfolded = {variant.name for variant in study.variants if len(study.folds_of(variant)) == 1}
    variants = tuple(  # folds need no replicates: Nadeau and Bengio's interval has no term for examples
        _with_replicates(ledger, study, variant, computes) if variant.name in unfolded else variant
        for variant in variants
    )
    has_replicates = all(_has_replicates(variant) for variant in variants if variant.name in unfolded)
    data = _data(study, study.data, study.folds)
    return Evidence(
        name=study.name,
        title=study.title,
        question=study.question,
        metric=study.primary,
        metrics=(study.primary, *(metric for metric in study.metrics if metric.name != study.metric)),
        rope=study.rope,
        alpha=study.alpha,
        variants=variants,
        examples_in_test=data.examples_in_test or _examples_tested(variants),
        scope=_scope(study, has_replicates),
        lacks_predictions=study.interval_scope == "population" and not has_replicates,
        spread=study.spread,
        noun=study.data.noun,
        chance=data.chance,
        folds=data.folds,
        claims=study.claims,
        effects=study.effects,
        design=study.design,
        facts=_facts(ledger, study, variants),
        limits=tuple(_limits(study, ledger)),
        configuration=reference.template.config,
        is_optimistic=study.data.is_optimistic,
        skipped=study.data.skipped,
        published=tuple(_published(study)),
        protocols=protocols(study),
        looks=study.looks,
        interims=study.interims,
        search=SearchSettings(study.scope, study.sampler, study.trials, study.space, study.shared_folds)
        if study.trials
        else None,
    )


def _with_replicates(
    ledger: Ledger, study: StudyRecord, variant: VariantEvidence, computes: Mapping[str, Callable[..., float]]
) -> VariantEvidence:
    """Return a variant whose tested runs have replicates of the primary metric, where they keep predictions."""
    runs = (
        with_replicates(run, ledger.root / RUNS / run.run, study.primary, computes.get(study.metric))
        for run in variant.repetitions
    )
    return replace(variant, repetitions=tuple(runs))


def _has_replicates(variant: VariantEvidence) -> bool:
    """Whether every tested run has replicates; True too where none is tested yet."""
    return all(run.replicates is not None for run in variant.repetitions if run.test is not None)


def _scope(study: StudyRecord, has_replicates: bool) -> Scope:
    """Return for whom intervals speak: as the study names it, else for new examples where that can be computed."""
    if study.interval_scope:
        return study.interval_scope
    return "population" if has_replicates else "test-set"


def _data(study: StudyRecord, data: DataInfo, folds: Sequence[int | None]) -> VariantData:
    """Return what the analysis needs to know of data."""
    return VariantData(
        examples_in_test=sum(size.test for size in data.sizes),
        chance=data.chance.get(study.metric, study.primary.chance),
        folds=_fold_sizes(data, len(folds)) if len(folds) > 1 else (),
    )


def overlap_of_folds(study: StudyRecord) -> float:
    """Return test examples / training examples of the study's folds; 0 where there is one split."""
    sizes = _fold_sizes(study.data, len(study.folds)) if len(study.folds) > 1 else ()
    return fold_overlap([size.test for size in sizes], [size.train for size in sizes])


def _fold_sizes(data: DataInfo, folds: int) -> tuple[FoldSize, ...]:
    """Return the numbers of training and test examples of each fold.

    Where the sizes are not known, they are those of k-fold cross-validation, in units of one fold.
    """
    sizes = data.sizes
    if len(sizes) != folds:
        return (FoldSize(folds - 1, 1),) * folds
    return tuple(FoldSize(size.train if size.trained is None else size.trained, size.test) for size in sizes)


def _examples_tested(variants: Iterable[VariantEvidence]) -> int:
    """Return the number of test examples, all folds together, as the tests count them."""
    runs = [run for variant in variants for run in variant.repetitions if run.test is not None]
    return sum({run.fold: run.test.examples for run in runs if run.test is not None}.values())


def _variant(
    ledger: Ledger, study: StudyRecord, variant: VariantRecord, computes: Mapping[str, Callable[..., float]]
) -> VariantEvidence:
    state_of = Snapshot(ledger)
    folds = study.folds_of(variant)
    trials: list[TrialEvidence] = []
    repetitions: list[RepetitionEvidence] = []
    chosen: list[Choice] = []
    incomplete: set[object] = set()
    for search in study.searches(variant):
        repetition = None if search.repetition is None else search.repetition + 1
        for trial in plan.search_trials(study, search, state_of):
            if result := trial.state.result or trial.state.pruned or trial.state.failure:
                trials.append(TrialEvidence(trial.parameters, result, search.fold, repetition))
        choice = plan.chosen_trial(study, search, state_of)
        if choice is None and _is_incomplete(study, search, state_of):
            incomplete.add(search.key)
        if choice is not None and choice.state.is_usable:
            chosen.append(Choice(choice.parameters, repetition, search.fold))
    for repetition_run in plan.repetitions(study, variant, state_of):
        run = repetition_run.run
        state = state_of(run.id)
        test = _test_result(ledger, study, run, computes)
        measurements = tuple(
            measurement for key in study.measures if (measurement := ledger.measurement(run, key))
        )
        unmeasured = {
            key.partition("@")[0]: state.unmeasured[key].reason
            for key in study.measures
            if key in state.unmeasured
        }
        repetitions.append(
            RepetitionEvidence(
                repetition_run.number + 1,
                repetition_run.fold,
                run.id,
                state.result,
                test,
                state.failure,
                measurements,
                unmeasured,
                seed=run.seed,
            )
        )
    network = plan.profiled_run(study, variant, state_of)
    return VariantEvidence(
        name=variant.name,
        reference=variant.reference,
        levels=variant.levels,
        planned=study.repetitions_of(variant) * len(folds),
        repetitions=tuple(repetitions),
        unreachable=sum(
            study.search_of(variant, fold, number).key in incomplete
            for fold in folds
            for number in range(study.repetitions_of(variant))
        ),
        chosen=tuple(chosen),
        trials=tuple(trials),
        profile=ledger.profile(network) if network else None,
        data=None if variant.data is None else _data(study, variant.data, folds),
    )


def _is_incomplete(study: StudyRecord, search: Search, states: plan.States) -> bool:
    """Whether so many trials of a search failed that it can choose nothing: one of a repetition's, or all."""
    trials = list(plan.search_trials(study, search, states))
    failed = sum(trial.state.final and not trial.has_outcome for trial in trials)
    return failed > 0 and (search.repetition is not None or failed == study.trials)


def _test_result(
    ledger: Ledger, study: StudyRecord, run: RunSpec, computes: Mapping[str, Callable[..., float]]
) -> TestResult | None:
    """Return a run's test result; missing metrics are computed from the predictions in test.npz."""
    test = ledger.test_result(run)
    if test is None:
        return None
    missing = [m.name for m in study.metrics if m.name in computes and m.name not in test.metrics]
    path = ledger.run_folder(run) / TEST_PREDICTIONS
    if not missing or not path.is_file():
        return test
    from study.ledger.predictions import load

    predictions = load(path)
    computed = {name: float(computes[name](predictions.labels, predictions.logits)) for name in missing}
    return replace(test, metrics={**test.metrics, **computed})


def _limits(study: StudyRecord, ledger: Ledger) -> Iterator[Limit]:
    """Yield the limits of the conclusion that follow from the record."""
    if not study.data.digest:
        yield UNTRACKED
    folds = [(study.folds, study.data)]
    folds += [
        (study.folds_of(variant), variant.data) for variant in study.variants if variant.data is not None
    ]
    if any(len(of) > 1 and len(data.sizes) != len(of) for of, data in folds):
        yield UNSIZED
    yield from (
        Limit(LimitCode.DATA_UNSOUND, f"The data are not sound, which was accepted: {reason}")
        for reason in study.data.unsound
    )
    yield from (Limit(LimitCode.DATA, warning) for warning in study.data.warnings)
    if damaged := sorted(str(path.relative_to(ledger.root)) for path in ledger.damaged):
        yield Limit(
            LimitCode.DAMAGED,
            f"Damaged files of the ledger are missing from this report: {', '.join(damaged)}. `study run` makes them "
            "again.",
        )
    for sentence in describe_accepted(study, ledger, study.accepted_code):
        yield Limit(LimitCode.ACCEPTED_CODE, sentence)
    yield from _unfollowed(study)


def _unfollowed(study: StudyRecord) -> Iterator[Limit]:
    """Yield a limit if code or files that are named at run time do not count and the study lists no sources.

    Files that a function is passed are left out: their paths are values of the configuration.
    """
    calls = [call for call in study.unfollowed if call.kind != UnfollowedKind.ARGUMENT]
    if calls and not study.variants[0].template.options.get("sources"):
        shown = "; ".join(f"{call.where} `{call.call}`" for call in calls[:MOST_CALLS])
        more = f" and {len(calls) - MOST_CALLS} more" if len(calls) > MOST_CALLS else ""
        yield Limit(
            LimitCode.CODE_UNFOLLOWED,
            f"What some calls read or run is known only when they run ({shown}{more}), so a change there does not "
            "train anything again. List these files in [task] sources.",
        )


def _facts(ledger: Ledger, study: StudyRecord, variants: Iterable[VariantEvidence]) -> dict[str, str]:
    """Return the facts of what was run, in printing order."""
    sessions = [session for session in ledger.sessions(study.name) if SESSION.keys() <= session.keys()]
    machines = [
        run.result.machine for variant in variants for run in variant.repetitions if run.result is not None
    ]
    template = study.variants[0].template
    data_sets = dict.fromkeys(_described(study, data) for data in _data_sets(study))
    facts = {
        "study file": study.file,
        "options": shlex.join(study.options),
        "study seed": f"{study.seed}; repetitions 1 to {study.repetitions}, paired across variants",
        "adaptive repetitions": _adaptive(study),
        "search": _search_settings(study),
        **study.facts,
        "data set": "; or ".join(data_sets),
        **_data_facts(study),
        **({"data, left out": f"{len(study.data.skipped)} of the lists' rows"} if study.data.skipped else {}),
        "data digest": ", ".join(dict.fromkeys(_data_digests(variant) for variant in study.variants)),
        "code digest": ", ".join(dict.fromkeys(v.template.code_digest for v in study.variants)),
        "claims digest": study.claims_digest,
        "device": f"{template.device}, {template.threads} thread(s) a run",
        **_machine_facts(machines),
        "commit": ", ".join(dict.fromkeys(session["commit"] for session in sessions)) or "unknown",
        "trained": "; ".join(
            f"{quantity(session['trainings'], 'run')} from {session['begun']} in {session['seconds']:.0f} s with "
            f"{quantity(session['workers'], 'worker')}"
            for session in sessions
        )
        or "nothing",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _published(study: StudyRecord) -> Iterator[PublishedTable]:
    """Yield the published results of each stratum's benchmark once."""
    found: list[PublishedTable] = []
    for data in _data_sets(study):
        if data.published is not None and data.published not in found:
            found.append(data.published)
            yield data.published


def _data_facts(study: StudyRecord) -> dict[str, str]:
    """Return the facts of the study's data; where strata differ in them, those of each stratum."""
    strata = {
        variant.reference: _merged_facts(
            (other.data or study.data) for other in study.variants if other.reference == variant.name
        )
        for variant in study.variants
        if variant.is_reference
    }
    if len({tuple(facts.items()) for facts in strata.values()}) == 1:
        return {f"data, {name}": value for name, value in next(iter(strata.values())).items()}
    return {
        f"data of {reference}, {name}": value
        for reference, facts in strata.items()
        for name, value in facts.items()
    }


def _merged_facts(infos: Iterable[DataInfo]) -> dict[str, str]:
    """Return the facts of several data, those that differ joined by *or*."""
    facts: dict[str, dict[str, None]] = {}
    for info in infos:
        for name, value in info.facts.items():
            facts.setdefault(name, {})[value] = None
    return {name: " or ".join(values) for name, values in facts.items()}


def _data_sets(study: StudyRecord) -> list[DataInfo]:
    """Return the data of the study, then those of variants that have others."""
    return [study.data, *(variant.data for variant in study.variants if variant.data is not None)]


def _described(study: StudyRecord, data: DataInfo) -> str:
    """Return the name, folds, examples and sizes of data in a line."""
    sizes = "; ".join(
        f"{size.train} train, {size.validation} validation, {size.test} test {data.noun}s"
        for size in data.sizes
    )
    description = "; ".join(text for text in (data.description, sizes) if text)
    of = data.folds or study.folds
    folds = "" if of == (None,) else f", folds {', '.join(map(str, of))}"
    return f"{data.name}{folds}: {description}" if description else f"{data.name}{folds}"


def _data_digests(variant: VariantRecord) -> str:
    """Return the digest of a variant's data, and of each fold's where there are several."""
    of_folds = ", ".join(f"fold {fold} {digest}" for fold, digest in variant.digests.items())
    return f"{variant.template.data_digest}{f' ({of_folds})' if len(variant.digests) > 1 else ''}"


def _adaptive(study: StudyRecord) -> str:
    """Return the looks, what each closed, and the trainings that were saved; empty where repetitions are fixed."""
    if not study.looks:
        return ""
    closed = [
        f"after {look}: {name} closed ({CLOSED.get(closing.outcome, closing.outcome)})"
        for look, interim in study.interims.items()
        for name, closing in interim.closed.items()
    ]
    most, planned = plan.most_trainings(study), plan.total_trainings(study)
    listed = "; ".join(closed) or "no comparison closed"
    return (
        f"looks after {', '.join(map(str, study.looks))} repetitions; {listed}; {most - planned} of {most} trainings "
        "saved"
    )


def _search_settings(study: StudyRecord) -> str:
    """Return sampler, budget, pruning and search space in a line."""
    if not study.trials:
        return "none"
    halving = (
        f"; successive halving, 1 of {study.reduction} continues, first decided after epoch {study.first_epoch}"
        if study.pruner == "halving"
        else ""
    )
    space = "; ".join(
        f"{key} in {_range_text(dimension)}{_condition(dimension)}" for key, dimension in study.space.items()
    )
    each = "repetition" if study.scope == "repetition" else "variant, shared by its repetitions"
    has_folds = any(len(study.folds_of(variant)) > 1 for variant in study.variants)
    folds = "" if not has_folds else ", shared by the folds" if study.shared_folds else " and fold"
    budget = f"{study.trials} trials a {each}{folds}; {_sampler(study)}, generations of {study.generation}"
    return f"{budget}{halving}; {space}"


def _sampler(study: StudyRecord) -> str:
    """Return how trials are suggested, in words."""
    if study.sampler == "auto":
        first = "quasi-random points (a scrambled Sobol sequence, the same for every variant)"
        return first if study.trials <= STARTUP_TRIALS else f"{STARTUP_TRIALS} {first}, then TPE"
    if study.sampler == GRID:
        return "every point of the space"
    if study.sampler == "random":
        return "random points, the same for every variant"
    return f"sampler {study.sampler} after {STARTUP_TRIALS} random points"


def _range_text(dimension: Mapping[str, Any]) -> str:
    """Return a dimension of the search space as ``{a, b}`` or ``[low, high]``."""
    if "choices" in dimension:
        return "{" + ", ".join(map(_choice_text, dimension["choices"])) + "}"
    return f"[{dimension['low']}, {dimension['high']}]" + (" (log)" if dimension.get("log") else "")


def _choice_text(choice: Any) -> str:
    """Return a choice, or the name of a component that is one."""
    return str(choice["name"]) if isinstance(choice, Mapping) and "name" in choice else str(choice)


def _condition(dimension: Mapping[str, Any]) -> str:
    """Return which variants have a dimension; empty if all do. They have as many trials as the others."""
    when = {**dimension.get("when", {}), **dimension.get("given", {})}
    levels = " and ".join(f"{factor} = {' or '.join(of)}" for factor, of in when.items())
    return f" only where {levels}, at equal trials" if levels else ""


def _machine_facts(machines: Iterable[Machine]) -> dict[str, str]:
    """Return the hardware and versions of the repetitions, all of them where they differ."""
    each = list(machines)
    versions = [", ".join(f"{name} {number}" for name, number in m.versions.items()) for m in each]
    return {
        "hardware": "; ".join(dict.fromkeys(machine.hardware for machine in each)),
        "platform": "; ".join(dict.fromkeys(machine.platform for machine in each)),
        "versions": "; ".join(dict.fromkeys(versions)),
    }
