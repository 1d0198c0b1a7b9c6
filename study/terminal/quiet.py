"""Whether commands show progress; set by the option ``-q`` of the command that runs."""

from __future__ import annotations

from contextvars import ContextVar

IS_QUIET = ContextVar("whether progress is not shown", default=False)
