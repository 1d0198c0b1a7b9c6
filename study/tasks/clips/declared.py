"""Reads the declarations of all components, so that processes forked afterwards find them read."""

from study.config.registry import Registry

Registry()
