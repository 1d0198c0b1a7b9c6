"""A network disk that shows files of other hosts late, as the attribute cache of NFS does."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


@contextmanager
def lagging(root: Path, lag_s: float, early: str = ".end") -> Iterator[None]:
    """Hide from this process what other processes have written below a folder in the last seconds.

    A replaced file reappears late too, and a folder lists only what appears. Files whose name ends in `early` appear in
    a tenth of the time: the message that all is written comes before what was written. What this process writes it
    sees at once.
    """
    own: set[str] = set()
    real = {
        name: getattr(os, name)
        for name in ("stat", "listdir", "scandir", "replace", "rename", "link", "open")
    }
    real_open, prefix = io.open, str(root.resolve())

    def is_hidden(path: Any) -> bool:
        if isinstance(path, int):
            return False
        name = os.path.abspath(os.fspath(path))  # noqa: PTH100  # resolving would read the disk
        if not isinstance(name, str) or not name.startswith(prefix) or name in own:
            return False
        try:
            status = real["stat"](name)
        except OSError:
            return False
        is_file = (status.st_mode & 0o170000) == 0o100000
        return is_file and time.time() - status.st_ctime < lag_s * (0.1 if name.endswith(early) else 1.0)

    def seen(path: Any) -> None:
        if is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))

    def stat(path: Any, *args: Any, **kwargs: Any) -> Any:
        seen(path)
        return real["stat"](path, *args, **kwargs)

    def listdir(path: Any = ".") -> Any:
        return [name for name in real["listdir"](path) if not is_hidden(os.path.join(path, name))]  # noqa: PTH118

    class Entries:
        def __init__(self, path: Any) -> None:
            self._found = real["scandir"](path)

        def __enter__(self) -> Entries:
            return self

        def __exit__(self, *_: object) -> None:
            self._found.close()

        def __iter__(self) -> Iterator[Any]:
            return (entry for entry in self._found if not is_hidden(entry.path))

        def close(self) -> None:
            self._found.close()

    def writing(name: str) -> Any:
        def write(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            own.add(os.path.abspath(os.fspath(target)))  # noqa: PTH100
            return real[name](source, target, *args, **kwargs)

        return write

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+") and not isinstance(path, int):
            own.add(os.path.abspath(os.fspath(path)))  # noqa: PTH100
        seen(path)
        return real_open(path, mode, *args, **kwargs)

    def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> Any:
        if flags & os.O_CREAT:
            own.add(os.path.abspath(os.fspath(path)))  # noqa: PTH100
        return real["open"](path, flags, *args, **kwargs)

    changed: dict[str, Any] = {"stat": stat, "listdir": listdir, "scandir": Entries, "open": os_open}
    changed |= {name: writing(name) for name in ("replace", "rename", "link")}
    with patch.multiple(os, **changed), patch("io.open", opened), patch("builtins.open", opened):
        yield
