"""From the ledger to the evidence: the only reader of test results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from study import plan
from study.analysis.evidence import Confirmation, Evidence, FoldSize, TrialEvidence, VariantEvidence
from study.ledger.record import StudyRecord, VariantRecord
from study.ledger.store import Ledger
from study.records import Machine
from study.reuse import told

SYNTHETIC = (
    "The data set is procedural: its faces were drawn by a program. What holds for them is no evidence about "
    "real faces; run the study on a real data set before you conclude anything about those."
)


def gather(ledger: Ledger, study: StudyRecord) -> Evidence:
    """Return everything that the findings of a study rest on; a pure reading of the ledger."""
    reference = next(variant for variant in study.variants if variant.is_reference)
    variants = tuple(_variant(ledger, study, variant) for variant in study.variants)
    sizes = study.data.sizes
    return Evidence(
        name=study.name,
        title=study.title,
        question=study.question,
        metric=cast(Literal["war", "uar"], study.metric),
        rope=study.rope,
        alpha=study.alpha,
        classes=study.data.classes,
        variants=variants,
        clips_in_test=sum(size.test for size in sizes),
        largest_class=sum(size.largest_class * size.test for size in sizes)
        / sum(size.test for size in sizes),
        folds=tuple(FoldSize(size.train, size.test) for size in sizes) if len(sizes) > 1 else (),
        claims=study.claims,
        facts=_facts(ledger, study, variants),
        warnings=tuple(_warnings(study, ledger)),
        configuration=reference.template.config,
    )


def _variant(ledger: Ledger, study: StudyRecord, variant: VariantRecord) -> VariantEvidence:
    trials: list[TrialEvidence] = []
    confirmations: list[Confirmation] = []
    chosen: dict[str, Any] = {}
    for fold in study.folds:
        for trial in plan.searched(study, variant, fold, ledger.state):
            if outcome := trial.state.result or trial.state.pruned or trial.state.failure:
                trials.append(TrialEvidence(trial.parameters, outcome, fold))
        choice = plan.choice(study, variant, fold, ledger.state) or {}
        chosen |= (
            choice if len(study.folds) == 1 else {f"{key} (fold {fold})": v for key, v in choice.items()}
        )
        for number, run in enumerate(plan.confirmations(study, variant, fold, ledger.state)):
            state = ledger.state(run.id)
            test = ledger.test_result(run)
            taken = tuple(found for key in study.measures if (found := ledger.measurement(run, key)))
            untaken = {
                key.partition("@")[0]: state.unmeasured[key].reason
                for key in study.measures
                if key in state.unmeasured
            }
            confirmations.append(
                Confirmation(number + 1, fold, run.id, state.result, test, state.failure, taken, untaken)
            )
    network = plan.profile_of(study, variant, ledger.state)
    return VariantEvidence(
        name=variant.name,
        reference=variant.reference,
        levels=variant.levels,
        planned=study.seeds * len(study.folds),
        confirmations=tuple(confirmations),
        chosen=chosen,
        trials=tuple(trials),
        profile=ledger.profile(network) if network else None,
    )


def _warnings(study: StudyRecord, ledger: Ledger) -> Iterator[str]:
    """Yield what the record itself says against the conclusion."""
    if study.data.is_procedural:
        yield SYNTHETIC
    if study.claims_changed:
        yield "The claims were changed after runs of this study had been carried out: they are no predictions."
    yield from told(study, ledger, study.accepted_code)


def _facts(ledger: Ledger, study: StudyRecord, variants: Iterable[VariantEvidence]) -> dict[str, str]:
    """Return what was run, in the order to print."""
    sessions = ledger.sessions(study.name)
    machines = [
        run.result.machine for variant in variants for run in variant.confirmations if run.result is not None
    ]
    template = study.variants[0].template
    sizes = "; ".join(
        f"{size.train} train, {size.selection} selection, {size.test} test clips" for size in study.data.sizes
    )
    folds = "" if study.folds == (None,) else f", folds {', '.join(map(str, study.folds))}"
    return {
        "study file": study.file,
        "study seed": f"{study.seed}; repetitions 1 to {study.seeds}, paired across variants",
        "search": _search(study),
        "data set": f"{study.data.name}{folds}: {study.data.description}; {sizes}",
        "data digest": ", ".join(dict.fromkeys(v.template.data_digest for v in study.variants)),
        "code digest": ", ".join(dict.fromkeys(v.template.code_digest for v in study.variants)),
        "claims digest": study.claims_digest,
        "device": f"{template.device}, {template.precision}, {template.threads} thread(s) a run",
        **_machines(machines),
        "commit": ", ".join(dict.fromkeys(session["commit"] for session in sessions)) or "unknown",
        "trained": "; ".join(
            f"{session['trainings']} runs from {session['begun']} in {session['seconds']:.0f} s with "
            f"{session['workers']} workers"
            for session in sessions
        )
        or "nothing",
    }


def _search(study: StudyRecord) -> str:
    if not study.trials:
        return "none"
    space = "; ".join(f"{key} in {_dimension(dimension)}" for key, dimension in study.space.items())
    return f"{study.trials} trials a variant, sampler {study.sampler}, generations of {study.generation}; {space}"


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
