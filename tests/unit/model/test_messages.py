"""Messages: they survive their way through a queue, go into the right one, and chunks lose no row."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import MessageError
from imageflow.model import messages
from imageflow.model.imageset import Image
from imageflow.model.messages import Message, PageRead, ReadPage, RowsReady, RunRead
from imageflow.model.row import Row

# what JSON can hold: no surrogates
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NAME = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
LONG = st.integers(0, 2**63 - 1)
COUNT = st.integers(0, 2**31 - 1)
SECONDS = st.floats(0, 2e9)
IMAGE = st.builds(Image, TEXT, st.integers(-5, 5), st.sampled_from(["default", "swatch"]))
ROW = st.builds(
    Row,
    LONG,
    LONG,
    TEXT,
    st.lists(IMAGE, max_size=3).map(tuple),
    attempts=st.integers(0, 9),
    digest=st.text("0123456789abcdef", max_size=32),
)
RUN = (NAME, NAME, COUNT)
MESSAGE = st.one_of(
    st.builds(ReadPage, *RUN, COUNT, st.integers(0, 9), SECONDS, SECONDS),
    st.builds(PageRead, *RUN, COUNT, st.integers(0, 2**43 - 1), st.none() | TEXT),
    st.builds(RunRead, *RUN),
    st.builds(RowsReady, *RUN, st.lists(ROW, max_size=3).map(tuple)),
)


@given(MESSAGE)
def test_messages_round_trip(message: Message):
    """What is decoded is what was encoded, as the same kind of message."""
    assert messages.decode(messages.encode(message)) == message


@given(MESSAGE)
def test_newer_messages_are_understood(message: Message):
    """A field that this version does not know is ignored: a newer service may have sent it."""
    newer = msgspec.json.decode(messages.encode(message)) | {"later": {"x": [1]}}
    assert messages.decode(msgspec.json.encode(newer)) == message


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"type":"later"}', b'{"type":"run_read"}', b'"\xff"'])
def test_what_is_no_message(body: bytes):
    """Bytes that are no message are an error that parks the delivery, not a crash."""
    with pytest.raises(MessageError, match="not a message of ImageFlow"):
        messages.decode(body)


@pytest.mark.parametrize(
    ("message", "queue", "flow"),
    [
        (ReadPage("r", "winter", 1, 1), "imageflow.read", ""),
        (PageRead("r", "winter", 1, 1, 1), "imageflow.transform.winter", "winter"),
        (RunRead("r", "winter", 1), "imageflow.transform.winter", "winter"),
        (RowsReady("r", "winter", 1, ()), "imageflow.write.winter", "winter"),
    ],
)
def test_queues(message: Message, queue: str, flow: str):
    """Reading is shared by all flows; after it each flow has queues of its own."""
    assert messages.queue_of(message) == queue
    assert messages.flow_of(queue) == flow


@given(st.lists(ROW, max_size=30), st.integers(1, 5), st.integers(1, 2000))
def test_chunks_lose_no_row(rows: list[Row], size: int, max_bytes: int):
    """Chunks hold every row, in order, and none is empty or has more than `size` rows."""
    chunks = messages.chunked(rows, size, max_bytes)
    assert [row for chunk in chunks for row in chunk] == rows
    assert all(0 < len(chunk) <= size for chunk in chunks)


def test_chunks_stay_small():
    """Rows with many images travel in smaller chunks; one that is too large for itself travels alone."""
    large = Row(1, 1, "p", tuple(Image("https://images.example.com/" + "x" * 1000) for _ in range(100)))
    assert [len(chunk) for chunk in messages.chunked([large] * 6, max_bytes=250_000)] == [2, 2, 2]
    assert [len(chunk) for chunk in messages.chunked([large] * 2, max_bytes=1000)] == [1, 1]
