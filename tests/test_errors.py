"""What a message to a person never shows."""

from __future__ import annotations

import pytest

from study.errors import InputError, quoted, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/a", "http://me:…@host:5000/a"),
        ("postgresql+psycopg2://me:sec%40ret@host/db", "postgresql+psycopg2://me:…@host/db"),
        ("mysql://me:sec@ret/with:signs@host/db", "mysql://me:…@host/db"),
        ("redis://:secret@host/0", "redis://:…@host/0"),
        ("https://secret@host/me/project.mlflow", "https://…@host/me/project.mlflow"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=…"),
        ("https://host/x?access_token=secret&page=2", "https://host/x?access_token=…&page=2"),
        ("at 'http://me:secret@host': refused", "at 'http://me:…@host': refused"),
        ("sqlite:////home/x/study.db", "sqlite:////home/x/study.db"),
        ("http://localhost:5000/#/experiments", "http://localhost:5000/#/experiments"),
        ("issm@smoke: see http://host:1/a", "issm@smoke: see http://host:1/a"),
    ],
)
def test_passwords_and_tokens_of_urls_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert str(InputError(text)) == shown


def test_a_message_lists_the_first_of_very_many_names() -> None:
    assert quoted(["a", "b", "c"]) == "'a', 'b' or 'c'"
    text = quoted(range(3000))
    assert text.startswith("0, 1, 2, ")
    assert text.endswith("… (2900 more)")
