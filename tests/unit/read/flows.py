"""Flows and runs for the tests of the read stage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from imageflow.model.flow import Definition, decode_custom
from imageflow.model.run import Run, Trigger

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def flow(*, endpoint: str = "https://erp.example.com/images/", **fields: Any) -> Definition:
    """An inbound flow; `erp` fields by name, `timezone` and others of the flow by `_timezone`."""
    top = {name[1:]: fields.pop(name) for name in list(fields) if name.startswith("_")}
    document = {
        "name": "winter",
        "direction": "inbound",
        "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}},
        "erp": {"endpoint_url": endpoint, **fields},
        **top,
    }
    return msgspec.convert(document, Definition, dec_hook=decode_custom)


def run(*, since: datetime | None = None, ids: tuple[str, ...] = (), **fields: Any) -> Run:
    trigger = Trigger("person", ids=ids)
    values = {
        "run_id": "r1",
        "flow": "winter",
        "version": 1,
        "trigger": trigger,
        "status": "reading",
        "created_at": NOW,
    }
    return Run(**{**values, "since": since, "until": None if ids else NOW, "started_at": NOW, **fields})
