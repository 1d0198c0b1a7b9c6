"""Metrics, parameters and tags as MLflow takes them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from study.analysis.findings import VariantFinding
from study.hashing import digest
from study.nested import walk
from study.records import Epoch

EPOCH_SECONDS = "epoch_seconds"
"""The curve that has a point for every epoch."""
NOTE = "mlflow.note.content"
"""The tag that the UI shows, as Markdown, above a run or an experiment."""
PARAMETER_LIMIT = 6000
"""Characters; MLflow cuts longer values silently."""
TAG_LIMIT = 8000
NAME_LIMIT = 250
DIGEST = 6
"""Digits of the digest that ends a changed name."""


def curves(epoch: Epoch) -> dict[str, float]:
    """Return the metrics of one epoch."""
    values = {f"validation/{name}": value for name, value in epoch.validation.items()}
    values |= {f"diagnostics/{name}": value for name, value in epoch.diagnostics.items()}
    if epoch.train_loss is not None:
        values["train/loss"] = epoch.train_loss
    if epoch.learning_rate is not None:
        values["learning_rate"] = epoch.learning_rate
    return values | {EPOCH_SECONDS: epoch.seconds}


def summary_metrics(variant: VariantFinding) -> dict[str, float]:
    """Return the metrics of a variant's summary run, scores scaled."""
    metrics: dict[str, float | None] = {
        "n": len(variant.repetitions),
        "planned": variant.planned,
        "parameters": variant.parameters,
        "macs": variant.macs,
        "train_seconds": variant.train_seconds,
    }
    if score := variant.score:
        metrics |= {"mean": score.mean, "interval_low": score.low, "interval_high": score.high}
    if variant.difference:
        gap = variant.difference.interval
        metrics |= {"difference": gap.mean, "difference_low": gap.low, "difference_high": gap.high}
    return {key: value for key, value in metrics.items() if value is not None}


def summary_tags(variant: VariantFinding) -> dict[str, str]:
    """Return the tags of a variant's summary run: verdict, sentence, levels and chosen hyperparameters."""
    difference = variant.difference
    sentence = difference.sentence if difference else "The reference." if variant.is_reference else ""
    runs = f"{len(variant.repetitions)} of {variant.planned}"
    if len(variant.repetitions) != variant.planned:
        sentence = f"{sentence} Results of {runs} repetitions: a mean is of those alone.".strip()
    names = entity_names(variant.levels)
    levels = {f"level.{names[factor]}": cut(level) for factor, level in variant.levels.items()}
    values: dict[str, list[Any]] = {}
    for choice in variant.chosen:
        for key, value in choice.parameters.items():
            values.setdefault(key, []).append(value)
    same = {key: of[0] if all(value == of[0] for value in of) else of for key, of in values.items()}
    chosen = {f"chosen.{key}": value for key, value in flat(same).items()}
    return {
        "study.verdict": variant.verdict_text,
        "study.runs": runs,
        NOTE: cut(sentence),
        **levels,
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
