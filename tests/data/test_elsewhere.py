"""Data that lie in several places: what the user names is read, what a list or a link smuggles in is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.trees import clips, dfew, ferv39k, mafw

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.tasks.clips.data.check.checks import check_dataset
from study.tasks.clips.data.sets.mafw import CLASSES

SMALL = {"frames": 2, "size": 16, "validation_share": 0.4}


def write_clip(folder: Path, level: int) -> None:
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(folder / f"{number}.png")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A root of twelve clips and a table of them."""
    rows = []
    for n in range(12):
        write_clip(tmp_path / f"root/c{n}", 10 * n)
        rows.append(f"c{n},{'ab'[n % 2]},{'test' if n > 7 else 'train'}\n")
    write(tmp_path / "root/clips.csv", "path,label,split\n" + "".join(rows))
    return tmp_path / "root"


def move_out(path: Path) -> Path:
    """Move a clip or frame to a folder beside the root, and link to it."""
    target = next(p for p in path.parents if p.name == "root").parent / "faces" / path.name
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    path.symlink_to(target)
    return target.parent


@pytest.mark.parametrize("what", ["c9", "c9/2.png", "clips.csv"])
def test_a_link_out_of_the_root_is_read_where_its_folder_is_allowed(own: Path, what: str) -> None:
    before = clips(root=str(own), **SMALL)
    levels = before.split("test").read(np.arange(4), None)
    digest = before.digest
    faces = move_out(own / what)
    with pytest.raises(InputError, match="leads out of the root") as caught:
        assert clips(root=str(own), **SMALL).digest
    assert f"allow = ['{faces if what == 'clips.csv' else faces / what if what == 'c9' else faces}']" in str(
        caught.value
    )
    for allow in ([str(faces)], str(faces), [str(own.parent / "other"), str(faces)]):
        (own.parent / "other").mkdir(exist_ok=True)
        data = clips(root=str(own), allow=allow, **SMALL)
        assert data.digest == digest
        np.testing.assert_array_equal(data.split("test").read(np.arange(4), None), levels)


def test_an_allowed_folder_is_not_the_way_to_another(own: Path) -> None:
    move_out(own / "c9")
    (own.parent / "faces2").mkdir()
    with pytest.raises(InputError, match="leads out of the root"):
        assert clips(root=str(own), allow=[str(own.parent / "faces2")], **SMALL).digest
    with pytest.raises(InputError, match="there is no folder"):
        clips(root=str(own), allow=[str(own.parent / "face")], **SMALL)


@pytest.mark.parametrize(
    "row", ["/etc/c,b,test", "../faces/c9,b,test", "c1/../../faces/c9,b,test", "~/c9,b,test"]
)
def test_what_a_table_smuggles_in_is_refused_however_much_is_allowed(own: Path, row: str) -> None:
    faces = move_out(own / "c9")
    table = own / "clips.csv"
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(InputError) as caught:
        clips(root=str(own), allow=[str(faces)], **SMALL)
    assert f"{table}:14: " in str(caught.value)
    assert len(clips(root=str(own), allow=[str(faces)], skip_bad=True, **SMALL).skipped) == 1


def test_an_absolute_path_below_an_allowed_folder_is_the_clip_there(own: Path) -> None:
    faces = own.parent / "faces"
    faces.mkdir()
    (own / "c9").rename(faces / "c9")
    before = (own / "clips.csv").read_text()
    (own / "clips.csv").write_text(before.replace("c9,", f"{faces}/c9,").replace("c3,", f"{own}/c3,"))
    data = clips(root=str(own), allow=[str(faces)], **SMALL)
    assert data.split("test").ids == ("c8", "c9", "c10", "c11")
    assert data.split("test").read(np.array([1]), None)[0, 0, 0, 0, 0] == 90


def test_ones_own_table_beside_a_read_only_data_set_is_read(own: Path) -> None:
    mine = own.parent / "mine" / "lists.csv"
    digest = clips(root=str(own), **SMALL).digest
    mine.parent.mkdir()
    (own / "clips.csv").rename(mine)
    data = clips(root=str(own), table=str(mine), **SMALL)
    assert data.digest == digest
    mine.write_text(mine.read_text() + "c77,b,test\n")
    report = check_dataset(
        "clips", lambda skip: clips(root=str(own), table=str(mine), skip_bad=skip, **SMALL)
    )
    (missing,) = [item for remark in report.remarks if remark.is_mistake for item in remark.items]
    assert missing.where == f"{mine}:14"
    skipped = clips(root=str(own), table=str(mine), skip_bad=True, **SMALL)
    elsewhere = own.parent / "other" / "lists.csv"
    elsewhere.parent.mkdir()
    mine.rename(elsewhere)
    assert clips(root=str(own), table=str(elsewhere), skip_bad=True, **SMALL).digest == skipped.digest


@pytest.mark.parametrize(
    "beginning", ["/home/alice/faces/", "/mnt/data1/x/y/", "D:\\faces\\", "//server/share/"]
)
def test_paths_of_another_machine_are_found_by_their_ends(own: Path, beginning: str) -> None:
    digest = clips(root=str(own), **SMALL).digest
    table = own / "clips.csv"
    header, *rows = table.read_text().split()
    table.write_text("\n".join([header, *(beginning + row for row in rows)]) + "\n")
    assert clips(root=str(own), **SMALL).digest == digest


def test_a_named_beginning_of_paths_is_left_out(own: Path) -> None:
    digest = clips(root=str(own), **SMALL).digest
    table = own / "clips.csv"
    header, *rows = table.read_text().split()
    table.write_text("\n".join([header, *("faces/v2/" + row for row in rows)]) + "\n")
    assert clips(root=str(own), path_prefix="faces/v2", **SMALL).digest == digest
    table.write_text(
        "\n".join([header, *("/x/elsewhere/" + row.replace(",", "z,", 1) for row in rows)]) + "\n"
    )
    with pytest.raises(InputError, match="path_prefix"):
        clips(root=str(own), **SMALL)


STUDY = """
title = "t"
question = "Does it?"
[base]
dataset = { name = "clips", frames = 2, size = 32, validation_share = 0.4 }
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
[search]
trials = 0
"""


def test_a_study_and_study_toml_name_the_places_and_a_worker_gets_them(own: Path) -> None:
    faces, lab = move_out(own / "c9"), own.parent
    (own / "clips.csv").rename(lab / "mine.csv")
    places = f'root = "root"\ntable = "mine.csv"\nallow = ["{faces}", "{lab / "mine.csv"}"]\n'
    write(lab / "study.toml", "[data.clips]\n" + places)
    write(lab / "s.toml", STUDY)
    spec = load(lab / "s.toml")
    with pytest.raises(InputError, match="no folder"):
        compile_study(spec, settings(lab), "cpu")
    places = f'root = "root"\ntable = "mine.csv"\nallow = ["faces", "{lab}"]\n'
    write(lab / "study.toml", "[data.clips]\n" + places)
    record = compile_study(load(lab / "s.toml"), settings(lab), "cpu")
    run = record.variants[0].run({}, 1, None)
    assert clips(**{k: v for k, v in run.table("dataset").items() if k != "name"}).digest == run.data_digest
    write(lab / "study.toml", '[data.clips]\nroot = "root"\ntable = "mine.csv"\n')
    allow = json.dumps([str(faces)])
    again = compile_study(load(lab / "s.toml", None, [f"base.dataset.allow={allow}"]), settings(lab), "cpu")
    assert again.variants[0].run({}, 1, None).id == run.id


def test_lists_and_clips_of_dfew_may_lie_in_two_other_places(tmp_path: Path) -> None:
    for n in range(14):
        write_clip(tmp_path / f"disk/cut/{n:05d}", 10 * n)
    rows = [f"{n:05d},{n % 7 + 1}\n" for n in range(14)]
    write(tmp_path / "mine/train(single-labeled)/set_1.csv", "video_name,label\n" + "".join(rows[:7]))
    write(tmp_path / "mine/test(single-labeled)/set_1.csv", "video_name,label\n" + "".join(rows[7:]))
    (tmp_path / "DFEW").mkdir()
    data = dfew(
        root=str(tmp_path / "DFEW"),
        folds=[1],
        version="original",
        split_root=str(tmp_path / "mine"),
        clips_root=str(tmp_path / "disk/cut"),
        **SMALL,
    )
    assert data.split("test", 1).read(np.arange(7), None)[:, 0, 0, 0, 0].tolist() == list(range(70, 140, 10))
    assert "not a folder of DFEW's own" in data.facts["version"]
    assert str(tmp_path) not in json.dumps(dict(data.facts))


def test_lists_and_clips_of_ferv39k_may_lie_in_two_other_places(tmp_path: Path) -> None:
    names = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
    paths = [f"Action/{names[n % 7]}/{n:04d}" for n in range(14)]
    for n, path in enumerate(paths):
        write_clip(tmp_path / "disk" / path, 10 * n)
    for part, of in (("train", paths[:7]), ("test", paths[7:])):
        write(tmp_path / f"mine/{part}_All.csv", "".join(f"{path} {path.split('/')[1]}\n" for path in of))
    (tmp_path / "FERV39k").mkdir()
    places = {"split_root": str(tmp_path / "mine"), "clips_root": str(tmp_path / "disk")}
    data = ferv39k(root=str(tmp_path / "FERV39k"), **places, **SMALL)
    assert data.split("test").read(np.arange(7), None)[:, 0, 0, 0, 0].tolist() == list(range(70, 140, 10))
    with pytest.raises(InputError, match="split_root = "):
        ferv39k(root=str(tmp_path / "FERV39k"), clips_root=places["clips_root"])


def test_clips_of_mafw_in_a_place_of_ones_own_are_not_called_the_official_faces(tmp_path: Path) -> None:
    for n in range(22):
        write_clip(tmp_path / f"crops/{n:05d}", 10 * n)
    rows = [f"{n:05d}.mp4 {CLASSES[n % 11]}\n" for n in range(22)]
    write(tmp_path / "MAFW/split/single/no_caption/set_1/train.txt", "".join(rows[:11]))
    write(tmp_path / "MAFW/split/single/no_caption/set_1/test.txt", "".join(rows[11:]))
    data = mafw(root=str(tmp_path / "MAFW"), folds=[1], clips_root=str(tmp_path / "crops"), **SMALL)
    assert len(data.split("test", 1).ids) == 11
    assert data.facts["version"] == "faces: clips in crops, not known to be the official ones"
    (tmp_path / "crops").rename(tmp_path / "MAFW/clips_faces")
    data = mafw(root=str(tmp_path / "MAFW"), folds=[1], version="crops", **SMALL)
    assert data.facts["version"].endswith("not the official face frames")
    with pytest.raises(InputError, match="version = 'crops'"):
        mafw(root=str(tmp_path / "MAFW"), folds=[1], **SMALL)
