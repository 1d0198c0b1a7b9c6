"""Synthetic findings of every shape that a report must print."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import numpy as np
from scipy import stats

from study.analysis.described import (
    BreakdownFinding,
    Choice,
    Confusion,
    Disagreement,
    EpochCurve,
    ExampleFinding,
    Interval,
    RepetitionScore,
    Tradeoff,
    TrialCurve,
)
from study.analysis.findings import ClaimFinding, Difference, Findings, Limit, LimitCode, VariantFinding
from study.metrics import Metric
from study.statistics.description import pareto_front

WAR = Metric("war", "WAR", about="the share of clips that are classified correctly")
UAR = Metric("uar", "UAR", about="the mean of the classes' recalls")
CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")

HOSTILE = '#set page(fill: red) $x_1$ *bold* _em_ @cite <tag> [a](b) ![i](j) `c` \\ "q" | a~b </svg> // -- #panic("no")'


def interval(values: list[float], level: float = 0.95) -> Interval:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def variant(
    name: str,
    *,
    reference: bool = False,
    repetitions: int = 5,
    missing: tuple[int, ...] = (),
    trials: int = 8,
    epochs: int = 12,
    shift: float = 0.0,
    difference: Difference | None = None,
    classes: tuple[str, ...] = CLASSES,
    folds: tuple[int | None, ...] = (None,),
) -> VariantFinding:
    rng = random.Random(name)
    runs = []
    curves = []
    recalls: dict[str, list[float]] = {name: [] for name in classes}
    for repetition in range(repetitions):
        for fold in folds:
            if repetition in missing:
                continue
            score = 62 + shift + 2 * random.Random(repetition).gauss(0, 1) + rng.gauss(0, 0.7)
            for each in classes:
                recalls[each].append(min(100, max(0, score + 6 * rng.gauss(0, 1.5))))
            best = rng.randint(max(1, epochs // 2), epochs)
            runs.append(
                RepetitionScore(
                    repetition=repetition,
                    fold=fold,
                    run=f"r1-{rng.getrandbits(64):016x}",
                    score=score,
                    metrics={"war": score, "uar": score - 3, "loss": 1.1 + rng.random() / 5},
                    validation=score + 1.5,
                    best_epoch=best,
                    seconds=35 + 3 * rng.random(),
                )
            )
            steps = range(1, epochs + 1)
            curves.append(
                EpochCurve(
                    repetition=repetition,
                    fold=fold,
                    train_loss=tuple(1.95 * math.exp(-e / 8) + 0.05 * rng.random() for e in steps),
                    validation=tuple(score + 2 - 45 * math.exp(-e / 4) + rng.gauss(0, 1) for e in steps),
                    best_epoch=best,
                )
            )
    trial_curves = []
    best_so_far: float | None = None
    for number in range(1, trials + 1):
        status = rng.choice(["finished"] * 8 + ["diverged", "failed"]) if number > 1 else "finished"
        value = 40 + shift + 20 * rng.random() if status == "finished" else None
        if value is not None:
            best_so_far = value if best_so_far is None else max(value, best_so_far)
        settings = {"train.lr": float(f"{10 ** rng.uniform(-3.5, -2):.6g}"), "train.weight_decay": 0.05}
        trial_curves.append(TrialCurve(number, settings, status, value, best_so_far))  # type: ignore[arg-type]
    secondary = {"uar": interval([run.metrics["uar"] for run in runs])} if runs else {}
    return VariantFinding(
        name=name,
        reference=name if reference else "",
        levels={"splitter": name},
        score=interval([run.score for run in runs]) if runs else None,
        secondary=secondary,
        repetitions=tuple(runs),
        planned=repetitions * len(folds),
        failures=tuple(
            f"repetition {repetition}: the loss was not finite at epoch 3" for repetition in missing
        ),
        difference=difference,
        parameters=123456 + rng.randint(0, 40000) if runs else None,
        macs=48_020_000 + rng.randint(0, 10**7) if runs else None,
        train_seconds=statistics.median(run.seconds for run in runs) if runs else None,
        chosen=(Choice(trial_curves[0].parameters),) if trial_curves else (),
        trials=tuple(trial_curves),
        curves=tuple(curves),
        breakdowns={"class": {name: interval(values) for name, values in recalls.items()}} if runs else {},
    )


def against(
    base: VariantFinding, other: VariantFinding, comparisons: int, verdict: str = ""
) -> Difference | None:
    reference = {(run.repetition, run.fold): run.score for run in base.repetitions}
    pairs = [
        r.score - reference[r.repetition, r.fold]
        for r in other.repetitions
        if (r.repetition, r.fold) in reference
    ]
    if not pairs:
        return None
    wide = interval(pairs, 1 - 0.05 / comparisons)
    if not verdict:
        verdict = "inconclusive" if wide.low is None or wide.low < 0 < wide.high else "helps"  # type: ignore[operator]
    return Difference(
        interval=interval(pairs),
        corrected=wide,
        n=len(pairs),
        wins=float(sum(pair > 0 for pair in pairs)),
        p=0.012,
        p_holm=0.0312,
        effect=1.24,
        values=tuple(pairs),
        correlation=0.87,
        p_worse=0.003,
        p_equivalent=0.147,
        p_better=0.85,
        verdict=verdict,  # type: ignore[arg-type]
        sentence=f"{other.name} scores {statistics.fmean(pairs):+.1f} points against {base.name} on "
        f"{len(pairs)} paired repetitions, with the hyperparameters found.",
    )


def findings(
    names: list[str] | None = None,
    *,
    repetitions: int = 5,
    trials: int = 8,
    epochs: int = 12,
    missing: dict[str, tuple[int, ...]] | None = None,
    classes: tuple[str, ...] = CLASSES,
    folds: tuple[int | None, ...] = (None,),
    title: str = "ISSM on and off",
    rope: float = 1.0,
    limits: tuple[str, ...] = (
        "Procedural faces are no evidence about real faces: a verdict here is about the harness's own data set.",
        "4 search trials are fewer than the sampler's 10 start-up trials: the search was random.",
    ),
) -> Findings:
    names = names or ["even-odd", "issm"]
    built = [
        variant(
            name,
            reference=index == 0,
            repetitions=repetitions,
            missing=(missing or {}).get(name, ()),
            trials=trials,
            epochs=epochs,
            shift=1.4 * index,
            classes=classes,
            folds=folds,
        )
        for index, name in enumerate(names)
    ]
    comparisons = max(1, len(built) - 1)
    compared = [built[0]] + [
        VariantFinding(**{**vars(other), "difference": against(built[0], other, comparisons)})
        for other in built[1:]
    ]
    tested = [v for v in compared if v.score is not None and v.macs is not None]
    macs = {v.name: float(v.macs) for v in tested}
    front = pareto_front(macs, {v.name: v.score.mean for v in tested})
    return Findings(
        name="issm",
        title=title,
        tradeoff=Tradeoff("multiply-accumulates per clip", macs, (tuple(front),)) if macs else None,
        question="Does content-aware splitting beat the even/odd split?",
        answer="Yes: ISSM scores 1.9 points above the even/odd split (95 % interval 0.7 to 3.1, 5 paired repetitions), "
        "with the hyperparameters found.",
        metric="war",
        metrics=(WAR, UAR),
        rope=rope,
        alpha=0.05,
        comparisons=comparisons,
        variants=tuple(replace(v, reference=v.reference or compared[0].name) for v in compared),
        noun="clip",
        breakdowns=(BreakdownFinding("class", "Recall of every class", "%", classes),)
        if any(v.repetitions for v in compared)
        else (),
        claims=(
            ClaimFinding(
                "splitter issm beats splitter even-odd",
                "supported",
                "the corrected interval lies above 0 and the mean difference is at least 1.0 points.",
            ),
            ClaimFinding("lifting attention beats lifting none", "undecided", "the interval includes 0."),
        ),
        limits=tuple(Limit(LimitCode.DATA, sentence) for sentence in limits),
        notes=(
            "Intervals cover repetitions on this split with these hyperparameters; they do not cover the "
            "choice of split or another search.",
            "With 5 repetitions and 1 comparison, a true difference of 1.68 standard deviations of the paired "
            "differences is found with 80 % power.",
        ),
        facts={
            "data set": "faces, 3 000 train, 700 validation and 1 400 test clips, digest 5f0c7d1e22b96a41",
            "seeds": "0 to 4, paired across variants",
            "device": "cpu, fp32, one thread a run",
            "versions": "study 0.1.0, torch 2.15.0, torchvision 0.30.0, optuna 5.0.0",
            "commit": "3dcc67a0f3b1f7c8d2e94a5b6c7d8e9f01234567",
            "hardware": "2 × Intel(R) Xeon(R) @ 2.20GHz, 8 GiB",
            "duration": "4 min 12 s, 18 runs, none cached",
        },
        configuration={
            "dataset": {"name": "faces", "frames": 16, "size": 32},
            "backbone": {"name": "conv-tiny", "width": 64},
            "lifting": {"name": "attention", "predictor_depth": 1, "updater_depth": 1},
            "train": {"epochs": epochs, "lr": 0.00312, "betas": [0.9, 0.999], "clip": 1.0, "ema": None},
        },
    )


def twelve(repetitions: int = 20, trials: int = 20, epochs: int = 30) -> Findings:
    names = ["even-odd"] + [
        f"splitter=issm, splitter.positions=released, lifting.predictor_depth={depth}, readout=learned-token-weights"
        for depth in range(4)
    ]
    names += ["random", "first/second half", "splitter.receptive_field=4", "issm"]
    names += ["averyveryverylongnamewithoutanyjointatallthatsomebodychose", "hard-top-k", "softmax-weighting"]
    return findings(
        names,
        repetitions=repetitions,
        trials=trials,
        epochs=epochs,
        missing={"random": (3, 4), "issm": tuple(range(20))},
    )


def minimized() -> Findings:
    """Return findings of an error in kelvin, without losses, parameters and costs."""
    base = findings()
    rmse = Metric("rmse", "RMSE", unit="K", scale=1.0, direction="minimize", high=None)
    variants = []
    for variant in base.variants:
        runs = tuple(replace(run, metrics={"rmse": run.score}) for run in variant.repetitions)
        curves = tuple(
            replace(curve, train_loss=(), epochs=tuple(range(2, 25, 2))) for curve in variant.curves
        )
        variants.append(
            replace(
                variant,
                repetitions=runs,
                curves=curves,
                secondary={},
                macs=None,
                parameters=None,
                train_seconds=None,
            )
        )
    part = BreakdownFinding("station", "RMSE at each station", "K", CLASSES, dict.fromkeys(CLASSES, 10))
    shown = tuple(replace(v, breakdowns={"station": v.breakdowns["class"]}) for v in variants)
    return replace(base, metric="rmse", metrics=(rmse,), variants=shown, breakdowns=(part,), noun="sample")


def damaged() -> Findings:
    return findings(
        ["even-odd", "issm", "random"], trials=0, missing={"issm": (1, 2, 3, 4), "random": (0, 1, 2, 3, 4)}
    )


def hostile() -> Findings:
    base = findings(["even-odd", HOSTILE], title=HOSTILE, limits=(HOSTILE, "plain"))
    return Findings(
        **{
            **vars(base),
            "question": HOSTILE,
            "answer": "1. " + HOSTILE + "\n\n# heading\n- item",
            "claims": (ClaimFinding(HOSTILE, "undecided", HOSTILE),),
            "metrics": (replace(WAR, label="F$_1$|*", about=HOSTILE), replace(UAR, label="<@top>")),
            "breakdowns": (BreakdownFinding("class", HOSTILE, "%", CLASSES),),
            "notes": (HOSTILE, "```\nfence\n```"),
            "facts": {HOSTILE: HOSTILE, "commit": "f" * 200},
            "configuration": {HOSTILE: {HOSTILE: HOSTILE}, "fence": "```", "path": "/very/long" * 30},
        }
    )


def with_predictions(base: Findings, names: tuple[str, ...] = CLASSES, clips: int = 30) -> Findings:
    """Return findings whose runs keep predictions: differences in every class, confusions, examples."""
    rng = random.Random(len(base.variants))
    clear = tuple(
        ExampleFinding(
            f"clip-{at:03d}", None, names[at % len(names)], names[at % len(names)], names[0], 5, 1, 5
        )
        for at in range(1, 9)
    )
    variants = []
    for each in base.variants:
        if not each.repetitions:
            variants.append(each)
            continue
        counts = tuple(
            tuple(clips - 5 if true == other else rng.randint(0, 3) for other in range(len(names)))
            for true in range(len(names))
        )
        others = {
            row: Interval(mean, mean - 2, mean + 2)
            for row in names
            for mean in [rng.gauss(1, 2)]
            if not each.is_reference
        }
        variants.append(
            replace(
                each,
                breakdown_differences={"class": others} if others else {},
                confusion=Confusion(names, counts, 5),
                disagreement=None if each.is_reference else Disagreement(31, 12, 210, clear),
            )
        )
    return replace(base, variants=tuple(variants))


def clip_pictures(base: Findings) -> dict[tuple[int | None, str], np.ndarray]:
    """Return grey ramps of 16 frames for the examples of findings."""
    ids = {
        (example.fold, example.id)
        for each in base.variants
        if each.disagreement is not None
        for example in each.disagreement.examples
    }
    ramp = np.linspace(0, 255, 16 * 32 * 32 * 3).astype(np.uint8).reshape(16, 32, 32, 3)
    return dict.fromkeys(sorted(ids), ramp)
