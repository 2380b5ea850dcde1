"""Small posts that wait together share a run, from the door to Omnitron, on the embedded queue and database."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from imageflow.gateway.late_publisher import LatePublisher
from imageflow.gateway.outbound import Outbound, Posted
from tests.integration.pipeline import pipeline

URL = "https://cdn.example.com/{}.jpg"


class Gate:
    """A store that stores no post until it is opened."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.entered, self.open = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def accept_posts(self, posts: Any) -> Any:
        self.entered.set()
        await self.open.wait()
        return await self._real.accept_posts(posts)


def posted(*rows: tuple[str, str], key: str | None = None, by: str = "erp") -> Posted:
    sets = [{"sku": sku, "images": [URL.format(image)]} for sku, image in rows]
    return Posted(json.dumps(sets[0] if len(sets) == 1 else sets).encode(), ndjson=False, key=key, by=by)


async def test_small_posts_share_a_run(tmp_path):
    """Posts that came while another was stored are rows of one page: each is told that run and its own rows, the last one wins
    per product, a wrong row fails alone, and a repeat adds nothing.
    """
    async with pipeline(tmp_path, services=("transformer", "writer")) as line:
        await line.save("posts", direction="outbound")
        store, s = Gate(line.store), line.substrate
        door = Outbound(store, s.broker, LatePublisher(line.store, s.broker), s.clock)
        flow = await door.flow("posts")
        async with asyncio.TaskGroup() as tasks:
            alone = tasks.create_task(door.accept(flow, posted(("A", "0"), key="first")))
            await store.entered.wait()
            waiting = [
                tasks.create_task(door.accept(flow, body))
                for body in (
                    posted(("A", "1"), key="k"),
                    posted(("A", "0"), key="first"),
                    posted(("B", "1"), ("C", "1")),
                    posted(("A", "2")),
                    posted(("", "1")),
                    posted(("A", "other"), by="other"),
                )
            ]
            await asyncio.sleep(0)  # each has got as far as the door's line
            store.open.set()
        one, repeat, two, three, wrong, other = [task.result() for task in waiting]
        assert repeat.run_id == alone.result().run_id
        assert one.run_id == two.run_id == three.run_id == wrong.run_id
        assert len({alone.result().run_id, one.run_id, other.run_id}) == 3
        assert [post.rows for post in (one, two, three, wrong)] == [1, 2, 1, 1]
        run = await line.follow(one.run_id)
        assert (run.trigger.by, run.pages, run.status) == ("erp", 1, "partial")
        assert (run.counts.total, run.counts.failed) == (5, 1)
        assert run.counts.written + run.counts.superseded == 4
        await line.follow(other.run_id)
        page = json.loads((await line.store.page(one.run_id, 1)).body)
        assert [row["sku"] for row in page] == ["A", "B", "C", "A", ""]
        found = {sku: [image["url"] for image in line.omnitron.images_of(sku)] for sku in "ABC"}
        assert found == {"A": [URL.format("other")], "B": [URL.format("1")], "C": [URL.format("1")]}
        again = await door.accept(flow, posted(("A", "1"), key="k"))
        assert (again.run_id, again.rows, again.repeated) == (one.run_id, 1, True)
        assert len(await line.store.runs()) == 3
