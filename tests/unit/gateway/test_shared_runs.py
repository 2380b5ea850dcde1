"""Which posts share a run."""

from datetime import UTC, datetime

from imageflow.gateway.post_body import Post
from imageflow.gateway.shared_runs import MAX_BYTES, MAX_ROWS, Arrived, shared
from imageflow.model.run import Run, Trigger

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def post(name, *, flow="posts", version=1, by="erp", rows=1, size=10, alone=False):
    return Arrived(flow, version, by, Post(b"x" * size, rows, None if alone else b"x" * size), name)


def new_run(one):
    """A run that is called as the post that it was made for."""
    trigger = Trigger("outbound", by=one.by)
    return Run(run_id=one.key, flow=one.flow, version=one.version, trigger=trigger, status="draining", created_at=NOW)


def runs(*posts):
    return [one.run.run_id for one in shared(posts, new_run)]


def test_small_posts_share():
    """Small posts of one sender share the run of the first."""
    assert runs(post("a"), post("b"), post("c")) == ["a", "a", "a"]


def test_what_differs():
    """Posts to another flow or version, or by another sender, have a run of their own, which theirs share."""
    first, second = (post(name) for name in "ab")
    others = [post("c", flow="other"), post("d", version=2), post("e", by="key shop"), post("f", by="key shop")]
    assert runs(first, *others, second) == ["a", "c", "d", "e", "e", "a"]


def test_order_is_kept():
    """What comes after a post with a page of its own has a later page: the last one wins, per product."""
    assert runs(post("a"), post("b", alone=True), post("c"), post("d")) == ["a", "b", "c", "c"]
    assert runs(post("a"), post("b", alone=True, by="other"), post("c")) == ["a", "b", "a"]


def test_bounds():
    """A run has no more rows than travel together, and its page no more bytes than go with its message."""
    assert runs(*(post(str(n), rows=MAX_ROWS // 2) for n in range(5))) == ["0", "0", "2", "2", "4"]
    assert runs(*(post(str(n), size=MAX_BYTES // 2) for n in range(3))) == ["0", "0", "2"]
    assert runs(post("a", rows=MAX_ROWS + 1), post("b")) == ["a", "b"]


def test_nothing_else_changes():
    """Order, bodies and keys stay as they are, and each run is of its posts' flow, version and sender."""
    posts = [post("a"), post("b", rows=2), post("c", alone=True), post("d", flow="other", version=3, by="key shop")]
    found = shared(posts, new_run)
    assert [(one.body, one.rows, one.key, one.sets) for one in found] == [
        (one.post.text, one.post.rows, one.key, one.post.sets) for one in posts
    ]
    assert [(one.run.flow, one.run.version, one.run.trigger.by) for one in found] == [
        (one.flow, one.version, one.by) for one in posts
    ]


def test_a_run_is_made_for_who_needs_one():
    """Not for each post."""
    made = []
    shared([post("a"), post("b"), post("c", alone=True), post("d")], lambda one: made.append(one.key) or new_run(one))
    assert made == ["a", "c", "d"]
