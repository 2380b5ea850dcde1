# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract for access, the audit log, alarms, holds and leases, over SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from imageflow.errors import NotFoundError
from imageflow.model.row import fingerprint
from imageflow.store import ApiKey, AuditEntry, Store, User
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    NOW,
    FakeClock,
    clock,
    draining,
    failure,
    flow_document,
    log,
    new_run,
    other,
    post_run,
    reading,
    store,
    url,
)

ADA = User("ada", "hash", "operator")
KEY = ApiKey("k1", "winter", "erp", "ada", NOW, None)


def entry(what: str = "user.save", **detail: object) -> AuditEntry:
    return AuditEntry("ada", what, "thing", "command line", dict(detail))


# users, tokens, keys --------------------------------------------------------------------------------------------------


async def test_users_come_and_go(store: Store) -> None:
    """Users are listed by name; removing one ends their tokens; who is not there is named."""
    for name in ("eve", "ada"):
        await store.save_user(msgspec.structs.replace(ADA, name=name))
    assert [user.name for user in await store.users()] == ["ada", "eve"]
    await store.save_token("t", "eve", NOW + timedelta(hours=1))
    await store.set_role("eve", "admin")
    assert (await store.token_user("t", NOW)).role == "admin"  # type: ignore[union-attr]
    await store.remove_user("eve")
    assert await store.token_user("t", NOW) is None
    await store.save_user(msgspec.structs.replace(ADA, name="eve"))
    assert await store.token_user("t", NOW) is None
    for missing in (store.remove_user("bob"), store.set_role("bob", "admin")):
        with pytest.raises(NotFoundError, match="'bob'"):
            await missing


async def test_another_password_ends_tokens(store: Store) -> None:
    """A changed password ends the user's tokens, a changed role alone does not."""
    await store.save_user(ADA)
    await store.save_token("t", "ada", NOW + timedelta(hours=1))
    await store.save_user(msgspec.structs.replace(ADA, role="viewer"))
    assert await store.token_user("t", NOW) is not None
    await store.save_user(msgspec.structs.replace(ADA, password_hash="other"))
    assert await store.token_user("t", NOW) is None


async def test_a_token_is_revoked(store: Store, other: Store) -> None:
    """A revoked token is nobody's, for every process; revoking twice changes nothing."""
    await store.save_user(ADA)
    await store.save_token("t", "ada", NOW + timedelta(hours=1))
    await store.save_token("u", "ada", NOW + timedelta(hours=1))
    await store.revoke_token("t")
    await store.revoke_token("t")
    assert await other.token_user("t", NOW) is None
    assert await other.token_user("u", NOW) == ADA


async def test_a_token_is_taken_once(store: Store, other: Store) -> None:
    """Of many who take a token at once, one gets its user; an expired one is nobody's."""
    await store.save_user(ADA)
    await store.save_token("t", "ada", NOW + timedelta(hours=1))
    taken = await asyncio.gather(*(one.take_token("t", NOW) for one in (store, other) * 3))
    assert sorted(taken, key=str) == [None] * 5 + ["ada"]
    await store.save_token("u", "ada", NOW + timedelta(hours=1))
    assert await store.take_token("u", NOW + timedelta(hours=2)) is None


async def test_a_setup_token_takes_the_place_of_another(store: Store) -> None:
    """There is one at a time; it is no user's; it is taken once."""
    for digest in ("s", "t"):
        await store.save_setup_token(digest, NOW + timedelta(hours=1))
    assert [await store.is_setup_token(digest, NOW) for digest in ("s", "t")] == [False, True]
    assert not await store.is_setup_token("t", NOW + timedelta(hours=2))
    assert await store.token_user("t", NOW) is None
    assert [await store.take_token("t", NOW) for _ in range(2)] == ["", None]


async def test_keys(store: Store) -> None:
    """A key is found by its digest until it expires or is revoked; its digest is not listed."""
    expiring = msgspec.structs.replace(KEY, id="k2", name="old", expires_at=NOW + timedelta(seconds=5))
    await store.add_key(KEY, "d1")
    await store.add_key(expiring, "d2")
    await store.add_key(msgspec.structs.replace(KEY, id="k3", flow="other"), "d3")
    assert [key.id for key in await store.keys()] == ["k3", "k1", "k2"]
    assert await store.keys("winter") == [KEY, expiring]
    assert await store.key("d1", NOW + timedelta(days=9999)) == KEY
    assert await store.key("d2", NOW + timedelta(seconds=4)) == expiring
    assert await store.key("d2", NOW + timedelta(seconds=5)) is None
    await store.note_key_use("k2", NOW)
    await store.note_key_use("k2", NOW - timedelta(seconds=1))
    assert [key.used_at for key in await store.keys("winter")] == [None, NOW]
    assert await store.revoke_key("k1") == KEY
    assert await store.key("d1", NOW) is None
    with pytest.raises(NotFoundError, match="k1"):
        await store.revoke_key("k1")


# audit ----------------------------------------------------------------------------------------------------------------


async def test_every_change_is_noted(store: Store, clock: FakeClock) -> None:
    """A change with an entry enters the audit log in its own transaction, newest first, and reads back as it was."""
    await store.save_flow(flow_document(enabled=False), "ada", audit=entry("flow.save"))
    await store.save_user(ADA, audit=entry("user.save"))
    await store.set_role("ada", "admin", audit=entry("user.role"))
    await store.add_key(KEY, "d", audit=entry("key.add"))
    await store.revoke_key("k1", audit=entry("key.revoke"))
    await store.set_watermark("winter", NOW, audit=entry("watermark.set"))
    await store.create_run(new_run(clock), audit=entry("run.start"))
    run_id = await draining(store, clock, 1)
    await store.settle("", [failure(run_id, 1)])
    await store.reopen(run_id, audit=entry("run.retry"))
    await store.remove_user("ada", audit=entry("user.remove"))
    await store.record(entry("other", a=[1, None], text="\0ü"))
    entries = await store.audit()
    assert [entry.entry.what for entry in entries] == [
        *("other", "user.remove", "run.retry", "run.start", "watermark.set"),
        *("key.revoke", "key.add", "user.role", "user.save", "flow.save"),
    ]
    assert entries[0].entry.detail == {"a": [1, None], "text": "\0ü"}
    causes = [fingerprint(failure(run_id, 1))]
    retried = {"rows": 1, "causes": causes, "from_pages": 0, "replaced": {"write": 1}, "versions_before": []}
    assert (entries[2].entry.detail, entries[-1].entry.detail) == (retried, {"version": 2})
    assert (entries[-1].at, entries[-1].entry.who, entries[-1].entry.origin) == (NOW, "ada", "command line")


async def test_what_changes_nothing_is_not_noted(store: Store, clock: FakeClock) -> None:
    """An equal flow, no rows to retry, a user who is not there, a run made before: no entry."""
    await store.save_flow(flow_document(), audit=entry())
    run = new_run(clock)
    await store.create_run(run)
    await store.create_run(run, audit=entry())
    assert (await store.reopen(run.run_id, audit=entry()))[:2] == (0, [])
    for missing in (store.remove_user("bob", audit=entry()), store.revoke_key("x", audit=entry())):
        with pytest.raises(NotFoundError):
            await missing
    assert await store.audit() == []


async def test_the_audit_log_in_pages(store: Store) -> None:
    """Pages follow each other without gap or repetition, and can be limited to a person or a kind."""
    for number in range(5):
        await store.record(entry("even" if number % 2 == 0 else "odd"))
    first = await store.audit(limit=2)
    second = await store.audit(limit=10, before=first[-1].id)
    assert [entry.entry.what for entry in first + second] == ["even", "odd", "even", "odd", "even"]
    assert len(await store.audit(what="odd")) == 2
    assert await store.audit(who="eve") == []


# what the API lists -----------------------------------------------------------------------------------------------------


async def test_versions_of_a_flow(store: Store, clock: FakeClock) -> None:
    """Versions are listed newest first with author and time."""
    clock.move(60)
    await store.save_flow(flow_document(enabled=False), "ada")
    found = await store.flow_versions("winter")
    assert [(item.version, item.author) for item in found] == [(2, "ada"), (1, "")]
    assert (found[0].saved_at, found[1].saved_at) == (NOW + timedelta(seconds=60), NOW)
    with pytest.raises(NotFoundError, match="no flow 'summer'"):
        await store.flow_versions("summer")


async def test_runs_in_pages(store: Store, clock: FakeClock) -> None:
    """Pages of runs meet without gap or repetition, also where runs were created in the same instant."""
    made = [new_run(clock) for _ in range(3)]
    made += [msgspec.structs.replace(new_run(clock), created_at=clock.now()) for _ in range(1)]
    twin = msgspec.structs.replace(new_run(clock), created_at=made[-1].created_at)
    for run in [*made, twin]:
        await store.create_run(run)
    seen: list[str] = []
    before = None
    while page := await store.runs(limit=2, before=before):
        seen += [run.run_id for run in page]
        before = (page[-1].created_at, page[-1].run_id)
    assert len(seen) == 5
    assert seen == [run.run_id for run in await store.runs()]
    assert await store.runs(status="failed") == []
    assert len(await store.runs(status="queued")) == 5


async def test_rows_by_filter_and_groups_of_errors(store: Store, clock: FakeClock) -> None:
    """Rows are found by product, stage and error group; groups count rows and those that can be retried."""
    run_id = await draining(store, clock, 6)
    script = failure(run_id, 5, stage="script", reason="line 2: KeyError: 'a'", http_status=None, images=())
    logs = [log(run_id, 1), *(failure(run_id, row) for row in (2, 3, 4)), script, log(run_id, 6, "unchanged")]
    await store.settle("", logs)
    groups = await store.errors(run_id)
    assert [(group.stage, group.rows, group.retryable, group.example_row) for group in groups] == [
        ("write", 3, 3, 2),
        ("script", 1, 1, 5),
    ]
    assert (groups[0].http_status, groups[0].reason, groups[0].example_product) == (400, "no such image 2", "sku-2")
    assert [row.row for row in await store.rows(run_id, group=groups[0].group)] == [2, 3, 4]
    assert [row.row for row in await store.rows(run_id, group=groups[0].group, after=2, limit=1)] == [3]
    assert [row.row for row in await store.rows(run_id, product="sku-6")] == [6]
    assert [row.row for row in await store.rows(run_id, stage="script")] == [5]
    assert (await store.reopen(run_id, group=groups[0].group))[0] == 3
    assert [group.stage for group in await store.errors(run_id)] == ["script"]
    assert await store.errors("unknown") == []


# alarms, holds, leases --------------------------------------------------------------------------------------------------


async def test_one_holder_of_a_lease(store: Store, other: Store, clock: FakeClock) -> None:
    """A lease has one holder at a time, who may renew it; it is free once it expires."""
    both = await asyncio.gather(store.lease("job", "a", 10), other.lease("job", "b", 10))
    assert sorted(both) == [False, True]
    winner, loser = ("a", "b") if both[0] else ("b", "a")
    clock.move(9)
    assert await store.lease("job", winner, 10)
    assert not await store.lease("job", loser, 10)
    clock.move(10)
    assert await store.lease("job", loser, 10)
    assert await store.lease("other", winner, 10)


async def test_alarms_open_and_close_once(store: Store, other: Store, clock: FakeClock) -> None:
    """An alarm opens once however often it sounds, follows its text, and closes once; a new one follows."""
    opened = await asyncio.gather(
        store.sound("winter", {"silence": "quiet"}, notify=True),
        other.sound("winter", {"silence": "quiet"}, notify=True),
    )
    assert len(opened[0] + opened[1]) == 1
    assert await store.sound("winter", {"silence": "quieter", "hold": "held"}, notify=False) != []
    assert {alarm.kind: alarm.text for alarm in await store.alarms(is_open=True)} == {
        "silence": "quieter",
        "hold": "held",
    }
    clock.move(5)
    closed = await store.sound("winter", {"hold": "held"}, notify=True)
    assert [(alarm.kind, alarm.closed_at) for alarm in closed] == [("silence", clock.now())]
    assert await store.sound("winter", {"hold": "held"}, notify=True) == []
    await store.sound("winter", {"hold": "held", "silence": "again"}, notify=True)
    found = await store.alarms("winter")
    assert [(alarm.kind, alarm.closed_at is None) for alarm in found] == [
        ("silence", True),
        ("hold", True),
        ("silence", False),
    ]
    assert await store.alarms("winter", is_open=False) == [found[2]]
    assert await store.alarms(before=found[1].id) == [found[2]]
    events = [(notice.event, notice.alarm.id) for notice in await store.due_notices()]
    assert events == [("opened", found[2].id), ("closed", found[2].id), ("opened", found[0].id)]


async def test_notices_wait_and_end(store: Store, clock: FakeClock) -> None:
    """A notice comes again when it is due, with its attempts counted, until it is done; its alarm keeps the outcome."""
    await store.sound("winter", {"hold": "held"}, notify=True)
    (notice,) = await store.due_notices()
    await store.notice_sent(notice.id, "HTTP 503", again_in=30)
    assert await store.due_notices() == []
    clock.move(30)
    (again,) = await store.due_notices()
    assert (again.id, again.attempts, again.alarm.notice) == (notice.id, 1, "HTTP 503")
    await store.notice_sent(notice.id, "delivered")
    await store.notice_sent(notice.id, "a second time")
    assert await store.due_notices() == []
    assert (await store.alarms())[0].notice == "delivered"


async def test_held_domains(store: Store, clock: FakeClock) -> None:
    """A held domain keeps since when, is one over all writers, and ends with its writer."""
    await store.hold("a", {DOMAIN: "HTTP 503", "https://b": "timeout"}, 10)
    clock.move(5)
    await store.hold("a", {DOMAIN: "HTTP 502"}, 10)
    await store.hold("b", {DOMAIN: "HTTP 502"}, 10)
    (held,) = await store.holds()
    assert (held.domain, held.reason, held.since, held.writers) == (DOMAIN, "HTTP 502", NOW, 2)
    await store.hold("a", {}, 10)
    assert [item.writers for item in await store.holds()] == [1]
    clock.move(10)
    assert await store.holds() == []


async def test_recent_runs(store: Store, clock: FakeClock) -> None:
    """Recent are runs that go on or ended lately; of older ones only the newest that has ended."""

    async def ended(row_state: str) -> str:
        run_id = await draining(store, clock, 1)
        await store.settle("", [log(run_id, 1, row_state)])
        return run_id

    first, second = await ended("written"), await ended("failed")
    clock.move(3600)
    assert [run.run_id for run in await store.recent_runs("winter", clock.now())] == [second]
    going = await draining(store, clock, 1)
    assert [run.run_id for run in await store.recent_runs("winter", clock.now())] == [going, second]
    late = clock.now() - timedelta(hours=2)
    assert [run.run_id for run in await store.recent_runs("winter", late)] == [going, second, first]
    assert await store.recent_runs("other", late) == []


async def test_whether_rows_came(store: Store, clock: FakeClock) -> None:
    """Rows came if a run with rows began, ended or went on since then; empty runs are silence."""
    start = clock.now()
    await store.create_run(post_run(clock))
    assert not await store.rows_since("winter", start)
    run_id = await draining(store, clock, 1)
    clock.move(100)
    assert await store.rows_since("winter", clock.now())
    await store.settle("", [log(run_id, 1)])
    assert await store.rows_since("winter", clock.now() - timedelta(seconds=1))
    assert not await store.rows_since("winter", clock.now())
