"""The address of who asks, and how they came: that of the connection, or what a trusted proxy says."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address nearest to the client that a trusted proxy has written: of `X-Forwarded-For`, read from its end, the first
    that is no trusted proxy's. What a client writes there itself stands further to the left, and is not believed.
    """
    address = peer or ""
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    while hops and _is_in(address, trusted):
        before = hops.pop()
        if _parsed(before) is None:
            break
        address = before
    return address


def client_scheme(peer: str | None, forwarded: str, trusted: Sequence[Network]) -> str | None:
    """Whether the client came over `http` or `https`, where a trusted proxy says so in `X-Forwarded-Proto`; else None."""
    scheme = forwarded.strip().lower()
    return scheme if _is_in(peer or "", trusted) and scheme in ("http", "https") else None


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> Address | None:
    """The address, None if the text is none. An IPv4 address that is written as IPv6 becomes IPv4."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
