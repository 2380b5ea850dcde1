"""Whether an ERP ignores the identifiers of a run: rows of products that nobody asked for. Pure.

It is only a warning: a row may name its product in a way that nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from imageflow.errors import ReadError
from imageflow.model.flow import Definition
from imageflow.model.pagination.cursor import Cursor
from imageflow.model.run import Run
from imageflow.read import request
from imageflow.read.rows import Rows

FEWEST_ROWS = 2
_LOOKED_AT = 100


def warnings(definition: Definition, run: Run, cursor: Cursor, rows: Rows) -> tuple[str, ...]:
    """The warning, if most rows of a read's first page name none of the identifiers that they were asked for by."""
    carrier = asked(definition)
    if carrier is None or not run.trigger.ids or cursor.pages or cursor.batch or rows.place is not rows.rows:
        return ()
    ids = request.batches(definition, run.trigger.ids)[0]
    seen = rows.rows[:_LOOKED_AT]
    others = _others(seen, ids)
    if others < FEWEST_ROWS or others * 2 <= len(seen):
        return ()
    products = "1 product" if len(ids) == 1 else f"{len(ids):,} products"
    text = (
        f"the ERP seems to ignore {carrier}: asked for {products}, it gave {len(rows.rows):,} rows on the first page, and most of them "
        "are of others. Does the ERP know that parameter? If not, the run takes all products"
    )
    return (text,)


def asked(definition: Definition) -> str | None:
    """What carries identifiers, for people; None where nothing does."""
    try:
        name, setting = request.identifier_setting(definition)
    except ReadError:
        return None
    placed = f"{{{name}}}"
    if placed in (request.erp_of(definition).endpoint_url or ""):
        return f"{placed} in erp.endpoint_url"
    return f"the parameter {setting.key!r}"


def _others(rows: Sequence[Any], ids: Sequence[str]) -> int:
    """How many rows have none of the identifiers anywhere in them, however they are written: `A 1` is in `…/a_1.jpg`."""
    wanted = [_plain(identifier) for identifier in ids]
    texts = [_plain(msgspec.json.encode(row).decode()) for row in rows]
    return sum(not any(identifier in text for identifier in wanted) for text in texts)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())
