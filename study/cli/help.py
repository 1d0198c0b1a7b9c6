"""The help of the command line: commands in groups, each with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.cli.usage import Commands
from study.terminal.program import program

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Studies": ("new", "plan", "run", "report", "compare", "export"),
    "Scores that exist already": ("judge",),
    "Progress": ("status", "stop", "ui"),
    "Parts and data": ("list", "schema", "profile", "check", "data", "weights"),
    "Ledger": ("gc", "sync", "unlock", "reproduce"),
    "Development": ("bench",),
}
"""The commands by group, in the order in which the help lists them."""
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "new": (
        "new attention --task function",
        "new attention --task command --question 'Does attention help?' --folder ablations",
    ),
    "plan": (
        "plan ablations/issm.toml",
        "plan ablations/issm.toml --verbose",
        "plan ablations/issm.toml --budget 8cpu-h --sd 1.2",
    ),
    "run": (
        "run ablations/issm.toml --preset smoke",
        "run ablations/issm.toml --set train.epochs=3 --set repetitions=3",
        "run ablations/issm.toml --require-claims=strict",
    ),
    "report": ("report ablations/issm.toml",),
    "compare": (
        "compare issm lifting",
        "compare issm ../other-lab",
        "compare .study/ledger /backup/ledger --json",
    ),
    "export": ("export ablations/issm.toml", "export issm --out review/issm.tar.gz"),
    "judge": (
        "judge scores.csv --claim ours",
        "judge --mlflow sqlite:///mlflow.db --experiment baselines --score test/acc",
    ),
    "status": ("status", "status issm --once"),
    "stop": ("stop issm --wait",),
    "ui": ("ui", "ui issm --port 5001"),
    "list": ("list", "list splitter", "list 'issm*'"),
    "schema": ("schema",),
    "profile": ("profile ablations/issm.toml", "profile ablations/issm.toml --train --variant ISSM"),
    "gc": ("gc", "gc --unreferenced --yes"),
    "sync": ("sync", "sync issm"),
    "unlock": ("unlock --host lab2",),
    "reproduce": ("reproduce 3f9a",),
    "bench": ("bench step", "bench all --json"),
}
"""Words after the program's name, by command."""


def examples(command: str) -> str | None:
    """Return the end of a command's help; None where it has no examples."""
    lines = [f"  {program()} {words}" for words in EXAMPLES.get(command, ())]
    return "\n".join(["\b", "Examples:", *lines]) if lines else None


class GroupedCommands(Commands):
    """Lists the commands in their groups, each with the first sentence of its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, group by group."""
        return [name for names in GROUPS.values() for name in names if name in self.commands]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups."""
        width = max(len(name) for name in self.list_commands(ctx))
        for title, names in GROUPS.items():
            rows = [
                (f"{name:<{width}}", _summary(self.commands[name])) for name in names if name in self.commands
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _summary(command: Any) -> str:
    """Return the first sentence of a command's help."""
    first = " ".join((command.help or "").partition("\n\n")[0].split())
    return first.partition(". ")[0].rstrip(".")
