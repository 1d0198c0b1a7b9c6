"""Costs of a study's variants as tables, in Markdown that is readable in a terminal."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from study.reporting.text import MISSING, count, mebibytes, operations
from study.tasks.clips.profiling.latency import WARM_UPS
from study.tasks.clips.profiling.record import Latency, StudyProfile, VariantProfile

BUSY = 1.0
"""Load average from which other processes may have disturbed the timing."""


def render(profile: StudyProfile) -> str:
    """Return the costs of a study's variants as Markdown with aligned columns."""
    shapes = sorted({" x ".join(map(str, v.counts.input_shape[1:])) for v in profile.variants})
    blocks = [
        f"# Costs of the variants of {profile.study}",
        f"Counted for one clip of {' or '.join(shapes)} (channels x frames x height x width); nothing was trained.",
        _costs(profile),
        f"## Latency of one forward pass, in ms: median [quartiles] of {profile.repetitions}",
        _latencies(profile),
        "## Parts",
        _parts(profile),
        "## Notes",
        "\n".join(f"- {note}" for note in _notes(profile)),
    ]
    return "\n\n".join(blocks) + "\n"


def _costs(profile: StudyProfile) -> str:
    header = [
        "variant",
        "parameters",
        "of them unused",
        "MACs",
        "FLOPs",
        "FLOPs / 2 MACs (%)",
        "activations (MiB/clip)",
    ]
    rows = []
    for variant in profile.variants:
        counts = variant.counts
        agreement = None if counts.disagreement is None else 100 * (1 + counts.disagreement)
        rows.append(
            [
                _title(variant),
                count(counts.parameters),
                count(counts.unused),
                operations(counts.macs),
                operations(counts.flops),
                ("! " if counts.is_doubtful else "") + (MISSING if agreement is None else f"{agreement:.1f}"),
                mebibytes(counts.activation_bytes),
            ]
        )
    return _table(header, rows)


def _latencies(profile: StudyProfile) -> str:
    rows = [
        [_title(variant), str(latency.batch), _quartiles(latency)]
        for variant in profile.variants
        for latency in variant.latencies
    ]
    return _table(["variant", "clips", "ms"], rows)


def _quartiles(latency: Latency) -> str:
    return f"{latency.median_ms:.2f} [{latency.lower_quartile_ms:.2f}, {latency.upper_quartile_ms:.2f}]"


def _parts(profile: StudyProfile) -> str:
    rows = [
        [
            _title(variant),
            part.name,
            count(part.parameters),
            operations(part.macs),
            f"{100 * part.macs / max(variant.counts.macs, 1):.1f}",
        ]
        for variant in profile.variants
        for part in variant.counts.parts
    ]
    return _table(["variant", "part", "parameters", "MACs", "of all MACs (%)"], rows)


def _notes(profile: StudyProfile) -> Iterator[str]:
    for variant in profile.variants:
        counts = variant.counts
        if counts.is_doubtful and counts.disagreement is not None:
            yield (
                f"{variant.name}: the two counters differ by {100 * counts.disagreement:+.1f} %; "
                "find the reason before you rely on either."
            )
        if counts.uncounted:
            yield f"{variant.name}: fvcore does not know {', '.join(counts.uncounted)}, and counts them as 0."
        if counts.unused_tensors:
            yield f"{variant.name}: no gradient reaches {', '.join(counts.unused_tensors)}."
    if profile.assumed:
        values = ", ".join(f"{key} = {value}" for key, value in profile.assumed.items())
        yield f"Searched parameters are at their first or least value: {values}."
    if profile.load is not None and profile.load >= BUSY:
        yield (
            f"The machine was busy before anything was timed (load average {profile.load:.1f}): an idle one "
            "is faster."
        )
    yield "Unused: trainable values that get no gradient in a training step with the study's loss."
    yield (
        "MACs: multiply-accumulates of one forward pass, by fvcore, which adds 1 to 5 for each value of norms, "
        "pools and resizes. FLOPs: by torch's counter, products only, 2 a MAC."
    )
    yield (
        "Activations: bytes that autograd saves for the backward pass for one more clip in a training batch; "
        "weights and temporary memory of operators are not included."
    )
    yield (
        f"Latency: forward pass in evaluation, clips on the device; {profile.repetitions} repetitions after "
        f"{WARM_UPS} for warm-up, variants in turns. Device {profile.device}, {profile.precision}, "
        f"{profile.threads} thread(s), {profile.machine.hardware}, torch {profile.machine.versions['torch']}."
    )


def _title(variant: VariantProfile) -> str:
    return f"{variant.name} (reference)" if variant.is_reference else variant.name


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns besides variant and part are figures."""
    names = sum(title in ("variant", "part") for title in header)
    return aligned(header, rows, figures=range(names, len(header)))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], figures: Container[int]) -> str:
    """Return a Markdown table with padded columns: those of the given numbers aligned right, others left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    ruler = [
        "-" * (width - 1) + ":" if column in figures else "-" * width for column, width in enumerate(widths)
    ]
    lines = [
        " | ".join(
            cell.rjust(width) if column in figures else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, ruler, *rows]
    ]
    return "\n".join(f"| {line} |" for line in lines)
