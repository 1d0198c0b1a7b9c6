"""``study judge``: the verdict on scores that were measured elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.cli.context import Quiet, RequireClaims, exit_unless_claims_hold, read_settings, require_claims_in
from study.errors import missing_value
from study.terminal.output import PrintedConsole

if TYPE_CHECKING:
    pass


def judge(
    scores: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Scores separated by comma, semicolon or tab, with a header."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URI", help="An MLflow store, in place of a file.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", metavar="NAME", help="Its experiment.")
    ] = None,
    reference: Annotated[
        str, typer.Option(metavar="VARIANT", help="What the others are compared with; by default the first.")
    ] = "",
    claim: Annotated[
        list[str] | None,
        typer.Option(metavar="VARIANT", help="Claim that a variant beats the reference; may be repeated."),
    ] = None,
    rope: Annotated[
        float | None,
        typer.Option(min=0, help="Least difference of interest, as printed; 0.5 points in per cent."),
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.001, max=0.5, help="Chance of any false verdict.")] = 0.05,
    scope: Annotated[
        Literal["population", "test-set"] | None,
        typer.Option(help="For new examples (default with a row for each), or for exactly these."),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="LABEL", help="The metric's name in the report.")] = "",
    unit: Annotated[str | None, typer.Option(help="Its unit; by default % for shares of 1.")] = None,
    direction: Annotated[
        Literal["maximize", "minimize"] | None, typer.Option(help="Whether higher or lower is better.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Printed values are scores times this; 100 for %.")
    ] = None,
    low: Annotated[float | None, typer.Option(help="The least possible score.")] = None,
    high: Annotated[float | None, typer.Option(help="The greatest possible score.")] = None,
    variant_key: Annotated[
        str, typer.Option("--variant", metavar="NAME", help="Column, tag or parameter of the variant.")
    ] = "variant",
    repetition_key: Annotated[
        str, typer.Option("--repetition", metavar="NAME", help="Column, tag or parameter of the repetition.")
    ] = "repetition",
    score_key: Annotated[
        str, typer.Option("--score", metavar="NAME", help="Column of the score, or MLflow metric.")
    ] = "score",
    fold_key: Annotated[
        str, typer.Option("--fold", metavar="NAME", help="Column, tag or parameter of the fold.")
    ] = "fold",
    require_claims: RequireClaims = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; by default reports/NAME-judged.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Judge scores that were measured elsewhere: print the verdict, then write the full report.

    Columns: variant, repetition, score; or, a row for each test example: variant, repetition, example, and score or
    label and prediction. Optional: fold, source. Equal repetitions must share seed and split.
    """
    from study.analysis.outside.rows import Columns
    from study.api import judge as judge_scores
    from study.terminal.results import print_results

    if (scores is None) == (mlflow is None) or (mlflow is None) != (experiment is None):
        raise missing_value("", "judge: give a file of scores, or --mlflow URI with --experiment NAME.")
    require_claims_in(claim or (), require_claims)
    described = {
        "label": metric or None,
        "unit": unit,
        "direction": direction,
        "scale": scale,
        "low": low,
        "high": high,
    }
    findings = judge_scores(
        mlflow or scores or "",
        experiment or "",
        metric={key: value for key, value in described.items() if value is not None},
        reference=reference,
        claims=claim or (),
        rope=rope,
        alpha=alpha,
        scope=scope,
        columns=Columns(variant=variant_key, repetition=repetition_key, score=score_key, fold=fold_key),
    )
    print_results(findings, PrintedConsole())
    print(end="", flush=True)  # before the report is written

    from study.reporting.write import write

    folder = out or read_settings().reports / f"{findings.name}-judged"
    write(findings, folder)
    print(
        "\nReport: "
        + "\n        ".join(str(folder / name) for name in ("report.html", "report.pdf", "report.md"))
    )
    exit_unless_claims_hold(findings, require_claims)
