"""The command line ``study``. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.bench import bench
from study.cli.context import RequiringClaims, read_settings
from study.cli.data import data
from study.cli.judge import judge
from study.cli.ledger import gc, status, stop, sync, unlock
from study.cli.runs import check, reproduce
from study.cli.study import plan, profile, report, run
from study.cli.weights import weights
from study.errors import InputError, StudyError, nearest, quoted

if TYPE_CHECKING:
    from study.config.registry import Component

app = typer.Typer(
    help="Ablations and benchmarks of trainings, from a TOML file to a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
app.add_typer(check, name="check")
app.command(cls=RequiringClaims)(run)
app.command(cls=RequiringClaims)(report)
app.command(cls=RequiringClaims)(judge)
for command in (bench, plan, profile, status, stop, unlock, gc, sync, reproduce):
    app.command()(command)


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print debug messages.")] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("study")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


@app.command(name="list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A name or kind; * and ? match anything.")] = "*",
    task: Annotated[str, typer.Option("--task", help="The task whose components are listed.")] = "clips",
) -> None:
    """List the components that a study may name, with their parameters, ranges and defaults; recipes; tasks."""
    from fnmatch import fnmatch

    from study.api import put_on_path
    from study.config.recipes import RECIPES
    from study.config.registry import Registry

    settings = read_settings()
    put_on_path(settings.root)
    registry = Registry(settings.components, task)
    kinds = list(registry.kinds)
    names = [*kinds, "recipe", *(component.name for component in registry), *RECIPES]
    if not any(fnmatch(name, pattern) for name in names):
        raise InputError(f"nothing is called {pattern!r}.{nearest(pattern, names)} Kinds: {quoted(kinds)}.")
    for kind in kinds:
        components = [
            c for c in registry if c.kind == kind and (fnmatch(c.name, pattern) or fnmatch(kind, pattern))
        ]
        if components:
            print(f"\n{kind}")
        for component in components:
            _print_component(component)
    recipes = [name for name in RECIPES if fnmatch(name, pattern) or fnmatch("recipe", pattern)]
    if recipes:
        print("\nrecipe")
    for name in recipes:
        print(f"  {name:<22} {RECIPES[name].help}.")


def _print_component(component: Component) -> None:
    print(f"  {component.name:<22} {component.help}")
    for parameter in component.parameters.values():
        if not parameter.is_internal:
            default = "required" if parameter.required else f"default {parameter.default!r}"
            print(f"      {parameter.name:<18} {parameter.allowed()}; {default}: {parameter.help}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Start the MLflow UI on this machine's studies."""
    from study.tracking.mlflow_ui import serve

    settings = read_settings()
    raise typer.Exit(serve(settings.mlflow, settings.artifacts, host, port))


def main() -> None:
    """Run the command line; an error of the user ends in one message and an exit code, never in a traceback."""
    try:
        app()
    except StudyError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of the output has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
