"""A page: one answer of the ERP, or one outbound post. The transformer's unit of work."""

from __future__ import annotations

from typing import Any

import msgspec

ROWS_PER_PAGE_LIMIT = 1 << 20
MAX_SEQ = (1 << 43) - 1
"""The last page whose rows' versions are BIGINTs."""


class Page(msgspec.Struct, frozen=True):
    """A page that is durably stored. `page` counts from 1 within the run; `seq` orders all pages of all runs by the
    time they were stored: it is what makes one row newer than another. `asked`: the parameters of the request that it
    answers; nothing of a post.
    """

    run_id: str
    page: int
    seq: int
    body: bytes
    asked: dict[str, Any] = {}


def row_version(seq: int, index: int) -> int:
    """The version of the row at `index` (from 0) of page `seq`: newer rows have larger ones, over all runs and flows."""
    return seq * ROWS_PER_PAGE_LIMIT + index
