"""Keys of machines: which are made, how long they are good, and which one a name means."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imageflow.actions import credentials, keys
from imageflow.actions.actor import Actor
from imageflow.actions.users import UserError
from imageflow.errors import NotFoundError
from imageflow.secret import Secret
from imageflow.store import ApiKey, Store
from imageflow.store.connect import connect
from tests import schemas

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ADA = Actor("ada", "command line")
SECRET = b"s" * 32


class Clock:
    """It stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with two outbound flows."""
    omnitron = {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}}
    async with connect(Secret(schemas.lay(tmp_path / "store.db")), Clock()) as made:
        for name in ("posts", "other"):
            await made.save_flow({"name": name, "direction": "outbound", "omnitron": omnitron})
        yield made


async def add(store: Store, name: str = "erp", days: int | None = None, flow: str = "posts") -> keys.NewKey:
    return await keys.add(store, SECRET, flow, name, days, ADA, Clock())


@pytest.mark.parametrize(("days", "until"), [(None, None), (1, timedelta(days=1)), (3650, timedelta(days=3650))])
async def test_a_key_is_made(store: Store, days: int | None, until: timedelta | None) -> None:
    """For its flow, by its maker, good for so many days; its text opens it, and stands neither in the list nor in the audit log."""
    made = await add(store, " erp ", days)
    (kept,) = await keys.listed(store, "posts")
    assert (kept.id, kept.flow, kept.name, kept.created_by) == (made.key.id, "posts", "erp", "ada")
    assert kept.expires_at == (None if until is None else NOW + until)
    (record,) = await store.audit()
    assert (record.entry.what, record.entry.object) == ("key.add", f"key {made.key.id}")
    assert (record.entry.detail["flow"], record.entry.detail["days"]) == ("posts", days)
    assert made.text not in repr(kept) + repr(record)
    assert credentials.digest(SECRET, made.text) not in repr(record)


@pytest.mark.parametrize(
    ("name", "days", "flow", "error"),
    [
        ("", None, "posts", UserError),
        ("  ", None, "posts", UserError),
        ("a\tb", None, "posts", UserError),
        ("x" * 101, None, "posts", UserError),
        ("erp", 0, "posts", UserError),
        ("erp", -1, "posts", UserError),
        ("erp", 3651, "posts", UserError),
        ("erp", None, "nobody", NotFoundError),
    ],
)
async def test_what_is_no_key(store: Store, name: str, days: int | None, flow: str, error: type[Exception]) -> None:
    """A name that cannot be told, days that are none or too many, a flow that is not there: nothing is made or audited."""
    with pytest.raises(error):
        await add(store, name, days, flow)
    assert (await keys.listed(store, None), await store.audit()) == ([], [])


async def test_the_longest_name(store: Store) -> None:
    """A hundred characters, blanks around them not counted."""
    assert (await add(store, f" {'x' * 100} ")).key.name == "x" * 100


async def test_keys_are_listed_by_flow_and_name(store: Store) -> None:
    """Of one flow, or all; those of the same name by their id. A flow that is not there is an error, no empty list."""
    for name, flow in (("b", "posts"), ("a", "posts"), ("z", "other"), ("a", "posts")):
        await add(store, name, None, flow)
    found = await keys.listed(store, None)
    assert [(key.flow, key.name) for key in found] == [("other", "z"), ("posts", "a"), ("posts", "a"), ("posts", "b")]
    assert found[1].id < found[2].id
    assert [key.flow for key in await keys.listed(store, "other")] == ["other"]
    with pytest.raises(NotFoundError):
        await keys.listed(store, "nobody")


async def test_which_key_a_text_means(store: Store) -> None:
    """Its id, or its name if no other has it; an id counts before a name. What means none or several says what to give."""
    first, _twin = await add(store, "twin"), await add(store, "twin")
    alone = await add(store, "alone")
    await store.add_key(
        ApiKey("0" * 12, "posts", first.key.id, "ada", NOW, None), b"another", audit=ADA.entry("key.add", "key")
    )
    assert await keys.id_of(store, "alone") == alone.key.id
    assert await keys.id_of(store, alone.key.id) == alone.key.id
    assert await keys.id_of(store, first.key.id) == first.key.id
    with pytest.raises(NotFoundError, match=f"2 keys have the name 'twin'.*{first.key.id}"):
        await keys.id_of(store, "twin")
    with pytest.raises(NotFoundError, match="imageflow key list"):
        await keys.id_of(store, "nobody")


async def test_a_key_is_revoked(store: Store) -> None:
    """Once, with an audit entry; the other keys stay."""
    gone, stays = await add(store, "gone"), await add(store, "stays")
    assert (await keys.revoke(store, gone.key.id, ADA)).name == "gone"
    assert [key.id for key in await keys.listed(store, None)] == [stays.key.id]
    assert [record.entry.what for record in await store.audit()] == ["key.revoke", "key.add", "key.add"]
    with pytest.raises(NotFoundError):
        await keys.revoke(store, gone.key.id, ADA)
    assert len(await store.audit()) == 3
