"""The languages of the console: texts, numbers, instants."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations

from imageflow.flows.folder import file_of

LANGUAGES = ("en", "tr")
NAMES = {"en": "English", "tr": "Türkçe"}
_MINUTE = 60
_DAY = 86_400


class Language:
    """One language: what it calls things, by its catalogue in gettext's format, and how it writes numbers and instants."""

    def __init__(self, code: str, catalogue: bytes) -> None:
        self.code = code
        self.locale = Locale(code)
        compiled = io.BytesIO()
        write_mo(compiled, read_po(io.BytesIO(catalogue), locale=code))
        compiled.seek(0)
        self.texts = Translations(compiled)

    def number(self, value: float) -> str:
        """48,210 or 48.210."""
        return str(format_decimal(value, locale=self.locale))

    def percent(self, share: float) -> str:
        """61% or %61; a share above nothing, and below one percent, is under 1%."""
        if 0 < share < 0.01:
            return self.texts.gettext("under %(share)s") % {"share": format_percent(0.01, locale=self.locale)}
        return str(format_percent(share, locale=self.locale))

    def moment(self, instant: datetime, zone: ZoneInfo, now: datetime) -> str:
        """An instant in a zone, as short as it is clear: the time of today, else the day too, else the year too."""
        local, today = instant.astimezone(zone), now.astimezone(zone)
        pattern = "HH:mm" if local.date() == today.date() else "d MMM HH:mm"
        if abs(instant - now) > timedelta(days=300):
            pattern = "d MMM yyyy HH:mm"
        return str(format_datetime(local, pattern, locale=self.locale))

    def exact(self, instant: datetime, zone: ZoneInfo) -> str:
        """An instant in a zone, with its seconds."""
        return str(format_datetime(instant.astimezone(zone), "d MMM yyyy HH:mm:ss", locale=self.locale))

    def ago(self, instant: datetime, now: datetime) -> str:
        """`4 minutes ago`, `in 2 hours`."""
        return str(format_timedelta(instant - now, add_direction=True, threshold=1.2, locale=self.locale))

    def duration(self, seconds: float) -> str:
        """`48 sec`, `1 min 12 sec`, `3 hr 4 min`: the two largest units, short."""
        seconds = max(0.0, seconds)
        if seconds < 1:
            return f"{self.number(round(seconds * 1000))} ms"
        whole = round(seconds)
        parts = [
            (whole // _DAY, _DAY),
            (whole % _DAY // 3600, 3600),
            (whole % 3600 // _MINUTE, _MINUTE),
            (whole % 60, 1),
        ]
        first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
        shown = [(count, unit) for count, unit in parts[first : first + 2] if count] or [(0, 1)]
        return " ".join(self._unit(count, unit) for count, unit in shown)

    def _unit(self, count: int, seconds: int) -> str:
        granularity: Any = {_DAY: "day", 3600: "hour", _MINUTE: "minute", 1: "second"}[seconds]
        # a threshold that nothing reaches: the unit stays the one that is asked for
        delta = timedelta(seconds=count * seconds)
        return str(format_timedelta(delta, granularity, threshold=1e9, format="short", locale=self.locale))

    def author(self, name: str) -> str:
        """Who saved a version: a person, or a flow file."""
        file = file_of(name)
        return name if file is None else self.texts.gettext("the file %(file)s") % {"file": file}

    def bytes(self, size: int) -> str:
        """`96 MB`."""
        amount, unit = float(size), "B"
        for name in ("kB", "MB", "GB", "TB"):
            if amount < 1000:
                break
            amount, unit = amount / 1000, name
        shown = format_decimal(amount, format="0.#" if amount < 10 and unit != "B" else "0", locale=self.locale)
        return f"{shown} {unit}"


def all_languages(catalogue: Callable[[str], bytes]) -> dict[str, Language]:
    """Every language by its code. `catalogue`: gives the texts of a code."""
    return {code: Language(code, catalogue(code)) for code in LANGUAGES}


def chosen(cookie: str | None, accepted: str) -> str:
    """The language of a request: that of its cookie, else the first of Accept-Language that there is, else English."""
    if cookie in LANGUAGES:
        return str(cookie)
    return next((code for code in _preferred(accepted) if code in LANGUAGES), "en")


def _preferred(accepted: str) -> Sequence[str]:
    """The languages of an Accept-Language header, the most wanted first."""
    found = []
    for place, part in enumerate(accepted[:500].split(",")):
        name, _, weight = part.partition(";")
        try:
            wanted = float(weight.strip().removeprefix("q=")) if weight.strip() else 1.0
        except ValueError:
            wanted = 0.0
        if wanted > 0:
            found.append((-wanted, place, name.strip().lower().partition("-")[0]))
    return [name for _, _, name in sorted(found)]


def zone(name: str) -> ZoneInfo:
    """A flow's zone; UTC where the system does not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def utc(instant: datetime) -> str:
    """An instant as a machine reads it, for `<time datetime>` and copies."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
