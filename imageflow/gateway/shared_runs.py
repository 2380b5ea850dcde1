"""Which posts share a run. Pure.

An ERP that posts one product at a time posts many a second. A run of its own for each costs several times as much as the
row in it: its record, its page, its messages, its end. So small posts that are stored together share one, if nothing
but its run id and its page tells that from a run for each (see `Post.sets`): their rows are the rows of one page, in the order
in which the posts came.
"""

from __future__ import annotations

from collections.abc import Iterable

from imageflow.model.run import Run
from imageflow.store import NewPost

MAX_ROWS = 100
"""Rows of a run that posts share: as many as travel in one message to the writers."""
MAX_BYTES = 256 * 1024


class _Open:
    """A run that more posts may join."""

    def __init__(self, post: NewPost) -> None:
        self.run: Run = post.run
        self.rows = 0
        self.size = 0

    def takes(self, post: NewPost) -> bool:
        """Whether there is room for the post; it is taken then."""
        self.rows += post.rows
        self.size += len(post.body)
        return self.rows <= MAX_ROWS and self.size <= MAX_BYTES


def shared(posts: Iterable[NewPost]) -> list[NewPost]:
    """The posts in their order, some with the run of one before. Who posted, the flow and its version are the same for all posts
    of a run. A post with a page of its own ends the run that the sender's posts to the flow shared: what comes later is newer.
    """
    runs: dict[tuple[str, int, str], _Open] = {}
    given = []
    for post in posts:
        same = (post.run.flow, post.run.version, post.run.trigger.by)
        if post.sets is None:
            runs.pop(same, None)
            given.append(post)
            continue
        if same not in runs or not runs[same].takes(post):
            runs[same] = _Open(post)
            runs[same].takes(post)
        given.append(post._replace(run=runs[same].run))
    return given
