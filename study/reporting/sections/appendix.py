"""The appendices: every repetition, hyperparameters, search trials, configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from study.analysis.described import TrialCurve
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import heading, label_with_unit
from study.reporting import text
from study.reporting.document import Line, Side, code, link
from study.reporting.sections.blocks import Blocks
from study.reporting.sections.paper import factor_columns
from study.reporting.text import MISSING

MOST_METRICS = 4
"""The most metrics in the tables of every repetition; findings.json has the others too."""
MOST_ROWS = 120
"""The most repetitions or trials in one table; the files of rows have the others too."""
MOST_PARAMETERS = 4
"""More hyperparameters share a column."""
MOST_BESIDE = 2
"""The most chosen hyperparameters in the table of every repetition; more have a table."""


def add_appendix(report: Blocks, findings: Findings) -> None:
    """Add every repetition, hyperparameters, search trials and the configuration."""
    if any(variant.repetitions for variant in findings.variants):
        _add_repetitions(report, findings)
    _add_hyperparameters(report, findings)
    if any(variant.trials for variant in findings.variants):
        _add_trials(report, findings)
    if findings.configuration:
        report.heading("Resolved configuration of the reference", level=3)
        report.listing("\n".join(_configuration_lines("", findings.configuration)))
    report.text("The same findings as data: ", link("findings.json", "findings.json"), ".")


def _add_repetitions(report: Blocks, findings: Findings) -> None:
    report.heading("Every repetition", level=3)
    metrics = sorted(findings.metrics, key=lambda metric: metric.name != findings.metric)
    runs = [run for variant in findings.variants for run in variant.repetitions]
    has_folds = any(run.fold is not None for run in runs)
    has_validation = any(run.validation is not None for run in runs)
    columns: dict[Line, Side] = {"Variant": "left", "Repetition": "right"}
    if has_folds:
        columns["Fold"] = "right"
    printed = [metric for metric in metrics if any(metric.name in run.metrics for run in runs)][:MOST_METRICS]
    declared = {metric.name for metric in metrics}
    undeclared = list(dict.fromkeys(name for run in runs for name in run.metrics if name not in declared))
    undeclared = undeclared[: MOST_METRICS - len(printed)]
    columns |= {f"Test {heading(metric)}": "right" for metric in printed}
    columns |= {f"Test {name}": "right" for name in undeclared}
    if has_validation:
        columns[f"Validation {heading(findings.primary)}"] = "right"
    if has_epochs := any(run.best_epoch for run in runs):
        columns["Tested epoch" if has_validation else "Last epoch"] = "right"
    if has_times := any(run.seconds for run in runs):
        columns["Training"] = "right"
    beside = _chosen_beside_repetitions(findings)
    columns |= {code(name): "right" for name in beside}
    columns["Run"] = "left"
    rows: list[list[Line]] = [
        [
            variant.name,
            str(run.repetition),
            *([MISSING if run.fold is None else str(run.fold)] if has_folds else []),
            *(text.value(run.metrics.get(metric.name), metric.unit) for metric in printed),
            *(text.undeclared_metric(run.metrics.get(name)) for name in undeclared),
            *([text.value(run.validation, findings.primary.unit)] if has_validation else []),
            *([str(run.best_epoch)] if has_epochs else []),
            *([text.duration(run.seconds)] if has_times else []),
            *(text.setting(chosen[run.repetition, run.fold].get(name)) for name in beside),
            code(run.run),
        ]
        for variant in findings.variants
        for chosen in [_chosen(variant)]
        for run in variant.repetitions
    ]
    report.table(f"Every repetition{_truncation_note(len(rows), 'runs')}.", columns, rows[:MOST_ROWS])


def _truncation_note(rows: int, kind: str) -> str:
    """Return where to find the rows beyond the printed ones; nothing where all are printed."""
    return f": the first {MOST_ROWS} of {rows}, all are in tables/{kind}.csv" if rows > MOST_ROWS else ""


def _chosen(variant: VariantFinding) -> Mapping[tuple[int | None, int | None], Mapping[str, Any]]:
    """Return the chosen hyperparameters by repetition and fold."""
    return {(choice.repetition, choice.fold): choice.parameters for choice in variant.chosen}


def _chosen_beside_repetitions(findings: Findings) -> list[str]:
    """Return the hyperparameters that the table of repetitions shows: few of them, chosen anew in each repetition."""
    has_own = all(
        _chosen(variant).keys() >= {(run.repetition, run.fold) for run in variant.repetitions}
        for variant in findings.variants
    )
    names = _chosen_names(findings)
    return names if has_own and len(names) <= MOST_BESIDE else []


def _chosen_names(findings: Findings) -> list[str]:
    """Return the names of the hyperparameters that searches chose."""
    choices = (choice for variant in findings.variants for choice in variant.chosen)
    return list(dict.fromkeys(name for choice in choices for name in choice.parameters))


def _add_hyperparameters(report: Blocks, findings: Findings) -> None:
    """Add each variant's levels, where neither its name nor the main table has them, and its hyperparameters."""
    named = all(set(variant.levels.values()) <= {variant.name} for variant in findings.variants)
    factors = (
        []
        if named or factor_columns(findings)
        else list(dict.fromkeys(name for variant in findings.variants for name in variant.levels))
    )
    choices = [choice for variant in findings.variants for choice in variant.chosen]
    chosen = [] if _chosen_beside_repetitions(findings) else _chosen_names(findings)
    if not factors and not chosen:
        return
    report.heading("Levels and hyperparameters", level=3)
    if factors:
        levels = [
            [variant.name, *(variant.levels.get(name, MISSING) for name in factors)]
            for variant in findings.variants
        ]
        report.wide_table(
            "Each variant's levels.", "Variant", {code(name): "left" for name in factors}, levels
        )
    if not chosen:
        return
    columns: dict[Line, Side] = {}
    if any(choice.repetition is not None for choice in choices):
        columns["Repetition"] = "right"
    if any(choice.fold is not None for choice in choices):
        columns["Fold"] = "right"
    rows = [
        [
            variant.name,
            *([str(choice.repetition)] if "Repetition" in columns else []),
            *([str(choice.fold)] if "Fold" in columns else []),
            *(text.setting(choice.parameters.get(name)) for name in chosen),
        ]
        for variant in findings.variants
        for choice in variant.chosen
    ]
    columns |= {code(name): "right" for name in chosen}
    report.wide_table(
        f"The hyperparameters that each search chose on the validation split{_truncation_note(len(rows), 'trials')}.",
        "Variant",
        columns,
        rows[:MOST_ROWS],
    )


def _add_trials(report: Blocks, findings: Findings) -> None:
    report.heading("Search trials", level=3)
    metric = findings.primary
    _add_expected_best(report, findings)
    all_trials = [trial for variant in findings.variants for trial in variant.trials]
    columns: dict[Line, Side] = {}
    if any(trial.repetition is not None for trial in all_trials):
        columns["Repetition"] = "right"
    if any(trial.fold is not None for trial in all_trials):
        columns["Fold"] = "right"
    statuses = {_trial_status(trial) for trial in all_trials}
    if len(statuses) > 1:
        columns["Status"] = "left"
    columns |= {
        f"Validation {heading(metric)}": "right",
        label_with_unit("Best so far", metric.unit): "right",
    }
    names = list(dict.fromkeys(name for trial in all_trials for name in trial.parameters))
    if len(names) > MOST_PARAMETERS:
        columns["Hyperparameters"] = "left"
    else:
        columns |= {code(name): "right" for name in names}
    rows: list[list[Line]] = [
        [
            variant.name,
            str(trial.number),
            *([str(trial.repetition)] if "Repetition" in columns else []),
            *([str(trial.fold)] if "Fold" in columns else []),
            *([_trial_status(trial)] if "Status" in columns else []),
            text.value(trial.score, metric.unit),
            text.value(trial.best_so_far, metric.unit),
            *_parameter_cells(trial.parameters, names),
        ]
        for variant in findings.variants
        for trial in variant.trials
    ]
    status = f", all {statuses.pop()}" if len(statuses) == 1 else ""
    caption = f"Trials of the searches{status}{_truncation_note(len(rows), 'trials')}."
    report.table(caption, {"Variant": "left", "Trial": "right", **columns}, rows[:MOST_ROWS])


def _parameter_cells(parameters: Mapping[str, Any], names: Sequence[str]) -> list[Line]:
    """Return a cell for each hyperparameter, one cell for all where there are many."""
    if len(names) <= MOST_PARAMETERS:
        return [text.setting(parameters.get(name)) for name in names]
    return [", ".join(f"{name} = {text.setting(value)}" for name, value in parameters.items())]


def _add_expected_best(report: Blocks, findings: Findings) -> None:
    """Add the expected best score of a search with 1, 2, … of the random trials."""
    curves = {variant.name: variant.expected_best for variant in findings.variants if variant.expected_best}
    if not curves:
        return
    most = max(map(len, curves.values()))
    unit = findings.primary.unit
    report.wide_table(
        f"Expected best {heading(findings.primary)} on the validation split of a search with n random trials, "
        "the mean over searches. It rises with n by choice alone and is no result.",
        "Variant",
        {f"n = {number}": "right" for number in range(1, most + 1)},
        [[name, *(text.value(value, unit) for value in curve)] for name, curve in curves.items()],
    )


def _trial_status(trial: TrialCurve) -> str:
    return trial.status if trial.stopped_after is None else f"stopped after epoch {trial.stopped_after}"


def _configuration_lines(prefix: str, table: Mapping[str, Any]) -> list[str]:
    """Return one ``key.path = value`` line for each value, written as in a study file."""
    lines = []
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            lines += _configuration_lines(f"{prefix}{name}.", value)
        else:
            lines.append(
                text.one_line(f"{prefix}{name} = {json.dumps(value, ensure_ascii=False, default=str)}")
            )
    return lines
