"""What a browser's request shows: how it came, what its cookie is called, and whether one of our own pages sent it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

Way = Literal["https", "loopback", "plain"]
"""Over TLS; over plain HTTP on this machine; over plain HTTP from elsewhere, where a password could be read on the way."""

COOKIE = "imageflow"
SECURE_COOKIE = f"__Host-{COOKIE}"
_PORTS = {"http": 80, "https": 443}


def way(scheme: str, host: str) -> Way:
    """How a request came: `scheme` is that of the client's connection, `host` what its Host header says."""
    if scheme == "https":
        return "https"
    return "loopback" if _is_loopback(_split(f"http://{host}")[0]) else "plain"


def cookie_name(came: Way) -> str:
    """Browsers take `__Host-` cookies over TLS only."""
    return SECURE_COOKIE if came == "https" else COOKIE


def is_own(fetch_site: Sequence[str], origin: Sequence[str], scheme: str, host: str) -> bool:
    """Whether the headers Sec-Fetch-Site and Origin allow that a page of this very console sent an unsafe request.

    Browsers send Sec-Fetch-Site over TLS and on loopback; elsewhere Origin decides. A request with neither comes from no
    browser: its form's token decides.
    """
    if fetch_site:
        return list(fetch_site) == ["same-origin"]
    if origin:
        return len(origin) == 1 and _origin(origin[0]) == _origin(f"{scheme}://{host}") is not None
    return True


def _origin(text: str) -> tuple[str, str, int] | None:
    scheme = text.partition("://")[0]
    host, port = _split(text)
    if scheme not in _PORTS or not host:
        return None
    return scheme, host, port or _PORTS[scheme]


def _split(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None
    return host, port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
