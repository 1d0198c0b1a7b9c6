"""Edits that must train again: code and data that a part reaches without a plain import statement."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from study import hashing
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.followed import UnfollowedKind
from study.hashing import code_of

IMPORTED = {
    "a folder without __init__.py": ("from loose.blocks import B", "loose/blocks.py"),
    "a nested folder without __init__.py": ("import loose.deep.blocks", "loose/deep/blocks.py"),
    "a relative import": ("from . import sibling", "lab/sibling.py"),
    "a relative import of a name": ("from .sibling import A", "lab/sibling.py"),
    "a star import": ("from late import *", "late.py"),
    "a conditional import": ("try:\n    import nowhere\nexcept ImportError:\n    import late", "late.py"),
    "an import in a function": ("def f():\n    import late", "late.py"),
    "import_module": ("import importlib\nm = importlib.import_module('late')", "late.py"),
    "import_module of a constant": (
        "from importlib import import_module\nN = 'late'\nm = import_module(N)",
        "late.py",
    ),
    "import_module in a loop": (
        "import importlib\nfor n in ('late', 'json'):\n    importlib.import_module(n)",
        "late.py",
    ),
    "a relative import_module": (
        "import importlib\nm = importlib.import_module('.sibling', package=__package__)",
        "lab/sibling.py",
    ),
    "an f-string": (
        "import importlib\nm = importlib.import_module(f'{__package__}.sibling')",
        "lab/sibling.py",
    ),
    "__import__": ("m = __import__('late')", "late.py"),
    "run_module": ("import runpy\nrunpy.run_module('late')", "late.py"),
    "run_path": (
        "import runpy\nfrom pathlib import Path\nrunpy.run_path(str(Path(__file__).parent / 'by_path.py'))",
        "lab/by_path.py",
    ),
    "spec_from_file_location": (
        "import importlib.util, os\n"
        "s = importlib.util.spec_from_file_location('x', os.path.join(os.path.dirname(__file__), 'by_path.py'))",
        "lab/by_path.py",
    ),
    "what a module by path imports": (
        "import runpy\nfrom pathlib import Path\nrunpy.run_path(Path(__file__).with_name('imports_late.py'))",
        "late.py",
    ),
    "exec": (
        "from pathlib import Path\nHERE = Path(__file__).resolve().parent\nexec((HERE / 'by_path.py').read_text())",
        "lab/by_path.py",
    ),
    "a folder on sys.path": (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parents[1] / 'extra'))\n"
        "import only_there",
        "extra/only_there.py",
    ),
}
READ = {
    "np.load": "import numpy as np\nfrom pathlib import Path\nT = np.load(Path(__file__).parent / 'table.bin')",
    "open": "import os\nT = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'table.bin'), 'rb').read()",
    "read_bytes": "from pathlib import Path\nT = Path(__file__).with_name('table.bin').read_bytes()",
    "a named folder": (
        "from pathlib import Path\nimport torch\nHERE = Path(__file__).parent\nNAME = 'table'\n"
        "def f():\n    return torch.load(HERE / f'{NAME}.bin')"
    ),
    "json.load": (
        "import json\nfrom pathlib import Path\nT = json.load(open(str(Path(__file__).parent) + '/table.bin'))"
    ),
    "resources": "from importlib.resources import files\nT = (files(__package__) / 'table.bin').read_bytes()",
    "a library's reader": (
        "import lib\nfrom pathlib import Path\nT = lib.anything(Path(__file__).parent.joinpath('table.bin'))"
    ),
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the module path with modules that a part may reach."""
    for name in ("late.py", "loose/blocks.py", "loose/deep/blocks.py", "extra/only_there.py", "lab/__init__.py",
                 "lab/sibling.py", "lab/by_path.py", "lab/table.bin"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("A = 1\n")
    (tmp_path / "lab" / "imports_late.py").write_text("import late\n")
    monkeypatch.syspath_prepend(tmp_path)
    hashing.is_installed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lab", "loose", "late")]:
        del sys.modules[name]
    return tmp_path


def digests_after_an_edit(tree: Path, source: str, edited: str) -> tuple[object, object]:
    (tree / "lab" / "part.py").write_text(source + "\n")
    before = code_of(["lab.part"])
    assert not before.unfollowed
    (tree / edited).write_text("A = 22\n")
    return sorted(before.parts.values()), sorted(code_of(["lab.part"]).parts.values())


@pytest.mark.parametrize("way", IMPORTED)
def test_an_edit_of_code_counts_however_it_is_imported(tree: Path, way: str) -> None:
    before, after = digests_after_an_edit(tree, *IMPORTED[way])
    assert before != after


@pytest.mark.parametrize("way", READ)
def test_an_edit_of_a_data_file_beside_a_module_counts(tree: Path, way: str) -> None:
    before, after = digests_after_an_edit(tree, READ[way], "lab/table.bin")
    assert before != after


def test_a_file_that_is_read_relative_to_the_working_folder_counts(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    before, after = digests_after_an_edit(
        tree, "import numpy as np\nT = np.load('lab/table.bin')", "lab/table.bin"
    )
    assert before != after


def test_comments_in_a_module_by_path_and_other_files_do_not_count(tree: Path) -> None:
    source, _ = IMPORTED["run_path"]
    (tree / "lab" / "part.py").write_text(source + "\n")
    before = code_of(["lab.part"]).parts
    (tree / "lab" / "by_path.py").write_text("# one\nA = 1\n")
    (tree / "lab" / "table.bin").write_text("other")
    assert code_of(["lab.part"]).parts == before


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import importlib\ndef f(name):\n    return importlib.import_module(name)", UnfollowedKind.MODULE),
        ("import os\nm = __import__(os.environ['X'])", UnfollowedKind.MODULE),
        ("import runpy, os\nrunpy.run_path(os.environ['X'])", UnfollowedKind.CODE),
        ("def f(text):\n    exec(text)", UnfollowedKind.CODE),
        ("import sys, os\nsys.path.append(os.environ['X'])", UnfollowedKind.PATH),
        ("import os\nT = open(os.environ['X'])", UnfollowedKind.FILE),
        (
            "from pathlib import Path\nT = [p.read_text() for p in Path(__file__).parent.glob('*.txt')]",
            UnfollowedKind.FILE,
        ),
        ("def f(path):\n    return open(path)", UnfollowedKind.ARGUMENT),
    ],
)
def test_what_cannot_be_followed_is_listed_with_its_line(
    tree: Path, source: str, kind: UnfollowedKind
) -> None:
    (tree / "lab" / "part.py").write_text("\n" + source + "\n")
    (found,) = code_of(["lab.part"]).unfollowed
    assert found.kind == kind
    line = int(found.where.removeprefix("part.py:"))
    assert found.call.split("(")[0] in ["", *source.splitlines()][line - 1]


@pytest.mark.parametrize(
    "source",
    [
        "def f(path):\n    open(path, 'w').write('')",
        "import json\ndef f(text):\n    return json.loads(text)",
        "with open(__file__ + '/../table.bin') as file:\n    exec(file.read())",
        "def f(items):\n    items.append(1)\n    items.insert(0, 2)",
    ],
)
def test_what_reads_nothing_unknown_is_not_listed(tree: Path, source: str) -> None:
    (tree / "lab" / "part.py").write_text(source + "\n")
    assert not code_of(["lab.part"]).unfollowed


def test_files_of_built_in_parts_are_not_searched() -> None:
    assert not code_of(["study.tasks.clips.published"]).unfollowed
    assert list(code_of(["study.tasks.clips.published"]).parts) == ["study.tasks.clips.published"]


CLIPS = """
title = "t"
question = "Does it?"
[task]
name = "clips"
sources = ["tables/*.csv"]
[base]
dataset = { name = "faces", train_clips = 40, validation_clips = 14, test_clips = 14 }
backbone = "conv-tiny"
[train]
epochs = 1
[design]
kind = "one-factor"
reference = { "train.ema" = 0.0 }
[factors]
"train.ema" = [0.0, 0.9]
"""


def test_files_that_a_study_of_clips_lists_as_sources_count(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        (tmp_path / "s.toml").write_text(text)
        record = compile_study(load(tmp_path / "s.toml"), settings(tmp_path), "cpu")
        return [variant.run({}, 1, None).id for variant in record.variants]

    (tmp_path / "study.toml").write_text("")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("1")
    plain = ids(CLIPS.replace('sources = ["tables/*.csv"]', ""))
    listed = ids(CLIPS)
    (tmp_path / "tables" / "a.csv").write_text("2")
    edited = ids(CLIPS)
    assert not {*plain} & {*listed}
    assert not {*listed} & {*edited}
    assert ids(CLIPS.replace('sources = ["tables/*.csv"]', "sources = []")) == plain
    with pytest.raises(InputError, match=r"task\.sources: 'tabels/\*' matches no file"):
        ids(CLIPS.replace("tables/*.csv", "tabels/*"))
