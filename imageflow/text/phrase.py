"""Sentences of ours with values in them, which a page can say in its language. Pure.

The English text is the message with its values filled in; a catalogue knows the message. So a sentence stands once, where it is
made, and nothing has to recognise it later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from imageflow.text.instant import iso

Translated = Callable[[str, str | None, int], str]
"""A message, its plural if it has one, and the number that decides, to the message in a language."""


class Phrase(NamedTuple):
    """A message with named places (`%(rows)s`) and their values, of which each may be a phrase, or an instant. `plural`: the message where `count`
    is not 1.
    """

    message: str
    values: Mapping[str, Any]
    plural: str | None = None

    def __str__(self) -> str:
        return self.said(_english, _plain)

    def said(self, translated: Translated, shown: Callable[[Any], str]) -> str:
        """The sentence in a language. `shown`: a value that is no phrase, as text."""
        filled = {
            name: value.said(translated, shown) if isinstance(value, Phrase) else shown(value)
            for name, value in self.values.items()
        }
        return translated(self.message, self.plural, self.values.get("count", 1)) % filled


def phrase(message: str, /, **values: Any) -> Phrase:
    """A sentence. A percent sign of its own is written twice."""
    return Phrase(message, values)


def counted(one: str, many: str, count: int, /, **values: Any) -> Phrase:
    """A sentence about so many things; `%(count)s` is their number."""
    return Phrase(one, {"count": count, **values}, many)


def joined(parts: Sequence[Any], by: str) -> Phrase:
    """Phrases and other values, one after the other."""
    names = [f"part{number}" for number in range(len(parts))]
    return Phrase(by.join(f"%({name})s" for name in names), dict(zip(names, parts, strict=True)))


def _plain(value: Any) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)


def _english(message: str, plural: str | None, count: int) -> str:
    return message if plural is None or count == 1 else plural
