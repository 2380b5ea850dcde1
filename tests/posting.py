"""One outbound post, as tests make it."""

from imageflow.model.run import Run
from imageflow.store import AcceptedPost, NewPost, Store


async def accept_post(store: Store, run: Run, body: bytes, *, rows: int, key: str | None = None) -> AcceptedPost:
    """Store one post."""
    return (await store.accept_posts([NewPost(run, body, rows, key)]))[0]
