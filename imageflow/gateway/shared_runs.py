"""Which posts share a run. Pure.

An ERP that posts one product at a time posts many a second. A run of its own for each costs several times as much as the
row in it: its record, its page, its messages, its end. So small posts that are stored together share one, if nothing
but its run id and its page tells that from a run for each (see `Post.sets`): their rows are the rows of one page, in the order
in which the posts came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from imageflow.gateway.post_body import Post
from imageflow.model.run import Run
from imageflow.store import NewPost

MAX_ROWS = 100
"""Rows of a run that posts share: as many as travel in one message to the writers."""
MAX_BYTES = 256 * 1024


class Arrived(NamedTuple):
    """A post that is to be stored: for which flow and version, by whom, what it holds, and its idempotency key as it is stored."""

    flow: str
    version: int
    by: str
    post: Post
    key: str | None = None


class _Open:
    """A run that more posts may join."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows = 0
        self.size = 0

    def takes(self, post: Post) -> bool:
        """Whether there is room for the post; it is taken then."""
        self.rows += post.rows
        self.size += len(post.text)
        return self.rows <= MAX_ROWS and self.size <= MAX_BYTES


def shared(posts: Iterable[Arrived], new_run: Callable[[Arrived], Run]) -> list[NewPost]:
    """The posts in their order, some with the run of one before. Who posted, the flow and its version are the same for all posts
    of a run. A post with a page of its own ends the run that the sender's posts to the flow shared: what comes later is newer.
    """
    runs: dict[tuple[str, int, str], _Open] = {}
    given = []
    for one in posts:
        same = (one.flow, one.version, one.by)
        if one.post.sets is None:
            runs.pop(same, None)
            run = new_run(one)
        else:
            if same not in runs or not runs[same].takes(one.post):
                runs[same] = _Open(new_run(one))
                runs[same].takes(one.post)
            run = runs[same].run
        given.append(NewPost(run, one.post.text, one.post.rows, one.key, one.post.sets))
    return given
