"""What a message of the outbound queue is read as."""

import pytest

from imageflow.actions.dead_letters import identity, own
from imageflow.broker import MAX_HEADERS_BYTES, attempts, bounded, parked, retried
from imageflow.errors import MessageError
from imageflow.gateway.published_encoding import Encoding
from imageflow.gateway.queue import Published, published
from imageflow.gateway.request_body import MAX_BODY_BYTES


class Delivery:
    """As much of a delivery as reading one needs."""

    def __init__(self, body=b"[]", **headers):
        self.body = body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def test_what_a_publisher_says():
    """Flow, id, encoding and type are taken from headers, whatever their case."""
    assert published(Delivery(flow="f")) == Published("f", b"[]", Encoding(False, None), False, None)
    full = Delivery(Flow=" f ", Message_Id="m 1", Content_Encoding="gzip", content_type="application/x-ndjson; a=b")
    assert published(full) == Published("f", b"[]", Encoding(True, None), True, "m 1")
    assert published(Delivery(flow="f", message_id="")).key is None


@pytest.mark.parametrize("headers", [{}, {"flow": ""}, {"flow": "  "}, {"flows": "f"}])
def test_for_nobody(headers):
    """A message that does not name its flow cannot be used."""
    with pytest.raises(MessageError, match="header `flow` is missing"):
        published(Delivery(**headers))


def test_packed_in_another_way():
    """What cannot be unpacked is parked with the reason, before the flow is looked up."""
    with pytest.raises(MessageError, match="'deflate' is neither"):
        published(Delivery(flow="f", content_encoding="deflate"))


def test_too_large():
    """The bound is that of a post."""
    assert published(Delivery(b"x" * MAX_BODY_BYTES, flow="f")).body
    with pytest.raises(MessageError, match="larger than 10,485,760 bytes"):
        published(Delivery(b"x" * (MAX_BODY_BYTES + 1), flow="f"))


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("", 0), ("many", 0), ("-1", 0), ("²", 0), ("9" * 5000, 0)])
def test_attempts_are_a_number(text, count):
    """Whatever a stranger writes into the header that counts retries, it counts."""
    assert attempts({"attempts": text}) == count
    assert retried({"attempts": text}, failed=True)["attempts"] == str(count + 1)


def test_headers_that_fit():
    """Of too many headers the small ones stay; parking adds why, whence and when."""
    headers = {"flow": "f", **{f"h{n}": "é" * 10_000 for n in range(9)}}
    kept = bounded(headers)
    assert kept["flow"] == "f"
    assert sum(len(f"{name}{value}".encode()) for name, value in kept.items()) <= MAX_HEADERS_BYTES
    assert parked({"flow": "f"}, "q", "w" * 9999, 0.5) == {
        "flow": "f",
        "queue": "q",
        "reason": "w" * 2000,
        "parked_at": "1970-01-01T00:00:00+00:00",
    }


def test_a_parked_message_is_known_by_what_it_is():
    """Equal messages have equal ids, others do not; a replayed one goes without what the parking added."""
    headers = parked({"flow": "f", "message-id": "m"}, "q", "why", 0)
    assert identity(headers, b"x") == identity(dict(reversed(headers.items())), b"x")
    assert len({identity(headers, b"x"), identity(headers, b"y"), identity({**headers, "flow": "g"}, b"x")}) == 3
    assert own({**headers, "attempts": "3"}) == {"flow": "f", "message-id": "m"}
