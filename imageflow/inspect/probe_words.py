"""Names that parameters of ERPs have, the likeliest first. Pure."""

from __future__ import annotations

LIMIT_PARAMS = ("limit", "page_size", "per_page", "size", "pageSize", "perPage", "count", "top", "$top")
OFFSET_PARAMS = ("offset", "skip", "start", "from", "$skip")
PAGE_PARAMS = ("page", "page_number", "pageNumber", "pageNo", "p")
TOKEN_PARAMS = (
    "cursor",
    "token",
    "page_token",
    "pageToken",
    "next_token",
    "after",
    "continuation",
    "scroll_id",
    "page",
)
SEEK_PARAMS = ("after", "since_id", "last_id", "after_id", "starting_after", "from_id", "min_id", "cursor")

SINCE_PARAMS = (
    "modified_date__gt",
    "modified_date",
    "modified_after",
    "modified_since",
    "modifiedAfter",
    "modifiedSince",
    "modifiedDate",
    "lastModified",
    "updated_after",
    "updated_since",
    "updatedAfter",
    "updatedSince",
    "updated_at_min",
    "changed_since",
    "changedSince",
    "since",
    "degisiklikTarihi",
)
