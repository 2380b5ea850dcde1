"""Decisions about a visitor: where they may be sent, and whether a form of theirs counts."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from imageflow.gateway import browser

_CLOSED = re.compile(r"/(api|static|login|logout|setup)(/|$|\?)")
MAX_NEXT_CHARS = 2000


def safe_next(text: str) -> str:
    """A path of the console to go on to after the log-in; `/` where it is none, or of another host."""
    if not re.fullmatch(r"/(?![/\\])[!-~]*", text) or "\\" in text or len(text) > MAX_NEXT_CHARS or _CLOSED.match(text):
        return "/"
    return text


def is_form_of(
    given: str, token: str, fetch_site: Sequence[str], origin: Sequence[str], scheme: str, host: str
) -> bool:
    """Whether an unsafe request comes from a form of ours: it carries the form's token, and came from our own page."""
    return hmac.compare_digest(given.encode(), token.encode()) and browser.is_own(fetch_site, origin, scheme, host)
