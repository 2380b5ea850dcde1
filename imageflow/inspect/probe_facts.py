"""What a probe sees in answers: lists, totals, markers, links, and whether two pages follow each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import msgspec

from imageflow import pointer
from imageflow.flows import plain_secrets
from imageflow.http.origin import origin
from imageflow.inspect.row_shape import shape_of
from imageflow.inspect.row_words import DATE
from imageflow.model import envelope
from imageflow.read.rows import is_keyed
from imageflow.text.masking import MASK

MAX_DEPTH = 4

_NEXT = re.compile(r"next", re.IGNORECASE)


class Seen(NamedTuple):
    """One answer: its document, its rows, its Link header, where the rows are, and all headers."""

    document: Any
    rows: list[Any]
    link: str
    path: str = ""
    headers: Mapping[str, str] = {}


def lists_in(document: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """The lists in a document, with their dotted paths; not those inside of lists."""
    if isinstance(document, list):
        yield path, document
    elif isinstance(document, dict) and depth < MAX_DEPTH:
        for name, value in document.items():
            yield from lists_in(value, f"{path}.{name}" if path else name, depth + 1)


def keyed_in(document: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects that hold rows under the names of their products, with their dotted paths: where images can be found in each, and
    not the product itself.
    """
    if not isinstance(document, dict) or depth >= MAX_DEPTH:
        return
    if len(document) > 1 and is_keyed(document) and _are_sets(list(document.values())):
        yield path, document
        return
    for name, value in document.items():
        yield from keyed_in(value, f"{path}.{name}" if path else name, depth + 1)


def _are_sets(rows: list[Any]) -> bool:
    """Whether each is all images of one product."""
    shape = shape_of(rows, keyed=True)
    if shape.pictures is None or any(isinstance(row, list) for row in rows):
        return shape.pictures is not None and not any(isinstance(item, dict) for row in rows for item in row)
    return True


def place(url: str) -> str:
    """A URL as it may be shown: origin and path, without its query, and without what looks like a secret."""
    parts = [MASK if plain_secrets.looks_secret(unquote(part)) else part for part in urlsplit(url).path.split("/")]
    return origin(url) + "/".join(parts)


def of_objects(rows: list[Any]) -> bool:
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _scalars(document: Any, skip: str, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict) and depth < MAX_DEPTH:
        for name, value in document.items():
            here = f"{path}.{name}" if path else name
            if here != skip:
                yield from _scalars(value, skip, here, depth + 1)
    elif path and not isinstance(document, dict | list):
        yield path, document


def next_fields(document: Any, skip: str) -> list[tuple[str, Any]]:
    """Fields that may say what comes next: those that the reader knows, then others that are called like it; URLs first."""
    rows = pointer.find(document, skip)
    known = [
        (signal.path, signal.value)
        for signal in envelope.signals(document, rows, skip)
        if signal.kind == "next" and signal.value is not None
    ]
    named = [
        (path, value)
        for path, value in _scalars(document, skip)
        if _NEXT.search(path.rpartition(".")[2] if not re.search(r"next\.(href|url)$|endCursor$", path) else "next")
        and isinstance(value, str | int)
        and not isinstance(value, bool)
        and value not in ("", 0)
    ]
    return sorted(dict.fromkeys((*known, *named)), key=lambda one: not is_link(one[1]))


def says_end(seen: Seen) -> bool:
    """Whether an answer says that nothing follows it, by a flag: then a token in it leads nowhere."""
    found = envelope.signals(seen.document, seen.rows, seen.path, seen.headers)
    flags = [signal.value for signal in found if signal.kind == "more"]
    return bool(flags) and not any(flags)


def is_link(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"https?://|[/?]", value) is not None


def total_of(found: Seen, *, headers: bool = False) -> tuple[str, int] | None:
    """What the answer calls its total, by the names that the reader knows; one that can mean nothing else first. `headers`: or
    what a header of it says.
    """
    said = envelope.signals(found.document, found.rows, found.path, found.headers if headers else {})
    totals = [signal for signal in said if signal.kind == "total"]
    first = next(iter(sorted(totals, key=lambda signal: not signal.sure)), None)
    return None if first is None else (first.path, first.value)


def null_path(document: Any, path: str = "", depth: int = 0) -> str | None:
    """Where null stands for a list, by a name that lists have; None where nothing looks like that."""
    if not isinstance(document, dict) or depth >= MAX_DEPTH:
        return None
    for name, value in document.items():
        here = f"{path}.{name}" if path else name
        if value is None and envelope.is_collection(name):
            return here
        if (found := null_path(value, here, depth + 1)) is not None:
            return found
    return None


def markers(rows: Sequence[Any]) -> list[str]:
    """Fields that could be sought by: a scalar in every row, rising."""
    if not of_objects(list(rows)):
        return []
    found = []
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values}
        if len(kinds) == 1 and kinds <= {str, int} and all(a < b for a, b in pairwise(values)):
            found.append(name)
    return found[:3]


def about_rows(rows: Sequence[Any]) -> Iterator[str]:
    if not of_objects(list(rows)):
        return
    yield f"a row is {pointer.describe(rows[0])}"
    if dates := date_fields(rows):
        yield f"dates are in {', '.join(dates)}"


def date_fields(rows: Sequence[Any]) -> list[str]:
    """Fields of the first row with a date in them."""
    return [name for name, value in rows[0].items() if isinstance(value, str) and DATE.fullmatch(value)]


def is_odata(document: Any) -> bool:
    """Whether an answer is one of OData."""
    return isinstance(document, dict) and any(name.startswith(("@odata.", "odata.")) for name in document)


# parameters ----------------------------------------------------------------------------------------------------------

PAGING_OBJECTS = frozenset(("paging", "pagination", "pager", "page", "pageinfo", "variables", "options"))
FILTER_OBJECTS = frozenset(("filter", "filters", "criteria", "where", "conditions", "search", "variables", "params"))


def candidates(
    names: Sequence[str], url: str, body: Mapping[str, Any], places: Collection[str] = PAGING_OBJECTS
) -> list[str]:
    """Names that a parameter may have, the likeliest first: those that are sent already and are called like one of `names`; in an
    object of the body that is called like one of `places`; then `names` themselves. Names in a body are dotted.
    """
    wanted = {envelope.compact(name) for name in names}
    sent = [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)] + list(_leaves(body))
    own = [name for name in sent if envelope.compact(name.rpartition(".")[2]) in wanted]
    inner = [f"{place}.{name}" for place in _objects(body, places) for name in names]
    return list(dict.fromkeys((*own, *inner, *names)))


def _leaves(body: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in body.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from _leaves(value, here)
        elif "." not in name:
            yield here


def _objects(body: Mapping[str, Any], places: Collection[str]) -> Iterator[str]:
    for name, value in body.items():
        if isinstance(value, dict) and envelope.compact(name) in places:
            yield name


# comparing pages -----------------------------------------------------------------------------------------------------


def _marks(rows: Iterable[Any]) -> list[bytes]:
    return [msgspec.json.encode(row) for row in rows]


def overlap(pages: Iterable[list[Any]], rows: list[Any]) -> int:
    """How many of the rows came before."""
    known = {mark for page in pages for mark in _marks(page)}
    return sum(mark in known for mark in _marks(rows))


def same_rows(one: list[Any], other: list[Any]) -> bool:
    return sorted(_marks(one)) == sorted(_marks(other))


def is_second(known: list[Any], rows: list[Any], size: int) -> bool:
    """Whether these are the rows that come after the first `size` ones, as far as they are known."""
    expected = known[size : 2 * size]
    return bool(rows) and len(rows) <= size and bool(expected) and rows[: len(expected)] == expected


def first_page(known: list[Any], first: list[Any], second: list[Any], size: int) -> int | None:
    """What the first page is numbered by, given the rows of number 1 and number 2; None where these are no pages."""
    if not second or overlap([first], second):
        return None
    if first == known[:size]:
        rest = known[size : 2 * size]
        return 1 if second[: len(rest)] == rest[: len(second)] else None
    return 0 if is_second(known, first, size) and not overlap([known[:size]], second) else None


# the flow file's part ------------------------------------------------------------------------------------------------


PLAIN_HEADERS = frozenset(("accept", "accept-language", "content-type", "user-agent"))


def flow_part(
    url: str, method: str, headers: Mapping[str, str], rows_path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The part without pagination. Values of headers are secrets until somebody says otherwise, and so are parameters that look
    like some: variables are named in their places.
    """
    parts = urlsplit(url)
    erp: dict[str, Any] = {"endpoint_url": url}
    query = parse_qsl(parts.query, keep_blank_values=True)
    if method == "GET" and query and len(dict(query)) == len(query):
        erp = {"endpoint_url": urlunsplit(parts._replace(query="")), "extra_params": _unplain("", dict(query))}
    if method != "GET":
        erp["method"] = method
        erp |= {"extra_params": _unplain("", dict(body))} if body else {}
    others = dict(headers)
    login = next((name for name in headers if name.lower() not in PLAIN_HEADERS), None)
    if login is not None:
        del others[login]
        erp["login"] = {"type": "header", "name": login, "value": {"env": variable(login)}}
    if others:
        erp["extra_headers"] = {
            name: value if name.lower() in PLAIN_HEADERS else {"env": variable(name)} for name, value in others.items()
        }
    if rows_path:
        erp["rows_path"] = rows_path
    return erp


def variable(name: str) -> str:
    """The environment variable that is proposed for a secret."""
    return "ERP_" + re.sub(r"\W", "_", name, flags=re.ASCII).upper()


def _unplain(name: str, value: Any) -> Any:
    """Parameters, with a reference in the place of each value that looks like a secret."""
    if isinstance(value, dict):
        return {key: _unplain(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unplain(name, item) for item in value]
    return {"env": variable(name)} if plain_secrets.refused(name, value) else value
