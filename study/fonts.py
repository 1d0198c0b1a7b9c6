"""Fonts of this machine for the characters that the fonts of reports and contact sheets lack."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PLACEHOLDERS = "lastresort"
"""A font of matplotlib that has a box for every character."""
_UNUSUAL = (
    "bold",
    "italic",
    "oblique",
    "light",
    "thin",
    "black",
    "condensed",
    "serif",
    "mono",
    "medium",
    "display",
)
_DRAWN_NOTHING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp")
MOST_NAMED = 5


@dataclass(frozen=True)
class Fallback:
    """What shows the characters that a font lacks."""

    files: tuple[Path, ...]
    """Font files of this machine, in the order in which they are asked."""
    missing: str
    """Characters that no font has, sorted."""

    @property
    def sentence(self) -> str:
        """What cannot be shown, and what helps; empty if all can."""
        if not self.missing:
            return ""
        scripts = sorted(
            {unicodedata.name(character, "unnamed").split()[0].lower() for character in self.missing}
        )
        more = " …" if len(self.missing) > MOST_NAMED else ""
        return (
            f"Figures and the PDF cannot show {len(self.missing)} characters of names and texts "
            f"({' '.join(self.missing[:MOST_NAMED])}{more}; script: {', '.join(scripts)}), since no font of this "
            "machine has them. Install one, such as Noto, and write the report again."
        )


def fallback(text: str) -> Fallback:
    """Return fonts for the characters of a text that the figures' own font, DejaVu Sans, lacks."""
    wanted = {ord(c) for c in text if unicodedata.category(c) not in _DRAWN_NOTHING} - _characters_of(
        own_font()
    )
    files: list[Path] = []
    for file in _system_fonts() if wanted else ():
        if covered := wanted & _characters_of(file):
            files.append(file)
            wanted -= covered
        if not wanted:
            break
    return Fallback(tuple(files), "".join(map(chr, sorted(wanted))))


def own_font() -> Path:
    """Return the font of the figures, which comes with matplotlib and is the same everywhere."""
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def families(files: Iterable[Path]) -> list[str]:
    """Return the names under which matplotlib knows font files, made known to it where necessary."""
    from matplotlib.font_manager import fontManager

    names = []
    for file in files:
        known = next((font.name for font in fontManager.ttflist if font.fname == str(file)), None)
        if known is None:
            fontManager.addfont(str(file))
            known = fontManager.ttflist[-1].name
        names.append(known)
    return names


@cache
def _characters_of(file: Path) -> frozenset[int]:
    """Return the code points that a font can draw as outlines; none of a file that is no such font."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(file))
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _system_fonts() -> tuple[Path, ...]:
    """Return the fonts of this machine, plain ones first, in an order that does not depend on how they are listed."""
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(usable(map(Path, findSystemFonts())), key=_rank))


def usable(files: Iterable[Path]) -> list[Path]:
    """Return the font files without those that draw placeholders."""
    return [
        file for file in files if _PLACEHOLDERS not in file.name.lower().replace("-", "").replace(" ", "")
    ]


def _rank(file: Path) -> tuple[int, str, str]:
    name = file.name.lower()
    return sum(word in name.replace("sansserif", "") for word in _UNUSUAL), name, str(file)
