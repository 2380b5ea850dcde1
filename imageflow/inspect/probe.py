"""Looks at a real endpoint and says how a flow would read it: where the list is, how it pages, when that ends.

Every statement comes from an answer, and every page that is taken for the second one is compared, row by row, with what
the first answer held. What cannot be told apart is said, never guessed: the flow file's part then lacks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urljoin, urlsplit, urlunsplit

import msgspec
import yaml

from imageflow import pointer
from imageflow.errors import ImageFlowError, LoginError, ReadError
from imageflow.http.client import Answer, Transport, exact_origin, origin
from imageflow.http.login_session import redact
from imageflow.model.pagination.next import next_target
from imageflow.read import answer as answers
from imageflow.read.request import DEFAULT_HEADERS, with_query

TIMEOUT_SECONDS = 30.0
MAX_REQUESTS = 80
MAX_FOLLOWED = 4
MAX_DEPTH = 4
MOST_ROWS_ASKED = 10
FAR = 1_000_000_000
FAR_PAGE = 1_000_000

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
TOTAL_NAMES = ("count", "total", "total_count", "totalCount", "totalResults", "total_results", "totalElements")
_NEXT = re.compile(r"next", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")


class Found(NamedTuple):
    """What came of a probe: observations, and the flow file's part (None where no list was found)."""

    lines: tuple[str, ...]
    erp: dict[str, Any] | None

    @property
    def snippet(self) -> str | None:
        """The part as YAML."""
        return None if self.erp is None else yaml.safe_dump({"erp": self.erp}, sort_keys=False, width=120)


class _Seen(NamedTuple):
    """One answer: its document, its rows, its Link header."""

    document: Any
    rows: list[Any]
    link: str


class _Limit(NamedTuple):
    """The parameter that sets how many rows a page has, and a number that gives more than one page of what is known."""

    param: str
    rows: int


class _Enough(Exception):
    """There were as many requests as one may make of a stranger."""


async def probe(transport: Transport, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Found:
    """Look at an endpoint with a bounded number of requests, one after the other. Header values appear nowhere."""
    inquiry = _Inquiry(transport, url, method, headers or {})
    try:
        await inquiry.run()
    except _Enough:
        inquiry.say(f"stopped after {MAX_REQUESTS} requests: what is not said above could not be determined")
    except ImageFlowError as error:
        inquiry.say(f"stopped: {error}")
    return Found(tuple(redact(line, (headers or {}).values()) for line in inquiry.lines), inquiry.erp)


class _Inquiry:
    """The requests of one probe, and what was learned from them."""

    def __init__(self, transport: Transport, url: str, method: str, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._url = url
        self._method = method
        self._headers = {**DEFAULT_HEADERS, **headers}
        self._given = headers
        self._requests = 0
        self._path = ""
        self._shorter: _Seen | None = None
        self.lines: list[str] = []
        self.erp: dict[str, Any] | None = None

    def say(self, line: str) -> None:
        self.lines.append(line)

    async def run(self) -> None:
        found = await self._list()
        if found is None:
            return
        self.erp = _erp(self._url, self._method, self._given, self._path)
        if len(self._given) > 1:
            self.say(
                "of the headers only the first is in the flow file's part: a flow has one login; see extra_headers"
            )
        await self._stable(found)
        for line in _about_rows(found.rows):
            self.say(line)
        paging = await self._paging(found)
        if paging is not None:
            self.erp["pagination"] = paging

    # the list ----------------------------------------------------------------------------------------------------

    async def _list(self) -> _Seen | None:
        answer = await self._send(self._url, {})
        kind = answer.headers.get("content-type", "no content type")
        self.say(f"{self._method} {origin(self._url)} answered {answer.status}, {kind}, {len(answer.body):,} bytes")
        if answer.status in answers.REDIRECTS:
            self.say("it redirects: probe the URL it leads to, " + origin(answer.headers.get("location", "nowhere")))
            return None
        try:
            answers.refuse(answer, origin(self._url), None)
            document = answers.decode(answer).document
        except (ReadError, LoginError) as error:
            self.say(str(error))
            return None
        return self._choose(document, answer.headers.get("link", ""))

    def _choose(self, document: Any, links: str) -> _Seen | None:
        candidates = sorted(
            lists_in(document), key=lambda one: (not _of_objects(one[1]), one[0].count("."), -len(one[1]))
        )
        if not candidates:
            self.say(f"found no list in the answer: it is {pointer.describe(document)}")
            return None
        self._path, rows = candidates[0]
        where = repr(self._path) if self._path else "the answer itself (rows_path is empty)"
        self.say(f"the list is at {where}: {len(rows)} rows")
        others = [repr(path) for path, _ in candidates[1:]]
        if others:
            self.say(f"there are other lists, check which one is meant: {', '.join(others[:5])}")
        return _Seen(document, rows, links)

    async def _stable(self, found: _Seen) -> None:
        again = await self._ask({})
        if again is None:
            self.say("the same request, asked again, gave no list: the endpoint is not stable")
        elif again.rows == found.rows:
            self.say("the same request, asked again, gave the same rows in the same order")
        elif _same_rows(again.rows, found.rows):
            self.say(
                "the same request, asked again, gave the same rows in another order: pages may overlap or lose rows"
            )
        else:
            self.say("the same request, asked again, gave other rows: what follows may be wrong")

    # pagination --------------------------------------------------------------------------------------------------

    async def _paging(self, found: _Seen) -> dict[str, Any] | None:
        if not found.rows:
            self.say("could not determine the pagination: the list is empty")
            return None
        said = await self._by_link(found) or await self._by_field(found)
        if said is not None:
            return said
        if len(found.rows) == 1:
            return self._not_paged(found, "one row is too few to tell pages apart")
        limit = await self._limit(found)
        counted = await self._by_offset(found, limit) or await self._by_page(found, limit)
        if counted is not None:
            return counted
        sought = None if limit is None else await self._by_seek(found, limit)
        return sought or self._not_paged(found, "no parameter that was tried gave another page")

    def _not_paged(self, found: _Seen, why: str) -> dict[str, Any] | None:
        total = _total(found)
        if total is not None and total[1] == len(found.rows):
            self.say(f"{total[0]} says {total[1]}, and so many rows came: one page (type none)")
            return {"type": "none"}
        self.say(f"could not determine the pagination: {why}")
        if total is not None:
            self.say(f"{total[0]} says {total[1]}, but {len(found.rows)} rows came: there are more pages")
        else:
            self.say("if the answer is always complete, it is {type: none}; nothing in it says so")
        return None

    async def _by_link(self, found: _Seen) -> dict[str, Any] | None:
        target = next_target(found.link)
        if target is None:
            return None
        self.say("the Link header names the next page (rel=next)")
        good = await self._follow(found, target, lambda seen: next_target(seen.link))
        return {"type": "next", "field": "Link"} if good else None

    async def _by_field(self, found: _Seen) -> dict[str, Any] | None:
        for path, value in _next_fields(found.document, self._path):
            if _is_link(value):
                self.say(f"the field {path!r} holds the URL of the next page")
                if await self._follow(found, value, lambda seen, path=path: pointer.find(seen.document, path)):
                    return {"type": "next", "field": path}
            elif (paging := await self._by_token(found, path, value)) is not None:
                return paging
        return None

    async def _follow(self, found: _Seen, target: Any, following: Any) -> bool:
        """Whether links lead to pages that do not overlap. Follows a few."""
        pages, base = [found.rows], self._url
        while isinstance(target, str) and target.strip() and len(pages) <= MAX_FOLLOWED:
            url = urljoin(base, target)
            if exact_origin(url) != exact_origin(self._url):
                self.say(f"it leads to another origin, {origin(url)}: not followed; see pagination.allow_hosts")
                return True
            seen = await self._ask({}, url=url)
            if seen is None:
                self.say(f"page {len(pages) + 1}, asked for by its link, gave no list")
                return False
            if not self._apart(pages, seen.rows):
                return False
            pages.append(seen.rows)
            base, target = url, following(seen)
        self._followed(pages, ended=not target)
        return True

    def _followed(self, pages: Sequence[list[Any]], *, ended: bool) -> None:
        rows = sum(map(len, pages))
        self.say(f"{len(pages)} pages with {rows} rows do not overlap")
        if ended:
            self.say("the last of them names no next page: the read ends there")
        else:
            self.say("could not determine the end: more pages follow; the read ends where none is named")

    async def _by_token(self, found: _Seen, path: str, token: Any) -> dict[str, Any] | None:
        for param in dict.fromkeys((path.rpartition(".")[2], *TOKEN_PARAMS)):
            seen = await self._ask({param: token})
            if seen is None or seen.rows == found.rows or _overlap([found.rows], seen.rows):
                continue
            self.say(f"the field {path!r} holds a token; sent as {param!r} it gives the next page")
            pages, following = [found.rows, seen.rows], pointer.find(seen.document, path)
            while following and isinstance(following, str | int) and len(pages) <= MAX_FOLLOWED:
                more = await self._ask({param: following})
                if more is None or not self._apart(pages, more.rows):
                    return None
                pages.append(more.rows)
                following = pointer.find(more.document, path)
            self._followed(pages, ended=not following)
            return {"type": "next", "field": path, "kind": "token", "param": param}
        self.say(f"the field {path!r} looks like a token for the next page, but no parameter that was tried takes it")
        return None

    def _apart(self, pages: Sequence[list[Any]], rows: list[Any]) -> bool:
        shared = _overlap(pages, rows)
        if shared:
            self.say(f"page {len(pages) + 1} repeats {shared} rows of the pages before: pages overlap")
        return not shared

    async def _limit(self, found: _Seen) -> _Limit | None:
        """The parameter that shortens a page, so that two known pages can be compared."""
        wanted = min(MOST_ROWS_ASKED, max(1, len(found.rows) // 2))
        for param in LIMIT_PARAMS:
            seen = await self._ask({param: wanted})
            if seen is not None and seen.rows == found.rows[:wanted]:
                self.say(f"{param}={wanted} gives the first {wanted} rows: {param!r} sets how many a page has")
                self._shorter = seen
                return _Limit(param, wanted)
        self.say("could not determine a parameter that sets how many rows a page has")
        return None

    async def _by_offset(self, found: _Seen, limit: _Limit | None) -> dict[str, Any] | None:
        if limit is None:
            return None
        for param in OFFSET_PARAMS:
            asked = {limit.param: limit.rows}
            seen = await self._ask({**asked, param: limit.rows})
            if seen is None or not _is_second(found.rows, seen.rows, limit.rows):
                continue
            odd = await self._ask({**asked, param: 1})
            if odd is None or odd.rows != found.rows[1 : 1 + limit.rows]:
                continue  # it counts pages, or something else
            self.say(f"{param}={limit.rows} passes over {limit.rows} rows: what comes is rows {limit.rows + 1} onward")
            paging = {"type": "offset", "offset_param": param, "limit_param": limit.param, "limit": len(found.rows)}
            await self._ends({**asked, param: FAR}, {**asked, param: 0})
            return {**paging, **self._total_path(found)}
        return None

    async def _by_page(self, found: _Seen, limit: _Limit | None) -> dict[str, Any] | None:
        size = len(found.rows) if limit is None else limit.rows
        asked = {} if limit is None else {limit.param: limit.rows}
        for param in PAGE_PARAMS:
            first, second = await self._ask({**asked, param: 1}), await self._ask({**asked, param: 2})
            if first is None or second is None:
                continue
            start = _first_page(found.rows, first.rows, second.rows, size)
            if start is None:
                continue
            self.say(
                f"{param}={start} gives the first {size} rows, {param}={start + 1} those after them, without overlap"
            )
            paging = {"type": "page", "page_param": param, "start": start, "limit": len(found.rows)}
            if limit is not None:
                paging["limit_param"] = limit.param
            await self._ends({**asked, param: FAR_PAGE}, {**asked, param: start})
            return {**paging, **self._total_path(found)}
        return None

    async def _ends(self, beyond: dict[str, Any], first: dict[str, Any]) -> None:
        """What comes after the end, which decides how the read stops."""
        answer = await self._send(self._url, beyond)
        seen = self._understood(answer)
        start = await self._ask(first)
        if seen is None:
            self.say(
                f"past the end the ERP answers {answer.status} instead of an empty list: total_path avoids asking that"
            )
        elif not seen.rows:
            self.say("past the end the list is empty: the read ends at a short or empty page")
        elif start is not None and seen.rows == start.rows:
            self.say("past the end the ERP gives the first page again: the read ends at a short page, or with an error")
        else:
            self.say(f"could not determine the end: far past it the ERP still gives {len(seen.rows)} rows")

    def _total_path(self, found: _Seen) -> dict[str, str]:
        total = _total(found)
        if total is None:
            self.say("could not determine a total in the answer: the read ends at a short or empty page")
            return {}
        path, count = total
        shorter = None if self._shorter is None else _total(self._shorter)
        if count < len(found.rows) or (shorter != total if shorter else count == len(found.rows)):
            self.say(f"{path} says {count}: it counts the rows of a page, or may do so; not taken for the total")
            return {}
        self.say(f"{path} says {count}, whatever the page: taken for the total")
        return {"total_path": path}

    async def _by_seek(self, found: _Seen, limit: _Limit) -> dict[str, Any] | None:
        asked = {limit.param: limit.rows}
        last = found.rows[limit.rows - 1]
        for field in _markers(found.rows):
            for param in dict.fromkeys((*SEEK_PARAMS, field, f"{field}__gt")):
                seen = await self._ask({**asked, param: pointer.find(last, field)})
                if seen is None or not _is_second(found.rows, seen.rows, limit.rows):
                    continue
                self.say(f"{param} with the {field!r} of row {limit.rows} gives the rows after it, without overlap")
                await self._sought(found, {**asked, param: pointer.find(found.rows[-1], field)})
                shape = {"type": "seek", "param": param, "value_path": field}
                return {**shape, "limit_param": limit.param, "limit": len(found.rows)}
        return None

    async def _sought(self, found: _Seen, asked: dict[str, Any]) -> None:
        seen = await self._ask(asked)
        if seen is not None and not _overlap([found.rows], seen.rows):
            what = "nothing: the read ends at an empty page" if not seen.rows else "further rows"
            self.say(f"after the last row that is known comes {what}")
        else:
            self.say(
                "could not determine the end: after the last row that is known comes no list, or rows that are known"
            )

    # requests ----------------------------------------------------------------------------------------------------

    async def _ask(self, params: Mapping[str, Any], *, url: str | None = None) -> _Seen | None:
        """The page that comes, None where no list comes."""
        return self._understood(await self._send(url or self._url, params))

    def _understood(self, answer: Answer) -> _Seen | None:
        if not answer.ok:
            return None
        try:
            decoded, rows = answers.read(answer, self._path)
        except ReadError:
            return None
        return _Seen(decoded.document, rows, answer.headers.get("link", ""))

    async def _send(self, url: str, params: Mapping[str, Any]) -> Answer:
        if self._requests >= MAX_REQUESTS:
            raise _Enough
        self._requests += 1
        body = None
        if self._method == "POST":
            body = msgspec.json.encode(params)
        elif params:
            url = with_query(url, params)
        return await self._transport.request(
            self._method, url, headers=self._headers, body=body, timeout=TIMEOUT_SECONDS
        )


# what an answer holds ------------------------------------------------------------------------------------------------


def lists_in(document: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """The lists in a document, with their dotted paths; not those inside of lists."""
    if isinstance(document, list):
        yield path, document
    elif isinstance(document, dict) and depth < MAX_DEPTH:
        for name, value in document.items():
            yield from lists_in(value, f"{path}.{name}" if path else name, depth + 1)


def _of_objects(rows: list[Any]) -> bool:
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _scalars(document: Any, skip: str, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict) and depth < MAX_DEPTH:
        for name, value in document.items():
            here = f"{path}.{name}" if path else name
            if here != skip:
                yield from _scalars(value, skip, here, depth + 1)
    elif path and not isinstance(document, dict | list):
        yield path, document


def _next_fields(document: Any, skip: str) -> list[tuple[str, Any]]:
    """Fields that may say what comes next; URLs first."""
    named = [
        (path, value)
        for path, value in _scalars(document, skip)
        if _NEXT.search(path.rpartition(".")[2] if not re.search(r"next\.(href|url)$", path) else "next")
        and isinstance(value, str | int)
        and not isinstance(value, bool)
        and value not in ("", 0)
    ]
    return sorted(named, key=lambda one: not _is_link(one[1]))


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"https?://|[/?]", value) is not None


def _total(found: _Seen) -> tuple[str, int] | None:
    """What the answer calls its total, by the usual names."""
    for path, value in _scalars(found.document, ""):
        if path.rpartition(".")[2] in TOTAL_NAMES and isinstance(value, int) and not isinstance(value, bool):
            return path, value
    return None


def _markers(rows: Sequence[Any]) -> list[str]:
    """Fields that could be sought by: a scalar in every row, rising."""
    if not _of_objects(list(rows)):
        return []
    found = []
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values}
        if len(kinds) == 1 and kinds <= {str, int} and all(a < b for a, b in pairwise(values)):
            found.append(name)
    return found[:3]


def _about_rows(rows: Sequence[Any]) -> Iterator[str]:
    if not _of_objects(list(rows)):
        return
    yield f"a row is {pointer.describe(rows[0])}"
    dates = [name for name, value in rows[0].items() if isinstance(value, str) and _DATE.fullmatch(value)]
    if dates:
        yield f"dates are in {', '.join(dates)}; could not determine which parameter asks for changes (modified_date_key)"


# comparing pages -----------------------------------------------------------------------------------------------------


def _marks(rows: Iterable[Any]) -> list[bytes]:
    return [msgspec.json.encode(row) for row in rows]


def _overlap(pages: Iterable[list[Any]], rows: list[Any]) -> int:
    """How many of the rows came before."""
    known = {mark for page in pages for mark in _marks(page)}
    return sum(mark in known for mark in _marks(rows))


def _same_rows(one: list[Any], other: list[Any]) -> bool:
    return sorted(_marks(one)) == sorted(_marks(other))


def _is_second(known: list[Any], rows: list[Any], size: int) -> bool:
    """Whether these are the rows that come after the first `size` ones, as far as they are known."""
    expected = known[size : 2 * size]
    return bool(rows) and len(rows) <= size and bool(expected) and rows[: len(expected)] == expected


def _first_page(known: list[Any], first: list[Any], second: list[Any], size: int) -> int | None:
    """What the first page is numbered by, given the rows of number 1 and number 2; None where these are no pages."""
    if not second or _overlap([first], second):
        return None
    if first == known[:size]:
        rest = known[size : 2 * size]
        return 1 if second[: len(rest)] == rest[: len(second)] else None
    return 0 if _is_second(known, first, size) and not _overlap([known[:size]], second) else None


# the flow file's part ------------------------------------------------------------------------------------------------


def _erp(url: str, method: str, headers: Mapping[str, str], rows_path: str) -> dict[str, Any]:
    """The part without pagination. Values of headers are secrets until somebody says otherwise."""
    parts = urlsplit(url)
    erp: dict[str, Any] = {"endpoint_url": url}
    query = parse_qsl(parts.query, keep_blank_values=True)
    if method == "GET" and query and len(dict(query)) == len(query):
        erp = {"endpoint_url": urlunsplit(parts._replace(query="")), "extra_params": dict(query)}
    if method != "GET":
        erp["method"] = method
    for name in list(headers)[:1]:
        variable = "ERP_" + re.sub(r"\W", "_", name).upper()
        erp["login"] = {"type": "header", "name": name, "value": {"env": variable}}
    if rows_path:
        erp["rows_path"] = rows_path
    return erp
