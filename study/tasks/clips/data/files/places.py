"""Where a data set may read files: below its root and in places that the user names; how its folders are found."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from study.errors import InputError, nearest, quoted

VIDEOS = frozenset(
    (
        ".mp4",
        ".avi",
        ".mov",
        ".mkv",
        ".webm",
        ".flv",
        ".mpg",
        ".mpeg",
        ".m4v",
        ".wmv",
        ".3gp",
        ".ts",
        ".mts",
        ".m2ts",
        ".ogv",
        ".vob",
        ".gif",
    )
)
"""Suffixes of what PyAV reads."""
_NAMED = 5
"""Names that a message lists, at most."""
V = TypeVar("V", bound=str)


@dataclass(frozen=True)
class Places:
    """The root of a data set and the other files and folders that the user names; links must end in one of them."""

    root: Path
    allowed: tuple[Path, ...] = ()

    def adding(self, path: Path) -> Places:
        """Return the places with another file or folder that the user names."""
        is_known = any(path.is_relative_to(top) for top in (self.root, *self.allowed))
        return self if is_known else replace(self, allowed=(*self.allowed, path))

    def top_of(self, path: Path) -> Path | None:
        """Return the place that a path is in by its names; None where it is in none."""
        return next((top for top in (self.root, *self.allowed) if path.is_relative_to(top)), None)

    def name(self, path: Path) -> str:
        """Return a path for messages: relative to the root where it is below, else absolute."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def check(self, path: Path) -> None:
        """Raise InputError if a path, its links followed, is in none of the places."""
        top = self.top_of(path)
        if top is not None and _has_no_links(path, top):
            return
        real = os.path.realpath(path)
        if not any(_is_below(real, os.path.realpath(place)) for place in (self.root, *self.allowed)):
            folder = real if os.path.isdir(real) else os.path.dirname(real)  # noqa: PTH112, PTH120
            raise InputError(
                f"{path} leads out of the root, to {real}. allow = [{folder!r}] lets this data set read that folder."
            )


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip(os.sep) + os.sep)


def _has_no_links(path: Path, root: Path) -> bool:
    """Return whether no name from the root to the path is a link: far cheaper than to resolve all of both."""
    top, parts = str(root), path.parts[len(root.parts) :]
    if ".." in parts:
        return False
    for part in parts:
        top = f"{top}{os.sep}{part}"
        if os.path.islink(top):  # noqa: PTH114  # faster than Path
            return False
    return True


def escapes_root(name: str) -> bool:
    """Return whether a listed path is anything but the name of something below the root."""
    parts = name.split("/")
    return not name or any(part in {"", ".", ".."} or set(part) & set("\\:\0") for part in parts)


def open_places(root: str, allow: Sequence[str], name: str) -> Places:
    """Return the root and the folders that are allowed besides; raise InputError if one is missing or unreadable."""
    path = Path(root).expanduser().absolute()
    names_in(path, f"{name}: root")
    allowed = tuple(Path(folder).expanduser().absolute() for folder in allow)
    for folder in allowed:
        names_in(folder, f"{name}: allow")
    return Places(path, allowed)


def named_path(name: str, places: Places, where: str) -> Path:
    """Return the path that the user names: relative to the root, to the current folder, or absolute.

    It may lie outside of the root, as it is the user who names it; a link below the root may not lead out unnoticed.
    """
    root, written = places.root, Path(name).expanduser()
    candidates = [root / written, written.absolute()]
    if written.is_absolute() and written.is_relative_to(
        Path.cwd()
    ):  # made absolute by the study that names it
        candidates.append(root / written.relative_to(Path.cwd()))
    for path in candidates:
        if is_there(path):
            if path.is_relative_to(root):
                places.check(path)
                return path
            real, top = os.path.realpath(path), os.path.realpath(root)
            return root / os.path.relpath(real, top) if _is_below(real, top) else path
    raise InputError(f"{where}: there is no {name!r}, neither below {str(root)!r} nor as an absolute path.")


def is_there(path: Path) -> bool:
    """Return whether a path exists; names that no file can have do not."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises for them


def names_in(folder: Path, where: str) -> list[str]:
    """Return the names in a folder, sorted; raise InputError if it is missing or unreadable."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except PermissionError:
        raise InputError(f"{where}: no permission to read the folder {str(folder)!r}.") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{where}: there is no folder {str(folder)!r}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: the folder {str(folder)!r} cannot be read: {error}.") from None


def find(base: Path, candidates: Iterable[str], places: Places) -> Path | None:
    """Return the first of `candidates`, relative paths, that exists below `base`, or None.

    Names are compared without case, spaces and punctuation: ``Train & Test Set`` is ``train_test_set``. A folder that
    holds nothing but a folder of its own name, as archives leave that were unpacked twice, is that inner folder.

    Raises:
        InputError: What was found leads out of the places, or two names beside each other fit one candidate.
    """
    for candidate in candidates:
        path: Path | None = base
        for name in candidate.split("/"):
            path = _member(path, name) if path else None
        if path is not None:
            places.check(path)
            return _unpacked(path)
    return None


def _unpacked(folder: Path) -> Path:
    """Return the innermost of folders of one name that hold nothing but each other."""
    while folder.is_dir():
        with os.scandir(folder) as found:
            visible = (
                file.name for file in found if not file.name.startswith(".") and file.name != "__MACOSX"
            )
            first = [name for _, name in zip(range(2), visible, strict=False)]
        if len(first) != 1 or _plain(first[0]) != _plain(folder.name):
            break
        folder /= first[0]
    return folder


def _member(folder: Path, name: str) -> Path | None:
    try:
        if (folder / name).exists():
            return folder / name
        if not folder.is_dir():
            return None
    except PermissionError:
        raise InputError(f"{folder / name}: no permission to look into the folder {str(folder)!r}.") from None
    names = names_in(folder, str(folder))
    fitting = [other for other in names if _plain(other) == _plain(name)]
    if len(fitting) > 1:
        raise InputError(f"{folder}: both {quoted(fitting).replace(' or ', ' and ')} could be {name!r}.")
    if not fitting and _unpacked(folder) != folder:
        return _member(_unpacked(folder), name)
    return folder / fitting[0] if fitting else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def members(folder: Path, ids: Iterable[str], digits: int) -> dict[str, str]:
    """Return the name in `folder` of each clip, its own id where there is none: ``7.mp4`` or ``7`` is clip 00007."""
    names = names_in(folder, str(folder)) if folder.is_dir() else []
    name_of: dict[str, str] = {}
    for name in names:
        name_of.setdefault(unicodedata.normalize("NFC", padded(without_suffix(name), digits)), name)
    return {i: name_of.get(i, i) for i in ids}


def located(paths: Iterable[str], footage: Path) -> dict[str, str]:
    """Return the path below `footage` of each listed path, itself where nothing else is there.

    A listed path may have the suffix of a video that became a folder of frames, lack the one that its video has, or
    differ in case, or lack the zeros before a number that a spreadsheet removes.
    """
    names_of: dict[str, dict[str, list[str]]] = {}
    found = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in names_of:
            names_of[folder] = _names_by_stem(footage / folder)
        fitting = names_of[folder].get(_stem(name), [])
        alike = [other for other in fitting if unicodedata.normalize("NFC", other) == name] or fitting
        chosen = alike[0] if len(alike) == 1 else name
        found[path] = f"{folder}/{chosen}" if folder else chosen
    return found


def _names_by_stem(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        for path in folder.iterdir():
            found.setdefault(_stem(path.name), []).append(path.name)
    except OSError:  # missing, or not readable: reading a clip says so
        return {}
    return found


def _stem(name: str) -> str:
    stem = unicodedata.normalize("NFC", without_suffix(name)).casefold()
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem


def without_suffix(name: str) -> str:
    """Return a name without the suffix of a video."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in VIDEOS else name


def padded(name: str, digits: int) -> str:
    """Return a clip's name; an integer is padded with zeros to `digits`."""
    return name.zfill(digits) if name.isdecimal() else name


def not_found_message(what: str, candidates: Sequence[str], base: Path, name: str) -> str:
    """Return the message for what `find` did not find, with what is there and the nearest name."""
    names = [other for other in names_in(base, name) if not other.startswith(".")]
    near = nearest(Path(candidates[0]).parts[0], names)
    there = f" There is {_some(names)}." if names and not near else ""
    return f"{name}: root: no {what}: {searched(candidates, base)}.{near}{there}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")


def searched(candidates: Sequence[str], base: Path) -> str:
    """Return where `find` searched, in words."""
    others = f", or {quoted(candidates[1:])}" if len(candidates) > 1 else ""
    return f"looked for {candidates[0]} in {str(base)!r}{others}"


@dataclass(frozen=True)
class ClipsFolder:
    """The folder of a data set's clips."""

    path: Path
    places: Places
    """With the folder, where the user names it."""
    is_official: bool
    """Whether it has the place that the authors of the data set give it."""


def clips_folder(
    places: Places,
    candidates: Mapping[V, Sequence[str]],
    version: V,
    official: Sequence[str],
    name: str,
    *,
    clips_root: str,
    is_needed: bool,
) -> ClipsFolder:
    """Return the folder of the clips of one version.

    Args:
        places: Where the data set may read.
        candidates: Folders by version, the official one first.
        version: The requested version.
        official: The folders that the authors' own archive has.
        name: The data set's component.
        clips_root: The folder that the user names; empty to look for it.
        is_needed: Whether the folder must exist; otherwise the official one is returned if there is none.

    Raises:
        InputError: No folder of this version exists; the message names a version that does, and what is there.
    """
    root = places.root
    if clips_root:
        named = Path(clips_root).expanduser().absolute()
        path = named if not is_needed else named_path(clips_root, places, f"{name}: clips_root")
        return ClipsFolder(_unpacked(path), places.adding(path), is_official=False)
    for candidate in candidates[version]:
        if folder := find(root, [candidate], places):
            return ClipsFolder(folder, places, candidate in official)
    if not is_needed:
        return ClipsFolder(root / candidates[version][0], places, is_official=True)
    others = [(other, folder) for other in candidates if (folder := find(root, candidates[other], places))]
    if not others:
        missing = not_found_message("clips", candidates[version], root, name)
        raise InputError(f"{missing} clips_root = '…' names their folder.")
    there = " ".join(f"There is {places.name(folder)}: version = {other!r}." for other, folder in others)
    raise InputError(f"{name}: root: no clips: {searched(candidates[version], root)}. {there}")
