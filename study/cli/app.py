"""The command line ``study``. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from study import __version__ as version
from study.cli.bench import bench
from study.cli.compare import compare
from study.cli.context import RequiringClaims, read_settings
from study.cli.data import data
from study.cli.export import export
from study.cli.help import GroupedCommands, examples
from study.cli.judge import judge
from study.cli.ledger import gc, status, stop, sync, unlock
from study.cli.listing import list_
from study.cli.new import new
from study.cli.records import error_record
from study.cli.runs import check, reproduce
from study.cli.study import plan, profile, report, run, schema
from study.cli.usage import UsageError, input_error
from study.cli.weights import weights
from study.errors import InputError, StudyError
from study.files import disk_full_error, is_disk_full
from study.terminal.output import printed_text
from study.terminal.program import as_typed, program

app = typer.Typer(
    help="Ablations and benchmarks of trainings, from a TOML file to a report.",
    cls=GroupedCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
app.add_typer(check, name="check")
for judging in (run, report, judge):
    app.command(cls=RequiringClaims, epilog=examples(judging.__name__))(judging)
app.command(name="list", epilog=examples("list"))(list_)
for command in (
    schema,
    bench,
    compare,
    export,
    new,
    plan,
    profile,
    status,
    stop,
    unlock,
    gc,
    sync,
    reproduce,
):
    app.command(epilog=examples(command.__name__))(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"study {version}")
        raise typer.Exit


class _AsTyped(logging.Formatter):
    """Writes log messages with commands as the user types them."""

    def format(self, record: logging.LogRecord) -> str:
        return as_typed(super().format(record))


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_AsTyped("%(levelname)s: %(message)s"))
    log = logging.getLogger("study")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


@app.command(epilog=examples("ui"))
def ui(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="The study to open: its TOML file or name; default: the last one."
        ),
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    browser: Annotated[
        bool | None,
        typer.Option("--browser/--no-browser", help="Open a browser; default: on a desktop's terminal."),
    ] = None,
) -> None:
    """Print the address of every study's page in MLflow, and open one; serves the pages of this machine's store."""
    import webbrowser

    from study.cli.context import open_ledger, study_name
    from study.tracking.mlflow_ui import open_pages

    settings = read_settings()
    name = study_name(study, None, [], open_ledger(settings)) if study else ""
    opens = sys.stdout.isatty() and _has_desktop() if browser is None else browser
    browse = webbrowser.open if opens else lambda address: None
    raise typer.Exit(
        open_pages(settings.mlflow, settings.artifacts, name, host=host, port=port, browse=browse)
    )


def _has_desktop() -> bool:
    """Return whether a browser would open a window: without one, some fill the terminal."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


def main() -> None:
    """Run the command line; an error of the user ends in one message and an exit code, never in a traceback."""
    with printed_text(sys.stdout, sys.stderr):
        _run()


def _run() -> None:
    try:
        code = app(prog_name=program(), standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)  # a number is that of typer.Exit
    except StudyError as error:
        _print_json(error)
        print(f"Error: {as_typed(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except UsageError as error:
        _print_json(input_error(error))
        error.show()  # type: ignore[attr-defined]  # with the command's usage
        sys.exit(InputError.exit_code)
    except typer.Abort:  # the end of the input in place of an answer
        print("Aborted.", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        reason = f"{place or 'input or output'}: {error.strerror or error}."
        print(f"Error: {disk_full_error(reason, place) if is_disk_full(error) else reason}", file=sys.stderr)
        sys.exit(1)


def _print_json(error: StudyError) -> None:
    if "--json" in sys.argv:
        print(json.dumps(error_record(error), ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
