"""`type: offset`: each page says how many rows to pass over. It ends as counted pages do."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from imageflow.model.field_types import Text
from imageflow.model.pagination.contract import Got
from imageflow.model.pagination.counted import CountedPages
from imageflow.model.pagination.cursor import Cursor


class OffsetPagination(CountedPages, frozen=True, tag="offset"):
    """Pages by the number of rows to pass over."""

    offset_param: Annotated[
        Text, Meta(description="The ERP's parameter for how many rows to pass over.", examples=["skip"])
    ] = "offset"

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        return {self.offset_param: cursor.position, self.limit_param: self.limit}

    def advance(self, got: Got) -> int:
        """By the rows that came: an ERP may cap the limit."""
        return self.count(got.rows)
