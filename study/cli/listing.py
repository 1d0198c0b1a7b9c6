"""``study list``: the components that a study may name."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.context import AsJson, read_settings
from study.cli.records import SCHEMA, Record, json_output
from study.errors import quoted, unknown_name
from study.terminal.output import PrintedConsole
from study.terminal.tables import print_text

if TYPE_CHECKING:
    from study.config.registry import Component


def list_(
    pattern: Annotated[str, typer.Argument(help="A name or kind; * and ? match anything.")] = "*",
    task: Annotated[str, typer.Option("--task", help="The task whose components are listed.")] = "clips",
    json_: AsJson = False,
) -> None:
    """List the components that a study may name, with their parameters, ranges and defaults; recipes; tasks."""
    from study.api import put_on_path
    from study.config.recipes import RECIPES
    from study.config.registry import Registry

    settings = read_settings()
    put_on_path(settings.root)
    registry = Registry(settings.components, task)
    kinds = list(registry.kinds)
    names = [*kinds, "recipe", *(component.name for component in registry), *RECIPES]
    if not any(fnmatch(name, pattern) for name in names):
        raise unknown_name(
            "PATTERN", f"nothing is called {pattern!r}", pattern, names, f"Kinds: {quoted(kinds)}."
        )
    found = {
        kind: [c for c in registry if c.kind == kind and (fnmatch(c.name, pattern) or fnmatch(kind, pattern))]
        for kind in kinds
    }
    found = {kind: components for kind, components in found.items() if components}
    recipes = [name for name in RECIPES if fnmatch(name, pattern) or fnmatch("recipe", pattern)]
    if json_:
        with json_output() as write:
            write(
                {
                    "schema": SCHEMA,
                    "kinds": {
                        kind: [_record(each) for each in components] for kind, components in found.items()
                    },
                    "recipes": [{"name": name, "help": RECIPES[name].help} for name in recipes],
                }
            )
        return
    console = PrintedConsole()
    for kind, components in found.items():
        print_text(console, f"\n{kind}")
        for component in components:
            print_text(console, "\n".join(_lines(component)))
    if recipes:
        print_text(console, "\nrecipe")
    for name in recipes:
        print_text(console, f"  {name:<22} {RECIPES[name].help}.")


def _record(component: Component) -> Record:
    return {
        "name": component.name,
        "help": component.help,
        "parameters": [
            {
                "name": parameter.name,
                "allowed": parameter.allowed(),
                "required": parameter.required,
                "default": None if parameter.required else parameter.default,
                "help": parameter.help,
            }
            for parameter in component.parameters.values()
            if not parameter.is_internal
        ],
    }


def _lines(component: Component) -> Iterator[str]:
    yield f"  {component.name:<22} {component.help}"
    for parameter in component.parameters.values():
        if not parameter.is_internal:
            default = "required" if parameter.required else f"default {parameter.default!r}"
            yield f"      {parameter.name:<18} {parameter.allowed()}; {default}: {parameter.help}"
