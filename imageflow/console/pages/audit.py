"""The audit log: who changed what."""

from __future__ import annotations

from imageflow.actions import audit
from imageflow.console.details import details
from imageflow.console.pages.shared import all_flows, common_zone
from imageflow.console.visit import Answer, Page, Show, Visit

CHANGES = 100


async def list_(visit: Visit) -> Answer:
    """The changes, newest first."""
    who, what, before = visit.asked("who"), visit.asked("what"), visit.number("before")
    found = await audit.listed(visit.store, who=who or None, what=what or None, before=before, limit=CHANGES + 1)
    shown = found[:CHANGES]
    values = {
        "here": "audit",
        "changes": shown,
        "details": details,
        "who": who,
        "what": what,
        "next": visit.here(before=shown[-1].id) if len(found) > CHANGES else None,
        "first": visit.here(before=None) if before else None,
    }
    return Show("audit.html", values, zone=common_zone(await all_flows(visit)))


PAGES = (Page("GET", "/audit", list_, role="admin"),)
