"""What AMQP clients say of how a body is packed and written."""

from __future__ import annotations

import pytest

from imageflow.errors import PostError
from imageflow.gateway.published_encoding import Encoding, as_utf8, encoding_of

UTF8 = Encoding(gzip=False, charset=None)


@pytest.mark.parametrize(
    ("headers", "encoding"),
    [
        ({}, UTF8),
        ({"content-encoding": ""}, UTF8),
        ({"content-encoding": "utf-8"}, UTF8),
        ({"content-encoding": " UTF8 "}, UTF8),
        ({"content-encoding": "binary", "content-type": "application/json"}, UTF8),
        ({"content-encoding": "identity"}, UTF8),
        ({"content-encoding": "us-ascii"}, Encoding(False, "ascii")),
        ({"content-encoding": "ISO-8859-9"}, Encoding(False, "iso8859-9")),
        ({"content-encoding": "windows-1254"}, Encoding(False, "cp1254")),
        ({"content-encoding": "utf-16"}, Encoding(False, "utf-16")),
        ({"content-encoding": "gzip"}, Encoding(True, None)),
        ({"content-encoding": "x-gzip"}, Encoding(True, None)),
        ({"content-encoding": "gzip:UTF-8"}, Encoding(True, None)),
        ({"content-encoding": "gzip, iso-8859-9"}, Encoding(True, "iso8859-9")),
        ({"content-encoding": "utf-8", "compression": "application/x-gzip"}, Encoding(True, None)),
        ({"content-type": "application/json; charset=utf-8"}, UTF8),
        ({"content-type": 'application/json; charset="ISO-8859-9"'}, Encoding(False, "iso8859-9")),
        ({"content-type": "application/json; charset=iso-8859-9", "content-encoding": "utf-8"}, UTF8),
        ({"content-type": "application/json; charset=nonsense"}, UTF8),
    ],
    ids=str,
)
def test_what_is_said(headers: dict[str, str], encoding: Encoding) -> None:
    """Names of compressions and of charsets, in the properties that each client uses."""
    assert encoding_of(headers) == encoding


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "deflate"},
        {"content-encoding": "br"},
        {"content-encoding": "zip"},
        {"content-encoding": "base64"},
        {"content-encoding": "unicode_escape"},
        {"content-encoding": "a\0b"},
        {"compression": "application/x-bz2"},
    ],
    ids=str,
)
def test_what_is_not_understood(headers: dict[str, str]) -> None:
    """The reason names what was said."""
    with pytest.raises(PostError, match="neither a compression that is understood"):
        encoding_of(headers)


def test_bodies() -> None:
    """A body in another charset becomes UTF-8; one that is not in its charset is refused."""
    assert as_utf8("ŞIK".encode("iso8859-9"), "iso8859-9") == "ŞIK".encode()
    assert as_utf8(b"\xff", None) == b"\xff"
    with pytest.raises(PostError, match="not ascii text"):
        as_utf8("ŞIK".encode(), "ascii")
