from __future__ import annotations

from typing import Any, cast

import pytest

from imageflow.errors import NotFoundError
from imageflow.model.flow import Flow
from imageflow.runtime.flow_cache import FlowCache


class Store:
    """Versions 1 to 3 of any flow; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def flow(self, name: str, version: int) -> Flow:
        self.asked.append((name, version))
        if version > 3:
            raise NotFoundError(f"no version {version}")
        return Flow(name, version, cast("Any", f"{name} {version}"), cast("Any", None))


async def test_a_version_is_read_once() -> None:
    """Each version of a flow is asked of the store once."""
    store = Store()
    flows = FlowCache(cast("Any", store))
    found = [await flows.definition(name, version) for name, version in [("a", 1), ("a", 2), ("b", 1), ("a", 1)]]
    assert found == ["a 1", "a 2", "b 1", "a 1"]
    assert store.asked == [("a", 1), ("a", 2), ("b", 1)]


async def test_old_versions_are_dropped() -> None:
    """There is a bound: what was not used for longest is asked again."""
    store = Store()
    flows = FlowCache(cast("Any", store), limit=2)
    for version in (1, 2, 3, 1):
        await flows.definition("a", version)
    assert store.asked == [("a", 1), ("a", 2), ("a", 3), ("a", 1)]


async def test_unknown_versions_are_not_remembered() -> None:
    """A version that does not exist yet may exist the next time."""
    store = Store()
    flows = FlowCache(cast("Any", store))
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await flows.definition("a", 4)
    assert len(store.asked) == 2
