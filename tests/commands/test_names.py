"""Names of studies and presets: one name is one study, a name is never a path, and gc frees nothing on a doubt."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.command_lab import STUDY, CommandLab
from support.mirror_store import study_record

from study.config.study import load, name_of
from study.engine import gc
from study.errors import InputError
from study.names import as_printed
from study.tracking.mlflow_values import entity_names, flat

PRESETS = [
    "../../../x",
    "a/b",
    "a\\b",
    "..",
    ".x",
    "-x",
    "",
    " ",
    "a@b",
    "a\tb",
    "con",
    "COM1.x",
    "x" * 101,
    "a.",
]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("command", ["run", "plan", "report", "status", "stop"])
def test_a_preset_that_is_no_folders_name_is_refused(lab: CommandLab, command: str, preset: str) -> None:
    if command in ("run", "plan"):  # the file itself is refused, whatever preset is asked for
        lab.file.write_text(STUDY + f"[preset.{json.dumps(preset)}]\n'train.epochs' = 1\n")
        assert "preset." in lab.input_error(command, "s.toml").replace("preset:", "preset.")
        lab.file.write_text(STUDY)
    lab.input_error(command, "s.toml", f"--preset={preset}")
    assert not (lab.folder / ".study").exists()
    assert not (lab.folder / "reports").exists()


@pytest.mark.parametrize(
    "name", ["-s", ".s", "s@smoke", "a:b", "NUL", "x" * 101, "é" * 101, "a\u200bb", "a\nb", "s "]
)
def test_a_file_whose_name_is_no_folders_is_refused(lab: CommandLab, name: str) -> None:
    file = lab.folder / f"{name}.toml"
    file.write_text(STUDY)
    with pytest.raises(InputError, match="the name"):
        load(file)


@pytest.mark.parametrize(
    "name", ["issm", "a b", "Größe", "実験", "50% of #1 + x=2", "v1.2", "x" * 100, "_x", "issm,2"]
)
def test_usual_names_are_allowed(lab: CommandLab, name: str) -> None:
    file = lab.folder / f"{name}.toml"
    file.write_text(STUDY)
    assert load(file).name == name


def test_a_ledger_is_left_by_no_name(finished: CommandLab) -> None:
    for name in ("../runs", "..", "a/../s", "."):
        with pytest.raises(InputError):
            finished.ledger.study(name)


def test_composed_and_decomposed_names_are_one_study(lab: CommandLab) -> None:
    composed, decomposed = (Path(unicodedata.normalize(form, "Größe") + ".toml") for form in ("NFC", "NFD"))
    assert str(composed) != str(decomposed)
    assert name_of(composed) == name_of(decomposed)


def test_the_order_of_changes_counts_only_where_one_replaces_the_other() -> None:
    file = Path("s.toml")
    assert name_of(file, None, ["a=1", "b=2"]) == name_of(file, None, ["b=2", "a=1"])
    assert name_of(file, None, ["a=1", "a=2"]) != name_of(file, None, ["a=2", "a=1"])
    assert name_of(file, None, ["t.a=1", "t={a = 2}"]) != name_of(file, None, ["t={a = 2}", "t.a=1"])


# Two studies of one name


def other(lab: CommandLab, folder: str = "other") -> Path:
    file = lab.folder / folder / "s.toml"
    file.parent.mkdir()
    file.write_text(STUDY.replace('"Does it?"', '"Does another thing?"'))
    return file


@pytest.mark.parametrize("command", ["run", "plan", "report", "status"])
@pytest.mark.parametrize("earlier", ["kept", "gone"])
def test_another_study_of_the_same_name_is_refused(finished: CommandLab, command: str, earlier: str) -> None:
    other(finished)
    record = (finished.ledger.root / "studies" / "s" / "study.json").read_bytes()
    if earlier == "gone":
        finished.file.unlink()
        if command == "status":
            return  # it reads no study file
    message = finished.input_error(command, "other/s.toml")
    assert "has a study 's' already, of the file s.toml in" in message
    assert (finished.ledger.root / "studies" / "s" / "study.json").read_bytes() == record


def test_a_study_that_was_moved_is_the_same(finished: CommandLab) -> None:
    (finished.folder / "moved").mkdir()
    file = finished.file.rename(finished.folder / "moved" / "s.toml")
    assert "10 cached" in finished.invoke("plan", "moved/s.toml")
    finished.file = file
    assert finished.run(write=None)


def test_projects_that_share_a_ledger_keep_their_studies(
    finished: CommandLab, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished.folder / "ablations").mkdir()
    elsewhere = tmp_path_factory.mktemp("bob")
    (elsewhere / "study.toml").write_text(f'mlflow = "off"\nledger = "{finished.ledger.root}"\n')
    (elsewhere / "s.toml").write_text(finished.file.read_text())
    monkeypatch.chdir(elsewhere)
    assert "10 cached" in finished.invoke("plan", "s.toml"), "another checkout asks the same"
    (elsewhere / "s.toml").write_text(STUDY.replace('"Does it?"', '"Does another thing?"'))
    assert "has a study 's' already" in finished.input_error("plan", "s.toml")


@pytest.mark.parametrize("name", ["S", "ｓ", "ſ"])
def test_names_that_a_file_system_takes_for_one_are_refused(finished: CommandLab, name: str) -> None:
    (finished.folder / f"{name}.toml").write_text(STUDY)
    assert "not every file system" in finished.input_error("plan", f"{name}.toml")


# Names that would be printed or stored as one


def test_labels_that_look_the_same_are_refused(lab: CommandLab) -> None:
    for one, two in (
        ("a  b", "a b"),
        ("é", "e\u0301"),
        ("a\u2212b", "a-b"),
    ):
        levels = f'[{{ value = "even-odd", label = "{one}" }}, {{ value = "issm", label = "{two}" }}]'
        lab.file.write_text(STUDY.replace('["even-odd", "issm"]', levels))
        assert "a label twice" in lab.input_error("plan", "s.toml")
    assert as_printed("ISSM") != as_printed("issm")


def test_names_that_mlflow_takes_for_one_stay_apart() -> None:
    names = entity_names(["acc(top)", "acc[top]", "acc_top_", "loss", "x" * 300 + "a", "x" * 300 + "b"])
    assert len(set(names.values())) == 6
    assert (names["acc_top_"], names["loss"]) == ("acc_top_", "loss")
    assert entity_names(["top-k(k=3)"]) == {"top-k(k=3)": "top-k_k_3_"}
    assert sorted(flat({"a+b": 1, "a": {"b": 3}, "a*b": 2}).values()) == ["1", "2", "3"]


def test_two_projects_have_two_experiments(tmp_path: Path) -> None:
    from study.tracking.mlflow_store import ExperimentStore

    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    for project in ("alice", "bob", "alice"):
        (tmp_path / project / "issm").mkdir(parents=True, exist_ok=True)
        ExperimentStore(uri, tmp_path / project, study_record("issm"))
    from mlflow import MlflowClient

    experiments = MlflowClient(tracking_uri=uri).search_experiments()
    found = {e.artifact_location: e.name for e in experiments if e.name.startswith("issm")}
    assert sorted(Path(location).parent.name for location in found) == ["alice", "bob"]
    assert found[(tmp_path / "alice" / "issm").as_uri()] == "issm"
    shutil.rmtree(tmp_path / "alice")  # moved: the experiment is the same
    ExperimentStore(uri, tmp_path / "moved", study_record("issm"))
    assert len(MlflowClient(tracking_uri=uri).search_experiments()) == len(experiments)


# gc on a doubt


def runs(lab: CommandLab) -> set[str]:
    return {path.name for path in (lab.ledger.root / "runs").iterdir()}


def spoil_record(lab: CommandLab) -> None:
    record = lab.ledger.root / "studies" / "s" / "study.json"
    record.write_bytes(record.read_bytes()[:100])


def remove_record(lab: CommandLab) -> None:
    (lab.ledger.root / "studies" / "s" / "study.json").unlink()


def newer_record(lab: CommandLab) -> None:
    record = lab.ledger.root / "studies" / "s" / "study.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema": 10_000}) + "\n")


def record_inside_a_path(lab: CommandLab) -> None:
    studies = lab.ledger.root / "studies"
    shutil.move(studies / "s", studies / "t")
    (studies / "s@a").mkdir()
    shutil.move(studies / "t", studies / "s@a" / "b")


def spoil_suggestion(lab: CommandLab) -> None:
    suggestion = next((lab.ledger.root / "studies" / "s" / "suggestions").iterdir())
    suggestion.write_text('{"train.lr": 0.0')


def odd_suggestion(lab: CommandLab) -> None:
    next((lab.ledger.root / "studies" / "s" / "suggestions").iterdir()).write_text("[]\n")


def spoil_trial(lab: CommandLab) -> None:
    trial = next(job for job in lab.trainings() if job.purpose == "search")
    (lab.folder_of(trial) / "result.json").write_text('{"run": ')


@pytest.mark.parametrize(
    "damage",
    [
        spoil_record,
        remove_record,
        newer_record,
        record_inside_a_path,
        spoil_suggestion,
        odd_suggestion,
        spoil_trial,
    ],
)
def test_gc_frees_no_run_that_a_record_it_cannot_read_may_need(finished: CommandLab, damage) -> None:
    before = runs(finished)
    weights = sorted(finished.ledger.root.rglob("weights.safetensors"))
    damage(finished)
    message = finished.input_error("gc", "--unreferenced", "--yes")
    assert "cannot be read" in message
    assert str(finished.ledger.root) in message
    assert runs(finished) == before
    finished.invoke("gc", "--yes")
    assert sorted(finished.ledger.root.rglob("weights.safetensors")) == weights


def test_gc_frees_the_runs_of_a_study_that_was_removed(finished: CommandLab) -> None:
    shutil.rmtree(finished.ledger.root / "studies" / "s")
    found = gc.reclaimable(finished.ledger, unreferenced=True)
    assert len([item for item in found if item.reason is gc.Reason.UNREFERENCED_RUN]) == 10
