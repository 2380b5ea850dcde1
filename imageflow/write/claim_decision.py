"""What to do with a row, given what the ledger says of its SKUs. Pure.

A row is written to one SKU, or to all SKUs of its base code. Versions order the rows of a product. The ledger holds the
version and the digest of the image set that is on Omnitron; the digest is None if a write's result is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from imageflow.store import Claim

Decision = Literal["send", "busy", "unchanged", "superseded", "repeated"]


def decide(claim: Claim, version: int, digest: str, *, skip_unchanged: bool) -> Decision:
    """What to do with one SKU of a row.

    `repeated`: this row is written already, its message came twice. `superseded`: a newer row is written. `busy`: another
    row of the product is in flight, or was when the claim was asked for. `unchanged`: the same image set is there.
    """
    # The digest must agree, too: when a claim is taken over from a dead writer, the ledger keeps the version and forgets
    # the digest. What is on Omnitron is unknown then, and the row must be sent.
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
    """What to do with a row of several SKUs: busy > send > repeated > unchanged > superseded."""
    for decision in ("busy", "send", "repeated", "unchanged"):
        if decision in decisions:
            return decision
    return "superseded"
