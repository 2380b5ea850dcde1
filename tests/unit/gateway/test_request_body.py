"""Bodies as they arrive: bounded, plain or gzip."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import PostError
from imageflow.gateway.problem_details import refusal
from imageflow.gateway.request_body import STEP_BYTES, Body


def fed(body, data, step=7):
    for start in range(0, len(data), step):
        body.feed(data[start : start + step])
    return body.end()


@given(st.binary(max_size=2_000), st.integers(1, 500), st.booleans())
def test_round_trip(data, step, packed):
    """What is sent arrives, however it is cut up, plain or packed."""
    encoding = "gzip" if packed else ""
    assert fed(Body(encoding), gzip.compress(data) if packed else data, step) == data


def test_members():
    """Gzip members one after another are one body."""
    assert fed(Body("x-gzip"), gzip.compress(b"ab") + gzip.compress(b"cd")) == b"abcd"


@pytest.mark.parametrize("encoding", ["", "gzip", "GZIP ", "identity"])
def test_limit_is_exact(encoding):
    """A body of exactly the limit is taken, one byte more is not."""
    packed = "gzip" in encoding.lower()
    for size, fits in ((1_000, True), (1_001, False)):
        data = gzip.compress(b"a" * size) if packed else b"a" * size
        if fits:
            assert len(fed(Body(encoding, 1_000), data)) == size
        else:
            with pytest.raises(PostError) as error:
                fed(Body(encoding, 1_000), data)
            assert refusal(error.value).status == 413


@pytest.mark.slow
def test_bomb():
    """A gzip bomb is given up on at the limit, not after it is unpacked."""
    body = Body("gzip", 100_000)
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(200)) + bomb.flush()
    with pytest.raises(PostError) as error:
        body.feed(data[:90_000])
    assert refusal(error.value).status == 413
    assert body.size <= 100_001


@pytest.mark.parametrize(
    "data",
    [
        b"not gzip",
        gzip.compress(b"a" * 100, mtime=0)[:-9],
        gzip.compress(b"a", mtime=0) + b"rest",
        gzip.compress(b"a" * 100, mtime=0)[:-4] + b"oops",
    ],
)
def test_broken_gzip(data):
    """Gzip that is none, breaks off, has a wrong sum or something after it is refused with 400."""
    with pytest.raises(PostError) as error:
        fed(Body("gzip"), data)
    assert refusal(error.value).status == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings(encoding):
    """An encoding that is not understood is refused with 415."""
    with pytest.raises(PostError) as error:
        Body(encoding)
    assert refusal(error.value).status == 415


@pytest.mark.parametrize(
    "data", [gzip.compress(b" " * (4 * STEP_BYTES)), gzip.compress(b"") * 300 + gzip.compress(b"x")]
)
def test_unpacking_pauses(data):
    """A kilobyte that is a megabyte, and members without content, are unpacked in small steps."""
    body = Body("gzip")
    assert sum(1 for _ in body.steps(data)) >= 4
    assert body.end() == gzip.decompress(data)
