"""Which addresses are public, and which hosts may be asked although they are not. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

EVERYWHERE = "*"


def is_public(address: str) -> bool:
    """Whether an IP address can be reached from the Internet. An IPv6 address that wraps an IPv4 address is as public as
    that."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _translated(ip)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in a NAT64 address, or in the old IPv4-compatible form."""
    if ip in ipaddress.ip_network("64:ff9b::/96") or ip in ipaddress.ip_network("::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def is_literal(host: str) -> bool:
    """Whether a host is a number. The system reads `127.1` and `2130706433` as addresses, too; they count as private."""
    return ":" in host or host.replace(".", "").isdigit()


class Allowed:
    """Hosts that may be asked although they are in a private network: names, or `*` for every host."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)

    def permits(self, host: str, addresses: Sequence[str]) -> bool:
        """Whether a host with these addresses may be asked. If it is not allowed by name, none of them may be private."""
        if EVERYWHERE in self._hosts or host.lower() in self._hosts:
            return True
        return bool(addresses) and all(map(is_public, addresses))


NO_PRIVATE = Allowed()
