"""What the networks cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from study.analysis.findings import Cost, Findings, VariantFinding
from study.reporting import text as formats
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, plain
from study.reporting.writers.markdown.phrases import name_with_runs

COSTS: Mapping[str, tuple[str, Callable[[VariantFinding, Cost], str]]] = {
    "Parameters": ("trainable values", lambda variant, _: formats.count(variant.parameters)),
    "Without gradient": (
        "those of them that get no gradient in a training step with the study's loss",
        lambda _, cost: formats.count(cost.unused),
    ),
    "MACs per {noun} (fvcore)": (
        "multiply-accumulates of one forward pass, by fvcore, which adds 1 to 5 for each value of norms, pools and "
        "resizes",
        lambda variant, _: formats.operations(variant.macs),
    ),
    "FLOPs per {noun} (torch)": (
        "floating-point operations of one forward pass, by torch's counter, products alone, 2 a MAC",
        lambda _, cost: formats.operations(cost.flops),
    ),
    "FLOPs / (2 × MACs) (%)": (
        "100 where the two counters agree",
        lambda _, cost: formats.value(cost.flops_share),
    ),
    "Activations per {noun} (MiB)": (
        "what autograd keeps for the backward pass, as one more {noun} in a training batch adds it; weights, and "
        "memory while an operator works, are not in it",
        lambda _, cost: formats.mebibytes(cost.activation_bytes),
    ),
    "Latency (ms)": (
        "median time of one forward pass, measured by the training beside whatever else the machine did",
        lambda _, cost: formats.decimals(cost.latency_ms),
    ),
    "Training": (
        "median wall time of one run, beside whatever else the machine did",
        lambda variant, _: formats.duration(variant.train_seconds),
    ),
}
"""Columns of the table of costs: how each is counted, and its cell; ``{noun}`` is what one example is called."""
LATENCY = (
    " Latency is measured by `study profile STUDY` on an idle machine, never during a study: a machine busy with "
    "other runs gives false times."
)


def add_costs(report: Blocks, findings: Findings) -> None:
    """What the networks cost: a row a variant, then the parts of each network that differs from its reference."""
    costs = {variant.name: variant.cost for variant in findings.variants if variant.cost is not None}
    if not costs:
        return
    shapes = sorted({" × ".join(map(str, cost.input_shape[1:])) for cost in costs.values()})
    noun = plain(findings.noun)
    one = f"one {noun} of {' or '.join(shapes)}"
    columns: dict[str, list[str]] = {}
    for head, (_, cell) in COSTS.items():
        cells = [cell(variant, variant.cost or Cost(input_shape=())) for variant in findings.variants]
        if any(text != MISSING for text in cells):
            columns[head] = cells
    names = [name_with_runs(variant) for variant in findings.variants]
    legend = " ".join(f"{head}: {COSTS[head][0]}.".format(noun=noun) for head in columns)
    report.add("## Cost")
    report.table(
        f"What each variant costs, counted for {one}. {legend}{'' if 'Latency (ms)' in columns else LATENCY}",
        {"Variant": "left", **{head.format(noun=noun): "right" for head in columns}},
        list(zip(names, *columns.values(), strict=True)),
    )
    for variant in findings.variants:
        cost, reference = variant.cost, costs.get(variant.reference)
        if cost is None or not cost.parts:
            continue
        if variant.is_reference or reference is None or cost.parts != reference.parts:
            same = " Profiled variants without such a table have the same." if variant.is_reference else ""
            report.table(
                f"Parts of {plain(variant.name)}: trainable values and MACs (fvcore) of the network's own modules, "
                f"for {one}.{same}",
                {"Part": "left", "Parameters": "right", f"MACs per {noun} (fvcore)": "right"},
                [
                    [plain(p.name), formats.count(p.parameters), formats.operations(p.macs)]
                    for p in cost.parts
                ],
            )
