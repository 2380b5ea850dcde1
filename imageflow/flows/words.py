"""Words for the problems of a flow file: names, values and near misses in messages. Pure.

The value of a secret, or of what should have been one, is in no message.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from imageflow import pointer

SHOWN_CHARS = 60
PLAIN_REFUSED = "must be a secret: {env: NAME} or {file: PATH}; plain text is refused"


def shown(value: object) -> str:
    """A value in a message: short, printable."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def name(key: object) -> str:
    return key if isinstance(key, str) and len(key) <= SHOWN_CHARS and key.isprintable() else shown(key)


def join(path: str, key: object) -> str:
    return f"{path}.{name(key)}" if path else name(key)


def kind(value: object) -> str:
    """What a value is, without saying what is in it."""
    return pointer.describe(value, fields=False)


def near(word: object, words: Iterable[str]) -> str | None:
    if not isinstance(word, str) or len(word) > SHOWN_CHARS:
        return None
    return next(iter(difflib.get_close_matches(word.lower(), words, n=1)), None)


def no_choice(value: object, choices: list[str]) -> str:
    if not isinstance(value, str):
        return f"must be {' | '.join(choices)}, not {kind(value)}"
    meant = near(value, choices)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"must be {' | '.join(choices)}, not {shown(value)}{hint}"
