"""Texts that any database takes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from imageflow.store.text import clean, from_json, keyed, to_json

ANY_TEXT = some.text(some.characters(exclude_categories=()), max_size=2000)


@given(ANY_TEXT)
def test_clean_text_can_be_stored(text: str) -> None:
    """No NUL, no lone surrogate, and what was clean stays as it was."""
    stored = clean(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert clean(stored) == stored
    if "\0" not in text and text.isascii():
        assert stored == text


@given(ANY_TEXT)
def test_keys_are_short(text: str) -> None:
    """A key fits in an index, and a short text is its own key."""
    key = keyed(text)
    assert len(key.encode()) <= 500
    if len(clean(text).encode()) <= 500:
        assert key == clean(text)


def test_long_texts_have_keys_of_their_own() -> None:
    """Long texts that begin alike do not share a key."""
    assert keyed("x" * 10_000) != keyed("x" * 10_001)


@pytest.mark.slow
@given(
    some.recursive(
        some.none() | some.integers() | ANY_TEXT, lambda inner: some.dictionaries(ANY_TEXT, inner) | some.lists(inner)
    )
)
def test_any_value_becomes_json(value: object) -> None:
    """JSON that can be stored and read again, whatever texts are in it."""
    text = to_json(value)
    assert "\0" not in text
    assert text.encode()
    assert msgspec.json.encode(from_json(text))


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a\ud800": ["b\udc00", ("c", 1)]}, {"a\ufffd": ["b\ufffd", ["c", 1]]}),
        (object(), {"not_json": "object"}),
        (nested(100_000), {"not_json": "list"}),
    ],
    ids=["half of a character", "no JSON", "too deep"],
)
def test_what_does_not_fit_is_replaced(value: object, stored: object) -> None:
    """Half characters become U+FFFD wherever they stand; what cannot be written at all is named by its type."""
    assert from_json(to_json(value)) == stored


def test_what_was_stored_too_deep_is_said_to_be() -> None:
    """A text that another version wrote may be nested deeper than can be read here."""
    assert from_json("[" * 100_000 + "]" * 100_000) == {"not_json": "nested too deeply"}
