# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract about flows that are switched off, and deleted, over SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from imageflow.errors import ConflictError, NotFoundError
from imageflow.store import AuditEntry, NewPost, Store
from tests.contract.test_store import (  # noqa: F401 - fixtures
    NOW,
    FakeClock,
    clock,
    flow_document,
    new_run,
    post_run,
    store,
    url,
)


def entry(what: str) -> AuditEntry:
    return AuditEntry("ada", what, "flow winter", "command line")


async def test_what_is_switched_off_stays_off(store: Store) -> None:
    """A flow that was disabled by hand stays so whatever is saved, until it is enabled by hand."""
    off = await store.switch_flow("winter", "ada", enabled=False, audit=entry("flow.disable"))
    assert (off.version, off.definition.enabled) == (2, False)
    same = await store.save_flow(flow_document())
    assert (same.version, same.definition.enabled) == (2, False)
    assert (await store.save_flow({**off.document, "timezone": "Europe/Istanbul", "enabled": True})).version == 3
    assert not (await store.flow("winter")).definition.enabled
    on = await store.switch_flow("winter", "ada", enabled=True, audit=entry("flow.enable"))
    assert (on.version, on.definition.enabled, on.definition.timezone) == (4, True, "Europe/Istanbul")
    assert [(one.version, one.enabled) for one in await store.flow_versions("winter")] == [
        *((4, True), (3, False), (2, False), (1, True))
    ]
    assert [(one.entry.what, one.entry.detail) for one in await store.audit()] == [
        ("flow.enable", {"version": 4}),
        ("flow.disable", {"version": 2}),
    ]


async def test_saving_over_the_version_that_is_expected(store: Store) -> None:
    """A save over a version that is not the newest any more saves nothing."""
    changed = flow_document(timezone="Europe/Istanbul")
    assert (await store.save_flow(changed, expected=1)).version == 2
    with pytest.raises(ConflictError, match="version 2 meanwhile"):
        await store.save_flow(flow_document(), audit=entry("flow.save"), expected=1)
    assert ((await store.flow("winter")).version, await store.audit()) == (2, [])
    assert await store.newest_versions() == {"winter": 2}


async def test_switching_to_what_it_is(store: Store) -> None:
    """No new version and no entry where nothing changes; that a person disabled it too, is noted."""
    assert (await store.switch_flow("winter", enabled=True, audit=entry("flow.enable"))).version == 1
    assert await store.audit() == []
    await store.save_flow(flow_document(enabled=False))
    assert (await store.switch_flow("winter", enabled=False, audit=entry("flow.disable"))).version == 2
    assert [one.entry.what for one in await store.audit()] == ["flow.disable"]
    assert not (await store.save_flow(flow_document())).definition.enabled
    with pytest.raises(NotFoundError, match="no flow 'summer'"):
        await store.switch_flow("summer", enabled=False)


async def test_a_deleted_flow(store: Store, clock: FakeClock) -> None:
    """It is not listed, takes no posts, has no watermark and no open alarm; its versions can be seen; saving it brings it
    back as a new version, also if nothing changed.
    """
    await store.set_watermark("winter", NOW)
    await store.sound("winter", {"error_rate": "too many"}, notify=False)
    await store.switch_flow("winter", enabled=False)
    await store.delete_flow("winter", audit=entry("flow.delete"))
    assert await store.flows() == []
    assert await store.newest_versions() == {}
    assert [one.version for one in await store.flow_versions("winter")] == [2, 1]
    for asked in (store.flow("winter"), store.delete_flow("winter")):
        with pytest.raises(NotFoundError, match="the flow 'winter' is deleted; to have it back: "):
            await asked
    assert (await store.flow("winter", 1)).document == flow_document()
    assert await store.watermark("winter") is None
    assert await store.alarms(is_open=True) == []
    post = NewPost(post_run(clock, "winter"), b"[]", 0, None)
    [outcome] = await store.accept_posts([post])
    assert (outcome.outdated, outcome.outbox) == (True, ())
    back = await store.save_flow(flow_document())
    assert (back.version, back.definition.enabled) == (3, True)
    assert [one.entry.detail for one in await store.audit(what="flow.delete")] == [{"version": 2}]


async def test_a_flow_with_runs_is_not_deleted(store: Store, clock: FakeClock) -> None:
    """Not before they have ended."""
    run = new_run(clock)
    await store.create_run(run)
    with pytest.raises(ConflictError, match=f"have not ended .{run.run_id}.*imageflow cancel"):
        await store.delete_flow("winter")
    await store.cancel_run(run.run_id)
    await store.delete_flow("winter")
    assert (await store.run(run.run_id)).status == "cancelled"
