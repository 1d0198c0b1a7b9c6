"""The status of each training in a plan, and the reuse of runs after an edit of the code that changes no number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
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
from study.engine import conductor
from study.engine.accept import acceptable_code, accepted_code, describe_accepted, with_accepted_code
from study.engine.cache import Difference, DifferenceKind, Status, list_trainings
from study.engine.events import JobStarted
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.hashing import code_digest
from study.ledger.record import StudyRecord
from study.records import Epoch, RunSpec
from study.terminal.planned import format_plan, format_totals

REASON = "out of luck"
STUDY = STUDY.replace("trials = 3\n", 'trials = 3\nscope = "study"\n')
SEEDS_ONLY = STUDY.split("[search]")[0]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.file.write_text(STUDY)
    return lab


def carried_out(lab: Lab, record: StudyRecord) -> list[str]:
    """Carry a study out without its report and return the kinds of the jobs that were started."""
    events: list[object] = []
    conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), events.append, FAKE)
    return [event.job.kind for event in events if isinstance(event, JobStarted)]


Planned = list[tuple[Status, tuple[Difference, ...]]]

CACHED, NEW = (Status.CACHED, ()), (Status.NEW, ())


def planned(lab: Lab, record: StudyRecord) -> Planned:
    trainings = list_trainings(lab.ledger.with_decisions(record), lab.ledger).decided
    return [(training.status, training.differences) for training in trainings]


def new(*differences: Difference) -> tuple[Status, tuple[Difference, ...]]:
    return Status.NEW, differences


def changed(key: str, value: object, earlier: object) -> Difference:
    return Difference(DifferenceKind.VALUE, key, value, earlier)


def changed_code(*modules: str) -> Difference:
    return Difference(DifferenceKind.CODE, modules=modules)


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
    assert planned(lab, record) == [NEW] * 6
    carried_out(lab, record)
    assert planned(lab, record) == [CACHED] * 6
    assert planned(lab, lab.record("train.lr=0.002")) == [new(changed("train.lr", 0.002, 0.001))] * 6


def test_changed_code_is_named_by_its_file(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    record = lab.record()
    carried_out(lab, record)
    network, splitters = "study.tasks.clips.nets.ifdd.network", "study.tasks.clips.nets.ifdd.splitters"
    assert planned(lab, edited(record, splitters)) == [new(changed_code(splitters))] * 6
    after = edited(record, splitters, network)
    assert planned(lab, after) == [new(changed_code(network, splitters))] * 6
    for file in (lab.ledger.root / "code").iterdir():
        file.unlink()
    assert planned(lab, after)[0] == new(changed_code())


def test_other_data_are_named_and_a_changed_data_set_only_once(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    record = lab.record()
    carried_out(lab, record)
    others = tuple(replace(v, template=replace(v.template, data_digest="x")) for v in record.variants)
    assert planned(lab, replace(record, variants=others))[0] == new(Difference(DifferenceKind.DATA))
    assert planned(lab, lab.record("base.dataset.test_clips=21"))[0] == new(
        changed("dataset.test_clips", 21, 14)
    )


def test_another_component_is_one_difference_and_not_one_for_each_of_its_parameters(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    lab.file.write_text(SEEDS_ONLY.replace('["even-odd", "issm"]', '["even-odd", "top-k"]'))
    assert planned(lab, lab.record()) == [CACHED] * 3 + [new(changed("splitter", "top-k", "even-odd"))] * 3


def test_more_seeds_and_more_trials_need_no_reason(lab: Lab) -> None:
    carried_out(lab, lab.record())
    lab.file.write_text(STUDY.replace("repetitions = 3", "repetitions = 4"))
    assert planned(lab, lab.record()) == ([CACHED] * 6 + [NEW]) * 2


def test_a_plan_names_three_differences_and_counts_the_others(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    changes = ["train.lr=0.002", "train.epochs=3", "train.ema=0.5", "train.batch_size=8", "train.mixup=0.1"]
    record = lab.record(*changes)
    assert planned(lab, record)[0] == new(
        changed("train.batch_size", 8, 32),
        changed("train.ema", 0.5, 0.0),
        changed("train.epochs", 3, 2),
        changed("train.lr", 0.002, 0.001),
        changed("train.mixup", 0.1, 0.0),
    )
    text = format_plan(record, list_trainings(record, lab.ledger))
    assert re.search(r"epochs\b.* 3, was 2\b.* 2 more", text)
    assert "was 0.001" not in text


def test_a_parameter_added_later_is_named_with_its_legacy_default(lab: Lab) -> None:
    lab.file.write_text(SEEDS_ONLY)
    carried_out(lab, lab.record())
    for request in lab.ledger.root.glob("runs/*/run.json"):
        written = json.loads(request.read_text())
        del written["config"]["train"]["fit"], written["legacy"], written["of"], written["checksum"]
        request.write_text(json.dumps(written))
    assert planned(lab, lab.record("train.fit=train+val"))[0] == new(
        changed("train.fit", "train+val", "train")
    )


def test_unfinished_and_failed_trainings_differ_from_new_ones(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study.testing.fake as fake

    lab.file.write_text(SEEDS_ONLY.replace("epochs = 2", "epochs = 5"))
    record = lab.record()
    runs = [training.job.run for training in list_trainings(record, lab.ledger).decided]
    lab.ledger.begin(runs[0])
    history = [asdict(Epoch(n, 1.0, 1e-3, {"war": 0.5, "uar": 0.5}, 1.0)) for n in (1, 2, 3)]
    (lab.ledger.run_folder(runs[0]) / "history.json").write_text(json.dumps(history))
    lab.ledger.begin(runs[1])
    trainings = list_trainings(record, lab.ledger).decided
    assert [(training.status, training.epoch) for training in trainings][:3] == [
        (Status.UNFINISHED, 3),
        (Status.UNFINISHED, 0),
        (Status.NEW, 0),
    ]

    def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
        raise RuntimeError(REASON)

    monkeypatch.setattr(fake, "train", train)
    carried_out(lab, record)
    trainings = list_trainings(record, lab.ledger).decided
    assert {(training.status, training.failure) for training in trainings} == {
        (Status.FAILED, f"RuntimeError: {REASON}")
    }


def test_the_next_trials_are_listed_and_the_trainings_that_depend_on_them_are_counted(
    lab: Lab,
) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    found = list_trainings(lab.ledger.with_decisions(after), lab.ledger)
    code = changed_code("study.tasks.clips.nets.ifdd.network")
    assert [(training.status, training.differences) for training in found.decided] == [new(code)] * 6
    assert [left.trainings for left in found.undetermined] == [3, 3]
    assert "6 new, 6 not yet" in format_totals(found)


def test_runs_of_another_study_are_known_to_be_cached_before_this_one_ever_ran(lab: Lab) -> None:
    carried_out(lab, lab.record())
    before = sorted(lab.ledger.root.rglob("*"))
    longer = lab.record("repetitions=4")
    assert longer.name != lab.record().name
    assert planned(lab, longer) == ([CACHED] * 6 + [NEW]) * 2
    assert sorted(lab.ledger.root.rglob("*")) == before, "plan only shows"


def test_trainings_of_one_status_share_a_line(lab: Lab) -> None:
    carried_out(lab, lab.record())
    lab.file.write_text(STUDY.replace("repetitions = 3", "repetitions = 5"))
    record = lab.ledger.with_decisions(lab.record())
    text = format_plan(record, list_trainings(record, lab.ledger))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert sum("trial 1 to 3 " in line and line.endswith(" cached") for line in lines) == 2
    assert sum("repetition 1 to 3 " in line and line.endswith(" cached") for line in lines) == 2
    assert sum("repetition 4 to 5 " in line and line.endswith(" new") for line in lines) == 2
    assert format_totals(list_trainings(record, lab.ledger)) == "12 cached, 4 new"


def test_the_pruner_is_shown_with_its_epochs_or_with_why_it_does_nothing(lab: Lab) -> None:
    def text(*changes: str) -> str:
        record = lab.record('search.pruner="halving"', *changes)
        return format_plan(record, list_trainings(record, lab.ledger))

    idle = "nothing is pruned"
    pruned = text("search.generation=2", "search.reduction=2", "train.epochs=8")
    assert idle not in pruned
    assert re.search(r"trial 3 .* epoch 1, 2, 4 .* 1/2", pruned)
    late = text("search.generation=2", "search.first_epoch=2")
    assert idle in late
    assert re.search(r"search\.first_epoch is 2\b.* 2 epochs", late)


def test_a_large_ledger_is_read_once_and_only_where_something_is_new(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = lab.record()
    carried_out(lab, record)
    reads: list[str] = []
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        reads.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
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
    found = acceptable_code(after, lab.ledger)
    assert found == dict(zip(after.code, record.code, strict=True))
    kept = with_accepted_code(after, found)
    assert not carried_out(lab, kept)
    report = findings(gather(lab.ledger, lab.ledger.study("s")))
    sentences = [limit.sentence for limit in report.limits if limit.code == LimitCode.ACCEPTED_CODE]
    assert len(sentences) == len(found) == 2
    assert any({"readouts.py", "splitters.py"} <= set(sentence.split()) for sentence in sentences)


def test_code_is_accepted_once_for_all_later_commands(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    assert not accepted_code(after, lab.ledger), "it has not been accepted yet"
    lab.ledger.accept_code(acceptable_code(after, lab.ledger))
    kept = with_accepted_code(after, accepted_code(after, lab.ledger))
    assert not carried_out(lab, kept)
    middle = replace(edited(record, "study.tasks.clips.nets.ifdd.readouts"), repetitions=9)
    carried_out(lab, middle)
    assert not acceptable_code(kept, lab.ledger), "it is not accepted a second time, for other code"
    later = edited(record, "study.tasks.clips.nets.ifdd.network", "study.tasks.clips.nets.ifdd.readouts")
    assert not accepted_code(later, lab.ledger), "the next edit is to be declared anew"


def test_runs_that_differ_in_more_than_code_are_not_kept(lab: Lab) -> None:
    carried_out(lab, lab.record())
    after = edited(lab.record("train.lr=0.002", "train.epochs=3"), "study.tasks.clips.nets.ifdd.network")
    assert not acceptable_code(after, lab.ledger)


def test_runs_of_another_study_are_kept_too(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = replace(edited(record, "study.tasks.clips.nets.ifdd.network"), name="other")
    kept = with_accepted_code(after, acceptable_code(after, lab.ledger))
    assert "train" not in carried_out(lab, kept)


def test_a_study_begun_anew_by_mistake_can_still_keep_its_older_runs(lab: Lab) -> None:
    record = lab.record()
    carried_out(lab, record)
    after = edited(record, "study.tasks.clips.nets.ifdd.network")
    lab.ledger.save(after)
    assert acceptable_code(after, lab.ledger) == dict(zip(after.code, record.code, strict=True))
    carried_out(lab, after)
    assert not acceptable_code(after, lab.ledger), "today's code has as many runs by now"


def test_code_is_accepted_for_one_earlier_code_only(lab: Lab) -> None:
    lab.ledger.accept_code({"new": "old"})
    lab.ledger.accept_code({"new": "old"})
    assert lab.ledger.accepted_code() == {"new": "old"}
    with pytest.raises(InputError, match=r"accepted\.json: .* new .* old\b"):
        lab.ledger.accept_code({"new": "older"})


def test_an_unknown_change_is_called_so(lab: Lab) -> None:
    record = lab.record()
    assert "unknown changes" in next(
        describe_accepted(record, lab.ledger, {next(iter(record.code)): "0" * 16})
    )


# The command line

PARTS = '''
from study.config.registry import component
@component("splitter")
def mine(features):
    """A splitter."""
    return {}
'''


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study.toml").write_text(
        'components = ["l3_parts"]\nledger = "ledger"\ndevice = "cpu"\nmlflow = "off"\n'
    )
    (tmp_path / "l3_parts.py").write_text(PARTS.format(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(root: Path, text: str) -> None:
    (root / "l3_parts.py").write_text(text)
    hashing.is_installed.cache_clear()


def command(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_plan_and_accept_code_from_the_command_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(root)
    planned_anew, accepted = "6 cached, 3 new, 3 not yet determined", "changes in l3_parts.py"
    edit(root, PARTS.format(1))
    lab.file.write_text(STUDY.replace('"issm"', '"mine"'))
    record = study.load(lab.file).record
    carried_out(lab, record)
    assert " 12: 12 cached\n" in command("plan", "s.toml")

    edit(root, "# a word\n" + PARTS.format("1  # another"))
    assert " 12: 12 cached\n" in command("plan", "s.toml")

    edit(root, PARTS.format(2))
    output = command("plan", "s.toml")
    assert re.search(r"new: .*l3_parts\.py", output)
    assert planned_anew in output

    written = {path: path.read_bytes() for path in lab.ledger.root.rglob("*") if path.is_file()}
    kept = command("plan", "s.toml", "--accept-code")
    assert accepted in kept
    assert " 12: 12 cached\n" in kept
    assert {path: path.read_bytes() for path in lab.ledger.root.rglob("*") if path.is_file()} == written
    assert planned_anew in command("plan", "s.toml"), "plan only shows"

    monkeypatch.setattr("study.executors.local.LocalWorkers", lambda *_: InProcess())
    output = command("run", "s.toml", "--accept-code")
    assert "12 of 12 cached" in output
    assert accepted in output
    assert accepted in (root / "reports" / "s" / "report.md").read_text()
    assert " 12: 12 cached\n" in command("plan", "s.toml")
    again = command("plan", "s.toml", "--accept-code")
    assert accepted not in again
    assert "no runs" in again
