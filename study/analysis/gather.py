"""From the ledger to the evidence: the only reader of test results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from study.engine import plan
from study.analysis.evidence import Confirmation, Evidence, FoldSize, TrialEvidence, VariantEvidence
from study.tasks.clips.published import published
from study.analysis.wording import counted
from study.ledger.record import StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot
from study.records import Machine, RunSpec
from study.engine.cache import told

SYNTHETIC = (
    "The data set is procedural: its faces were drawn by a program. What holds for them is no evidence about "
    "real faces; run the study on a real data set before you conclude anything about those."
)

FINAL = {
    "train": "trained on the train split, the epoch that is best on the selection split is tested",
    "train+val": "trained on the train and selection splits for all epochs, the last one is tested (train+val)",
}
"""What a confirmation run is trained on, by ``train.fit``."""
TEST_PREDICTIONS = "test.npz"


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
        folds=_folds(study) if len(sizes) > 1 else (),
        claims=study.claims,
        facts=_facts(ledger, study, variants),
        warnings=tuple(_warnings(study, ledger)),
        configuration=reference.template.config,
        is_optimistic=study.data.is_optimistic,
        skipped=study.data.skipped,
        scenes=study.data.scenes,
        published=published(study.data),
    )


def _folds(study: StudyRecord) -> tuple[FoldSize, ...]:
    """Return the clips of each fold that every confirmation run trains on, and those it is tested on."""
    learns_selection = _fits(study) == ["train+val"]
    return tuple(
        FoldSize(size.train + (size.selection if learns_selection else 0), size.test)
        for size in study.data.sizes
    )


def _fits(study: StudyRecord) -> list[str]:
    """Return what the confirmation runs are trained on: ``train``, ``train+val`` or, by variant, both."""
    if study.final != "best":
        return [study.final]
    return sorted({variant.template.config["train"].get("fit", "train") for variant in study.variants})


def _variant(ledger: Ledger, study: StudyRecord, variant: VariantRecord) -> VariantEvidence:
    state_of = Snapshot(ledger)
    trials: list[TrialEvidence] = []
    confirmations: list[Confirmation] = []
    chosen: dict[str, Any] = {}
    for fold in study.folds:
        for trial in plan.searched(study, variant, fold, state_of):
            if outcome := trial.state.result or trial.state.pruned or trial.state.failure:
                trials.append(TrialEvidence(trial.parameters, outcome, fold))
        choice = plan.choice(study, variant, fold, state_of) or {}
        chosen |= (
            choice if len(study.folds) == 1 else {f"{key} (fold {fold})": v for key, v in choice.items()}
        )
        for number, run in enumerate(plan.confirmations(study, variant, fold, state_of)):
            state = state_of(run.id)
            test = ledger.test_result(run)
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
                    _scenes(ledger, run) if study.data.scenes else {},
                )
            )
    network = plan.profile_of(study, variant, state_of)
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


def _scenes(ledger: Ledger, run: RunSpec) -> dict[str, float]:
    """Return the WAR of each scene's test clips, as far as the run's predictions tell."""
    from study.tasks.clips.training.predictions import load

    path = ledger.run_folder(run) / TEST_PREDICTIONS
    if not path.is_file():
        return {}
    said = load(path)
    right = said.logits.argmax(axis=1) == said.labels
    return {scene: float(right[said.scenes == scene].mean()) for scene in sorted(set(said.scenes.tolist()))}


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
        "confirmation": "; or ".join(FINAL[fit] for fit in _fits(study)),
        "data set": f"{study.data.name}{folds}: {study.data.description}; {sizes}",
        **{f"data, {name}": value for name, value in study.data.facts.items()},
        **({"data, left out": f"{len(study.data.skipped)} of the lists' rows"} if study.data.skipped else {}),
        "data digest": ", ".join(dict.fromkeys(_digests(variant) for variant in study.variants)),
        "code digest": ", ".join(dict.fromkeys(v.template.code_digest for v in study.variants)),
        "claims digest": study.claims_digest,
        "device": f"{template.device}, {template.precision}, {template.threads} thread(s) a run",
        **_determinism(study),
        **_machines(machines),
        "commit": ", ".join(dict.fromkeys(session["commit"] for session in sessions)) or "unknown",
        "trained": "; ".join(
            f"{counted(session['trainings'], 'run')} from {session['begun']} in {session['seconds']:.0f} s with "
            f"{counted(session['workers'], 'worker')}"
            for session in sessions
        )
        or "nothing",
    }


def _digests(variant: VariantRecord) -> str:
    """Return the digest of a variant's data, and of each fold's where there are several."""
    of_folds = ", ".join(f"fold {fold} {digest}" for fold, digest in variant.digests.items())
    return f"{variant.template.data_digest}{f' ({of_folds})' if len(variant.digests) > 1 else ''}"


def _determinism(study: StudyRecord) -> dict[str, str]:
    asked = {variant.template.config["train"].get("determinism", "warn") for variant in study.variants}
    return {"determinism": ", ".join(sorted(asked))}


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
