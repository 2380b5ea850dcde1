"""What is worth waking somebody: decided from what is known of a flow. And how a webhook is told of it.

    error_rate           of the rows settled lately, more failed than `alarms.error_rate` allows
    average_flow_time    runs took longer than `alarms.average_flow_time` on average, or one is taking longer
    silence              no rows came for `alarms.silence`
    failed_poll          the newest run that ended could not log in or read (always watched)
    hold                 writers hold the flow's Omnitron back, because it is away (always watched)

An alarm is open for as long as its kind is among what `alarming` returns. Lately is WINDOW; where no run ended within
it, the newest that did is the one to judge by.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from imageflow.clock import iso
from imageflow.model.flow import Alarms, Flow
from imageflow.model.retry_ladder import LADDER
from imageflow.model.run import Run
from imageflow.store import Alarm, HeldDomain, Notice

WINDOW = timedelta(hours=1)
ATTEMPTS = 14
"""Posts of a notice in vain before it is given up: over two hours."""

MAX_TEXT_CHARS = 2000
SIGNATURE_HEADER = "X-ImageFlow-Signature"


class Known(NamedTuple):
    """What is known of a flow: its recent runs (Store.recent_runs since WINDOW ago); since when it has been enabled, and
    whether rows came within its `silence` (None: not asked); the domains that are held.
    """

    runs: Sequence[Run]
    enabled_since: datetime | None = None
    rows_came: bool | None = None
    holds: Sequence[HeldDomain] = ()


def alarming(flow: Flow, known: Known, now: datetime) -> dict[str, str]:
    """The kinds of alarm that a flow gives now, with what is wrong. A disabled flow gives none."""
    if not flow.definition.enabled:
        return {}
    wanted = flow.definition.alarms
    recent = lately(known.runs, now)
    found = {
        "error_rate": _error_rate(wanted, recent),
        "average_flow_time": _flow_time(wanted, recent, now),
        "silence": _silence(wanted, known, now),
        "failed_poll": _failed_poll(known.runs),
        "hold": _hold(flow, known.holds),
    }
    return {kind: text for kind, text in found.items() if text is not None}


def lately(runs: Sequence[Run], now: datetime) -> list[Run]:
    """Runs that are going on or ended within WINDOW; where none ended, the newest that did as well."""
    ended = sorted((run for run in runs if run.finished_at is not None), key=_end, reverse=True)
    within = [run for run in ended if _end(run) > now - WINDOW]
    return [run for run in runs if run.finished_at is None] + (within or ended[:1])


def _end(run: Run) -> datetime:
    assert run.finished_at is not None
    return run.finished_at


def _error_rate(wanted: Alarms, recent: Sequence[Run]) -> str | None:
    """Runs that are going on count with what they have settled."""
    settled = sum(run.counts.settled for run in recent)
    failed = sum(run.counts.failed for run in recent)
    if wanted.error_rate is None or not settled or failed / settled <= wanted.error_rate:
        return None
    return f"{failed:,} of {settled:,} rows failed ({failed / settled:.1%}); allowed are {wanted.error_rate:.1%}"


def _flow_time(wanted: Alarms, recent: Sequence[Run], now: datetime) -> str | None:
    """A run that is going on counts once it has taken too long already."""
    limit = wanted.average_flow_time
    if limit is None:
        return None
    times = [_seconds(run, _end(run)) for run in recent if run.finished_at is not None]
    late = [run for run in recent if run.finished_at is None and _seconds(run, now) > limit]
    if late:
        return f"run {late[0].run_id} has been going on for more than {_span(limit)}"
    if not times or sum(times) / len(times) <= limit:
        return None
    return f"runs took {_span(sum(times) / len(times))} on average; allowed are {_span(limit)}"


def _seconds(run: Run, end: datetime) -> float:
    return (end - (run.started_at or run.created_at)).total_seconds()


def _silence(wanted: Alarms, known: Known, now: datetime) -> str | None:
    """A flow that has not been enabled for so long cannot have been silent for so long."""
    if wanted.silence is None or known.rows_came is not False:
        return None
    if known.enabled_since is None or now - known.enabled_since <= timedelta(seconds=wanted.silence):
        return None
    return f"no rows for more than {_span(wanted.silence)}"


def _failed_poll(runs: Sequence[Run]) -> str | None:
    """The newest that has ended decides (an old one ends again when its rows are retried); an outbound post is no poll."""
    polls = [run for run in runs if run.finished_at is not None and run.trigger.kind != "outbound"]
    newest = max(polls, key=lambda run: run.created_at, default=None)
    if newest is None or newest.error is None:
        return None
    return f"run {newest.run_id}: {newest.error_stage or 'read'}: {newest.error}"


def _hold(flow: Flow, holds: Sequence[HeldDomain]) -> str | None:
    domain = flow.definition.omnitron.domain
    return next((f"{domain} is held: {held.reason}" for held in holds if held.domain == domain), None)


def _span(seconds: float) -> str:
    """A length of time as flow files write it: 90s, 10m, 1h30m, 2d."""
    whole = round(seconds)
    if whole < 1:
        return f"{seconds:g}s"
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


# telling a webhook ------------------------------------------------------------------------------------------------------


def outdated(notice: Notice) -> bool:
    """Whether a notice of an alarm that opened comes too late: the alarm has closed, whose notice says it all."""
    return notice.event == "opened" and notice.attempts > 0 and notice.alarm.closed_at is not None


def again_in(attempts: int) -> float | None:
    """Seconds until the next post, after so many in vain; None: it is given up."""
    return None if attempts >= ATTEMPTS else float(LADDER[min(attempts, len(LADDER)) - 1])


def body(notice: Notice) -> bytes:
    """The JSON body of a post. `id` stays the same when a notice is posted again."""
    return msgspec.json.encode({"id": notice.id, "event": notice.event, "alarm": shown(notice.alarm)})


def shown(alarm: Alarm) -> dict[str, Any]:
    """An alarm as webhooks and the command line show it."""
    return {
        "id": alarm.id,
        "flow": alarm.flow,
        "kind": alarm.kind,
        "text": alarm.text[:MAX_TEXT_CHARS],
        "opened_at": iso(alarm.opened_at),
        "closed_at": iso(alarm.closed_at),
    }


def webhook_key(secret_key: bytes, flow: str) -> str:
    """The key that posts to a flow's webhook are signed with: one for each flow, so that none can speak for another."""
    return hmac.digest(secret_key, f"imageflow webhook {flow}".encode(), "sha256").hex()


def signed(key: str, content: bytes, now: datetime) -> Mapping[str, str]:
    """The headers of a post. The signature is HMAC-SHA256, by the key's text, over `<t>.<body>`."""
    at = int(now.timestamp())
    digest = hmac.new(key.encode(), b"%d." % at + content, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", SIGNATURE_HEADER: f"t={at},v1={digest}"}
