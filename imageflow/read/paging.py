"""Paging: what an answer says about the page after it. Pure; the state between two pages is a `Cursor`.

Every way to page ends: at the page that the rules of its type call the last, at a page or a marker that came before
(an error), or after `max_pages` (an error). Repetitions are found in constant memory: each is compared with the last
few and with one checkpoint that moves to ever larger distances (Brent's algorithm), so that a cycle of any length shows
after a few rounds.

Not every ERP that ends has given everything. Whatever in its answers speaks of rows that did not come (its own count, a
total that falls, markers that several rows share) is said on the run and leaves the read incomplete: the watermark
stays, and the next run asks for the same again. What no answer shows stays unseen: a row that moves from a page that
was read to the end makes the rows after it move up by one, in offset and page pagination, and the total stays the same.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple
from urllib.parse import urljoin

import msgspec

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.http.client import exact_origin, origin
from imageflow.model.flow import Erp, NextPagination, NonePagination, OffsetPagination, PagePagination, SeekPagination
from imageflow.read import link

Pagination = NonePagination | OffsetPagination | PagePagination | SeekPagination | NextPagination
Marker = str | int | float

RECENT = 4
CEILINGS = frozenset((10_000, 50_000, 100_000, 1_000_000))
"""Row counts at which many APIs stop without saying so."""

MAX_TOKEN_CHARS = 16_384


class Trail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fingerprints of what came before: the last few, and a checkpoint that is replaced after 1, 2, 4, 8… steps."""

    recent: tuple[str, ...] = ()
    checkpoint: str = ""
    span: int = 1
    steps: int = 0

    def has(self, mark: str) -> bool:
        return mark in self.recent or mark == self.checkpoint

    def then(self, mark: str) -> Trail:
        recent = (*self.recent[1 - RECENT :], mark) if len(self.recent) >= RECENT else (*self.recent, mark)
        if self.steps + 1 < self.span:
            return Trail(recent, self.checkpoint, self.span, self.steps + 1)
        return Trail(recent, mark, self.span * 2, 0)


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks for one page, and remembers what later pages are compared with.

    `batch` is the part of the run's identifiers it belongs to. `position` is the offset or page number; `marker` the
    value to seek from; `token` or `url` what the answer before called next. `asked_at` (Unix time) paces requests.
    `stated` is the least that an answer said of its own accord to be the total: rows that are added while others are
    read are the next run's. `last_row` is the fingerprint of the last row of the page before. `moving`: rows move between pages, so that their
    number tells nothing; `lacking`: rows may have been passed over; `tied`: so many rows had the page before, the last
    two of them with the same marker.
    """

    batch: int = 0
    position: int | None = None
    marker: Marker | None = None
    token: str | None = None
    url: str | None = None
    pages: int = 0
    rows: int = 0
    total: int | None = None
    total_changed: bool = False
    stated: int | None = None
    last_row: str = ""
    moving: bool = False
    lacking: bool = False
    tied: int = 0
    seen_pages: Trail = Trail()
    seen_markers: Trail = Trail()
    asked_at: float = 0.0


class Got(NamedTuple):
    """A page as it came: the whole answer, its rows, its Link header, and the URL that gave it (after redirects)."""

    document: Any
    rows: list[Any]
    link: str
    url: str


class More(NamedTuple):
    """There is a page after this one: ask for it with `cursor`."""

    cursor: Cursor
    warnings: tuple[str, ...] = ()


class Last(NamedTuple):
    """That was the last page. Not `complete`: the ERP itself says that there are rows which it did not give."""

    warnings: tuple[str, ...] = ()
    complete: bool = True


Turn = More | Last

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Cursor)


def dump(cursor: Cursor) -> str:
    return _encoder.encode(cursor).decode()


def load(text: str | None) -> Cursor | None:
    return None if text is None else _decoder.decode(text)


def first(paging: Pagination, batch: int = 0) -> Cursor:
    """Asks for the first page."""
    start = paging.start if isinstance(paging, OffsetPagination | PagePagination) else None
    return Cursor(batch=batch, position=start)


def parameters(paging: Pagination, cursor: Cursor) -> dict[str, Any]:
    """The parameters that ask for the cursor's page (none where the cursor holds a whole URL)."""
    if isinstance(paging, OffsetPagination):
        return {paging.offset_param: cursor.position, paging.limit_param: paging.limit}
    if isinstance(paging, PagePagination):
        return {paging.page_param: cursor.position, paging.limit_param: paging.limit}
    if isinstance(paging, SeekPagination):
        marker = {} if cursor.marker is None else {paging.param: cursor.marker}
        return {**marker, paging.limit_param: paging.limit}
    if isinstance(paging, NextPagination) and paging.param is not None and cursor.token is not None:
        return {paging.param: cursor.token}
    return {}


def turn(erp: Erp, cursor: Cursor, got: Got) -> Turn:
    """What comes after the page that `cursor` asked for. Raises ReadError when the ERP goes in circles or astray."""
    paging = erp.pagination
    cursor = _counted(cursor, got)
    if isinstance(paging, OffsetPagination | PagePagination):
        cursor = _with(cursor, rows=cursor.rows - _surplus(paging.limit, got.rows))
    result = _by_type(erp, cursor, got)
    if isinstance(result, More) and not isinstance(paging, NonePagination) and cursor.pages >= paging.max_pages:
        raise ReadError(f"there are more than {paging.max_pages:,} pages (pagination.max_pages)")
    if isinstance(result, Last):
        unasked = _unasked(paging, cursor, got)
        return Last((*result.warnings, *unasked, *_ceiling(cursor, got)), result.complete and not unasked)
    return result


def _by_type(erp: Erp, cursor: Cursor, got: Got) -> Turn:
    match erp.pagination:
        case OffsetPagination() as paging:
            return _counting(paging, cursor, got, len(got.rows) - _surplus(paging.limit, got.rows))
        case PagePagination() as paging:
            return _counting(paging, cursor, got, 1)
        case SeekPagination() as paging:
            return _seek(paging, cursor, got)
        case NextPagination(kind="token") as paging:
            return _token(paging, cursor, got)
        case NextPagination() as paging:
            return _link(erp, paging, cursor, got)
    return Last()


def _counted(cursor: Cursor, got: Got) -> Cursor:
    """The cursor with this page counted; a page with rows that came before is an error."""
    said = [total for total in (cursor.stated, _stated_total(got.document)) if total is not None]
    counted = _with(
        cursor, pages=cursor.pages + 1, rows=cursor.rows + len(got.rows), stated=min(said) if said else None
    )
    if not got.rows:
        return counted
    mark = _digest(_encoder.encode(got.rows))
    if cursor.seen_pages.has(mark):
        raise ReadError(
            f"page {counted.pages} is a repeated page: the same {len(got.rows)} rows came before; "
            "the ERP does not advance (does it know the pagination parameters?)"
        )
    return _with(counted, seen_pages=cursor.seen_pages.then(mark))


# offset and page -----------------------------------------------------------------------------------------------------


def _counting(paging: OffsetPagination | PagePagination, cursor: Cursor, got: Got, advance: int) -> Turn:
    cursor, warnings = _totalled(paging, cursor, got)
    cursor, moved = _overlapped(cursor, got)
    warnings = (*warnings, *moved)
    count = len(got.rows)
    if cursor.total and not cursor.rows:
        raise ReadError(f"the ERP speaks of {cursor.total:,} rows at {paging.total_path!r} but gives none")
    if _ends(paging.limit, count, cursor):
        short = cursor.total is not None and cursor.rows < cursor.total
        return Last((*warnings, *_short(cursor)), complete=not short and not cursor.lacking)
    return More(_with(cursor, position=(cursor.position or 0) + advance), warnings)


def _ends(limit: int, count: int, cursor: Cursor) -> bool:
    """An empty page ends; so does reaching the total, or a short page where no total is known.

    A total below what came already is none: then full pages go on. So they do where rows move between pages: as many
    rows as the total need not be all of them.
    """
    if count == 0:
        return True
    if cursor.total is None or cursor.rows > cursor.total:
        return count < limit
    return cursor.rows == cursor.total and (count < limit or not cursor.moving)


def _surplus(limit: int, rows: list[Any]) -> int:
    """How many rows of a page that holds more than was asked for are there twice: they took no other row's place."""
    if len(rows) <= limit:
        return 0
    return min(len(rows) - limit, len(rows) - len({_encoder.encode(row) for row in rows}))


def _overlapped(cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
    """The cursor with this page's last row; a warning where the one of the page before comes again."""
    marks = [_digest(_encoder.encode(row)) if row and isinstance(row, dict) else "" for row in got.rows]
    if not marks:
        return cursor, ()
    repeats = cursor.last_row != "" and cursor.last_row in marks and not cursor.moving
    cursor = _with(cursor, last_row=marks[-1], moving=cursor.moving or repeats)
    return cursor, (f"page {cursor.pages} repeats rows of the page before: {_MOVED}",) if repeats else ()


def _totalled(paging: OffsetPagination | PagePagination, cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
    """The cursor with the total that this answer states (the one before where it states none)."""
    if paging.total_path is None:
        return cursor, ()
    total = _whole(pointer.find(got.document, paging.total_path))
    if total is None:
        missing = f"the answer has no number at total_path {paging.total_path!r}: the read ends at a short page instead"
        return cursor, (missing,) if cursor.pages == 1 else ()
    return _changed(cursor, total)


def _changed(cursor: Cursor, total: int) -> tuple[Cursor, tuple[str, ...]]:
    """A total that grows or falls is said once each. Where it falls, the rows after those that are gone moved up: some
    may have been passed over.
    """
    known, cursor = cursor.total, _with(cursor, total=total)
    if known is None or known == total or cursor.lacking or (total > known and cursor.total_changed):
        return cursor, ()
    text = f"the total changed from {known:,} to {total:,} while page {cursor.pages} was read: {_MOVED}"
    if total > known:
        return _with(cursor, total_changed=True), (text,)
    return _with(cursor, total_changed=True, moving=True, lacking=True), (f"{text}. {_STAYS}",)


def _short(cursor: Cursor) -> tuple[str, ...]:
    """Warnings of a read that ends before it should have."""
    if cursor.total is not None and cursor.rows < cursor.total:
        return (f"the ERP gave {cursor.rows:,} of {cursor.total:,} rows: {_CAP_HINT} {_STAYS}",)
    return ()


_SETTINGS_HINT = "do erp.pagination and its limit fit the ERP?"
_MOVED = "rows may have moved between pages (seek or next pagination is safe from that)"
_STAYS = "The watermark stays where it is"
_CAP_HINT = "does it cap how far one can page?"


def _ceiling(cursor: Cursor, got: Got) -> tuple[str, ...]:
    if cursor.rows not in CEILINGS or cursor.rows in (cursor.total, _stated_total(got.document)):
        return ()
    if cursor.total is not None and cursor.rows < cursor.total:
        return ()  # said already
    return (f"the read ended at exactly {cursor.rows:,} rows: {_CAP_HINT}",)


def _unasked(paging: Pagination, cursor: Cursor, got: Got) -> tuple[str, ...]:
    """A warning where the last answer speaks of more rows in a way that the flow does not look at."""
    if getattr(paging, "total_path", None) is not None or not isinstance(got.document, dict):
        return ()
    stated = cursor.stated
    following = None if isinstance(paging, NextPagination) else got.document.get("next")
    ended = f"the read ended after {cursor.rows:,} rows, though the answer"
    if stated is not None and stated > cursor.rows:
        return (f"{ended} counts {stated:,}: {_SETTINGS_HINT} {_STAYS}",)
    if got.rows and (got.document.get("has_more") is True or (isinstance(following, str) and following)):
        return (f"{ended} says there are more: {_SETTINGS_HINT} {_STAYS}",)
    return ()


def _stated_total(document: Any) -> int | None:
    """The total as answers usually call it, where the flow does not say; only to judge warnings by."""
    if not isinstance(document, dict):
        return None
    return next((total for name in ("count", "total") if (total := _whole(document.get(name))) is not None), None)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        value = int(value.strip()[:18])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None


# seek ----------------------------------------------------------------------------------------------------------------


def _seek(paging: SeekPagination, cursor: Cursor, got: Got) -> Turn:
    cursor, warnings = _passed_over(paging, cursor, got)
    if not got.rows:
        return Last(warnings, complete=not cursor.lacking)
    marker = pointer.find(got.rows[-1], paging.value_path)
    if not isinstance(marker, Marker) or isinstance(marker, bool) or marker == "":
        raise ReadError(
            f"the last row of page {cursor.pages} has {pointer.describe(marker)} at value_path {paging.value_path!r}: "
            "there is no marker to go on from"
        )
    mark = _digest(_encoder.encode(marker))
    if marker == cursor.marker or cursor.seen_markers.has(mark):
        raise ReadError(
            f"the marker of page {cursor.pages} does not advance: {_shown(marker)} came before; does the ERP give rows "
            f"after {paging.param}, sorted by {paging.value_path}?"
        )
    return More(_with(cursor, marker=marker, seen_markers=cursor.seen_markers.then(mark)), warnings)


def _passed_over(paging: SeekPagination, cursor: Cursor, got: Got) -> tuple[Cursor, tuple[str, ...]]:
    """Notes, and says once, where markers do not lead to every row.

    The rows after a marker lack those that share it and were not on its page: where the last two rows of a page share
    it, a third may have. And where numbers go up and down, the last one is not the one to go on from.
    """
    markers = [pointer.find(row, paging.value_path) for row in got.rows]
    cut = cursor.tied and (got.rows or cursor.tied >= paging.limit)
    why = f"several rows share the marker at the end of page {cursor.pages - 1}" if cut else ""
    numbers = [marker for marker in markers if isinstance(marker, int | float)]
    if markers and len(numbers) == len(markers) and markers[-1] not in (min(numbers), max(numbers)):
        why = f"the rows of page {cursor.pages} are not sorted by it"
    tied = len(markers) if len(markers) > 1 and markers[-1] == markers[-2] else 0
    if not why or cursor.lacking:
        return _with(cursor, tied=tied), ()
    text = f"rows may have been passed over: {why}, at value_path {paging.value_path!r}; it must be unique and in order"
    return _with(cursor, tied=tied, lacking=True), (f"{text}. {_STAYS}",)


# next ----------------------------------------------------------------------------------------------------------------


def _token(paging: NextPagination, cursor: Cursor, got: Got) -> Turn:
    token = _said_next(paging, got)
    if token is None:
        return Last()
    if not isinstance(token, str | int) or isinstance(token, bool):
        raise ReadError(f"the answer has {pointer.describe(token)} at {paging.field!r} where a token was expected")
    text = str(token)
    if len(text) > MAX_TOKEN_CHARS:
        raise ReadError(f"the token at {paging.field!r} has {len(text):,} characters")
    mark = _digest(text.encode())
    if cursor.seen_markers.has(mark):
        raise ReadError(f"page {cursor.pages} names a repeated token as the next one: the ERP goes in circles")
    return More(_with(cursor, token=text, seen_markers=cursor.seen_markers.then(mark)))


def _link(erp: Erp, paging: NextPagination, cursor: Cursor, got: Got) -> Turn:
    target = _said_next(paging, got)
    if target is None:
        return Last()
    if not isinstance(target, str):
        raise ReadError(f"the answer has {pointer.describe(target)} at {paging.field!r} where a URL was expected")
    url = allowed(erp, target, got.url, "the next page")
    mark = _digest(url.encode())
    if cursor.seen_markers.has(mark) or url in (cursor.url, got.url):
        raise ReadError(f"page {cursor.pages} names a repeated URL as the next one: the ERP goes in circles")
    return More(_with(cursor, url=url, seen_markers=cursor.seen_markers.then(mark)))


def _said_next(paging: NextPagination, got: Got) -> Any:
    """What the answer says comes next; None where it says nothing."""
    if paging.field == "Link":
        return link.next_target(got.link)
    value = pointer.find(got.document, paging.field)
    # 0 is how some say that there is no more: no page but the first could be called that
    blank = isinstance(value, str) and not value.strip()
    return None if not value or blank else value


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
    if not isinstance(erp.pagination, NextPagination):
        return False
    to = exact_origin(url)
    host = f"[{to.host}]" if ":" in to.host else to.host
    return any(entry.lower() in (to.host, host, f"{host}:{to.port}") for entry in erp.pagination.allow_hosts)


# --------------------------------------------------------------------------------------------------------------------


def _with(cursor: Cursor, **changes: Any) -> Cursor:
    return msgspec.structs.replace(cursor, **changes)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _shown(marker: Marker) -> str:
    text = repr(marker)
    return text if len(text) <= 80 else text[:80] + "…"
