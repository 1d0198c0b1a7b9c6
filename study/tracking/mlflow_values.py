"""Metrics, parameters and tags as MLflow takes them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from study.analysis.findings import VariantFinding
from study.engine.plan import Job
from study.hashing import digest
from study.nested import walk
from study.records import DataInfo, Epoch, RunSpec

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

EPOCH_SECONDS = "epoch_seconds"
"""The curve that has a point for every epoch."""
NOTE = "mlflow.note.content"
"""The tag that the UI shows, as Markdown, above a run or an experiment."""
VERDICT = "verdict"
PARAMETER_LIMIT = 6000
"""Characters; MLflow cuts longer values silently."""
TAG_LIMIT = 8000
NAME_LIMIT = 250
DIGITS, SUMMARY_DIGITS = 10, 4
"""Significant digits of a training's values, and of a variant's, of which reports print fewer."""
DATA_NAME_LIMIT, DATA_DIGEST_LIMIT = 500, 36
DIGEST = 6
"""Digits of the digest that ends a changed name."""


def run_name(job: Job) -> str:
    """Return a training's name: ``issm · repetition 1``, ``issm · repetition 1 · trial 2``, with the fold if any."""
    if job.purpose == "repetition":
        return repetition_name(job.variant, job.number + 1, job.run.fold)
    search = "" if job.repetition is None else f" · repetition {job.repetition + 1}"
    return _with_fold(f"{job.variant}{search} · trial {job.number + 1}", job.run.fold)


def repetition_name(variant: str, repetition: int, fold: int | None) -> str:
    """Return the name of the tested run of a repetition, which is numbered from 1."""
    return _with_fold(f"{variant} · repetition {repetition}", fold)


def _with_fold(name: str, fold: int | None) -> str:
    return name if fold is None else f"{name} · fold {fold}"


def training_parameters(spec: RunSpec) -> dict[str, str]:
    """Return the parameters of a training: its configuration, the searched hyperparameters included, and its seed."""
    own = {"seed": spec.seed, "device": spec.device} | ({} if spec.fold is None else {"fold": spec.fold})
    own = {f"run.{key}" if key in spec.config else key: value for key, value in own.items()}
    return flat({**own, **spec.config})


def data_input(data: DataInfo, data_digest: str) -> DatasetInput:
    """Return a data set as the input of a run, with its digest, its description and the sizes of its splits."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {"description": data.description, "classes": data.classes, **data.facts}
    sizes = [asdict(size) for size in data.sizes]
    return DatasetInput(
        Dataset(
            name=cut(data.name, DATA_NAME_LIMIT),
            digest=data_digest[:DATA_DIGEST_LIMIT],
            source_type="study",
            source=json.dumps({"digest": data_digest}),
            profile=json.dumps({**profile, "splits": sizes}, ensure_ascii=False, default=str),
        ),
        [InputTag("mlflow.data.context", "train, validation, test")],
    )


def scaled(prefix: str, values: Mapping[str, float], scales: Mapping[str, float]) -> dict[str, float]:
    """Return values as ``prefix/name``, those of declared metrics multiplied by their scale."""
    return {f"{prefix}/{name}": rounded(value * scales.get(name, 1.0)) for name, value in values.items()}


def rounded(value: float, digits: int = DIGITS) -> float:
    """Return a value with so many significant digits, as it is shown: a product such as 100 · 0.8399 has more."""
    return float(f"{value:.{digits}g}")


def curves(epoch: Epoch, scales: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of one epoch, scaled."""
    values = scaled("validation", epoch.validation, scales)
    values |= {f"diagnostics/{name}": value for name, value in epoch.diagnostics.items()}
    # MLflow shows metrics with this prefix on its page of system metrics
    values |= {f"system/{name}": value for name, value in epoch.system.items()}
    if epoch.train_loss is not None:
        values["train/loss"] = epoch.train_loss
    if epoch.learning_rate is not None:
        values["learning_rate"] = epoch.learning_rate
    return values | {EPOCH_SECONDS: epoch.seconds}


def summary_metrics(variant: VariantFinding, metric: str) -> dict[str, float]:
    """Return the metrics of a variant's summary run, scaled; of intervals, the one that decides."""
    metrics: dict[str, float | None] = {}
    if score := variant.score:  # first, since a plot begins with the first metric
        metrics[f"test/{metric}"] = score.mean
    metrics |= {f"test/{name}": of.mean for name, of in variant.secondary.items()}
    if variant.difference:
        gap = variant.difference.corrected
        name = f"difference/{metric}"
        metrics |= {name: gap.mean, f"{name}_low": gap.low, f"{name}_high": gap.high}
    costs = {
        "repetitions": len(variant.repetitions),
        "cost/parameters": variant.parameters,
        "cost/macs": variant.macs,
        "cost/train_seconds": variant.train_seconds,
    }
    shown = {key: rounded(value, SUMMARY_DIGITS) for key, value in metrics.items() if value is not None}
    return shown | {key: value for key, value in costs.items() if value is not None}


def summary_tags(variant: VariantFinding) -> dict[str, str]:
    """Return the tags of a variant's summary run: verdict, sentence and chosen hyperparameters."""
    difference = variant.difference
    sentence = difference.sentence if difference else "The reference." if variant.is_reference else ""
    runs = f"{len(variant.repetitions)} of {variant.planned}"
    if len(variant.repetitions) != variant.planned:
        sentence = f"{sentence} Results of {runs} repetitions: a mean is of those alone.".strip()
    values: dict[str, list[Any]] = {}
    for choice in variant.chosen:
        for key, value in choice.parameters.items():
            values.setdefault(key, []).append(value)
    same = {key: of[0] if all(value == of[0] for value in of) else of for key, of in values.items()}
    chosen = {f"chosen.{key}": value for key, value in flat(same).items()}
    return {
        VERDICT: variant.verdict_text,
        "study.runs": runs,
        NOTE: cut(sentence),
        **chosen,
    }


def flat(table: Mapping[str, Any]) -> dict[str, str]:
    """Return nested tables as ``{"train.lr": "0.001"}``, with names and lengths that MLflow accepts."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for key, value in walk(table)
        if not isinstance(value, Mapping)
    }
    names = entity_names(texts)
    return {names[key]: cut(text, PARAMETER_LIMIT) for key, text in texts.items()}


def entity_name(name: str) -> str:
    """Return a name that MLflow accepts: word characters, dots, dashes, spaces, and slashes as in a path.

    A name that is cut ends with a digest of it.
    """
    parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
    accepted = "/".join(part for part in parts if part not in ("", ".", "..")).strip("./")
    return accepted or "_" if len(accepted) <= NAME_LIMIT else _with_digest(accepted, name)


def entity_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names that MLflow accepts by name: those that would be one end with a digest of the name."""
    accepted = {name: entity_name(name) for name in names}
    shared = Counter(accepted.values())
    return {
        name: of if of == name or shared[of] == 1 else _with_digest(of, name) for name, of in accepted.items()
    }


def _with_digest(accepted: str, name: str) -> str:
    return f"{accepted[: NAME_LIMIT - DIGEST - 1]}-{digest(name, DIGEST)}"


def cut(text: str, limit: int = TAG_LIMIT) -> str:
    """Return the text, shortened to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
