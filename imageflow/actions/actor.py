"""Who changes something, as the audit log names them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from imageflow.store import AuditEntry

Role = Literal["viewer", "operator", "admin"]


class Actor(NamedTuple):
    """Who changes something, and from where: an address, or `command line`.

    `role` is that of a user of the gateway; None: a person at the machine, who is no user.
    """

    who: str
    origin: str
    role: Role | None = None

    def entry(self, what: str, on: str, **detail: Any) -> AuditEntry:
        """The audit log's entry of a change."""
        return AuditEntry(self.who, what, on, self.origin, detail)
