import importlib.metadata
import platform

from study.machine import machine


def test_the_record_tells_versions_and_hardware():
    record = machine()
    assert record.versions["torch"] == importlib.metadata.version("torch")
    assert record.versions["python"] == platform.python_version()
    assert record.hardware
    assert record.platform == platform.platform()


def test_a_package_that_is_missing_is_said_to_be(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert machine().versions["fvcore"] == "not installed"
