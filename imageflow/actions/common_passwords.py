"""Passwords that are guessed first: those that many people have, and those that only add digits and signs to one of them."""

from __future__ import annotations

import functools

OWN = frozenset(("imageflow", "omnitron", "akinon"))


def is_common(password: str, user: str) -> bool:
    """Whether a password is common, or is little more than the user's name."""
    plain = password.casefold()
    letters = plain.rstrip("0123456789!?.,*#$@_-+ ")
    names = {user.casefold(), user.casefold().partition("@")[0]} | OWN
    return any(text in _common() or text in names for text in (plain, letters))


@functools.cache
def _common() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - only who sets a password pays for the list

    return frozenset(FREQUENCY_LISTS["passwords"])
