"""Paging: what an answer says about the page after it, whatever the pagination type (`model/pagination`). Pure.

Every read ends: at the page that the rules of its type call the last, at a page, marker or URL that came before (an
error), or after `max_pages` (an error).

Not every ERP that ends has given everything. What in its answers speaks of rows that did not come (a total, a next link,
a total that falls, markers that several rows share) becomes a warning on the run and leaves the read incomplete: the run
ends `partial`, the watermark stays, and the next run asks for the same again. The other way round, what would be an error
in the middle of a read (a page, token or link that came before, a 404) ends it well once the ERP has said that all rows
came. `model/envelope.py` knows how ERPs say these things.

Where answers speak of a part of the rows alone (`Pagination.partitioned`), all this holds for each part, and only the type says
which part is the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urljoin

import msgspec

from imageflow.errors import ReadError
from imageflow.http.origin import exact_origin, origin
from imageflow.model import envelope
from imageflow.model.envelope import Came, Signal
from imageflow.model.flow import Erp
from imageflow.model.pagination.contract import STAYS, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.counted import CAP_HINT
from imageflow.model.pagination.cursor import Cursor, digest
from imageflow.model.pagination.next import MAX_TOKEN_CHARS
from imageflow.model.pagination.none import NonePagination

CEILINGS = frozenset((10_000, 50_000, 100_000, 1_000_000))
"""Row counts at which many APIs stop without saying so."""

PAST_THE_END = frozenset((400, 404, 410, 416, 422))
"""How ERPs refuse a page that is past the last one."""

_HINT = "do erp.pagination and its limit fit the ERP?"

_encode = msgspec.json.Encoder().encode


def turn(erp: Erp, cursor: Cursor, got: Got) -> Turn:
    """What comes after the page that `cursor` asked for. Raises ReadError when the ERP goes in circles or astray."""
    pagination = erp.pagination
    signals = envelope.signals(
        got.document, got.rows if got.place is None else got.place, erp.rows_path, got.headers, pagination.ignore
    )
    mark = digest(_encode(got.rows)) if got.rows else None
    if mark is not None and cursor.seen_pages.has(mark):
        return _over(erp, cursor, _again(cursor, got, signals), got.url)
    cursor = _counted(pagination, cursor, got, signals, mark)
    owed = envelope.owed(signals, _came(cursor, got), pagination.judged())
    onward = digest(_encode([signal.value for signal in signals if signal.kind == "next"]))
    if not got.rows and onward == cursor.onward:  # an empty page that repeats what led to it names no further page
        owed = tuple(signal for signal in owed if signal.kind != "next")
    got = got._replace(more=bool(owed), ended=not owed and envelope.ended(signals, _came(cursor, got)))
    result = pagination.turn(cursor, got)
    if isinstance(result, More):
        result = _linked(erp, cursor, result, got)
    if isinstance(result, More):
        return _going_on(pagination, result, got, owed, onward)
    left = _left(cursor, owed) if result.complete else ()
    warnings = (*result.warnings, *_of_part(pagination, cursor, (*left, *_ceiling(cursor))))
    return Last(warnings, result.complete and not left and not cursor.lacking)


def alone(erp: Erp, got: Got) -> tuple[str, ...]:
    """What a run would warn of, as far as one answer tells: where there is no pagination it is the whole read. Else there may be
    pages before and after it.
    """
    if not isinstance(erp.pagination, NonePagination):
        return ()
    return turn(erp, erp.pagination.first(), got).warnings


def without_rows(erp: Erp, cursor: Cursor, url: str) -> Turn:
    """What follows an answer, of this URL, that is no page but says that there are no rows (`erp.no_rows`)."""
    return _over(erp, cursor, none_came(cursor), url)


def past_the_end(erp: Erp, cursor: Cursor, status: int, url: str) -> Turn | None:
    """What follows where the ERP refuses the cursor's page, at this URL. None: it is an error."""
    last = refused(cursor, status)
    return None if last is None else _over(erp, cursor, last, url)


def refused(cursor: Cursor, status: int) -> Last | None:
    """What it means that the ERP refuses the cursor's page: the end of the read, or of its part, where the answer before said that
    all rows came, or where only the answer's own word of more rows led to the page. None: it is an error.
    """
    if status not in PAST_THE_END or not cursor.pages:
        return None
    if cursor.pages == cursor.pages_before and status != HTTPStatus.NOT_FOUND:
        return None  # the first page of a part is past no end: the ERP does not take the request
    if cursor.ended:
        return Last(kept=False)
    if cursor.owed:
        return Last((f"{cursor.owed}, but the ERP answered {status} to the page after it. {STAYS}",), False, kept=False)
    return None


def none_came(cursor: Cursor) -> Last:
    """The end of a read, or of its part, whose last answer is no page, but says that there are no rows (`erp.no_rows`)."""
    total = max((*cursor.totals.values(), cursor.total or 0))
    if not cursor.ended and total > _rows(cursor):
        text = f"the read ended after {_rows(cursor):,} rows, though the ERP spoke of {total:,} before: {_HINT} {STAYS}"
        return Last((text,), complete=False, kept=False)
    return Last(complete=not cursor.lacking, kept=False)


def _again(cursor: Cursor, got: Got, signals: Sequence[Signal]) -> Last:
    """A page with rows that came before: the end, where all rows came; else an error."""
    before = _came(cursor, got)
    reached = _rows(cursor) == cursor.total and not cursor.rows_move
    if cursor.ended or reached or envelope.ended(signals, before):
        return Last(complete=not cursor.lacking, kept=False)
    raise ReadError(
        f"page {cursor.pages + 1} is a repeated page: the same {len(got.rows)} rows came before; "
        "the ERP does not advance (does it know the pagination parameters?)"
    )


def _over(erp: Erp, cursor: Cursor, last: Last, url: str) -> Turn:
    """What follows where an answer of this URL ends the read without the type's word (`last`). For a partitioned type only
    the part is over, and the type says what comes after it.
    """
    pagination = erp.pagination
    if not pagination.partitioned:
        return last
    cursor = cursor.but(pages=cursor.pages + 1, lacking=cursor.lacking or not last.complete)
    got = Got(None, [], "", url, ended=True)
    result = pagination.turn(cursor, got)
    if isinstance(result, More):
        result = _linked(erp, cursor, result, got)
    told = _of_part(pagination, cursor, last.warnings)
    if isinstance(result, Last):
        warnings = (*told, *result.warnings, *_of_part(pagination, cursor, _ceiling(cursor)))
        return Last(warnings, result.complete and not cursor.lacking, kept=False)
    more = _going_on(pagination, result, got, (), "")
    # Such an answer says nothing of the end itself: the word of the one before it still holds.
    return More(more.cursor.but(ended=cursor.ended), (*told, *more.warnings), kept=False)


def _counted(pagination: Pagination, cursor: Cursor, got: Got, signals: Sequence[Signal], mark: str | None) -> Cursor:
    """The cursor with this page counted. `mark`: the fingerprint of its rows."""
    counted = cursor.but(
        pages=cursor.pages + 1,
        rows=cursor.rows + pagination.count(got.rows),
        totals=envelope.smallest(cursor.totals, signals),
        uncounted=cursor.uncounted or not got.counted,
    )
    return counted if mark is None else counted.but(seen_pages=cursor.seen_pages.then(mark))


def _came(cursor: Cursor, got: Got) -> Came:
    rows = None if cursor.uncounted else _rows(cursor)
    return Came(rows, cursor.pages - cursor.pages_before, len(got.rows), cursor.totals, cursor.rows_move)


def _going_on(pagination: Pagination, more: More, got: Got, owed: Sequence[Signal], onward: str) -> More:
    cursor = more.cursor
    if cursor.pages >= pagination.most_pages():
        raise ReadError(f"there are more than {pagination.most_pages():,} pages (pagination.max_pages)")
    if pagination.partitioned and not more.same_part:
        return _leaving(pagination, more, got, owed)
    led = _said(cursor, owed) if owed and pagination.ends_at(got.rows) else ""
    return More(cursor.but(ended=got.ended, owed=led, onward=onward), more.warnings)


def _leaving(pagination: Pagination, more: More, got: Got, owed: Sequence[Signal]) -> More:
    """The next page is of another part. What the answer says of more rows is of the part that is left: they do not come."""
    left = _left(more.cursor, owed)
    warnings = _of_part(pagination, more.cursor, (*left, *_ceiling(more.cursor)))
    cursor = more.cursor.of_next_part()
    return More(cursor.but(ended=got.ended, lacking=cursor.lacking or bool(left)), (*more.warnings, *warnings))


def _linked(erp: Erp, cursor: Cursor, more: More, got: Got) -> Turn:
    """Where the next page has a URL: resolved, of the ERP or an allowed host, and not one that came before."""
    if more.cursor.url is None:
        return more
    url = allowed(erp, more.cursor.url, got.url, "the next page")
    if cursor.has_seen(url.encode()) or url in (cursor.url, got.url):
        over = got.ended or (not got.rows and url in (cursor.url, got.url))
        if over and not erp.pagination.partitioned:
            return Last(more.warnings)
        raise ReadError(f"page {cursor.pages} names a repeated URL as the next one: the ERP goes in circles")
    return more._replace(cursor=more.cursor.then(url.encode(), url=url))


# what the end of a read leaves open ----------------------------------------------------------------------------------


def _rows(cursor: Cursor) -> int:
    """How many rows came of what answers speak of: of the part that is asked for, or of all."""
    return cursor.rows - cursor.rows_before


def _of_part(pagination: Pagination, cursor: Cursor, warnings: Sequence[str]) -> tuple[str, ...]:
    """Warnings of an end; where only a part ended, they say so."""
    if not pagination.partitioned:
        return tuple(warnings)
    return tuple(f"the part that ends at page {cursor.pages}: {text}" for text in warnings)


def _ceiling(cursor: Cursor) -> tuple[str, ...]:
    rows = _rows(cursor)
    if rows not in CEILINGS or rows in (cursor.total, *cursor.totals.values()):
        return ()
    if cursor.total is not None and rows < cursor.total:
        return ()  # said already
    return (f"the read ended at exactly {rows:,} rows: {CAP_HINT}",)


def _left(cursor: Cursor, owed: Sequence[Signal]) -> tuple[str, ...]:
    """A warning where the last answer speaks of rows that did not come."""
    if not owed:
        return ()
    ignore = f"If that means something else: pagination.ignore: [{owed[0].path}]"
    return (f"{_said(cursor, owed)}. {_HINT} {ignore}. {STAYS}",)


def _said(cursor: Cursor, owed: Sequence[Signal]) -> str:
    said = ", ".join(str(signal) for signal in owed[:4])
    return f"the read ended after {_rows(cursor):,} rows, though the answer says that there are more: {said}"


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
            f"{what} is at another origin, {origin(url)[:200]}, not {origin(erp.endpoint_url or '')}. "
            "If both are the same ERP (it may not know the name that its proxy has), let it build its links with the name "
            "that it is asked by, or set erp.endpoint_url to the other name, or page without links (type offset, page). "
            "If the other host is right and asks for no login, name it in pagination.allow_hosts: the login and "
            "extra_headers are not sent there"
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
