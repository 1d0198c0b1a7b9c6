"""Engines by name: those of the package, those of installed packages, and their options in study.toml."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.small_study import small_study

import study
from study.config.settings import settings
from study.engines import engine
from study.errors import InputError
from study.executors.base import Executor, Work
from study.executors.inprocess import InProcess
from study.executors.local import Local, LocalWorkers


@dataclass(frozen=True)
class Queued:
    """An engine of a user."""

    partition: str = ""
    hours: int = 1

    def executor(self, work: Work) -> Executor:
        assert work.ledger.name == "ledger"
        return InProcess()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("queued", f"{__name__}:Queued", "study.engines")
    before = importlib.metadata.entry_points

    def found(**given: str) -> object:
        return [entry] if given == {"group": "study.engines"} else before(**given)

    monkeypatch.setattr(importlib.metadata, "entry_points", found)


def chosen(folder: Path, name: str, text: str = "", **options: object) -> object:
    (folder / "study.toml").write_text(text)
    return engine(name, settings(folder), options)


def test_an_installed_engine_has_the_options_of_its_table(tmp_path: Path) -> None:
    text = '[engine.queued]\npartition = "short"\nhours = 3'
    assert chosen(tmp_path, "queued", text) == Queued("short", 3)
    assert chosen(tmp_path, "queued", text, hours=4) == Queued("short", 4)
    assert chosen(tmp_path, "local", text) == Local()


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("qeued", "", ("--engine", "'qeued'", "'queued'")),
        ("local", "[engine.qeued]", ("study.toml: engine", "'qeued'", "'queued'")),
        ("queued", '[engine.queued]\npartitoin = "a"', ("engine.queued.partitoin", "'partition'")),
        ("queued", "[engine.queued]\nhours = 1.5", ("engine.queued.hours", "1.5")),
        ("local", "[engine.local]\nworkers = 2", ("engine.local.workers",)),
        ("local", "engine = 3", ("engine", "[engine.ray]")),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(
    tmp_path: Path, name: str, text: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as error:
        chosen(tmp_path, name, text)
    assert [part for part in parts if part not in str(error.value)] == []


def test_a_study_runs_with_the_engine_that_it_is_loaded_with(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(small_study(epochs=1, seeds=1))
    (tmp_path / "study.toml").write_text('device = "cpu"\nworkers = 2\n')

    def executor(name: str) -> Executor:
        loaded = study.load(tmp_path / "s.toml", root=tmp_path, engine=name)
        return loaded._workers(loaded._task())

    assert isinstance(executor("queued"), InProcess)
    local = executor("local")
    assert isinstance(local, LocalWorkers)
    assert local.capacity == 2
    local.close()


def test_a_device_that_only_other_machines_have_is_no_mistake_for_an_engine_that_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text(small_study(epochs=1, seeds=1))
    (tmp_path / "study.toml").write_text('device = "cuda"\n')
    monkeypatch.setattr("study.executors.devices.cuda_devices", tuple)
    loaded = study.load(tmp_path / "s.toml", root=tmp_path, engine="queued")
    assert {variant.template.device for variant in loaded.record.variants} == {"cuda"}
    with pytest.raises(InputError, match="device"):
        study.load(tmp_path / "s.toml", root=tmp_path)
