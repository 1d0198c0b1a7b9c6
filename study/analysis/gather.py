"""From the ledger to the evidence: the only reader of test results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from study.analysis.evidence import Confirmation, Evidence, FoldSize, TrialEvidence, VariantEvidence
from study.analysis.wording import counted
from study.engine import plan
from study.engine.accept import describe_accepted
from study.ledger.layout import TEST_PREDICTIONS
from study.ledger.record import StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot
from study.records import Machine, RunSpec, TestResult

UNTRACKED = (
    "The data are not tracked: a changed data file does not change the identity of a run, so old results may be "
    "taken for new ones; `[task] data` or `data_version` tracks them."
)
UNSIZED = (
    "The sizes of the folds are not known: intervals are widened as for folds of equal size that split the examples "
    "among them."
)
NOTHING: Mapping[str, Callable[..., float]] = MappingProxyType({})


def gather(
    ledger: Ledger, study: StudyRecord, computes: Mapping[str, Callable[..., float]] = NOTHING
) -> Evidence:
    """Return everything that the findings of a study rest on; a pure reading of the ledger.

    Args:
        ledger: Where the study was carried out.
        study: Its record with its suggestions.
        computes: ``compute(labels, scores)`` by metric, for metrics that a test result lacks.
    """
    reference = next(variant for variant in study.variants if variant.is_reference)
    variants = tuple(_variant(ledger, study, variant, computes) for variant in study.variants)
    sizes = study.data.sizes
    return Evidence(
        name=study.name,
        title=study.title,
        question=study.question,
        metric=study.primary,
        metrics=(study.primary, *(metric for metric in study.metrics if metric.name != study.metric)),
        rope=study.rope,
        alpha=study.alpha,
        variants=variants,
        examples_in_test=sum(size.test for size in sizes) if sizes else _tested(variants),
        noun=study.data.noun,
        chance=study.data.chance.get(study.metric, study.primary.chance),
        folds=_folds(study) if len(study.folds) > 1 else (),
        claims=study.claims,
        facts=_facts(ledger, study, variants),
        warnings=tuple(_warnings(study, ledger)),
        configuration=reference.template.config,
        is_optimistic=study.data.is_optimistic,
        skipped=study.data.skipped,
        published=study.data.published,
    )


def _folds(study: StudyRecord) -> tuple[FoldSize, ...]:
    """Return the examples of each fold that a repetition trains on, and those it is tested on.

    Where the sizes are not known, those of plain k-fold cross-validation, in folds.
    """
    sizes = study.data.sizes
    if len(sizes) != len(study.folds):
        return (FoldSize(len(study.folds) - 1, 1),) * len(study.folds)
    return tuple(FoldSize(size.train if size.trained is None else size.trained, size.test) for size in sizes)


def _tested(variants: Iterable[VariantEvidence]) -> int:
    """Return how many examples were tested on, all folds together, as the tests themselves count them."""
    runs = [run for variant in variants for run in variant.confirmations if run.test is not None]
    return sum({run.fold: run.test.examples for run in runs if run.test is not None}.values())


def _variant(
    ledger: Ledger, study: StudyRecord, variant: VariantRecord, computes: Mapping[str, Callable[..., float]]
) -> VariantEvidence:
    state_of = Snapshot(ledger)
    trials: list[TrialEvidence] = []
    confirmations: list[Confirmation] = []
    chosen: dict[str, Any] = {}
    for fold in study.folds:
        for trial in plan.search_trials(study, variant, fold, state_of):
            if outcome := trial.state.result or trial.state.pruned or trial.state.failure:
                trials.append(TrialEvidence(trial.parameters, outcome, fold))
        choice = plan.chosen_parameters(study, variant, fold, state_of) or {}
        chosen |= (
            choice if len(study.folds) == 1 else {f"{key} (fold {fold})": v for key, v in choice.items()}
        )
        for number, run in enumerate(plan.repetition_runs(study, variant, fold, state_of)):
            state = state_of(run.id)
            test = _completed(ledger, study, run, computes)
            taken = tuple(found for key in study.measures if (found := ledger.measurement(run, key)))
            untaken = {
                key.partition("@")[0]: state.unmeasured[key].reason
                for key in study.measures
                if key in state.unmeasured
            }
            confirmations.append(
                Confirmation(
                    number + 1,
                    fold,
                    run.id,
                    state.result,
                    test,
                    state.failure,
                    taken,
                    untaken,
                )
            )
    network = plan.profiled_run(study, variant, state_of)
    return VariantEvidence(
        name=variant.name,
        reference=variant.reference,
        levels=variant.levels,
        planned=study.repetitions * len(study.folds),
        confirmations=tuple(confirmations),
        chosen=chosen,
        trials=tuple(trials),
        profile=ledger.profile(network) if network else None,
    )


def _completed(
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

    found = load(path)
    added = {name: float(computes[name](found.labels, found.logits)) for name in missing}
    return replace(test, metrics={**test.metrics, **added})


def _warnings(study: StudyRecord, ledger: Ledger) -> Iterator[str]:
    """Yield what the record itself says against the conclusion."""
    if not study.data.digest:
        yield UNTRACKED
    if len(study.folds) > 1 and len(study.data.sizes) != len(study.folds):
        yield UNSIZED
    yield from study.data.warnings
    if study.claims_changed:
        yield "The claims were changed after runs of this study had been carried out: they are no predictions."
    yield from describe_accepted(study, ledger, study.accepted_code)


def _facts(ledger: Ledger, study: StudyRecord, variants: Iterable[VariantEvidence]) -> dict[str, str]:
    """Return what was run, in the order to print."""
    sessions = ledger.sessions(study.name)
    machines = [
        run.result.machine for variant in variants for run in variant.confirmations if run.result is not None
    ]
    template = study.variants[0].template
    sizes = "; ".join(
        f"{size.train} train, {size.validation} validation, {size.test} test {study.data.noun}s"
        for size in study.data.sizes
    )
    about = "; ".join(text for text in (study.data.description, sizes) if text)
    folds = "" if study.folds == (None,) else f", folds {', '.join(map(str, study.folds))}"
    data = f"{study.data.name}{folds}"
    facts = {
        "study file": study.file,
        "study seed": f"{study.seed}; repetitions 1 to {study.repetitions}, paired across variants",
        "search": _search(study),
        **study.facts,
        "data set": f"{data}: {about}" if about else data,
        **{f"data, {name}": value for name, value in study.data.facts.items()},
        **({"data, left out": f"{len(study.data.skipped)} of the lists' rows"} if study.data.skipped else {}),
        "data digest": ", ".join(dict.fromkeys(_digests(variant) for variant in study.variants)),
        "code digest": ", ".join(dict.fromkeys(v.template.code_digest for v in study.variants)),
        "claims digest": study.claims_digest,
        "device": f"{template.device}, {template.threads} thread(s) a run",
        **_machines(machines),
        "commit": ", ".join(dict.fromkeys(session["commit"] for session in sessions)) or "unknown",
        "trained": "; ".join(
            f"{counted(session['trainings'], 'run')} from {session['begun']} in {session['seconds']:.0f} s with "
            f"{counted(session['workers'], 'worker')}"
            for session in sessions
        )
        or "nothing",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _digests(variant: VariantRecord) -> str:
    """Return the digest of a variant's data, and of each fold's where there are several."""
    of_folds = ", ".join(f"fold {fold} {digest}" for fold, digest in variant.digests.items())
    return f"{variant.template.data_digest}{f' ({of_folds})' if len(variant.digests) > 1 else ''}"


def _search(study: StudyRecord) -> str:
    if not study.trials:
        return "none"
    halving = (
        f"; successive halving, 1 of {study.reduction} goes on, first asked after epoch {study.first_epoch}"
        if study.pruner == "halving"
        else ""
    )
    space = "; ".join(f"{key} in {_dimension(dimension)}" for key, dimension in study.space.items())
    asked = f"{study.trials} trials a variant, sampler {study.sampler}, generations of {study.generation}"
    return f"{asked}{halving}; {space}"


def _dimension(dimension: Mapping[str, Any]) -> str:
    if "choices" in dimension:
        return "{" + ", ".join(map(str, dimension["choices"])) + "}"
    return f"[{dimension['low']}, {dimension['high']}]" + (" (log)" if dimension.get("log") else "")


def _machines(machines: Iterable[Machine]) -> dict[str, str]:
    """Return the hardware and versions of the confirmation runs, all of them where they differ."""
    found = list(machines)
    versions = [", ".join(f"{name} {number}" for name, number in m.versions.items()) for m in found]
    return {
        "hardware": "; ".join(dict.fromkeys(machine.hardware for machine in found)),
        "platform": "; ".join(dict.fromkeys(machine.platform for machine in found)),
        "versions": "; ".join(dict.fromkeys(versions)),
    }
