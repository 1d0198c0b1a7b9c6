from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from study import hashing
from study.hashing import canonical_json, code_digest, code_parts, digest, seed_of


def test_key_order_does_not_change_a_digest() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()[:16]


def test_what_is_no_number_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_seeds_differ_by_every_part_and_fit_64_bits() -> None:
    seeds = {seed_of("a", n) for n in range(200)} | {seed_of("b", n) for n in range(200)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def digest_of(modules: list[str]) -> str:
    return code_digest(code_parts(modules))


@pytest.fixture
def package(tmp_path: Path, monkeypatch):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / "lab" / f"{name}.py").write_text(text)
        hashing.is_installed.cache_clear()
        for module in [module for module in sys.modules if module.startswith("lab")]:
            del sys.modules[module]

    return write


def test_comments_docstrings_and_layout_are_not_code(package) -> None:
    package("part", 'def f(x):\n    """Say."""\n    return x + 1\n')
    before = digest_of(["lab.part"])
    package("part", "# a comment\ndef f( x ):\n    return (x +\n 1)\n")
    assert digest_of(["lab.part"]) == before
    package("part", "def f(x):\n    return x + 2\n")
    assert digest_of(["lab.part"]) != before


def test_a_change_in_an_imported_module_of_the_same_package_counts(package) -> None:
    package("below", "A = 1\n")
    package("part", "from lab.below import A\n")
    before = digest_of(["lab.part"])
    package("other", "B = 1\n")
    assert digest_of(["lab.part"]) == before
    package("below", "A = 2\n")
    assert digest_of(["lab.part"]) != before
    package("part", "from . import below\n")
    relative = digest_of(["lab.part"])
    package("below", "A = 3\n")
    assert digest_of(["lab.part"]) != relative


def test_a_change_in_a_module_beside_a_user_s_own_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def digest_with(helper: str) -> str:
        (tmp_path / "my_helper.py").write_text(helper)
        (tmp_path / "my_part.py").write_text("import json\nimport numpy\nfrom my_helper import A\n")
        hashing.is_installed.cache_clear()
        return digest_of(["my_part"])

    assert digest_with("A = 1\n") == digest_with("A = 1  # one\n") != digest_with("A = 2\n")


def test_what_declarations_are_written_with_is_not_code_and_what_the_body_does_is(package) -> None:
    text = (
        "from study.config.registry import component\n"
        '@component("splitter")\n'
        "def mine(features, *, a: int = 1):\n"
        "    if a:\n"
        "        raise ValueError('no')\n"
        "    return features\n"
    )
    package("part", text)
    before = digest_of(["lab.part"])
    more = text.replace("import component", "import Legacy, component").replace(
        "a: int = 1", "a: int = 1, b: int = 2"
    )
    package("part", more.replace("'no'", "'never'"))
    assert digest_of(["lab.part"]) == before
    package("part", text.replace("if a", "if not a"))
    assert digest_of(["lab.part"]) != before


def test_a_moved_module_is_the_same_code(package) -> None:
    package("part", "A = 1\n")
    before = digest_of(["lab.part"])
    package("other", "A = 1\n")
    assert digest_of(["lab.other"]) == before
