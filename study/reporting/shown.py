"""What a report shows of a text: no home folder, nothing that a font or a terminal cannot show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from study.analysis.findings import Findings
from study.errors import without_passwords
from study.fonts import Fallback
from study.names import without_halves

Value = TypeVar("Value")

_HOMES = re.compile(
    r"(?<![\w./~-])(?:/(?:home|Users)|[A-Za-z]:\\Users)[/\\][^/\\\s'\":;,)]+(?=[/\\\s'\":;,).]|$)"
)
"""Home folders of any user, as ledgers of other machines hold them."""


def shown(findings: Findings, fonts: Fallback) -> Findings:
    """Return findings as reports show them: home folders are ``~``, and a note names what no font can show."""
    cleaned = _shown(findings)
    return replace(cleaned, notes=(*cleaned.notes, fonts.sentence)) if fonts.sentence else cleaned


def shown_text(text: str) -> str:
    """Return a text without home folders, passwords of URLs and halves of characters."""
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf"(?<![\w./~-]){re.escape(home)}(?![\w-])", "~", text)
    return without_halves(without_passwords(_HOMES.sub("~", text)))


def _shown(value: Value) -> Value:
    """Return a value with every text in it as `shown_text`; the value itself where nothing changes."""
    changed: Any = value
    if isinstance(value, str):
        changed = shown_text(value)
        return value if changed == value else cast(Value, changed)
    if is_dataclass(value) and not isinstance(value, type):
        old = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        new = {name: _shown(item) for name, item in old.items()}
        differing = {name: item for name, item in new.items() if item is not old[name]}
        return cast(Value, replace(value, **differing)) if differing else value
    if isinstance(value, Mapping):
        pairs = [(_shown(key), _shown(item)) for key, item in value.items()]
        is_same = all(
            key is old_key and item is old_item
            for (key, item), (old_key, old_item) in zip(pairs, value.items(), strict=True)
        )
        return value if is_same else cast(Value, dict(pairs))
    if isinstance(value, tuple | list):
        items = [_shown(item) for item in value]
        is_same = all(a is b for a, b in zip(items, value, strict=True))
        return value if is_same else cast(Value, type(value)(items))
    return value
