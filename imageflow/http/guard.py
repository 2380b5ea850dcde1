"""Connections to public hosts only: a name is resolved once for a connection, and what was checked is what is connected to.

So a name that resolves to another address the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import errno
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from imageflow.http.public_address import Allowed, is_literal


class PrivateAddressError(OSError):
    """A host is in a private network."""

    def __init__(self, host: str) -> None:
        super().__init__(errno.EACCES, f"{host} is in a private network")


class UnknownAddressError(PrivateAddressError):
    """Where a host is cannot be seen from here; a proxy would go there all the same."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.strerror = f"{host} is not known here: it cannot be seen that it is in no private network"


class Guard(AbstractResolver):
    """Resolves names, and refuses those with an address in a private network that are not `allowed`."""

    def __init__(self, allowed: Allowed) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises PrivateAddressError."""
        found = await self._resolver.resolve(host, port, family)
        if not self._allowed.permits(host, [one["host"] for one in found]):
            raise PrivateAddressError(host)
        return found

    async def check_name(self, host: str) -> None:
        """Check a host that a proxy will connect to. It resolves the name itself, so this sees only what is seen from here.
        Raises PrivateAddressError; UnknownAddressError where the name is not known here.
        """
        if self._allowed.permits(host, ()):
            return
        try:
            await self.resolve(host)
        except PrivateAddressError:
            raise
        except OSError as error:
            raise UnknownAddressError(host) from error

    def check_literal(self, target: URL) -> None:
        """Check an address in a URL, which aiohttp does not resolve. Raises PrivateAddressError."""
        host = (target.raw_host or "").strip("[]")
        if is_literal(host) and not self._allowed.permits(host, [host]):
            raise PrivateAddressError(host)

    async def close(self) -> None:
        await self._resolver.close()
