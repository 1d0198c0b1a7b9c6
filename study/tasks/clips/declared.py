"""Parses the declarations of all components, so that processes forked afterwards find them parsed."""

from study.config.components.declarations import declarations
from study.tasks.clips.task import COMPONENTS

for _module in COMPONENTS:
    declarations(_module)
