"""Measures of what the parts do, from the study file to the report, with a trainer that trains nothing."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats
from support.lab import STUDY, Lab

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import jobs
from study.engine.events import JobEnded, JobStarted
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.records import Epoch, RunSpec
from study.testing import fake

REASON = "out of luck"
MEASURES_HEAD = "## Measures of the networks' parts"
MEASURES = '[analysis]\nmeasures = ["frames", "probes"]\n[[claims]]'


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def ask(lab: Lab, measures: str = MEASURES) -> None:
    lab.file.write_text(STUDY.replace("[[claims]]", measures))


def started(lab: Lab) -> list[str]:
    return [event.job.kind for event in lab.events if isinstance(event, JobStarted)]


def test_a_study_s_measures_are_in_its_report(lab: Lab) -> None:
    ask(lab)
    found = lab.run()
    assert started(lab).count("measure") == 2 * 3 * 2
    assert [measure.name for measure in found.measures] == ["frames", "probes"]
    for variant in found.variants:
        values = [run.score / 100 + 0.02 for run in variant.repetitions]  # the fake measure is the fake score
        interval = variant.measures["frames/area"]
        half = stats.t.ppf(0.975, 2) * statistics.stdev(values) / 3**0.5
        assert interval.mean == pytest.approx(statistics.fmean(values))
        assert interval.high is not None
        assert interval.high - interval.mean == pytest.approx(half)
        assert variant.chance == {"frames/area": 0.5, "probes/area": 0.5}
    report = (lab.folder / "reports" / "s" / "report.md").read_text()
    section = report.partition(MEASURES_HEAD)[2].partition("\n## ")[0]
    assert "a made-up share" in section
    assert re.search(r"\| issm \| 0\.\d\d \[0\.\d\d, 0\.\d\d\] \| – \|", section)
    assert re.search(r"\| \*chance\* \| 0\.50 \| – \|", section)
    (missing,) = re.findall(r"^- issm: (.*)", section, re.MULTILINE)
    for part in ("frames/depth", "probes/depth", "in 3 runs", "no depth"):
        assert part in missing


def test_measures_asked_for_after_the_end_train_nothing(lab: Lab) -> None:
    before = lab.run()
    assert MEASURES_HEAD not in (lab.folder / "reports" / "s" / "report.md").read_text()
    ask(lab)
    after = lab.run()
    assert set(started(lab)) == {"measure"}
    assert [v.repetitions for v in after.variants] == [v.repetitions for v in before.variants]
    lab.run()
    assert not started(lab)


def test_a_failed_measure_is_told_and_takes_no_result_away(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fake.measure

    def measure(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], key: str) -> None:
        if key.startswith("probes@"):
            raise RuntimeError(REASON)
        real(spec, folder, on_epoch, key)

    monkeypatch.setattr(fake, "measure", measure)
    ask(lab)
    found = lab.run()
    failed = [event for event in lab.events if isinstance(event, JobEnded) and event.state.failure]
    assert len(failed) == 6
    assert all(variant.score is not None for variant in found.variants)
    assert not found.variants[0].failures
    assert "frames/area" in found.variants[0].measures
    (line,) = (line for line in found.variants[0].unmeasured if line.startswith("probes "))
    assert "3 runs" in line
    assert line.endswith(f": RuntimeError: {REASON}")

    record = lab.ledger.with_decisions(lab.record())
    assert len(jobs.failures(record, lab.ledger)) == 6
    lab.run()
    assert not started(lab), "a failed measure is not tried again by itself"
    monkeypatch.setattr(fake, "measure", real)
    jobs.remove_failures(record, lab.ledger)
    lab.run()
    assert started(lab) == ["measure"] * 6
    assert not jobs.failures(record, lab.ledger)


def test_asking_for_measures_changes_no_run_s_identity(lab: Lab) -> None:
    before = lab.record()
    ask(lab)
    assert [variant.template.id for variant in lab.record().variants] == [
        variant.template.id for variant in before.variants
    ]


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ('["frame"]', "analysis.measures: unknown measure 'frame'. Did you mean 'frames'?"),
        ('["probes", "probes"]', "analysis.measures: names 'probes' twice"),
        ('"probes"', "analysis.measures: must be a list"),
    ],
)
def test_a_mistake_in_the_measures_is_said_before_anything_is_written(
    lab: Lab, given: str, phrase: str
) -> None:
    ask(lab, f"[analysis]\nmeasures = {given}\n[[claims]]")
    with pytest.raises(InputError, match=re.escape(phrase)):
        lab.record()


def test_frames_need_a_data_set_that_knows_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blind_faces.py").write_text(
        "from dataclasses import replace\n"
        "from study.tasks.clips.data.faces.dataset import Faces, faces\n"
        "from study.config.registry import component\n"
        "class Blind(Faces):\n"
        "    def split(self, name, fold=None):\n"
        "        return replace(super().split(name, fold), truth={})\n"
        '@component("dataset")\n'
        "def blind_faces():\n"
        "    '''Faces without truth.'''\n"
        "    return Blind(**vars(faces(train_clips=70, validation_clips=14, test_clips=14)))\n"
    )
    (tmp_path / "study.toml").write_text('components = ["blind_faces"]\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    lab = Lab(tmp_path)
    blind = STUDY.replace(
        '"faces"\ntrain_clips = 70\nvalidation_clips = 14\ntest_clips = 14', '"blind-faces"'
    )
    lab.file.write_text(blind.replace("[[claims]]", MEASURES))

    def requested() -> StudyRecord:
        project = settings(tmp_path)
        return compile_study(load(lab.file), project, "cpu")

    with pytest.raises(InputError, match=r"measure 'frames' .*'intensity'"):
        requested()
    lab.file.write_text(lab.file.read_text().replace('"frames", ', ""))
    assert [measure.partition("@")[0] for measure in requested().measures] == ["probes"]
