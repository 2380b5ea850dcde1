"""Watermarks: which instants are taken, what they are told to ask for, and what is left as it is."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imageflow.actions import watermarks
from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable
from imageflow.errors import NotFoundError, ParameterError
from imageflow.model.run import Run, Trigger
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect
from tests import schemas

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
BEFORE = datetime(2026, 6, 1, tzinfo=UTC)
ADA = Actor("ada", "command line")


class Clock:
    """It stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def document(name: str, **erp: Any) -> dict[str, Any]:
    """An inbound flow in Istanbul's zone, three hours ahead of UTC, that can be asked for changes."""
    return {
        "name": name,
        "direction": "inbound",
        "timezone": "Europe/Istanbul",
        "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}},
        "erp": {"endpoint_url": "https://erp.example.com/", "modified_date_key": "since", "overlap": "10m", **erp},
    }


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with flows of each kind; that of `winter` has a watermark."""
    outbound = {**document("posts"), "direction": "outbound"}
    del outbound["erp"]
    async with connect(Secret(schemas.lay(tmp_path / "store.db")), Clock()) as made:
        for one in (
            document("winter"),
            document("first", initial_since="2026-01-01"),
            document("whole", modified_date_key=None),
            outbound,
        ):
            await made.save_flow(one)
        await made.set_watermark("winter", BEFORE)
        yield made


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("2026-06-10T12:00:00Z", datetime(2026, 6, 10, 12, tzinfo=UTC)),
        ("2026-06-10T12:00:00", datetime(2026, 6, 10, 9, tzinfo=UTC)),
        ("2026-06-10", datetime(2026, 6, 9, 21, tzinfo=UTC)),
        ("24h", NOW - timedelta(hours=24)),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-06-15T15:00:00", NOW),
        (None, None),
    ],
)
async def test_an_instant_is_set(store: Store, given: str | None, taken: datetime | None) -> None:
    """As people give it, in the flow's zone where it has no offset; backwards too, and up to now. None clears it."""
    found = await watermarks.set_to(store, "winter", given, ADA, NOW)
    assert (found.watermark, await store.watermark("winter")) == (taken, taken)
    assert found.asks_since == (None if taken is None else taken - timedelta(minutes=10))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("2026-06-15T12:00:00.000001Z", "is in the future"),
        ("2026-06-15T15:00:01", "is in the future"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("yesterday", "ISO date"),
        ("", "ISO date"),
    ],
)
async def test_what_is_no_watermark(store: Store, given: str, said: str) -> None:
    """What is to come, what is before 1970, and what is no instant is refused under its name; all stays as it was."""
    with pytest.raises(ParameterError, match=said) as caught:
        await watermarks.set_to(store, "winter", given, ADA, NOW)
    assert caught.value.parameter == "since"
    assert await store.watermark("winter") == BEFORE
    assert await store.audit() == []


@pytest.mark.parametrize(
    ("flow", "given", "error"),
    [
        ("posts", "24h", NotRunnable),
        ("posts", None, NotRunnable),
        ("whole", "24h", NotRunnable),
        ("whole", "no instant", NotRunnable),
        ("whole", None, None),
        ("nobody", None, NotFoundError),
    ],
)
async def test_flows_that_have_none(store: Store, flow: str, given: str | None, error: type[Exception] | None) -> None:
    """An outbound flow has none; one that always asks for everything takes no instant, but loses the one it has."""
    if error is None:
        assert (await watermarks.set_to(store, flow, given, ADA, NOW)).watermark is None
        return
    with pytest.raises(error):
        await watermarks.set_to(store, flow, given, ADA, NOW)
    assert await store.audit() == []


async def test_a_change_is_audited(store: Store) -> None:
    """The entry says who set it, for which flow, to what, and what it was."""
    await watermarks.set_to(store, "winter", "2026-06-10T12:00:00Z", ADA, NOW)
    (record,) = await store.audit()
    entry = record.entry
    assert (entry.who, entry.what, entry.object, entry.detail) == (
        "ada",
        "watermark.set",
        "flow winter",
        {"since": "2026-06-10T12:00:00.000000Z", "before": "2026-06-01T00:00:00.000000Z"},
    )


async def test_who_is_not_sure_changes_nothing(store: Store) -> None:
    """What it would be is told and checked; it stays, and nothing is audited."""
    found = await watermarks.set_to(store, "winter", "2026-06-10T12:00:00Z", ADA, NOW, sure=False)
    assert (found.watermark, found.asks_since) == (
        datetime(2026, 6, 10, 12, tzinfo=UTC),
        datetime(2026, 6, 10, 11, 50, tzinfo=UTC),
    )
    assert (await store.watermark("winter"), await store.audit()) == (BEFORE, [])
    with pytest.raises(ParameterError):
        await watermarks.set_to(store, "winter", "2027-01-01", ADA, NOW, sure=False)


async def test_it_is_shown(store: Store) -> None:
    """A watermark less its overlap; without one the flow's initial_since, in its zone; an outbound flow has none."""
    assert await watermarks.show(store, "winter") == ("winter", BEFORE, BEFORE - timedelta(minutes=10), [])
    assert await watermarks.show(store, "first") == ("first", None, datetime(2025, 12, 31, 21, tzinfo=UTC), [])
    with pytest.raises(NotRunnable, match="outbound flow"):
        await watermarks.show(store, "posts")


async def test_runs_that_are_being_read_are_told(store: Store) -> None:
    """Active runs of this flow whose read is not complete: it is their end that would move the watermark."""
    for name, flow in (("reads", "winter"), ("writes", "winter"), ("other", "first")):
        made = Run(run_id=name, flow=flow, version=1, trigger=Trigger("person", "ada"), status="queued", created_at=NOW)
        await store.create_run(made)
    await store.release_runs()
    for name in ("reads", "writes"):
        await store.start_reading(name, BEFORE, NOW)
    await store.save_page("writes", 1, b"[]", cursor=None, last=True)
    assert (await watermarks.show(store, "winter")).reading == ["reads"]
