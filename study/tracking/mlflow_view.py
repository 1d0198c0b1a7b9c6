"""The table of results that MLflow's pages open: a saved view, which is a tag of the experiment."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from study.ledger.record import StudyRecord
from study.tracking.mlflow_values import VERDICT, entity_name, entity_names

VIEW_NAME = "results"
VIEW = f"mlflow.sharedViewState.{VIEW_NAME}"
"""The tag. Its id at the end is what the pages take as ``viewStateShareKey``."""
FIXED_COLUMNS = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
"""The columns that every table of runs begins with."""
LEAST_WIDTH, LETTER_WIDTH = 80, 6
"""In pixels."""


def columns(study: StudyRecord) -> list[str]:
    """Return the table's columns: score, difference, verdict, levels, and the difference's interval."""
    factors = list(dict.fromkeys(factor for variant in study.variants for factor in variant.levels))
    names = entity_names(factors)
    score, difference, low, high = (
        f"metrics.`{entity_name(name.format(study.metric))}`"
        for name in ("test/{}", "difference/{}", "difference/{}_low", "difference/{}_high")
    )
    levels = (f"params.`{names[factor]}`" for factor in factors)
    return [score, difference, f"tags.`{VERDICT}`", *levels, low, high]


def with_view(found: str, study: StudyRecord, now: int) -> str:
    """Return the tag's value for a study: `found` where that shows the same, else a new one of the time `now`."""
    shown = columns(study)
    state = {
        "selectedColumns": shown,
        "columnOrder": [*FIXED_COLUMNS, *shown],
        "columnWidths": {name: max(LEAST_WIDTH, LETTER_WIDTH * len(name)) for name in shown},
    }
    if state_of(found) == state:
        return found
    return json.dumps({"name": VIEW_NAME, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})


def state_of(value: str) -> Mapping[str, Any]:
    """Return the state of the pages that a saved view holds; empty where it holds none."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        state = json.loads(json.loads(value)["state"])
        return state if isinstance(state, dict) else {}
    return {}


def address(server: str, experiment: str) -> str:
    """Return the address of an experiment's table of results on any MLflow server."""
    return f"{runs_address(server, experiment)}&viewStateShareKey={VIEW_NAME}"


def runs_address(server: str, experiment: str) -> str:
    """Return the address of an experiment's runs, in the pages for model training."""
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning"
