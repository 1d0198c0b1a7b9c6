"""The appendix: every repetition, hyperparameters, search trials, configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from study.analysis.findings import Findings, TrialCurve
from study.analysis.units import heading, in_brackets
from study.reporting import text as formats
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, Side, code, fenced, plain

MOST_METRICS = 4
"""In the tables of every seed; the others are in findings.json."""
MOST_ROWS = 60
"""Seeds or trials of one variant that are listed; the others are in findings.json."""


def add_appendix(report: Blocks, findings: Findings) -> None:
    """Add every repetition, hyperparameters, search trials and the configuration."""
    if any(variant.seeds for variant in findings.variants):
        _add_repetitions(report, findings)
    _add_hyperparameters(report, findings)
    if any(variant.trials for variant in findings.variants):
        _add_trials(report, findings)
    if findings.configuration:
        report.add(
            "## Appendix: resolved configuration of the reference",
            fenced("\n".join(_configuration_lines("", findings.configuration))),
        )
    report.add("The same findings for machines: [findings.json](findings.json).")


def _add_repetitions(report: Blocks, findings: Findings) -> None:
    report.add("## Appendix: every seed")
    metrics = sorted(findings.metrics, key=lambda metric: metric.name != findings.metric)
    every = [run for variant in findings.variants for run in variant.seeds]
    folded = any(run.fold is not None for run in every)
    selected = any(run.validation is not None for run in every)
    columns: dict[str, Side] = {"Seed": "right"}
    if folded:
        columns["Fold"] = "right"
    shown = [metric for metric in metrics if any(metric.name in run.metrics for run in every)][:MOST_METRICS]
    declared = {metric.name for metric in metrics}
    others = list(dict.fromkeys(name for run in every for name in run.metrics if name not in declared))
    others = others[: MOST_METRICS - len(shown)]
    columns |= {plain(f"Test {heading(metric)}"): "right" for metric in shown}
    columns |= {plain(f"Test {name}"): "right" for name in others}
    if selected:
        columns[plain(f"Validation {heading(findings.primary)}")] = "right"
    columns |= {
        "Tested epoch" if selected else "Last epoch": "right",
        "Training": "right",
        "Run": "left",
    }
    for variant in findings.variants:
        if variant.seeds:
            rows = [
                [
                    str(run.seed),
                    *([MISSING if run.fold is None else str(run.fold)] if folded else []),
                    *(formats.value(run.metrics.get(metric.name), metric.unit) for metric in shown),
                    *(formats.undeclared(run.metrics.get(name)) for name in others),
                    *([formats.value(run.validation, findings.primary.unit)] if selected else []),
                    str(run.best_epoch),
                    formats.duration(run.seconds),
                    code(run.run),
                ]
                for run in variant.seeds[:MOST_ROWS]
            ]
            rest = _truncation_note(len(variant.seeds))
            report.table(f"Confirmation runs of {plain(variant.name)}{rest}.", columns, rows)


def _truncation_note(rows: int) -> str:
    """Say where the rest is of what would fill pages."""
    return f": the first {MOST_ROWS} of {rows}, all are in findings.json" if rows > MOST_ROWS else ""


def _add_hyperparameters(report: Blocks, findings: Findings) -> None:
    """Levels and chosen hyperparameters: what tells the variants apart."""
    factors = list(dict.fromkeys(name for variant in findings.variants for name in variant.levels))
    chosen = list(dict.fromkeys(name for variant in findings.variants for name in variant.chosen))
    if not factors and not chosen:
        return
    columns: dict[str, Side] = {code(name): "left" for name in factors}
    columns |= {code(name): "right" for name in chosen}
    rows = [
        [
            plain(variant.name),
            *(plain(variant.levels.get(name, MISSING)) for name in factors),
            *(plain(formats.setting(variant.chosen.get(name))) for name in chosen),
        ]
        for variant in findings.variants
    ]
    report.add("## Appendix: levels and hyperparameters")
    searched = " and the hyperparameters that its search chose on the validation split" if chosen else ""
    report.wide_table(f"Each variant's levels{searched}.", "Variant", columns, rows)


def _add_trials(report: Blocks, findings: Findings) -> None:
    report.add("## Appendix: search trials")
    metric = findings.primary
    for variant in findings.variants:
        if variant.trials:
            names = list(dict.fromkeys(name for trial in variant.trials for name in trial.parameters))
            rows = [
                [
                    str(trial.number),
                    _trial_status(trial),
                    formats.value(trial.score, metric.unit),
                    formats.value(trial.best_so_far, metric.unit),
                    *(plain(formats.setting(trial.parameters.get(name))) for name in names),
                ]
                for trial in variant.trials[:MOST_ROWS]
            ]
            columns: dict[str, Side] = {
                "Status": "left",
                plain(f"Validation {heading(metric)}"): "right",
                plain(in_brackets("Best so far", metric.unit)): "right",
                **{code(name): "right" for name in names},
            }
            shown = _truncation_note(len(variant.trials))
            report.wide_table(f"Search trials of {plain(variant.name)}{shown}.", "Trial", columns, rows)


def _trial_status(trial: TrialCurve) -> str:
    return trial.status if trial.stopped_after is None else f"stopped after epoch {trial.stopped_after}"


def _configuration_lines(prefix: str, table: Mapping[str, Any]) -> list[str]:
    """Return one ``key.path = value`` line a value, values as in a study file."""
    lines = []
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            lines += _configuration_lines(f"{prefix}{name}.", value)
        else:
            lines.append(
                formats.one_line(f"{prefix}{name} = {json.dumps(value, ensure_ascii=False, default=str)}")
            )
    return lines
