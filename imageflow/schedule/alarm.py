"""Alarms: which ones a flow has, decided from its runs, and the notices that go to webhooks. Pure.

    error_rate           of the rows settled lately, more failed than `alarms.error_rate` allows
    average_flow_time    runs took longer than `alarms.average_flow_time` on average, or one is taking longer
    silence              no rows came for `alarms.silence`
    failed_poll          the newest run that ended could not log in or read (always watched)
    hold                 writers hold the flow's Omnitron back during an outage (always watched)

An alarm is open while `alarming` returns its kind. "Lately" means within WINDOW. If no run ended within it, the newest
ended run counts.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from imageflow.model import retry_ladder
from imageflow.model.flow import Alarms, Flow
from imageflow.model.run import Run
from imageflow.store import Alarm, HeldDomain, Notice
from imageflow.text.instant import iso

WINDOW = timedelta(hours=1)
ATTEMPTS = 14
"""A notice is given up after so many failed posts: over two hours."""

MAX_TEXT_CHARS = 2000
SIGNATURE_HEADER = "X-ImageFlow-Signature"


class Known(NamedTuple):
    """The facts about a flow. `runs`: Store.recent_runs since WINDOW ago. `rows_came`: whether rows came within the
    flow's `silence`; None if that was not asked. `holds`: the domains that writers hold back.
    """

    runs: Sequence[Run]
    enabled_since: datetime | None = None
    rows_came: bool | None = None
    holds: Sequence[HeldDomain] = ()


def alarming(flow: Flow, known: Known, now: datetime) -> dict[str, str]:
    """The kinds of alarm that a flow has now, each with its text. A disabled flow has none."""
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
    """Runs that are active or ended within WINDOW. If none ended within it: also the newest ended run."""
    ended = sorted((run for run in runs if run.finished_at is not None), key=_end, reverse=True)
    within = [run for run in ended if _end(run) > now - WINDOW]
    return [run for run in runs if run.finished_at is None] + (within or ended[:1])


def _end(run: Run) -> datetime:
    assert run.finished_at is not None
    return run.finished_at


def _error_rate(wanted: Alarms, recent: Sequence[Run]) -> str | None:
    """An active run counts with the rows it has settled."""
    settled = sum(run.counts.settled for run in recent)
    failed = sum(run.counts.failed for run in recent)
    if wanted.error_rate is None or not settled or failed / settled <= wanted.error_rate:
        return None
    return f"{failed:,} of {settled:,} rows failed ({failed / settled:.1%}); allowed are {wanted.error_rate:.1%}"


def _flow_time(wanted: Alarms, recent: Sequence[Run], now: datetime) -> str | None:
    """An active run counts once it has taken too long."""
    limit = wanted.average_flow_time
    if limit is None:
        return None
    times = [run.seconds(now) for run in recent if run.finished_at is not None]
    late = [run for run in recent if run.finished_at is None and run.seconds(now) > limit]
    if late:
        return f"run {late[0].run_id} has been going on for more than {_span(limit)}"
    if not times or sum(times) / len(times) <= limit:
        return None
    return f"runs took {_span(sum(times) / len(times))} on average; allowed are {_span(limit)}"


def _silence(wanted: Alarms, known: Known, now: datetime) -> str | None:
    """A flow that was enabled less than `silence` ago is not silent yet."""
    if wanted.silence is None or known.rows_came is not False:
        return None
    if known.enabled_since is None or now - known.enabled_since <= timedelta(seconds=wanted.silence):
        return None
    return f"no rows for more than {_span(wanted.silence)}"


def _failed_poll(runs: Sequence[Run]) -> str | None:
    """The newest ended run decides: an older one ends again when its rows are retried. An outbound post is no poll."""
    polls = [run for run in runs if run.finished_at is not None and run.trigger.kind != "outbound"]
    newest = max(polls, key=lambda run: run.created_at, default=None)
    if newest is None or newest.error is None:
        return None
    return f"run {newest.run_id}: {newest.error_stage or 'read'}: {newest.error}"


def _hold(flow: Flow, holds: Sequence[HeldDomain]) -> str | None:
    domain = flow.definition.omnitron.domain
    return next((f"{domain} is held: {held.reason}" for held in holds if held.domain == domain), None)


def _span(seconds: float) -> str:
    """A duration as flow files write it: 90s, 10m, 1h30m, 2d."""
    whole = round(seconds)
    if whole < 1:
        return f"{seconds:g}s"
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


# notices to webhooks ----------------------------------------------------------------------------------------------------


def outdated(notice: Notice) -> bool:
    """Whether the notice of an opened alarm comes too late: the alarm has closed, and that notice says both times."""
    return notice.event == "opened" and notice.attempts > 0 and notice.alarm.closed_at is not None


def retry_in(attempts: int) -> float | None:
    """Seconds until the next post, after `attempts` failed ones; None to give up."""
    return None if attempts >= ATTEMPTS else float(retry_ladder.delay(attempts))


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
    """The key that signs posts to a flow's webhook. Each flow has its own: none can speak for another."""
    return hmac.digest(secret_key, f"imageflow webhook {flow}".encode(), "sha256").hex()


def signed(key: str, content: bytes, now: datetime) -> Mapping[str, str]:
    """The headers of a post. The signature is HMAC-SHA256, by the key's text, over `<t>.<body>`."""
    at = int(now.timestamp())
    digest = hmac.new(key.encode(), b"%d." % at + content, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", SIGNATURE_HEADER: f"t={at},v1={digest}"}
