"""`type: page`: pages have numbers. It ends as counted pages do."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from imageflow.model.field_types import Text
from imageflow.model.pagination.contract import Got
from imageflow.model.pagination.counted import CountedPages
from imageflow.model.pagination.cursor import Cursor


class PagePagination(CountedPages, frozen=True, tag="page"):
    """Pages by number."""

    page_param: Annotated[Text, Meta(description="The ERP's parameter for a page's number.", examples=["pageNo"])] = (
        "page"
    )
    start: Annotated[Annotated[int, Meta(ge=0)], Meta(description="The number of the first page.")] = 1

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        return {self.page_param: cursor.position, self.limit_param: self.limit}

    def advance(self, got: Got) -> int:
        return 1
