"""What the parser of answers raises, and which URLs and headers a POST is not sent with."""

from __future__ import annotations

import inspect

import httptools
import httptools.parser.errors
import pytest

from imageflow.errors import TransportError
from imageflow.http.post_client import PostClient

PARSER_ERRORS = [
    kind
    for _, kind in inspect.getmembers(httptools.parser.errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == httptools.parser.errors.__name__
]


@pytest.mark.parametrize("kind", PARSER_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_parser_is_caught(kind: type[Exception]) -> None:
    """The connection catches these two bases: a new error that has neither fails here."""
    assert issubclass(kind, (httptools.HttpParserError, httptools.HttpParserUpgrade))


@pytest.mark.parametrize("url", ["", "x", "ftp://h/", "http:///path", "http://[::1/", "http://h:99999/"])
async def test_urls_that_cannot_be_asked(url: str) -> None:
    """They are refused when the client is made, for good."""
    with pytest.raises(TransportError, match="not a URL") as caught:
        PostClient(url)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize("token", ["a\r\nX: 1", "caf\u00e9", "\x00"])
async def test_headers_that_cannot_be_sent(token: str) -> None:
    """A token that would smuggle in a header is refused, and not shown."""
    with pytest.raises(TransportError, match="cannot be sent in a header") as caught:
        await PostClient("http://127.0.0.1:9/").post(token, b"{}", 1.0)
    assert caught.value.kind == "refused"
    assert token not in str(caught.value)


async def test_a_compressed_answer_has_a_bound() -> None:
    """A body that unpacks to more than `max_bytes` is refused; one that cannot be unpacked stays as it is."""
    client = PostClient("http://127.0.0.1:9/", max_bytes=10)
    assert client.plain(b"not gzip", "gzip") == b"not gzip"
    assert client.plain(b"anything", "br") == b"anything"
    assert client.too_large().kind == "refused"
