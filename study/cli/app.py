"""The command line. Heavy imports stay inside the commands that need them."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from study.cli.context import read_settings
from study.cli.data import data
from study.cli.ledger import gc, status, stop, sync
from study.cli.runs import check, reproduce
from study.cli.study import plan, profile, report, run
from study.cli.weights import weights
from study.errors import InputError, StudyError, nearest, quoted

app = typer.Typer(
    help="Ablations and benchmarks of trainings: a TOML file asks, a report answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
app.add_typer(check, name="check")
for command in (run, plan, report, profile, status, stop, gc, sync, reproduce):
    app.command()(command)


@app.callback()
def _main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("study")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


@app.command(name="list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A name or kind to look for; * and ? match anything.")] = "*",
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
    known_recipes = RECIPES
    kinds = list(registry.kinds)
    known = [*kinds, "recipe", *(component.name for component in registry), *known_recipes]
    if not any(fnmatch(name, pattern) for name in known):
        raise InputError(f"nothing is called {pattern!r}.{nearest(pattern, known)} Kinds: {quoted(kinds)}.")
    for kind in kinds:
        found = [
            c for c in registry if c.kind == kind and (fnmatch(c.name, pattern) or fnmatch(kind, pattern))
        ]
        if found:
            print(f"\n{kind}")
        for component in found:
            print(f"  {component.name:<22} {component.help}")
            for parameter in component.parameters.values():
                if parameter.is_internal:
                    continue
                default = "required" if parameter.required else f"default {parameter.default!r}"
                print(f"      {parameter.name:<18} {parameter.allowed()}; {default}: {parameter.help}")
    chosen = {
        name: r for name, r in known_recipes.items() if fnmatch(name, pattern) or fnmatch("recipe", pattern)
    }
    if chosen:
        print("\nrecipe")
    for name, recipe in chosen.items():
        print(f"  {name:<22} {recipe.help}.")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; loopback unless told otherwise.")
    ] = "127.0.0.1",
) -> None:
    """Start the MLflow UI on this machine's studies."""
    from study.tracking import mlflow as tracking

    settings = read_settings()
    raise typer.Exit(tracking.ui(settings.mlflow, settings.artifacts, host, port))


def main() -> None:
    """Run the command line; a mistake ends in one message and an exit code, never in a traceback."""
    try:
        app()
    except StudyError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
