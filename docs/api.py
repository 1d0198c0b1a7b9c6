"""Writes docs/api.md, the reference of the public names of `study`, from their signatures and docstrings.

Run it after a change of either: ``python docs/api.py``.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
sys.path.insert(0, str(PAGE.parents[1]))

import study  # noqa: E402

HEAD = """# Python interface

`import study` offers these names. This page is written by `python docs/api.py`.
"""
SECTION = re.compile(r"^(Args|Raises|Returns|Yields):$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+): ", re.MULTILINE)


def page() -> str:
    """Return the text of the page."""
    functions = [name for name in study.__all__ if not inspect.isclass(getattr(study, name))]
    classes = [name for name in study.__all__ if name not in functions]
    parts = [HEAD]
    for title, names in (("Functions", functions), ("Classes", classes)):
        links = ", ".join(f"[`{name}`](#{name.lower()})" for name in names)
        parts.append(f"## {title}\n\n{links}\n")
        for name in names:
            parts.extend(_entry(name, getattr(study, name)))
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the paragraphs of a function or class."""
    yield f"### {name}\n"
    if not inspect.isclass(thing):
        yield f"{_signature(name, thing)}\n\n{_markdown(inspect.getdoc(thing))}\n"
        return
    yield f"{_markdown(inspect.getdoc(thing))}\n"
    rows = [*_attributes(thing), *_properties(thing)]
    if rows:
        lines = (f"| `{_cell(key)}` | {_cell(_markdown(text))} |\n" for key, text in rows)
        yield "| attribute | |\n|---|---|\n" + "".join(lines)
    for key, method in vars(thing).items():
        if inspect.isfunction(method) and not key.startswith("_"):
            yield f"{_signature(f'{name}.{key}', method)}\n\n{_markdown(inspect.getdoc(method))}\n"


def _signature(name: str, function: Any) -> str:
    """Return the signature as a block of code, without ``self``."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    line = f"{name}{signature.replace(parameters=parameters)}".replace("'", '"').replace(
        "mappingproxy({})", "{}"
    )
    unquoted = re.sub(r'(: |-> )"([^"]*)"', r"\1\2", line)
    if len(unquoted) > 100:
        head, _, tail = unquoted.partition("(")
        inner, _, end = tail.rpartition(") ->")
        arguments = "".join(f"    {part},\n" for part in _split(inner))
        unquoted = f"{head}(\n{arguments}) ->{end}"
    return f"```text\n{unquoted}\n```"


def _split(arguments: str) -> list[str]:
    """Return arguments one by one; commas inside brackets do not separate them."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _attributes(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the annotated public attributes of a class with the strings that follow them."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = inspect.cleandoc(str(after.value.value))
            if not statement.target.id.startswith("_"):
                yield ast.unparse(statement), text


def _properties(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the public properties of a class with their docstrings."""
    for key, value in vars(cls).items():
        function = getattr(value, "fget", None) or getattr(value, "func", None)
        if function is not None and not key.startswith("_"):
            returns = function.__annotations__.get("return", "")
            yield f"{key}: {returns}".rstrip(": "), inspect.getdoc(function) or ""


def _markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown: sections as lists, double backticks as single ones."""
    first, *sections = SECTION.split(docstring or "")
    parts = [first.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        indented, _, rest = body.strip("\n").partition("\n\n")
        entries = textwrap.dedent(indented).strip()
        listed = ENTRY.sub(lambda match: f"- `{match[1]}`: ", entries)
        parts.append(f"*{title}*\n\n{listed}")
        parts += [textwrap.dedent(rest).strip()] if rest.strip() else []
    return "\n\n".join(parts).replace("``", "`")


def _cell(text: str) -> str:
    """Return a text for a cell of a table, in which a bar separates cells even inside of backticks."""
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    PAGE.write_text(page())
