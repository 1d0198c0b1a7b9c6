"""``study export``: one archive with what a reviewer of a study needs."""

from __future__ import annotations

import csv
import gzip
import io
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study import __version__
from study.cli.context import Changes, Preset, StudyName, open_ledger, read_settings, study_name
from study.errors import ErrorCode, file_error

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.ledger.record import StudyRecord

SETTINGS = 'ledger = "ledger"\nreports = "reports"\nmlflow = "off"\n'
"""study.toml of the unpacked archive."""


def export(
    study: StudyName,
    preset: Preset = None,
    set_: Changes = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The archive to write; by default NAME.tar.gz. It must not exist."),
    ] = None,
) -> None:
    """Write one archive with what a reviewer needs; `report` and `judge` work on it, unpacked anywhere.

    It holds the report in all formats, its tables, the scores, the ledger of the study without weights, the digests of
    its code, and the versions and hardware of its trainings. Records of the ledger name folders of this machine.
    """
    from study import files
    from study.api import write_report
    from study.engine.archive import code_digests, environments, files_of_study

    settings = read_settings()
    ledger = open_ledger(settings)
    name = study_name(study, preset, set_ or [], ledger)
    target = out or Path(f"{name}.tar.gz")
    if target.exists():
        raise file_error(
            target, "exists, and is not overwritten; --out names another file.", ErrorCode.FILE_EXISTS
        )
    findings = write_report(name, settings)
    record = ledger.study(name)
    contents: dict[str, bytes] = {
        "README.md": _readme(findings, record).encode(),
        "study.toml": SETTINGS.encode(),
        "scores.csv": _scores(findings).encode(),
        "code.json": code_digests(record, ledger).encode(),
        "environment.json": environments(record, ledger).encode(),
    }
    if (source := Path(record.root, record.file)).is_file():
        inside = Path(record.file)
        contents[source.name if inside.is_absolute() else str(inside)] = source.read_bytes()
    report = settings.reports / name
    for path in sorted(report.rglob("*")):
        if path.is_file():
            contents[f"reports/{name}/{path.relative_to(report)}"] = path.read_bytes()
    for path in files_of_study(record, ledger):
        contents[f"ledger/{path}"] = (ledger.root / path).read_bytes()
    with files.writing(target) as stream:
        stream.write(_archive({f"{name}/{path}": content for path, content in contents.items()}))
    print(
        f"{target}: {len(contents)} files, {target.stat().st_size / 1e6:.1f} MB; README.md in it says what they are."
    )


def _archive(contents: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar file; equal contents give equal bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, content in sorted(contents.items()):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _scores(findings: Findings) -> str:
    """Return the primary metric of every tested run as `study judge` reads it, in the metric's own scale."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    has_folds = any(run.fold is not None for variant in findings.variants for run in variant.repetitions)
    writer.writerow(["variant", "repetition", *(["fold"] if has_folds else []), "score"])
    for variant in findings.variants:
        for run in variant.repetitions:
            score = "nan" if run.diverged else f"{run.score / findings.primary.scale:.15g}"
            writer.writerow([variant.name, run.repetition, *([run.fold] if has_folds else []), score])
    return text.getvalue()


def _readme(findings: Findings, record: StudyRecord) -> str:
    """Return what the archive holds, and the commands that work on it."""
    return "\n".join(
        [
            f"# {findings.name}",
            "",
            findings.question,
            "",
            f"Written by study {__version__}. Unpacked, in this folder:",
            "",
            f"    {shlex.join(['study', 'report', findings.name])}",
            f"    {shlex.join(_judge_command(findings))}",
            "",
            "The first writes the report again from the ledger, with the intervals and verdicts of the study; the",
            "second judges the scores alone, for these test examples.",
            "",
            "| file | contents |",
            "|---|---|",
            *(f"| `{file}` | {what} |" for file, what in _contents(findings.name, record)),
            "",
        ]
    )


def _judge_command(findings: Findings) -> Iterator[str]:
    """Yield the words of the command that judges the scores of the archive as the study does."""
    metric = findings.primary
    options = {
        "--metric": metric.label or metric.name,
        "--unit": metric.unit,
        "--direction": metric.direction,
        "--scale": f"{metric.scale:g}",
        "--rope": f"{findings.rope:g}",
        "--alpha": f"{findings.alpha:g}",
        "--reference": next((variant.name for variant in findings.variants if variant.is_reference), ""),
    }
    if metric.unit != "%":
        bounds = {"--low": metric.low, "--high": metric.high}
        options |= {option: f"{bound:g}" for option, bound in bounds.items() if bound is not None}
    yield from ("study", "judge", "scores.csv")
    for option, value in options.items():
        yield f"{option}={value}"


def _contents(name: str, record: StudyRecord) -> Iterator[tuple[str, str]]:
    yield f"reports/{name}/", "the report in every format, its figures, tables and findings"
    yield "scores.csv", "the primary metric of every tested run, not scaled"
    yield "ledger/", "every training: configuration, history, result, test, predictions; no weights"
    yield "code.json", "the digest of each variant's code, with those of its modules"
    yield "environment.json", "library versions and hardware of the trainings"
    yield Path(record.file).name, "the study, where its file still exists"
