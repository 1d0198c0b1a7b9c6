"""Mistakes on the command line as errors with a code: unknown options and commands, missing and wrong values."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from study.errors import ErrorCode, InputError, Mistake, classified, nearest_name, unknown, unknown_name

_EXCEPTIONS = sys.modules[typer.BadParameter.__module__]
"""The module of the parser's exceptions: click's, or the copy inside newer versions of typer."""
UsageError: type[Exception] = _EXCEPTIONS.UsageError


class Commands(TyperGroup):
    """A group whose unknown commands are an InputError with the nearest name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first argument names.

        Raises:
            InputError: There is no such command.
        """
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown_name(
                "COMMAND", f"{ctx.command_path} has no command {args[0]!r}", args[0], self.list_commands(ctx)
            )
        return super().resolve_command(ctx, args)


def commands_about(code: ErrorCode, key: str) -> type[Commands]:
    """Return the class of a group of commands whose errors without a code get this code and key."""

    class CommandsAbout(Commands):
        def invoke(self, ctx: Any) -> Any:
            with classified(code, key):
                return super().invoke(ctx)

    return CommandsAbout


def input_error(error: Any) -> InputError:
    """Return an exception of the parser as an InputError.

    Args:
        error: A `UsageError`.
    """
    return InputError(error.format_message(), _mistake(error))


def _mistake(error: Any) -> Mistake:
    if isinstance(error, _EXCEPTIONS.NoSuchOption):
        known = [name for option in error.ctx.command.get_params(error.ctx) for name in option.opts]
        options = [name for name in known if name.startswith("--")]
        return unknown(ErrorCode.UNKNOWN_KEY, error.option_name, error.option_name, options)
    param = getattr(error, "param", None)
    if param is None:
        return Mistake(ErrorCode.WRONG_VALUE, getattr(error, "option_name", ""))
    allowed = tuple(map(str, _choices(get_type_hints(error.ctx.command.callback).get(param.name))))
    key = max(param.opts, key=len)
    if not key.startswith("-"):
        key = param.metavar or param.human_readable_name
    if isinstance(error, _EXCEPTIONS.MissingParameter):
        return Mistake(ErrorCode.MISSING_KEY, key, allowed=allowed)
    given = _given(param.opts)
    return Mistake(ErrorCode.WRONG_VALUE, key, given, allowed, nearest_name(given or "", allowed))


def _choices(hint: Any) -> tuple[object, ...]:
    """Return the values of the Literal in a type; empty where it has none."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(_choices, get_args(hint))), ())


def _given(names: list[str]) -> str | None:
    """Return the last value of an option on the command line, which the parser's exception lacks."""
    words = sys.argv[1:]
    values = [word.partition("=")[2] for word in words if word.partition("=")[0] in names and "=" in word]
    values += [after for word, after in pairwise(words) if word in names]
    return values[-1] if values else None
