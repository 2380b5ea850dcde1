"""The HTTP proxy that requests to other hosts go through, and the hosts that are asked without it. Pure.

A proxy resolves names itself, and connects by itself. So where a host really is, is checked for flows that come over the
API as far as it can be seen from here: `http/guard.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from imageflow.http.public_address import is_literal
from imageflow.secret import Secret
from imageflow.settings import Settings
from imageflow.text.masking import hide

DEFAULT_PORT = 3128
HEADER = "Proxy-Authorization"


class Proxy(NamedTuple):
    """A proxy: where it is, what it is told to let requests in, and which hosts it is not for (see `serves`)."""

    host: str
    port: int
    authorization: Secret | None = None
    direct: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Its URL, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What it is told, beside a request."""
        return {} if self.authorization is None else {HEADER: self.authorization.reveal()}

    def serves(self, host: str) -> bool:
        """Whether a host is asked through it. Not this machine, and none that `direct` names: by its name or address, by a
        domain that it is in, or by a network.
        """
        name = host.lower().strip("[]").rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or _is_in(name, "127.0.0.0/8") or _is_in(name, "::1/128"):
            return False
        return not any(_is_named(name, entry) for entry in self.direct)


def proxy_of(settings: Settings) -> Proxy | None:
    """The proxy that the settings name, if any."""
    return None if settings.http_proxy is None else proxy_at(settings.http_proxy, settings.no_proxy)


def proxy_at(url: Secret, direct: Sequence[str] = ()) -> Proxy:
    """The proxy at a URL, which may hold a user and a password."""
    parts = urlsplit(url.reveal())
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        encoded = base64.b64encode(user.encode()).decode()
        hide(encoded)
        authorization = Secret(f"Basic {encoded}")
    return Proxy(parts.hostname or "", parts.port or DEFAULT_PORT, authorization, tuple(direct))


def _is_named(name: str, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _is_in(name, entry)
    wanted = entry.strip("[]").lstrip(".")
    return name == wanted or (not is_literal(name) and name.endswith(f".{wanted}"))


def _is_in(name: str, network: str) -> bool:
    try:
        return ip_address(name) in ip_network(network)
    except ValueError:
        return False
