"""Every key that a user may write is explained on the page of its file or table."""

from __future__ import annotations

import re

import pytest
from support.documents import REPOSITORY

from study.config.settings import _Keys
from study.config.study import Analysis, Claim, Design, Search, StudyKeys
from study.tasks.options import Options, _MetricKeys

PAGES = {
    "ledger.md": (_Keys,),
    "studies.md": (StudyKeys, Search, Analysis, Claim, Design),
    "own_training.md": (Options, _MetricKeys),
}
NO_KEYS = {"parameters"}
"""Fields that hold other keys."""


@pytest.mark.parametrize("page", PAGES)
def test_every_key_is_on_its_page(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text()
    keys = {
        key
        for table in PAGES[page]
        for key, field in table.__dataclass_fields__.items()
        if "Internal" not in str(field.type) and key not in NO_KEYS
    }
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", text)) == []
