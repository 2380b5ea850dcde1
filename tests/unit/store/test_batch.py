"""The three encodings of a batch: they all give the records back."""

from __future__ import annotations

import sqlite3

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from imageflow.store.batch import Batch, joined_texts, listed
from imageflow.store.text import clean

TEXTS = (
    some.none() | some.text(some.characters(exclude_categories=("Cs",)), max_size=20) | some.sampled_from(["", "\x1f"])
)
BATCH = Batch("b", alike=("run",), run="text", number="bigint", good="boolean")


def split(joined: str, separator: str, nothing: str) -> list[str | None]:
    """What `(string_to_array(joined, separator, nothing))[2:]` makes of it."""
    return [None if value == nothing else value for value in joined.split(separator)][1:] if joined else []


@given(some.lists(some.lists(TEXTS, min_size=3, max_size=3), max_size=4))
def test_joined_texts_come_apart_again(columns: list[list[str | None]]) -> None:
    """Whatever the texts hold, the marks too, each comes back; None stays None and an empty text an empty text."""
    joined, marks = joined_texts(columns)
    assert [split(text, *marks) for text in joined] == columns


def test_rare_marks() -> None:
    """The usual marks are used where no text has them, others where one has."""
    _, usual = joined_texts([["a", None]])
    assert usual == ("\x1f", "\x1e")
    for text in ("a\x1fb", "a\x1eb"):
        assert all(mark not in text for mark in joined_texts([[text, None]])[1])


def test_no_records() -> None:
    """Columns of no records are empty arrays."""
    values = BATCH.by_column([])
    assert not BATCH.compact(values)
    given_ = BATCH.arrays(values, compact=False)
    assert (given_["b_run"], given_["b_number"], given_["b_good"]) == ("", "{}", "{}")


def test_numbers_as_an_array_literal() -> None:
    """As PostgreSQL writes them."""
    assert listed([1, None, -3]) == "{1, NULL, -3}"
    assert listed([True, False]) == "{True, False}"


def test_a_batch_is_compact_where_its_columns_are_alike() -> None:
    """A column that is expected to be alike is one value if it is in all records, and an array if it is not once."""
    same, other = BATCH.by_column([("r", 1, True), ("r", 2, False)]), BATCH.by_column([("r", 1, True), ("s", 2, False)])
    assert (BATCH.compact(same), BATCH.compact(other)) == (True, False)
    assert BATCH.arrays(same, compact=True)["b_run"] == "r"
    assert BATCH.arrays(other, compact=False)["b_run"] == "\x1fr\x1fs"
    assert "unnest(CAST(CAST(:b_number" in BATCH.source(postgresql=True, compact=True)
    assert "unnest((string_to_array(CAST(:b_run" in BATCH.source(postgresql=True, compact=False)


@given(some.lists(some.tuples(TEXTS, some.none() | some.integers(-(2**63), 2**63 - 1), some.booleans()), max_size=4))
def test_sqlite_reads_the_records(records: list[tuple[str | None, int | None, bool]]) -> None:
    """SQLite's encoding gives the records back, in their order."""
    stored = [(clean(text), number, good) for text, number, good in records]
    with sqlite3.connect(":memory:") as connection:
        source = BATCH.source(postgresql=False)
        found = connection.execute(
            f"SELECT run, number, good FROM {source}", {"b": msgspec.json.encode(stored).decode()}
        )
        assert [(text, number, bool(good)) for text, number, good in found] == stored
    connection.close()
