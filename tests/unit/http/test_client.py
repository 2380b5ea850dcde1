"""What the HTTP client raises, where URLs lead, how long a server wants to be left alone."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from imageflow.http.client import Answer, exact_origin, origin, retry_after, translated

KEY = ConnectionKey("h", 80, False, True, None, None, None)
CLIENT_ERRORS = [
    kind for _, kind in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(kind, (aiohttp.ClientError, OSError))
]
PERMANENT = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


def instance(kind: type[Exception]) -> Exception:
    """One of that kind, however many arguments it wants."""
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(KEY, ValueError("expired"))
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(KEY, OSError(111, "Connection refused"))
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"", b"", "h", 80)
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind(Any, ())  # type: ignore[arg-type]
    return kind("http://x/?secret=1")


@pytest.mark.parametrize("kind", [*CLIENT_ERRORS, TimeoutError, OSError, ConnectionResetError, ValueError])
def test_every_error_of_the_client_is_translated(kind: type[Exception]):
    """Whatever aiohttp can raise becomes a TransportError that names the host and gives nothing away."""
    error = translated(instance(kind), "https://user:pw@erp.example.com/path?token=secret")
    assert "https://erp.example.com" in str(error)
    assert "secret" not in str(error)
    assert error.transient is not (kind is ValueError or issubclass(kind, PERMANENT))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", 1.5),
        ("Tue, 24 Nov 2026 09:30:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 09:30:30 -0000", 30.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Tue, 99 Nov 2026 09:00:00 GMT", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after(value: str, seconds: float | None):
    """Seconds and dates; what is neither asks for nothing."""
    assert retry_after({"retry-after": value}, datetime(2026, 11, 24, 9, 30, tzinfo=UTC)) == seconds


def test_no_retry_after():
    """Without the header nothing is asked for."""
    assert retry_after({}, datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Erp.Example.com/a", "https://erp.example.com:443/b?c"),
        ("http://erp.example.com", "HTTP://ERP.example.com:80/"),
        ("https://faß.example.com/", "https://xn--fa-hia.example.com/"),
        ("http://[::1]:80/", "http://[::1]/"),
    ],
)
def test_same_origin(one: str, other: str):
    """Case, default port and spelling of the host do not matter."""
    assert exact_origin(one) == exact_origin(other)


@pytest.mark.parametrize(
    "url",
    ["http://a/", "https://b/", "https://a:444/", "https://a.b/", "https://fass.example.com/"],
)
def test_another_origin(url: str):
    """Scheme, host and port do."""
    assert exact_origin(url) not in (exact_origin("https://a/"), exact_origin("https://faß.example.com/"))


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "/x", "//x/y", "ftp://a/", "https://", "https://a:99999/", "https://[::1"),
        *("https://u@a/", "https://u:p@a/", "https://:@a/"),
        *("https://a\\@b/", "https://a b/", "https://a/\n", "https://a/\x00"),
    ],
)
def test_no_origin(url: str):
    """What is not a plain absolute http(s) URL has none."""
    with pytest.raises(ValueError, match=r"."):
        exact_origin(url)


def test_origin_for_people():
    """User, path and query are not shown."""
    assert origin("https://user:pw@erp.example.com:8/path?token=1#x") == "https://erp.example.com:8"


def test_excerpt():
    """An excerpt is one line of bounded length, whatever the bytes."""
    assert Answer(500, {}, b"a\n\xff b").excerpt() == "a \ufffd b"
    assert len(Answer(500, {}, b"x" * 100_000).excerpt()) == 501
