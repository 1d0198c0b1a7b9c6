"""What `study plan` says of every training, and runs that are kept after a harmless edit of the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.lab import FAKE, STUDY, Lab
from typer.testing import CliRunner

import study
from study import hashing
from study.analysis.analyse import findings
from study.analysis.findings import LimitCode
from study.analysis.gather import gather
from study.cli.app import app
from study.cli.display import describe_plan
from study.config.study import load
from study.engine import conductor
from study.engine.accept import acceptable, accepted, keep
from study.engine.accept import described as told
from study.engine.cache import list_trainings
from study.engine.events import Started
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.hashing import code_digest
from study.ledger.record import StudyRecord
from study.records import Epoch

SEEDS_ONLY = STUDY.split("[search]")[0]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def carried_out(lab: Lab, record: StudyRecord) -> list[str]:
    """Carry a study out without its report and return the kinds of the jobs that were started."""
    events: list[object] = []
    conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), events.append, FAKE)
    return [event.job.kind for event in events if isinstance(event, Started)]


def planned(lab: Lab, record: StudyRecord) -> list[tuple[str, str]]:
    listed = list_trainings(lab.ledger.with_suggestions(record), lab.ledger).decided
    return [(training.status, training.reason) for training in listed]


def edited(record: StudyRecord, *modules: str) -> StudyRecord:
    """Return the record as it would be after an edit of some modules."""
    new: dict[str, str] = {}
    code: dict[str, Mapping[str, str]] = {}
    for old, parts in record.code.items():
        after = {name: f"edited {part}" if name in modules else part for name, part in parts.items()}
        new[old] = code_digest(after)
        code[new[old]] = after
    return replace(
        record,
        code=code,
        variants=tuple(
            replace(v, template=replace(v.template, code_digest=new[v.template.code_digest]))
            for v in record.variants
        ),
        measures=tuple(f"{name}@{new[c]}" for name, _, c in (m.partition("@") for m in record.measures)),
    )


# Why a training is not cached


def test_a_changed_setting_is_named_with_both_values(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    record = lab.record()
    assert planned(lab, record) == [("new", "")] * 6
    carried_out(lab, record)
    assert planned(lab, record) == [("cached", "")] * 6
    assert planned(lab, lab.record("train.lr=0.002")) == [("new", "train.lr differs: 0.002, was 0.001")] * 6


def test_changed_code_is_named_by_its_file(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.splitters")
    assert planned(lab, after) == [("new", "code of splitters.py changed")] * 6
    after = edited(record, "study.tasks.clips.nets.ifdd.splitters", "study.tasks.clips.nets.ifdd.network")
    assert planned(lab, after) == [("new", "code of network.py and splitters.py changed")] * 6
    for file in (lab.ledger.root / "code").iterdir():
        file.unlink()
    assert planned(lab, after)[0] == ("new", "code differs (of which files, is not known)")


def test_other_data_are_named_and_a_changed_data_set_only_once(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    record = lab.record()
    carried_out(lab, record)
    others = tuple(replace(v, template=replace(v.template, data_digest="x")) for v in record.variants)
    assert planned(lab, replace(record, variants=others))[0] == ("new", "the data differ")
    assert planned(lab, lab.record("base.dataset.test_clips=21"))[0] == (
        "new",
        "dataset.test_clips differs: 21, was 14",
    )


def test_another_component_is_one_difference_and_not_one_for_each_of_its_parameters(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    lab.file.write_text(SEEDS_ONLY.replace('["even-odd", "issm"]', '["even-odd", "top-k"]'))
    assert (
        planned(lab, lab.record())
        == [("cached", "")] * 3 + [("new", "splitter differs: top-k, was even-odd")] * 3
    )


def test_more_seeds_and_more_trials_need_no_reason(lab: Lab) -> None:
    carried_out(lab, lab.record())
    lab.file.write_text(STUDY.replace("repetitions = 3", "repetitions = 4"))
    assert planned(lab, lab.record()) == ([("cached", "")] * 6 + [("new", "")]) * 2


def test_no_more_than_three_differences_are_told(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    changes = ["train.lr=0.002", "train.epochs=3", "train.ema=0.5", "train.batch_size=8", "train.mixup=0.1"]
    assert planned(lab, lab.record(*changes))[0][1] == (
        "train.batch_size differs: 8, was 32; train.ema differs: 0.5, was 0.0; train.epochs differs: 3, was 2, "
        "and 2 more"
    )


def test_a_parameter_added_later_is_told_with_the_value_that_runs_before_it_had(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    for request in lab.ledger.root.glob("runs/*/run.json"):
        written = json.loads(request.read_text())
        del written["config"]["train"]["fit"], written["legacy"]
        request.write_text(json.dumps(written))
    assert planned(lab, lab.record("train.fit=train+val"))[0] == (
        "new",
        "train.fit differs: train+val, was train",
    )


def test_unfinished_and_failed_trainings_are_told_apart_from_new_ones(lab: Lab, monkeypatch) -> None:
    import study.testing.fake as fake

    lab.file.write_text(SEEDS_ONLY.replace("epochs = 2", "epochs = 5"))
    record = lab.record()
    runs = [training.job.run for training in list_trainings(record, lab.ledger).decided]
    lab.ledger.begin(runs[0])
    history = [asdict(Epoch(n, 1.0, 1e-3, {"war": 0.5, "uar": 0.5}, 1.0)) for n in (1, 2, 3)]
    (lab.ledger.run_folder(runs[0]) / "history.json").write_text(json.dumps(history))
    lab.ledger.begin(runs[1])
    assert [status for status, _ in planned(lab, record)][:3] == [
        "unfinished, 3 of 5 epochs done",
        "unfinished, 0 of 5 epochs done",
        "new",
    ]

    def train(spec, folder, on_epoch, rule=""):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(fake, "train", train)
    carried_out(lab, record)
    assert {status for status, _ in planned(lab, record)} == {"failed: RuntimeError: out of luck"}


def test_the_trials_that_come_next_are_told_one_by_one_and_what_follows_from_them_is_counted(
    lab: Lab,
) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    found = list_trainings(lab.ledger.with_suggestions(after), lab.ledger)
    assert [(listed.status, listed.reason) for listed in found.decided] == [
        ("new", "code of network.py changed")
    ] * 6
    assert [left.trainings for left in found.undetermined] == [3, 3]
    assert "3 not yet determined: they follow from the search" in describe_plan(after, load(lab.file), found)


def test_runs_of_another_study_are_known_to_be_cached_before_this_one_ever_ran(lab: Lab) -> None:
    carried_out(lab, lab.record())
    before = sorted(lab.ledger.root.rglob("*"))
    longer = lab.record("repetitions=4")
    assert longer.name != lab.record().name
    assert planned(lab, longer) == ([("cached", "")] * 6 + [("new", "")]) * 2
    assert sorted(lab.ledger.root.rglob("*")) == before, "plan only shows"


def test_trainings_of_one_fate_are_told_in_one_line(lab: Lab) -> None:
    carried_out(lab, lab.record())
    lab.file.write_text(STUDY.replace("repetitions = 3", "repetitions = 5"))
    record = lab.ledger.with_suggestions(lab.record())
    text = describe_plan(record, load(lab.file), list_trainings(record, lab.ledger))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines.count("trial 1 to 3 cached") == lines.count("seed 1 to 3 cached") == 2
    assert lines.count("seed 4 to 5 new") == 2
    assert "In all: 12 cached, 4 new" in lines


def test_the_pruner_is_shown_with_its_epochs_or_with_why_it_does_nothing(lab: Lab) -> None:
    def text(*changes: str) -> str:
        record = lab.record('search.pruner="halving"', *changes)
        return describe_plan(record, load(lab.file, None, changes), list_trainings(record, lab.ledger))

    assert "from trial 3 on, a trial goes on after epoch 1, 2, 4 if it is in the best 1/2" in text(
        "search.generation=2", "search.reduction=2", "train.epochs=8"
    )
    assert "nothing is pruned: the first generation never is" in text()
    assert "nothing is pruned: search.first_epoch is 2, and there are 2 epochs" in text(
        "search.generation=2", "search.first_epoch=2"
    )


def test_a_large_ledger_is_read_once_and_only_where_something_is_new(lab: Lab, monkeypatch) -> None:
    record = lab.record()
    carried_out(lab, record)
    reads: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path.name) or real(path))
    planned(lab, record)
    assert "run.json" not in reads
    lab.file.write_text(
        STUDY.replace("repetitions = 3", "repetitions = 9").replace("trials = 3", "trials = 4")
    )
    planned(lab, lab.record("train.ema=0.5"))
    assert reads.count("run.json") == 12


# Code that changed and changes nothing


def test_accepted_code_keeps_every_run_test_measure_and_profile(lab: Lab) -> None:
    lab.file.write_text(STUDY + '[analysis]\nmeasures = ["frames"]\n')
    record = lab.record()
    carried_out(lab, record)
    modules = [
        "study.tasks.clips.nets.ifdd.splitters",
        "study.tasks.clips.nets.ifdd.readouts",
        "study.tasks.clips.measures.disentanglement",
    ]
    after = edited(record, *modules)
    found = acceptable(after, lab.ledger)
    assert found == dict(zip(after.code, record.code, strict=True))
    kept = keep(after, found)
    assert not carried_out(lab, kept)
    report = findings(gather(lab.ledger, lab.ledger.study("s")))
    sentences = [limit.sentence for limit in report.limits if limit.code == LimitCode.ACCEPTED_CODE]
    assert len(sentences) == len(found) == 2
    assert any("readouts.py and splitters.py" in sentence for sentence in sentences)


def test_code_once_accepted_needs_no_second_word(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    assert not accepted(after, lab.ledger), "nobody has said so yet"
    lab.ledger.accept(acceptable(after, lab.ledger))
    kept = keep(after, accepted(after, lab.ledger))
    assert not carried_out(lab, kept)
    middle = replace(edited(record, "study.tasks.clips.nets.ifdd.readouts"), repetitions=9)
    carried_out(lab, middle)
    assert not acceptable(kept, lab.ledger), "it is not accepted a second time, for other code"
    later = edited(record, "study.tasks.clips.nets.ifdd.network", "study.tasks.clips.nets.ifdd.readouts")
    assert not accepted(later, lab.ledger), "the next edit is to be declared anew"


def test_runs_that_differ_in_more_than_code_are_not_kept(lab: Lab) -> None:
    carried_out(lab, lab.record())
    after = edited(lab.record("train.lr=0.002", "train.epochs=3"), "study.tasks.clips.nets.ifdd.network")
    assert not acceptable(after, lab.ledger)


def test_runs_of_another_study_are_kept_too(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = replace(edited(record, "study.tasks.clips.nets.ifdd.network"), name="other")
    kept = keep(after, acceptable(after, lab.ledger))
    assert "train" not in carried_out(lab, kept)


def test_a_study_begun_anew_by_mistake_can_still_keep_its_older_runs(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    lab.ledger.save(after)
    assert acceptable(after, lab.ledger) == dict(zip(after.code, record.code, strict=True))
    carried_out(lab, after)
    assert not acceptable(after, lab.ledger), "today's code has as many runs by now"


def test_one_code_stands_for_one_other_only(lab: Lab) -> None:
    lab.ledger.accept({"new": "old"})
    lab.ledger.accept({"new": "old"})
    assert lab.ledger.accepted() == {"new": "old"}
    with pytest.raises(InputError, match=r"accepted\.json: code new already stands for the runs of code old"):
        lab.ledger.accept({"new": "older"})


def test_an_unknown_change_is_called_so(lab: Lab) -> None:
    record = lab.record()
    assert "changes that are not known" in next(told(record, lab.ledger, {next(iter(record.code)): "0" * 16}))


# The command line

PARTS = '''
from study.config.registry import component
@component("splitter")
def mine(features):
    """A splitter."""
    return {}
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "study.toml").write_text(
        'components = ["l3_parts"]\nledger = "ledger"\ndevice = "cpu"\nmlflow = "off"\n'
    )
    (tmp_path / "l3_parts.py").write_text(PARTS.format(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(home: Path, text: str) -> None:
    (home / "l3_parts.py").write_text(text)
    hashing.is_installed.cache_clear()


def say(*words: str) -> str:
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_plan_and_accept_code_from_the_command_line(home: Path, monkeypatch) -> None:
    lab = Lab(home)
    edit(home, PARTS.format(1))
    lab.file.write_text(STUDY.replace('"issm"', '"mine"'))
    record = study.load(lab.file).record
    carried_out(lab, record)
    assert "In all: 12 cached\n" in say("plan", "s.toml")

    edit(home, "# a word\n" + PARTS.format("1  # another"))
    assert "In all: 12 cached\n" in say("plan", "s.toml")

    edit(home, PARTS.format(2))
    changed = say("plan", "s.toml")
    assert "new: code of l3_parts.py changed" in changed
    assert "In all: 6 cached, 3 new, 3 not yet determined" in changed

    written = {path: path.read_bytes() for path in lab.ledger.root.rglob("*") if path.is_file()}
    kept = say("plan", "s.toml", "--accept-code")
    assert "changes in l3_parts.py are taken to change no number" in kept
    assert "In all: 12 cached\n" in kept
    assert {path: path.read_bytes() for path in lab.ledger.root.rglob("*") if path.is_file()} == written
    assert "In all: 6 cached, 3 new, 3 not yet determined" in say("plan", "s.toml"), "plan only shows"

    monkeypatch.setattr("study.executors.local.LocalWorkers", lambda *_: InProcess())
    said = say("run", "s.toml", "--accept-code")
    assert "12 of 12 cached" in said
    assert "changes in l3_parts.py are taken to change no number" in said
    assert "changes in l3_parts.py are taken" in (home / "reports" / "s" / "report.md").read_text()
    assert "In all: 12 cached\n" in say("plan", "s.toml")
    assert "There are no runs of other code to keep." in say("plan", "s.toml", "--accept-code")
