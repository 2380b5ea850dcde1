"""An answer's envelope: what an ERP says, beside the rows, of how many there are and whether more follow. Pure.

A **signal** is one such statement: where it stands and what it says. Its name decides what it means, whatever the style
(`total_count`, `totalCount`, `TotalCount`, `hydra:total-count`). Signals are looked for at every depth, but never in the
rows, in other lists, or in objects that speak of something else (facets, prices, quotas).

How signals are judged:

- A **total** above what came says that rows are missing. A total that is reached says that none are. Names like `count`
  may mean the rows of one page; so they prove an end only once they are larger than a page.
- **pages** above the number of pages that were read, a **more** flag that is set, and a **next** link or token say that
  more follow; a flag that is not set, a next that is null, and the last page's own number say that none do.
- If a total is reached over several pages, the read is complete whatever a link says: some ERPs always give one. A flag
  that is not set, or the last page's number, outweighs a link for the same reason. Nothing outweighs a total.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from imageflow import pointer
from imageflow.model.link_header import next_target

MAX_DEPTH = 8
MAX_FIELDS = 5000
LARGEST_OBJECT = 200
"""An object with more fields than this, beside the rows, is data and no envelope."""
SHOWN_CHARS = 120

Kind = Literal["total", "count", "filtered", "pages", "page", "more", "last", "left", "next"]

_NAMES: dict[Kind, str] = {
    "total": """
        total totals totalcount totalcounts counttotal totalitems totalitem totalelements totalresults totalresult
        totalrecords totalrecord totalrows totalrow totalentries totalhits totalsize totaldocs totalproducts totalobjects
        totalitemcount totalitemscount totalrecordcount totalrecordscount totalrowcount totalrowscount totalresultcount
        totalresultscount totalelementcount totalfound totalmatches totalmatched totalavailable totalnumber totalnum
        totalnumberofitems totalnumberofrecords totalnumberofresults totalnumberofelements numtotal numberofresults
        numberofrecords numfound nbhits recordstotal inlinecount toplamkayit toplamkayitsayisi toplamsatir
        toplamadet toplamurun toplamurunsayisi
    """,
    "count": "count length records itemscount itemcount recordcount rowcount rowscount resultcount resultscount hits "
    "size kayitsayisi",
    "filtered": "recordsfiltered filteredcount totalfiltered filteredtotal filtercount filtertotal totalfilteredcount",
    "pages": """
        pages totalpages totalpage totalpagecount totalpagescount pagecount pagescount lastpage numpages numberofpages
        nbpages maxpage pagestotal pagetotal lastpagenumber toplamsayfa toplamsayfasayisi sayfasayisi
    """,
    "page": "page currentpage pagenumber pageindex pageno number current mevcutsayfa sayfano",
    "more": """
        hasmore hasnext hasnextpage hasmoreresults hasmoreitems hasmorepages hasmorerecords hasmoredata hasmorerows
        hasadditionalpages moreavailable moreresults morerecords moreitems moredata morerows morepages ismore more
        istruncated truncated incompleteresults devamvar devamivar sonrakivar
    """,
    "last": "islast islastpage last lastpage isfinalpage nomore nomoredata nomorepages endofresults eof done sonsayfa sonsayfami",
    "left": "remainingitemcount remainingcount remainingitems remainingrows remainingrecords remainingpages itemsremaining",
    "next": """
        next nextpage nextlink nexturl nexturi nexthref nextpageurl nextpageuri nextpagelink nextpagehref nextpagetoken
        nextpagenumber nextpageno nextpageid nextpagestart nextpagecursor nexttoken nextcursor nextcursorstr nextoffset
        nextstart nextmarker nextkey nextbatch nextset nextrecordsurl nextcontinuationtoken continuationtoken continuation
        mscontinuation sonrakisayfa
    """,
}
_KINDS: dict[str, tuple[Kind, ...]] = {}
for _kind, _words in _NAMES.items():
    for _word in _words.split():
        _KINDS[_word] = (*_KINDS.get(_word, ()), _kind)

_EXACT: dict[str, Kind] = {"__count": "total", "@odata.count": "total", "odata.count": "total"}
"""Names that mean more with their ornaments than without."""
_PLAIN_WORDS = frozenset(("more", "last", "done", "truncated", "eof", "incompleteresults", "sonsayfa", "lastpage"))
"""Flags only where they are true or false: a text or a number under such a name is something else."""
_SHY = frozenset(
    ("total", "totals", "count", "length", "records", "hits", "size", "number", "current", "page", "pages")
)
"""Names that only an envelope gives its meaning."""
_LINK_LISTS = frozenset(("link", "links"))
_TARGETS = ("href", "url", "uri", "link", "after", "cursor", "token", "value")

_PLAIN_HEADERS = frozenset(("total-count", "total-pages", "next-page"))
_JSON_HEADERS = frozenset(("pagination", "x-pagination", "x-paging"))

_FOREIGN = frozenset(
    """
    shards facet facets aggregation aggregations aggs bucket buckets quota quotas ratelimit ratelimits limits usage price
    prices amount amounts cart basket order orders invoice payment payments cost costs money currency stock stocks
    inventory warehouse account user request query params parameters filter filters debug timing timings profile memory
    disk cache example examples schema docs documentation definitions errors warnings tax taxes discount discounts
    """.split()  # noqa: SIM905 - a table of words
)
_MONEY = frozenset(
    """
    currency currencycode amount price tax taxes vat kdv subtotal grandtotal discount net gross shipping doviz tutar
    """.split()  # noqa: SIM905 - a table of words
)
_COLLECTIONS = frozenset(("nodes", "edges", "items", "data", "results", "records", "value", "list", "rows", "content"))
_AROUND = frozenset(
    "meta metadata pagination paging pager links info header headers response result pageinfo d success error".split()  # noqa: SIM905 - a table of words
)
_NOTHING = frozenset(("", "null", "none", "nil", "false", "undefined", "0", "-1", "n/a", "-"))
_YES = frozenset(("true", "yes", "y", "1", "evet"))
_NO = frozenset(("false", "no", "n", "0", "hayir"))
_LETTERS = str.maketrans("ıİşŞğĞçÇöÖüÜ", "iIsSgGcCoOuU")


class Signal(NamedTuple):
    """One statement. `value`: a number (total, count, filtered, pages, page), whether more follow (more), or what
    follows, None for nothing (next). `sure`: it can mean nothing else. `shown`: the value as the answer has it.
    """

    kind: Literal["total", "pages", "page", "more", "next"]
    path: str
    value: Any
    sure: bool = True
    shown: Any = None

    def __str__(self) -> str:
        text = msgspec.json.encode(self.shown).decode("utf-8", "replace")
        return f"{self.path} is {text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + '…'}"


class Field(NamedTuple):
    """A field of the envelope: the names that lead to it, and its value. `near`: it stands on the way to the rows."""

    names: tuple[str, ...]
    value: Any
    beside: Mapping[str, Any]
    near: bool

    @property
    def path(self) -> str:
        return ".".join(self.names)


class Came(NamedTuple):
    """What came before an answer is judged, with it: all rows (None: they cannot be counted), pages, rows of this page;
    `totals`: the smallest number that each total said; `moved`: rows moved between pages, so their number proves nothing.
    """

    rows: int | None
    pages: int
    page_rows: int
    totals: Mapping[str, int] = {}
    moved: bool = False


# finding signals -----------------------------------------------------------------------------------------------------


def signals(
    document: Any, rows: Any, rows_path: str, headers: Mapping[str, str] | None = None, ignore: Sequence[str] = ()
) -> tuple[Signal, ...]:
    """All signals of an answer. `rows`: the object or list in the document that holds the rows; header names are lower
    case. `ignore`: paths (dotted or JSON Pointer) or names of headers that mean something else, with all below them.
    """
    found = [*_from_body(document, rows, rows_path), *_from_headers(headers or {})]
    kept = [signal for signal in found if not any(is_at(signal.path, entry) for entry in ignore)]
    if any(signal.kind == "total" and "filter" in compact(signal.path) for signal in kept):
        kept = [signal for signal in kept if signal.kind != "total" or "filter" in compact(signal.path)]
    return tuple(signal for signal in kept if not _is_of_the_page(signal, kept))


def _is_of_the_page(count: Signal, found: Iterable[Signal]) -> bool:
    """Whether a `size` is how many rows a page may have: beside a total, or beside what else describes a page (Spring's
    `{number: 0, size: 100, last: true}`).
    """
    inside, _, name = count.path.rpartition(".")
    if count.kind != "total" or compact(name) != "size":
        return False
    beside = [signal for signal in found if signal.path.rpartition(".")[0] == inside and signal.path != count.path]
    return any(signal.kind in ("page", "pages", "more", "total") for signal in beside)


def fields(document: Any, rows: Any, rows_path: str) -> Iterator[Field]:
    """The fields of the envelope, at every depth."""
    way = {id(value) for value in pointer.way(document, rows_path)}
    left = MAX_FIELDS
    for field in _walk(document, (), rows, way):
        yield field
        left -= 1
        if not left:
            return


def compact(name: str) -> str:
    """A name without its style: `totalCount`, `total_count` and `hydra:total-count` become `totalcount`."""
    plain = re.split(r"[:.@$#]", name.translate(_LETTERS).rstrip(":.@$#"))[-1]
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def is_field(name: str) -> bool:
    """Whether a name is one that envelopes have, and no SKU."""
    return compact(name) in _KINDS or compact(name) in _COLLECTIONS or compact(name) in _AROUND


def is_collection(name: str) -> bool:
    """Whether a name is one that lists of rows have."""
    return compact(name) in _COLLECTIONS


def _walk(value: Any, names: tuple[str, ...], rows: Any, way: set[int]) -> Iterator[Field]:
    for name, item in _inside(value, names, way):
        if item is rows and isinstance(item, (dict, list)):
            continue
        if isinstance(value, dict):
            yield Field((*names, name), item, value, id(value) in way)
        if id(item) in way or _may_be_envelope(name, item):
            yield from _walk(item, (*names, name), rows, way)


def _inside(value: Any, names: tuple[str, ...], way: set[int]) -> Iterator[tuple[str, Any]]:
    """The fields of an object; of a list only what leads to the rows."""
    if len(names) >= MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list) and id(value) in way:
        yield from ((str(index), item) for index, item in enumerate(value) if id(item) in way)


def _may_be_envelope(name: str, item: Any) -> bool:
    """Whether an object beside the way to the rows may speak of them: not of something else, nor of another list."""
    if not isinstance(item, dict) or len(item) > LARGEST_OBJECT or compact(name) in _FOREIGN:
        return False
    return not any(
        compact(key) in _COLLECTIONS and isinstance(value, list) and value and isinstance(value[0], dict)
        for key, value in item.items()
    )


def _from_body(document: Any, rows: Any, rows_path: str) -> Iterator[Signal]:
    for field in fields(document, rows, rows_path):
        yield from _signals_of(field)


def _signals_of(field: Field) -> Iterator[Signal]:
    name, value = field.names[-1], field.value
    if isinstance(value, dict):
        yield from _in_object(field, value)
    elif isinstance(value, list):
        if compact(name) in _LINK_LISTS or name == "_links":
            yield from _in_links(field, value)
    else:
        kinds = (_EXACT[name],) if name in _EXACT else _KINDS.get(compact(name), ())
        for kind in kinds:
            if (signal := _signal(kind, field)) is not None:
                yield signal


def _in_object(field: Field, value: Mapping[str, Any]) -> Iterator[Signal]:
    """`hits.total: {value: 33}`, `_links.next: {href: …}`, `paging.next: {after: …}`."""
    kinds = _KINDS.get(compact(field.names[-1]), ())
    if "total" in kinds and (count := whole_number(value.get("value"))) is not None:
        yield Signal("total", f"{field.path}.value", count, shown=count)
    if "next" in kinds:
        named = next((name for name in _TARGETS if isinstance(value.get(name), str) and value[name].strip()), None)
        if named is not None:
            yield Signal("next", f"{field.path}.{named}", value[named], shown=value[named])


def _in_links(field: Field, links: Sequence[Any]) -> Iterator[Signal]:
    """`links: [{rel: next, href: …}]`, and FHIR's `link: [{relation: next, url: …}]`."""
    for index, link in enumerate(links):
        if not isinstance(link, dict) or "next" not in (link.get("rel"), link.get("relation"), link.get("name")):
            continue
        for name in ("href", "url", "uri"):
            if isinstance(link.get(name), str) and link[name].strip():
                yield Signal("next", f"{field.path}.{index}.{name}", link[name], shown=link[name])


def _signal(kind: Kind, field: Field) -> Signal | None:
    if kind == "next":
        return _next(field)
    if kind in ("more", "last"):
        return _flag(kind, field)
    return _number(kind, field)


def _number(kind: Kind, field: Field) -> Signal | None:
    name, value = compact(field.names[-1]), field.value
    number = whole_number(value)
    if number is None or (name in _SHY and (isinstance(value, float) or not _in_envelope(field))):
        return None
    if kind == "left":
        return Signal("more", field.path, number > 0, shown=value)
    if kind in ("pages", "page"):
        return Signal(kind, field.path, number, shown=value)
    return Signal("total", field.path, number, kind != "count", value)


def _in_envelope(field: Field) -> bool:
    """Whether an ambiguous name stands among fields of an envelope: not beside money; `count` and the like only near the
    rows or in an object that is about paging.
    """
    if any(compact(name) in _MONEY for name in field.beside):
        return False
    if field.near or compact(field.names[-1]) == "total":
        return True
    around = compact(field.names[-2]) if len(field.names) > 1 else ""
    return re.search(r"meta|pag|info|head|result|search|cursor|navigation|summary|response|sayfa", around) is not None


def _flag(kind: Kind, field: Field) -> Signal | None:
    value, name = field.value, compact(field.names[-1])
    yes = value if isinstance(value, bool) else None
    if yes is None and name not in _PLAIN_WORDS and isinstance(value, (str, int)):
        text = str(value).strip().lower().translate(_LETTERS)
        yes = True if text in _YES else False if text in _NO else None
    return None if yes is None else Signal("more", field.path, yes is (kind == "more"), shown=value)


def _next(field: Field) -> Signal | None:
    value = field.value
    if isinstance(value, bool):
        return Signal("more", field.path, value, shown=value)
    if names_nothing(value):
        return Signal("next", field.path, None, shown=value)
    if isinstance(value, int):
        return Signal("next", field.path, value, shown=value) if value > 0 else None
    if not isinstance(value, str) or (re.search(r"\s", value.strip()) and not re.match(r"https?://|[/?]", value)):
        return None  # prose, or an object that says how to page
    return Signal("next", field.path, value, shown=value)


def names_nothing(value: Any) -> bool:
    """Whether what stands in the place of the next link or token says that there is none."""
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    return (
        value is pointer.MISSING or value is None or value is False or (value == 0 and isinstance(value, (int, float)))
    )


def _from_headers(headers: Mapping[str, str]) -> Iterator[Signal]:
    if (target := next_target(headers.get("link", ""))) is not None:
        yield Signal("next", "Link", target, shown=target)
    ranged = re.fullmatch(r"[a-z]*\s*[\d*]+(?:-\d+)?/(\d{1,15})", headers.get("content-range", "").strip())
    if ranged is not None:
        yield Signal("total", "Content-Range", int(ranged[1]), shown=headers["content-range"])
    for name, value in headers.items():
        yield from _from_header(name, value)


def _from_header(name: str, value: str) -> Iterator[Signal]:
    """`X-WP-TotalPages: 4`, `Total-Count: 33`, `X-Next-Page: 2`, `X-Pagination: {…}`."""
    shown = "-".join(part.capitalize() for part in name.split("-"))
    if name in _JSON_HEADERS:
        yield from _json_header(shown, value)
    short = re.sub(r"^(x-)?(wp-|pagination-|paging-|page-info-|ms-)?", "", name)
    if short == name and name not in _PLAIN_HEADERS:
        return
    for kind in _KINDS.get(compact(short), ()):
        if (signal := _signal(kind, Field((shown,), value, {}, near=True))) is not None:
            yield signal


def _json_header(name: str, value: str) -> Iterator[Signal]:
    """ASP.NET's `X-Pagination: {"TotalCount": 33, …}`."""
    try:
        document = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    for signal in _from_body(document, None, ""):
        yield signal._replace(path=f"{name}.{signal.path}")


def is_at(path: str, entry: str) -> bool:
    """Whether a path is the one that an entry of `pagination.ignore` names, or below it."""
    dotted = entry[1:].replace("/", ".").replace("~1", "/").replace("~0", "~") if entry.startswith("/") else entry
    return path.lower() == dotted.lower() or path.lower().startswith(dotted.lower() + ".")


def whole_number(value: Any) -> int | None:
    """A count as answers write it: a number, or a text of digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        value = int(value.strip()[:18])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None


# judging them --------------------------------------------------------------------------------------------------------


def smallest(known: Mapping[str, int], found: Iterable[Signal]) -> dict[str, int]:
    """The smallest number that each total said so far: rows that are added meanwhile belong to the next run."""
    totals = dict(known)
    for signal in found:
        if signal.kind == "total":
            totals[signal.path] = min(signal.value, totals.get(signal.path, signal.value))
    return totals


def owed(found: Sequence[Signal], came: Came, own: frozenset[str] = frozenset()) -> tuple[Signal, ...]:
    """The signals that speak of rows which did not come. `own`: paths that the pagination judges itself."""
    if _reached(found, came):
        return ()
    said_end = _says_end(found, came)
    return tuple(
        signal
        for signal in found
        if signal.path not in own and _says_more(signal, found, came) and not (signal.kind == "next" and said_end)
    )


def ended(found: Sequence[Signal], came: Came) -> bool:
    """Whether the answer itself says that all rows came: a total is reached, or nothing follows."""
    if owed(found, came):
        return False
    total = any(
        signal.kind == "total" and signal.sure and came.rows == _least(signal, came) and not came.moved
        for signal in found
    )
    nothing = any(signal.kind == "next" and signal.value is None for signal in found)
    return total or nothing or _reached(found, came) or _says_end(found, came)


def _least(signal: Signal, came: Came) -> int:
    return min(int(signal.value), came.totals.get(signal.path, int(signal.value)))


def _reached(found: Sequence[Signal], came: Came) -> bool:
    """A total that is larger than one page, and that so many rows came to: it is no page's own count."""
    if came.moved or not came.rows or came.rows <= came.page_rows:
        return False
    return any(signal.kind == "total" and _least(signal, came) == came.rows for signal in found)


def _says_more(signal: Signal, found: Sequence[Signal], came: Came) -> bool:
    match signal.kind:
        case "total":
            return came.rows is not None and _least(signal, came) > came.rows
        case "pages":
            return bool(signal.value > came.pages and not _at_last(signal, found))
        case "more":
            return bool(signal.value)
        case "next":
            return signal.value is not None
    return False


def _at_last(pages: Signal, found: Sequence[Signal]) -> bool:
    """Whether the answer calls itself the last page, by a number beside that of all pages."""
    inside = pages.path.rpartition(".")[0]
    return any(
        signal.kind == "page" and signal.path.rpartition(".")[0] == inside and signal.value >= pages.value
        for signal in found
    )


def _says_end(found: Sequence[Signal], came: Came) -> bool:
    flags = [signal.value for signal in found if signal.kind == "more"]
    pages = [signal for signal in found if signal.kind == "pages"]
    last = any(_at_last(signal, found) or 1 < signal.value <= came.pages for signal in pages)
    return (bool(flags) and not any(flags)) or last
