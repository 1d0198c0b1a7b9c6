import importlib.metadata
import platform
from typing import Any

import pytest

from study.machine import machine


def test_the_record_has_versions_and_hardware() -> None:
    record = machine()
    assert record.versions["torch"] == importlib.metadata.version("torch")
    assert record.versions["python"] == platform.python_version()
    assert record.hardware
    assert record.platform == platform.platform()


def test_a_missing_package_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: Any) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert machine().versions["fvcore"] == "not installed"
