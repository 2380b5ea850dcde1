"""Group commit: many items, one commit; each caller gets the result of its own item."""

import asyncio

import pytest

from imageflow.errors import StoreError
from imageflow.gateway.group_commit import MAX_BYTES, MAX_ITEMS, GroupCommit


class Commits:
    """Records batches; waits for `open` before each; fails as it is told to."""

    def __init__(self):
        self.batches = []
        self.open = asyncio.Event()
        self.open.set()
        self.error = None
        self.bad = ()

    async def __call__(self, items):
        self.batches.append(list(items))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if any(item in self.bad for item in items):
            raise ValueError("bad")
        return [item * 10 for item in items]


async def add(group, *items, size=1, keys=None):
    """The results of items that come at the same moment."""
    keys = keys or [None] * len(items)
    return await asyncio.gather(
        *(group.add(item, size=size, key=key) for item, key in zip(items, keys, strict=True)), return_exceptions=True
    )


async def test_what_comes_together_is_committed_together():
    """Items that come at the same moment are one batch; each gets its own result."""
    commits = Commits()
    assert await add(GroupCommit(commits), 1, 2, 3) == [10, 20, 30]
    assert commits.batches == [[1, 2, 3]]


async def test_the_next_batch_gathers_meanwhile():
    """While a batch is under way, what comes waits and is one batch after it."""
    commits = Commits()
    commits.open.clear()
    group = GroupCommit(commits)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(add(group, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = tasks.create_task(add(group, 2, 3))
        await asyncio.sleep(0)
        commits.open.set()
    assert (first.result(), later.result()) == ([10], [20, 30])
    assert commits.batches == [[1], [2, 3]]


async def test_one_after_the_other():
    """An idle group commits each item at once."""
    commits = Commits()
    group = GroupCommit(commits)
    assert [await group.add(item, size=1) for item in (1, 2)] == [10, 20]
    assert commits.batches == [[1], [2]]


async def test_a_batch_has_bounds():
    """A batch has at most MAX_ITEMS items, and is not larger than MAX_BYTES unless it is one item."""
    commits = Commits()
    await add(GroupCommit(commits), *range(MAX_ITEMS + 5))
    assert [len(batch) for batch in commits.batches] == [MAX_ITEMS, 5]
    commits.batches.clear()
    await add(GroupCommit(commits), 1, 2, 3, size=MAX_BYTES // 2)
    assert commits.batches == [[1, 2], [3]]
    commits.batches.clear()
    await add(GroupCommit(commits), 1, 2, size=MAX_BYTES * 2)
    assert commits.batches == [[1], [2]]


async def test_a_key_is_once_in_a_batch():
    """Two items of one key are not in one batch, and keep their order."""
    commits = Commits()
    await add(GroupCommit(commits), 1, 2, 3, 4, keys=["a", "b", "a", None])
    assert commits.batches == [[1, 2], [3, 4]]


async def test_an_absent_store_fails_all():
    """An error that is nobody's fault is everybody's answer, and is not asked for again item by item."""
    commits = Commits()
    commits.error = StoreError("away")
    assert [type(result) for result in await add(GroupCommit(commits), 1, 2)] == [StoreError, StoreError]
    assert len(commits.batches) == 1


async def test_a_fault_of_one_fails_one():
    """Where an item breaks the batch, the others are committed without it."""
    commits = Commits()
    commits.bad = (2,)
    first, second, third = await add(GroupCommit(commits), 1, 2, 3)
    assert (first, str(second), third) == (10, "bad", 30)


async def test_a_caller_that_gives_up_changes_nothing_for_others():
    """The item of a cancelled caller may be committed; the others get their results."""
    commits = Commits()
    commits.open.clear()
    group = GroupCommit(commits)
    gone = asyncio.create_task(add(group, 1))
    stays = asyncio.create_task(add(group, 2))
    await asyncio.sleep(0)
    gone.cancel()
    commits.open.set()
    assert await stays == [20]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_behind_and_finish():
    """A group is behind where more waits than a batch takes; `finish` waits for all of it, as long as it may."""
    commits = Commits()
    group = GroupCommit(commits)
    await group.finish(1.0)
    commits.open.clear()
    results = [group.add(item, size=1) for item in range(MAX_ITEMS + 1)]
    assert group.behind
    large = GroupCommit(commits)
    large.add(1, size=MAX_BYTES + 1)
    assert large.behind
    await group.finish(0.01)
    assert not any(result.done() for result in results)
    commits.open.set()
    await group.finish(5.0)
    assert all(result.done() for result in results)
    assert not group.behind
