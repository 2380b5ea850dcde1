"""What the HTTP client raises, where URLs lead, how long a server wants to be left alone."""

from __future__ import annotations

import inspect
import socket
import ssl
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import aiohttp
import aiohttp.client_exceptions
import aiohttp.http_exceptions
import pytest
from aiohttp.client_reqrep import ConnectionKey

from imageflow.http.client import FOREIGN, Answer, translated
from imageflow.http.origin import exact_origin, origin, retry_after
from imageflow.text.excerpt import quoted
from tests.library_errors import errors_of

KEY = ConnectionKey("h", 80, False, True, None, None, None)
LIBRARIES = (aiohttp.client_exceptions, aiohttp.http_exceptions)
KINDS: dict[str, set[str]] = {
    "timeout": {"ServerTimeoutError", "ConnectionTimeoutError", "SocketTimeoutError"},
    "no connection": {
        "ClientHttpProxyError",
        *("ClientConnectorError", "ClientConnectorDNSError", "ClientProxyConnectionError", "UnixClientConnectorError"),
        *("ClientSSLError", "ClientConnectorSSLError", "ClientConnectorCertificateError"),
    },
    "refused": {
        *("InvalidURL", "InvalidUrlClientError", "InvalidUrlRedirectClientError"),
        *("NonHttpUrlClientError", "NonHttpUrlRedirectClientError"),
    },
    "broken": {
        *("ClientError", "ClientResponseError", "ContentTypeError", "WSServerHandshakeError"),
        *("TooManyRedirects", "RedirectClientError", "ClientConnectionError", "ClientConnectionResetError"),
        *("ClientOSError", "ServerConnectionError", "ServerDisconnectedError", "ServerFingerprintMismatch"),
        *("ClientPayloadError", "UploadAbortedError", "HttpProcessingError", "BadHttpMessage", "HttpBadRequest"),
        *("PayloadEncodingError", "ContentEncodingError", "TransferEncodingError", "ContentLengthError"),
        *("DecompressSizeError", "LineTooLong", "InvalidHeader", "BadStatusLine", "BadHttpMethod", "InvalidURLError"),
    },
}
OF_WEB_SOCKETS = {"WSMessageTypeError"}
NOT_OF_THE_CLIENT = {
    *("WSHandshakeError", "WebSocketError", "TooManyMembersError", "LookupError", "EofStream", "CleanupError"),
    *("PayloadAccessError", "RequestPayloadError", "GracefulExit"),
}
"""Of the server and of websockets, or caught within aiohttp; the HTTP answers of its server beside them."""


def classes(module: ModuleType) -> list[type[Exception]]:
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    return [kind for kind in found if issubclass(kind, Exception) and kind.__module__ == module.__name__]


FOREIGN_CLASSES = [kind for module in LIBRARIES for kind in classes(module) if kind.__name__ not in OF_WEB_SOCKETS]


def instance(kind: type[Exception]) -> Exception:
    """One of that kind, however many arguments it wants."""
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(KEY, ValueError("expired"))
    if issubclass(kind, aiohttp.client_exceptions.UnixClientConnectorError):
        return kind("/path", KEY, OSError(111, "Connection refused"))
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(KEY, OSError(111, "Connection refused"))
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"", b"", "h", 80)
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind(Any, ())  # type: ignore[arg-type]
    if issubclass(kind, aiohttp.http_exceptions.LineTooLong):
        return kind(b"secret", 7)
    if issubclass(kind, aiohttp.http_exceptions.HttpProcessingError) and kind.__name__ != "HttpProcessingError":
        return kind("secret")
    return kind() if kind.__name__ == "HttpProcessingError" else kind("http://x/?secret=1")


def test_all_classes_are_known() -> None:
    """A new version of aiohttp with a new error fails here: decide what it means, and put it into its set."""
    assert {kind.__name__ for kind in FOREIGN_CLASSES} == set().union(*KINDS.values())
    assert all(issubclass(kind, FOREIGN) for kind in FOREIGN_CLASSES)


def kind_of(error: Exception) -> str:
    """The kind that an error of aiohttp has to become."""
    return next(kind for kind, names in KINDS.items() if type(error).__name__ in names)


@pytest.mark.parametrize("error", [instance(kind) for kind in FOREIGN_CLASSES], ids=lambda error: type(error).__name__)
def test_every_error_of_the_client_is_translated(error: Exception) -> None:
    """Whatever aiohttp can raise becomes a TransportError that names the host and gives nothing away."""
    ours = translated(error, "https://user:pw@erp.example.com/path?token=secret")
    assert "https://erp.example.com" in str(ours)
    assert "secret" not in str(ours)
    assert ours.kind == kind_of(error)
    assert ours.transient == (ours.kind != "refused")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (OSError(113, "No route to host"), "broken"),
        (ConnectionResetError(), "broken"),
        (socket.gaierror(-2, "Name or service not known"), "broken"),
        (ssl.SSLError("what"), "broken"),
        (RuntimeError("Session is closed"), "broken"),
        (ValueError("Newline or carriage return detected in headers. secret"), "refused"),
        (UnicodeError("label too long"), "refused"),
    ],
    ids=repr,
)
def test_errors_of_the_system_are_translated(error: Exception, kind: str) -> None:
    """What the socket, TLS and a closed session raise has a kind, too."""
    assert isinstance(error, FOREIGN)
    ours = translated(error, "https://erp.example.com/path?token=secret")
    assert ours.kind == kind
    assert "secret" not in str(ours)


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
    assert Answer(500, {}, b"a\n\xff b").excerpt() == quoted("a \ufffd b")
    assert len(Answer(500, {}, b"x" * 100_000).excerpt()) == len(quoted("x" * 501))


def test_all_classes_of_aiohttp_are_known() -> None:
    """A new version of aiohttp with a new error fails here: decide what it means, and put it into its set."""
    found = {
        kind.__name__ for name, kind in errors_of("aiohttp").items() if not name.startswith("aiohttp.web_exceptions.")
    }
    assert found == set().union(*KINDS.values()) | OF_WEB_SOCKETS | NOT_OF_THE_CLIENT
