"""Who changes something, as the audit log names them."""

from __future__ import annotations

from typing import Any, NamedTuple

from imageflow.store import AuditEntry


class Actor(NamedTuple):
    """Who changes something, and from where: an address, or `command line`."""

    who: str
    origin: str

    def entry(self, what: str, on: str, **detail: Any) -> AuditEntry:
        """The audit log's entry of a change."""
        return AuditEntry(self.who, what, on, self.origin, detail)
