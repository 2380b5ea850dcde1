"""When a flow runs: pure decisions about fire times.

Theory of operation. A schedule is a set of instants, the *ticks*, and only the schedule and its timezone decide which,
never the moment a scheduler starts. So every scheduler of a fleet computes the same ticks, and the store can see
to it that each (flow, tick) makes one run. What no scheduler saw in time collapses into the newest missed tick.

Cron is iterated by cronsim at the grain of minutes, always in five-field form, because that is where it has Debian
cron's daylight-saving rules: a job at a fixed time that falls into the spring gap runs when the gap ends, one that falls
into the repeated autumn hour runs once; a job with a wildcard minute or hour follows real time. We add Quartz's
seconds and years on top of cronsim's five fields, so they obey the same rules.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from imageflow.model.flow import Schedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_CRON = 200
FIRST_YEAR, LAST_YEAR = 1970, 2199
_YEAR_ZERO = 2026
"""No schedule was written before: an expression that only names earlier years never fires."""

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_ALLOWED = ("0-59", "0-23", "1-31 or L", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
_QUARTZ_ALLOWED = (*_ALLOWED[:2], "1-31, L, LW or ?", _ALLOWED[3], "1-7 (1 is Sunday), SUN-SAT or ?")
_FORMS = "*, lists, rising ranges and /steps"
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_QUARTZ_DAY = r"(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)"


class Cron(msgspec.Struct, frozen=True):
    """A cron expression, understood: five fields for the minutes, the seconds within each, and the years (None: all)."""

    text: str
    minutes: str
    seconds: tuple[int, ...] = (0,)
    years: frozenset[int] | None = None

    def fires(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """The ticks after `after`, rising, aware UTC; ends when there are no more."""
        for minute in self._minute_ticks(zone, after - timedelta(minutes=1)):
            for second in self.seconds:
                tick = minute + timedelta(seconds=second)
                if tick > after:
                    yield tick

    def _minute_ticks(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        # Two local times that fall into the spring gap give the same instant, and a start within the repeated hour
        # gives instants of its first pass: only what rises is a tick.
        last = after
        ticks = _simulate(self.minutes, zone, after)
        while (local := next(ticks, None)) is not None:
            if self.years is not None and local.year not in self.years:
                later = [year for year in self.years if year > local.year]
                if not later:
                    return
                new_year = datetime(min(later), 1, 1, tzinfo=zone).astimezone(UTC)
                ticks = _simulate(self.minutes, zone, new_year - timedelta(seconds=1))
                continue
            if (tick := local.astimezone(UTC)) > last:
                last = tick
                yield tick


def _simulate(minutes: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    try:
        yield from CronSim(minutes, after.astimezone(zone))
    except OverflowError:  # the year 10000
        return


@functools.lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron:
    """Understand five-field cron, or Quartz cron with six or seven fields (`sec min hour dom mon dow [year]`).

    Quartz counts days of the week from 1, Sunday. Raises ValueError that tells people what is wrong, also for an
    expression that is well formed and never fires.
    """
    fields = text.upper().split()
    if len(text) > LONGEST_CRON:
        raise ValueError(f"a cron expression has at most {LONGEST_CRON} characters")
    if len(fields) == 5:
        cron = Cron(text, _checked(fields, _ALLOWED))
    elif len(fields) in (6, 7):
        cron = _quartz(text, fields)
    else:
        raise ValueError(
            f"{text!r} is no cron expression: it has {len(fields)} fields, not 5 (minute hour day month weekday), "
            "nor 6 or 7 as Quartz has (second minute hour day month weekday [year])"
        )
    if next(cron.fires(ZoneInfo("UTC"), datetime(_YEAR_ZERO, 1, 1, tzinfo=UTC) - timedelta(seconds=1)), None) is None:
        raise ValueError(f"the cron expression {text!r} never fires: there is no such date")
    return cron


def _quartz(text: str, fields: list[str]) -> Cron:
    day, weekday = fields[3], fields[5]
    if day == "?" and weekday == "?":
        raise ValueError("Quartz cron takes ? for the day of month or for the day of week, not for both")
    if day not in ("*", "?") and weekday not in ("*", "?"):
        raise ValueError("Quartz cron takes a day of month or a day of week, not both: put ? for one of them")
    unix_day = "*" if day == "?" else day
    return Cron(
        text,
        _checked([fields[1], fields[2], unix_day, fields[4], _unix_weekday(weekday)], _QUARTZ_ALLOWED),
        seconds=_seconds(fields[0]),
        years=_years(fields[6]) if len(fields) == 7 else None,
    )


def _checked(fields: list[str], allowed: tuple[str, ...]) -> str:
    """The five fields as one expression. Each is tried alone first, so that the message can name it."""
    for place, field in enumerate(fields):
        _refuse_unsupported(_FIELDS[place], field)
        alone = ["*"] * 5
        alone[place] = field
        if _compiled(" ".join(alone)) is None:
            raise ValueError(f"{field!r} is no {_FIELDS[place]}: it takes {allowed[place]}, {_FORMS}")
    expression = " ".join(fields)
    if _compiled(expression) is None:
        raise ValueError(f"the cron expression {expression!r} never fires: there is no such date")
    return expression


def _compiled(expression: str) -> CronSim | None:
    try:
        return CronSim(expression, EPOCH)
    except (CronSimError, ValueError, AssertionError):  # the latter two: what cronsim's parser does with odd input
        return None


def _refuse_unsupported(name: str, field: str) -> None:
    if "?" in field:
        raise ValueError(f"{field!r} is no {name}: ? belongs to the day of month or day of week of Quartz cron; use *")
    if name == "day of month" and re.search(r"\dW|L-", field):
        raise ValueError(f"{field!r} is no {name} that ImageFlow understands: of L and W it knows L and LW alone")


def _seconds(field: str) -> tuple[int, ...]:
    try:
        seconds = CronSim(f"{field} * * * * *", EPOCH).seconds
    except (CronSimError, ValueError, AssertionError) as error:
        raise ValueError(f"{field!r} is no second: it takes 0-59, {_FORMS}") from error
    return tuple(sorted(seconds))


def _years(field: str) -> frozenset[int] | None:
    if field in ("*", "?"):
        return None
    years: set[int] = set()
    for term in field.split(","):
        match = re.fullmatch(r"(?:\*|(\d{4})(?:-(\d{4}))?)(?:/(\d{1,3}))?", term, re.ASCII)
        if match is None:
            raise ValueError(f"{field!r} is no year: it takes {FIRST_YEAR}-{LAST_YEAR}, {_FORMS}")
        first, last, step = match[1], match[2], match[3]
        start = int(first) if first else FIRST_YEAR
        end = int(last) if last else (start if first and not step else LAST_YEAR)
        if not FIRST_YEAR <= start <= end <= LAST_YEAR or step == "0" * len(step or "x"):
            raise ValueError(f"{field!r} is no year: it takes {FIRST_YEAR}-{LAST_YEAR}, {_FORMS}")
        years.update(range(start, end + 1, int(step or 1)))
    if max(years) < _YEAR_ZERO:
        raise ValueError(f"the year {field!r} is over: the cron expression never fires")
    return frozenset(years)


def _unix_weekday(field: str) -> str:
    """Quartz' day of the week (1 is Sunday, ranges may wrap, `L` is Saturday) as cron's (0 is Sunday)."""
    if field in ("*", "?"):
        return "*"
    return ",".join(_unix_weekday_term(term) for term in field.split(","))


def _unix_weekday_term(term: str) -> str:
    if term == "L":
        return "6"
    if match := re.fullmatch(rf"({_QUARTZ_DAY})L", term):
        return f"{_day_number(match[1])}L"
    if match := re.fullmatch(rf"({_QUARTZ_DAY})#([1-5])", term):
        return f"{_day_number(match[1])}#{match[2]}"
    match = re.fullmatch(rf"(?:\*|({_QUARTZ_DAY})(?:-({_QUARTZ_DAY}))?)(?:/([1-7]))?", term)
    if match is None:
        raise ValueError(f"{term!r} is no day of week: it takes {_QUARTZ_ALLOWED[4]}, ranges, lists, 6L and 6#3")
    first, last, step = match[1], match[2], match[3]
    start = _day_number(first) if first else 0
    end = _day_number(last) if last else (start if first and not step else 6)
    if end < start:
        end += 7
    return ",".join(str(day % 7) for day in range(start, end + 1, int(step or 1)))


def _day_number(day: str) -> int:
    return _DAYS.index(day) if day in _DAYS else int(day) - 1


def next_fires(
    schedule: Schedule, timezone: str, after: datetime, count: int, anchor: datetime | None = None
) -> list[datetime]:
    """The first `count` ticks after `after`, aware UTC; fewer when there are no more, none for `after: FLOW`.

    `every` counts from `anchor` (default: 1970-01-01 UTC): the same for every process at any time.
    """
    return list(islice(_ticks(schedule, timezone, after, anchor or EPOCH), count))


def due(
    schedule: Schedule, timezone: str, last_fire: datetime | None, known_since: datetime, now: datetime
) -> datetime | None:
    """The one tick to fire now, or None: the newest of those after `last_fire` and not after `now`.

    A flow that has never fired counts from `known_since`: what lies before that is not made up for.
    """
    after = last_fire if last_fire is not None else known_since
    if schedule.every is not None:
        tick = _every_tick(schedule.every, now, EPOCH)
        return tick if after < tick else None
    return _newest(schedule, timezone, after, now) if after < now else None


def overlap(policy: Literal["skip", "queue"], active_runs: int, waiting_runs: int) -> Literal["start", "skip"]:
    """What becomes of a due run: `start` adds it (it waits while another is active), `skip` lets the tick pass.

    `skip`: only when the flow has no run at all; `queue`: unless one waits already, so runs never pile up.
    """
    if policy == "skip":
        return "skip" if active_runs or waiting_runs else "start"
    return "skip" if waiting_runs else "start"


def _ticks(schedule: Schedule, timezone: str, after: datetime, anchor: datetime) -> Iterator[datetime]:
    if schedule.cron is not None:
        yield from parse_cron(schedule.cron).fires(ZoneInfo(timezone), after)
    elif schedule.every is not None:
        tick = _every_tick(schedule.every, after, anchor)
        while True:
            tick += timedelta(seconds=schedule.every)
            yield tick


def _every_tick(every: float, at: datetime, anchor: datetime) -> datetime:
    """The newest tick not after `at`. In whole microseconds: floats would drift away from the anchor."""
    period = timedelta(seconds=every)
    return (anchor + (at - anchor) // period * period).astimezone(UTC)


def _newest(schedule: Schedule, timezone: str, after: datetime, now: datetime) -> datetime | None:
    """The newest tick in (after, now]. Looks back ever further, so that a year of missed seconds costs no more than two
    minutes of them.
    """
    window = timedelta(minutes=2)
    while True:
        start = max(after, now - window) if now - after > window else after
        newest = None
        for tick in _ticks(schedule, timezone, start, EPOCH):
            if tick > now:
                break
            newest = tick
        if newest is not None or start == after:
            return newest
        window *= 8
