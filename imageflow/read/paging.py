"""Paging: what an answer says about the page after it, whatever the pagination type (`model/pagination`). Pure.

Every read ends: at the page that the rules of its type call the last, at a page, marker or URL that came before (an
error), or after `max_pages` (an error).

Not every ERP that ends has given everything. What in its answers speaks of rows that did not come (its own count, a
total that falls, markers that several rows share) becomes a warning on the run and leaves the read incomplete: the
watermark stays, and the next run asks for the same again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import msgspec

from imageflow.errors import ReadError
from imageflow.http.client import exact_origin, origin
from imageflow.model.flow import Erp
from imageflow.model.pagination.contract import STAYS, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.counted import CAP_HINT, whole_number
from imageflow.model.pagination.cursor import Cursor, digest
from imageflow.model.pagination.next import MAX_TOKEN_CHARS

CEILINGS = frozenset((10_000, 50_000, 100_000, 1_000_000))
"""Row counts at which many APIs stop without saying so."""

_SETTINGS_HINT = "do erp.pagination and its limit fit the ERP?"

_encode = msgspec.json.Encoder().encode


def turn(erp: Erp, cursor: Cursor, got: Got) -> Turn:
    """What comes after the page that `cursor` asked for. Raises ReadError when the ERP goes in circles or astray."""
    pagination = erp.pagination
    cursor = _counted(pagination, cursor, got)
    result = pagination.turn(cursor, got)
    if isinstance(result, More):
        result = _linked(erp, cursor, result, got)
        if cursor.pages >= pagination.most_pages():
            raise ReadError(f"there are more than {pagination.most_pages():,} pages (pagination.max_pages)")
        return result
    unasked = _unasked(pagination, cursor, got)
    return Last((*result.warnings, *unasked, *_ceiling(cursor, got)), result.complete and not unasked)


def _counted(pagination: Pagination, cursor: Cursor, got: Got) -> Cursor:
    """The cursor with this page counted; a page with rows that came before is an error."""
    said = [total for total in (cursor.stated, _stated_total(got.document)) if total is not None]
    rows = cursor.rows + pagination.count(got.rows)
    counted = cursor.but(pages=cursor.pages + 1, rows=rows, stated=min(said) if said else None)
    if not got.rows:
        return counted
    mark = digest(_encode(got.rows))
    if cursor.seen_pages.has(mark):
        raise ReadError(
            f"page {counted.pages} is a repeated page: the same {len(got.rows)} rows came before; "
            "the ERP does not advance (does it know the pagination parameters?)"
        )
    return counted.but(seen_pages=cursor.seen_pages.then(mark))


def _linked(erp: Erp, cursor: Cursor, more: More, got: Got) -> More:
    """Where the next page has a URL: resolved, of the ERP or an allowed host, and not one that came before."""
    if more.cursor.url is None:
        return more
    url = allowed(erp, more.cursor.url, got.url, "the next page")
    if cursor.has_seen(url.encode()) or url in (cursor.url, got.url):
        raise ReadError(f"page {cursor.pages} names a repeated URL as the next one: the ERP goes in circles")
    return More(more.cursor.then(url.encode(), url=url), more.warnings)


# what the end of a read leaves open ----------------------------------------------------------------------------------


def _ceiling(cursor: Cursor, got: Got) -> tuple[str, ...]:
    if cursor.rows not in CEILINGS or cursor.rows in (cursor.total, _stated_total(got.document)):
        return ()
    if cursor.total is not None and cursor.rows < cursor.total:
        return ()  # said already
    return (f"the read ended at exactly {cursor.rows:,} rows: {CAP_HINT}",)


def _unasked(pagination: Pagination, cursor: Cursor, got: Got) -> tuple[str, ...]:
    """A warning where the last answer speaks of more rows in a way that the flow does not look at."""
    document, judged = got.document, pagination.judged()
    if not isinstance(document, dict):
        return ()
    ended = f"the read ended after {cursor.rows:,} rows, though the answer"
    if "total" not in judged and cursor.stated is not None and cursor.stated > cursor.rows:
        return (f"{ended} counts {cursor.stated:,}: {_SETTINGS_HINT} {STAYS}",)
    following = None if "next" in judged else document.get("next")
    more = "has_more" not in judged and document.get("has_more") is True
    if got.rows and (more or (isinstance(following, str) and following)):
        return (f"{ended} says there are more: {_SETTINGS_HINT} {STAYS}",)
    return ()


def _stated_total(document: Any) -> int | None:
    """The total as answers usually call it, where the flow does not say; only to judge warnings by."""
    if not isinstance(document, dict):
        return None
    return next((total for name in ("count", "total") if (total := whole_number(document.get(name))) is not None), None)


# where a URL may lead ------------------------------------------------------------------------------------------------


def allowed(erp: Erp, target: str, base: str, what: str) -> str:
    """The absolute URL of `target`, which `base` led to. Raises ReadError unless it is of the ERP's own origin or of a
    host in pagination.allow_hosts.
    """
    if len(target) > MAX_TOKEN_CHARS:
        raise ReadError(f"the URL of {what} has {len(target):,} characters")
    url = _absolute(target.strip(), base, what)
    if not is_own(erp, url) and not _is_listed(erp, url):
        raise ReadError(
            f"{what} is at another origin, {origin(url)[:200]}, not {origin(erp.endpoint_url or '')}; "
            "name the host in pagination.allow_hosts if that is right"
        )
    return url


def _absolute(target: str, base: str, what: str) -> str:
    try:
        url = urljoin(base, target.replace(" ", "%20")).partition("#")[0]
        exact_origin(url)
    except ValueError as error:
        raise ReadError(f"the URL of {what} cannot be used: {error}") from error
    return url


def is_own(erp: Erp, url: str) -> bool:
    """Whether a URL leads to the ERP's own origin: the only one that gets its login and headers."""
    try:
        return exact_origin(url) == exact_origin(erp.endpoint_url or "")
    except ValueError:
        return False


def _is_listed(erp: Erp, url: str) -> bool:
    to = exact_origin(url)
    host = f"[{to.host}]" if ":" in to.host else to.host
    return any(entry.lower() in (to.host, host, f"{host}:{to.port}") for entry in erp.pagination.hosts())
