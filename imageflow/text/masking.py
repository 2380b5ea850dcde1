"""The one place that keeps secrets out of texts. Pure.

What is secret says so here (`hide`): values that flows name as secrets, tokens of logins, passwords in settings, the bearer of a
request. What makes a text for people calls `mask`: errors, excerpts of answers, reasons and warnings that are stored, logs.

A secret is found as it is, and as URLs, JSON and Python write it. A short one is found only where it stands as a word of its own,
and one of one or two characters only where it is the whole text: otherwise the password `a` would shred every text.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
LONG = 6
"""From so many characters on, a secret is found within words."""
SHORT = 3
BEARER = 24
KEPT = 1024
BEARERS_KEPT = 256
"""What strangers send is kept apart: it must not push out what is ours."""


class Hidden:
    """Texts that are secret, at most `limit`: the one not seen for longest goes first. Threads may mask at any time."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._texts: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._words: re.Pattern[str] | None = None

    def add(self, text: str) -> None:
        known = text in self._texts
        if not text.strip():
            return
        self._texts[text] = self._texts[text] if known else forms(text)
        self._texts.move_to_end(text)
        if not known:
            while len(self._texts) > self._limit:
                self._texts.popitem(last=False)
            self._prepare()

    def clear(self) -> None:
        self._texts.clear()
        self._prepare()

    def _prepare(self) -> None:
        found = {form for written in self._texts.values() for form in written}
        self._forms = tuple(sorted((form for form in found if len(form) >= LONG), key=len, reverse=True))
        short = [re.escape(form) for form in found if SHORT <= len(form) < LONG]
        self._words = re.compile(rf"(?<!\w)(?:{'|'.join(short)})(?!\w)") if short else None

    def mask(self, text: str) -> str:
        if text in self._texts:
            return MASK
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return self._words.sub(MASK, text) if self._words is not None else text


def forms(text: str) -> tuple[str, ...]:
    """How a text may be written: as it is, in a URL, in JSON, in Python."""
    written: Iterable[str] = (
        text,
        quote(text, safe=""),
        quote(text),
        quote_plus(text),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(text)[1:-1].replace("/", "\\/"),
        repr(text)[1:-1],
    )
    return tuple(dict.fromkeys(written))


_SECRETS, _BEARERS = Hidden(KEPT), Hidden(BEARERS_KEPT)


def hide(*texts: str) -> None:
    """From now on these are masked in every text."""
    for text in texts:
        _SECRETS.add(text)


def hide_bearer(text: str) -> None:
    """The same for what a request brought, true or not, if it is as long as tokens are: a stranger who sends `success` must
    not have that word masked everywhere.
    """
    if len(text) >= BEARER:
        _BEARERS.add(text)


def mask(text: str) -> str:
    """The text without any secret."""
    return _BEARERS.mask(_SECRETS.mask(text))


def forget() -> None:
    """Nothing is secret any more: for tests, which share a process."""
    for hidden in (_SECRETS, _BEARERS):
        hidden.clear()
