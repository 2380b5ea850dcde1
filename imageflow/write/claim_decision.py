"""What to do with a row, given what the ledger says of its products. Pure.

A row has one target SKU, or all SKUs of its base code. Versions order the rows of a product; the ledger holds the
version that is on Omnitron.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from imageflow.store import Claim

Decision = Literal["send", "busy", "unchanged", "superseded", "repeated"]


def decide(claim: Claim, version: int, digest: str, *, skip_unchanged: bool) -> Decision:
    """What to do with one target of a row.

    `repeated`: this very row was written already (its message came twice); `busy`: another row of the product is in
    flight, or was until now: come back later; `superseded`: a newer row is written; `unchanged`: the same set is there.
    """
    if claim.version == version and claim.digest == digest:
        return "repeated"
    if claim.version > version:
        return "superseded"
    if claim.busy or not claim.mine:
        return "busy"
    if skip_unchanged and claim.digest == digest:
        return "unchanged"
    return "send"


def combine(decisions: Sequence[Decision]) -> Decision:
    """What to do with a row of several targets: nothing while one is busy; else send what is to be sent."""
    for decision in ("busy", "send", "repeated", "unchanged"):
        if decision in decisions:
            return decision
    return "superseded"
