"""What a run wrote by a version of its flow that was rolled back since, and what the ERP can be asked for to write it again by the
version in force; and what a cancelled run did not send. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from imageflow.inspect.resent import resent
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.read import request
from imageflow.store import AuditRecord

MOST = 1000
"""So many products are asked for by their identifiers."""
COUNTED = 5_000
"""Of a run that wrote more, it is not counted how many are left: none, once newer runs have brought as many rows."""
Way = Literal["products", "since", "everything", "none"]
"""`everything`: a person must take the watermark away for it; `none`: the ERP is not asked for rows."""


class Stale(NamedTuple):
    """`products` were written by `version`, in whose place `now` is in force; `counted`: and by no other run since."""

    version: int
    now: int
    products: int
    way: Way
    counted: bool


def stale(run: Run, flow: Flow, rollbacks: Sequence[AuditRecord], left: int | None = None) -> Stale | None:
    """What is left of a run by a version that was rolled back; None: nothing. `flow`: as it is in force. `left`: so many products
    were written by no other run since, where they were counted.
    """
    if not run.ended or not run.counts.written or flow.version == run.version or not _rolled_back(run, rollbacks):
        return None
    products = run.counts.written if left is None else left
    if not products:
        return None
    return Stale(run.version, flow.version, products, _way(flow, run, products), left is not None)


def at_least(
    runs: Sequence[Run], flow: Flow, rollbacks: Sequence[AuditRecord], retries: Sequence[AuditRecord] = ()
) -> list[tuple[Run, Stale]]:
    """Of runs of a flow, newest first, those that have left something, and how much, by their counts alone: what a run wrote, though no
    more than the rows that no other version retried; less all rows that newer runs brought, whichever products these were.

    That is the least that is left, but for a run of which another version retried rows and wrote them: the counts do not tell which
    version wrote a row.
    """
    found = []
    brought = 0
    for run in runs:
        old = stale(run, flow, rollbacks)
        own = run.counts.total - sum(one.rows for one in resent(run, retries))
        left = min(run.counts.written, own) - brought
        if old is not None and left > 0:
            found.append((run, old._replace(products=left)))
        brought += _brought(run)
    return found


def unsent(runs: Sequence[Run]) -> list[tuple[Run, int]]:
    """Of runs of a flow, newest first, those that were cancelled before all was sent, with how many rows. None of a run whose rows
    newer ones have brought: which products these were is not looked at, so they must be as many as the whole run had.
    """
    found = []
    brought = 0
    for run in runs:
        if run.ended and run.counts.cancelled and brought < run.counts.total:
            found.append((run, run.counts.cancelled))
        brought += _brought(run)
    return found


def _brought(run: Run) -> int:
    return run.counts.written + run.counts.unchanged + run.counts.superseded


def _rolled_back(run: Run, rollbacks: Sequence[AuditRecord]) -> bool:
    """Whether the flow of a run was rolled back since, to a version before that of the run."""
    return any(
        one.entry.object == f"flow {run.flow}" and one.at >= run.created_at and to < run.version
        for one in rollbacks
        if isinstance(to := one.entry.detail.get("to"), int)
    )


def _way(flow: Flow, run: Run, products: int) -> Way:
    erp = flow.definition.erp
    if erp is None:
        return "none"
    if products <= MOST and request.takes_identifiers(flow.definition):
        return "products"
    return "since" if run.since is not None and request.takes_since(erp) else "everything"
