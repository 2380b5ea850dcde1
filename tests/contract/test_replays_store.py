# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about rows that are put through again, over SQLite and PostgreSQL: nothing counts twice."""

from __future__ import annotations

import asyncio

from imageflow.model import messages
from imageflow.model.imageset import Image
from imageflow.model.messages import ReplayPage, RowsReady
from imageflow.model.page import row_version
from imageflow.model.row import Row, RowLog
from imageflow.model.run import Counts
from imageflow.store import Store
from tests.contract.test_store import (  # noqa: F401 - fixtures
    FakeClock,
    clock,
    draining,
    failure,
    log,
    other,
    reading,
    store,
    url,
)

IMAGES = (Image("https://cdn.example.com/1.png"),)


def scripted(run_id: str, row: int, **fields: object) -> RowLog:
    """A row that failed in the script."""
    made = {"stage": "script", "product": None, "images": (), "reason": "oops", "http_status": None, "payload": row}
    return failure(run_id, row, **{**made, **fields})


async def failed_page(store: Store, clock: FakeClock) -> tuple[str, ReplayPage]:
    """A run of one page whose rows are written, refused, and failed in the script twice; and the page's message."""
    run_id = await draining(store, clock, 4)
    await store.settle("", [log(run_id, 1), failure(run_id, 2), scripted(run_id, 3), scripted(run_id, 4)])
    return run_id, ReplayPage(run_id, "winter", 2, 1, (await store.page(run_id, 1)).seq)


def decoded(outbox: list[object]) -> list[messages.Message]:
    return [messages.decode(item.body) for item in outbox]  # type: ignore[attr-defined]


async def test_which_way_a_row_goes(store: Store, clock: FakeClock) -> None:
    """What was refused goes to the writers as it is; what failed before goes through the page; once, however often asked."""
    run_id, message = await failed_page(store, clock)
    taken = await store.reopen(run_id, 2)
    sent, replayed = decoded(taken.outbox)
    assert isinstance(sent, RowsReady)
    assert ([row.row for row in sent.rows], sent.version, replayed) == ([2], 2, message)
    assert (taken.rows, taken.same, dict(taken.left), taken.last) == (3, 0, {}, None)
    run = await store.run(run_id)
    assert (run.status, run.counts) == ("draining", Counts(total=4, written=1))
    again = await store.reopen(run_id, 2)
    assert (again.rows, again.outbox, dict(again.left)) == (0, [], {"in flight": 3})
    assert decoded([*taken.outbox]) == await store.retried(run_id, 2)


async def test_a_version_that_makes_rows_differently(store: Store, clock: FakeClock) -> None:
    """What another version made goes through its page, though it has images; where the page is gone, it is sent, and told."""
    run_id, message = await failed_page(store, clock)
    taken = await store.reopen(run_id, 2, alike={2})
    assert decoded(taken.outbox) == [message] == await store.retried(run_id, 2)
    assert (taken.rows, taken.same, taken.old, dict(taken.left)) == (3, 0, 0, {})
    assert [one.row for one in (await store.replayed(run_id, 1)).chosen] == [2, 3, 4]

    run_id, _ = await failed_page(store, clock)
    taken = await store.reopen(run_id, 2, alike={1, 2}, row=2)
    assert [type(one) for one in decoded(taken.outbox)] == [RowsReady]


async def test_a_page_that_cannot_go_through_alone(store: Store, clock: FakeClock) -> None:
    """What another version made is sent with its images all the same, and told."""
    run = await reading(store, clock, "winter")
    for page in (1, 2):
        await store.save_page(run.run_id, page, b"[]", cursor=None if page == 2 else "c", last=page == 2)
        await store.register_page(run.run_id, page, 1, [])
    await store.settle("", [failure(run.run_id, 1), failure(run.run_id, 2)])
    taken = await store.reopen(run.run_id, 2, alike={2}, joins=True)
    assert [type(one) for one in decoded(taken.outbox)] == [RowsReady]
    assert (taken.rows, taken.old, dict(taken.left)) == (2, 2, {})


async def test_what_takes_the_places_of_rows(store: Store, clock: FakeClock) -> None:
    """In one transaction: rows to be written with their messages, settled rows, additional rows; the second time nothing."""
    run_id, message = await failed_page(store, clock)
    await store.reopen(run_id, 2)
    page = await store.replayed(run_id, 1)
    assert ([one.row for one in page.chosen], [one.row for one in page.others], page.waits) == ([3, 4], [1, 2], False)
    assert [one.state for one in page.others] == ["written", "written"], "a writer has row 2"
    version = row_version(message.seq, 2)
    ready = [Row(3, version, "new-3", IMAGES), Row(0, version + 5, "new-5", IMAGES)]
    settled = [scripted(run_id, 4, reason="ouch")]
    outbox = await store.replace_rows(message, [3, 4], ready, settled)
    [sent] = decoded(list(outbox or ()))
    assert isinstance(sent, RowsReady)
    assert ([(row.row, row.product) for row in sent.rows], sent.version) == ([(3, "new-3"), (5, "new-5")], 2)
    assert (await store.run(run_id)).counts == Counts(total=5, written=1, failed=1)
    assert await store.replace_rows(message, [3, 4], ready, settled) is None
    assert (await store.replayed(run_id, 1)).chosen == ()
    await store.settle("t", [log(run_id, number, product=f"new-{number}") for number in (2, 3, 5)])
    run = await store.run(run_id)
    assert (run.status, run.counts) == ("partial", Counts(total=5, written=4, failed=1))
    taken = await store.reopen(run_id, 2)
    assert (taken.rows, taken.same) == (1, 1), "it failed with version 2 already"


async def test_a_page_that_comes_again(store: Store, clock: FakeClock) -> None:
    """The page's first message, repeated, changes nothing of what was replaced, and sends no row that has a log."""
    run_id, message = await failed_page(store, clock)
    await store.reopen(run_id, 2)
    await store.replace_rows(message, [3, 4], [Row(3, 7, "new", IMAGES)], [log(run_id, 4, "superseded")])
    before = await store.rows(run_id)
    old = [scripted(run_id, 2), scripted(run_id, 3)]
    registered = await store.register_page(run_id, 1, 4, old)
    assert (registered.numbers, registered.first_time) == ((0, 0, 0, 0), False)
    assert await store.rows(run_id) == before


async def test_deliveries_at_once(store: Store, other: Store, clock: FakeClock) -> None:
    """Two deliveries of one message: one of them replaces the rows."""
    run_id, message = await failed_page(store, clock)
    await store.reopen(run_id, 2)
    ready = [Row(number, number, f"new-{number}", IMAGES) for number in (3, 4)]
    both = [one.replace_rows(message, [3, 4], ready, []) for one in (store, other)]
    done = await asyncio.gather(*both)
    assert sorted(outbox is None for outbox in done) == [False, True]
    assert (await store.run(run_id)).counts == Counts(total=4, written=1)


async def test_what_cannot_be_retried(store: Store, clock: FakeClock) -> None:
    """Rows whose images are joined over several pages, and of pages that are gone, are left, and counted by reason."""
    run = await reading(store, clock)
    await store.save_page(run.run_id, 1, b"[]", cursor="next", last=False)
    await store.save_page(run.run_id, 2, b"[]", cursor=None, last=True)
    for page in (1, 2):
        await store.register_page(run.run_id, page, 1, [scripted(run.run_id, 0, page=page)])
    assert dict((await store.reopen(run.run_id, joins=True)).left) == {"joined": 2}
    clock.move(40 * 86_400)
    newer = await draining(store, clock, 1)
    await store.settle("", [log(newer, 1)])
    assert await store.forget_run(run.run_id, clock.now(), limit=1) == 1
    taken = await store.reopen(run.run_id)
    assert (taken.rows, dict(taken.left)) == (1, {"page gone": 1})


async def test_which_runs_have_open_failures(store: Store, clock: FakeClock) -> None:
    """The oldest first; with a group, those that have rows of it; not those whose products came through since."""
    first, _ = await failed_page(store, clock)
    second = await draining(store, clock, 1)
    await store.settle("", [scripted(second, 1, reason="another")])
    third = await draining(store, clock, 1)
    await store.settle("", [failure(third, 1, product="P", version=1)])
    assert await store.failed_runs("winter") == [first, second, third]
    [group] = await store.errors(second)
    assert await store.failed_runs("winter", group.group) == [second]
    fourth = await draining(store, clock, 1)
    await store.settle("", [log(fourth, 1, product="P", version=2)])
    assert await store.failed_runs("winter") == [first, second]
    assert await store.failed_runs("other") == []
    assert await store.open_of(first, second, third) == {first: 3, second: 1}
    assert (await store.reopen(third, only_open=True)).rows == 0
