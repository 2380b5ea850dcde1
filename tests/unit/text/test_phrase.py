"""Sentences with values: English by themselves, another language with its catalogue."""

from datetime import datetime, timedelta, timezone

import pytest

from imageflow.text.phrase import counted, joined, phrase

GERMAN = {
    "by %(who)s": "von %(who)s",
    "a person": "jemandem",
    "1 row put through again": "1 Zeile noch einmal",
    "%(count)s rows put through again": "%(count)s Zeilen noch einmal",
    "100 %% of %(pages)s pages": "100 %% von %(pages)s Seiten",
}


def german(message, plural, count):
    return GERMAN.get(message if plural is None or count == 1 else plural, message)


AGAIN = ("1 row put through again", "%(count)s rows put through again")


@pytest.mark.parametrize(
    ("said", "english", "other"),
    [
        (phrase("by %(who)s", who="ada"), "by ada", "von <ada>"),
        (
            phrase("by %(who)s", who=datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=3)))),
            "by 2026-01-31T09:00:00.000000Z",
            "von <2026-01-31 12:00:00+03:00>",
        ),
        (phrase("by %(who)s", who=phrase("a person")), "by a person", "von jemandem"),
        (phrase("by %(who)s", who="100 %(who)s"), "by 100 %(who)s", "von <100 %(who)s>"),
        (counted(*AGAIN, 1), "1 row put through again", "1 Zeile noch einmal"),
        (counted(*AGAIN, 0), "0 rows put through again", "<0> Zeilen noch einmal"),
        (counted(*AGAIN, 7), "7 rows put through again", "<7> Zeilen noch einmal"),
        (phrase("100 %% of %(pages)s pages", pages=3), "100 % of 3 pages", "100 % von <3> Seiten"),
        (joined([phrase("a person"), "x", 3], "; "), "a person; x; 3", "jemandem; <x>; <3>"),
        (joined([phrase("a person")], ", "), "a person", "jemandem"),
    ],
)
def test_what_is_said(said, english, other):
    """Values are shown as the page wants them, phrases in its language; a percent sign in a value is no place."""
    assert str(said) == english
    assert said.said(german, lambda value: f"<{value}>") == other
