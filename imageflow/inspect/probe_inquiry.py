"""What a probe asks an endpoint, and what it makes of the answers. Pure: it yields questions and is sent the answers.

Every statement comes from an answer, and every page that is taken for the second one is compared, row by row, with what
the first answer held. What cannot be told apart is said, never guessed: the flow file's part then lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin

import msgspec

from imageflow import pointer
from imageflow.errors import LoginError, ReadError
from imageflow.http.client import Answer
from imageflow.http.origin import exact_origin, origin
from imageflow.inspect import probe_facts as facts
from imageflow.inspect.probe_facts import Seen
from imageflow.inspect.probe_words import (
    LIMIT_PARAMS,
    OFFSET_PARAMS,
    PAGE_PARAMS,
    SEEK_PARAMS,
    SINCE_PARAMS,
    TOKEN_PARAMS,
)
from imageflow.model import pagination
from imageflow.model.answer_format import TAB, CsvFormat, Format, JsonFormat, NdjsonFormat, XmlFormat
from imageflow.model.link_header import next_target
from imageflow.model.pagination.next import NextPagination
from imageflow.model.pagination.none import NonePagination
from imageflow.model.pagination.offset import OffsetPagination
from imageflow.model.pagination.page import PagePagination
from imageflow.model.pagination.seek import SeekPagination
from imageflow.read import answer as answers
from imageflow.read import csv_answer
from imageflow.read.answer import JSON
from imageflow.read.request import Question, nested, with_query

METHOD_NOT_ALLOWED = 405
REFUSALS = (401, 403)
"""Statuses by which an endpoint lets nobody in without a login."""

MAX_FOLLOWED = 4
MOST_ROWS_ASKED = 10
FAR = 1_000_000_000
FAR_PAGE = 1_000_000

LONG_AGO, FUTURE = "1990-01-01T00:00:00", "2190-01-01T00:00:00"

T = TypeVar("T")
Asking = Generator[Question, Answer, T]
"""Yields questions, is sent the answer to each, and returns what came of them."""


_TRIED = (NonePagination, OffsetPagination, PagePagination, SeekPagination, NextPagination)


class _Limit(NamedTuple):
    """The parameter that sets how many rows a page has, and a number that gives more than one page of what is known."""

    param: str
    rows: int


class Known(NamedTuple):
    """What a flow says already of the requests to its ERP, beside the URL: the body of a POST, and how answers are written."""

    body: Mapping[str, Any] = {}
    form: Format = JSON
    charset: str | None = None


class Inquiry:
    """The questions of one probe, and what was learned from their answers."""

    def __init__(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str],
        known: Known | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """`known`: what a flow says already; then the part for the flow file has only what was found out. `body`: of a POST that
        no flow says.

        Afterwards `rows` are those of the first page, from `path`; `keyed` if they stood in an object, under the names of their products.
        """
        self._url = url
        self._method = method
        self._given = headers
        self._known = known
        self._body: dict[str, Any] = dict((body or {}) if known is None else known.body)
        self._charset = None if known is None else known.charset
        self._form: Format | None = None if known is None else known.form
        self.path = ""
        self._shorter: Seen | None = None
        self.lines: list[str] = []
        self.erp: dict[str, Any] | None = None
        self.rows: list[Any] = []
        self.keyed = False
        self.refused: dict[str, Any] | None = None

    def say(self, line: str) -> None:
        self.lines.append(line)

    def run(self) -> Asking[None]:
        """All questions of the probe."""
        found = yield from self._list()
        if found is None:
            return
        if self._known is None:
            self.erp = facts.flow_part(self._url, self._method, self._given, self.path, self._body)
            if not isinstance(self._form, JsonFormat):
                self.erp["format"] = _written(self._form)
        else:
            self.erp = {"rows_path": self.path} if self.path else {}
        self.rows = found.rows
        yield from self._stable(found)
        for line in facts.about_rows(found.rows):
            self.say(line)
        paging = None if self.keyed else (yield from self._paging(found))
        if paging is not None:
            self.erp["pagination"] = paging
        if self._known is None and found.rows:
            yield from self._since(found)

    # the list ----------------------------------------------------------------------------------------------------

    def _list(self) -> Asking[Seen | None]:
        answer = yield from self._send(self._url, {})
        kind = answer.headers.get("content-type", "no content type")
        self.say(
            f"{self._method} {facts.place(self._url)} answered {answer.status}, {kind}, {len(answer.body):,} bytes"
        )
        if answer.status in answers.REDIRECTS:
            self.say("it redirects: probe the URL it leads to, " + origin(answer.headers.get("location", "nowhere")))
            return None
        try:
            answers.refuse(answer, origin(self._url), None)
            document = self._recognised(answer)
        except (ReadError, LoginError) as error:
            self.say(str(error))
            if answer.status == METHOD_NOT_ALLOWED and self._method == "GET":
                self.say(
                    "it wants a POST: --method POST, and --body '{…}' with what it asks for; in a flow erp.method: POST"
                )
            if answer.status in REFUSALS:
                self.refused = facts.flow_part(self._url, self._method, self._given, "", self._body)
            return None
        return self._choose(document, answer)

    def _recognised(self, answer: Answer) -> Any:
        """What the first answer says, in the format that it is found to be in. Raises ReadError where it is in none."""
        if self._form is None:
            form = next((form for form in _formats(answer) if _is_in(answer, form)), JSON)
            if not isinstance(form, JsonFormat):
                how = f"; its cells are divided by {form.divider!r}" if isinstance(form, CsvFormat) else ""
                self.say(f"the answer is {form.named}{how}")
            self._form = form
        return answers.decode(answer, self._charset, self._form, self.path).document

    def _choose(self, document: Any, answer: Answer) -> Seen | None:
        candidates = sorted(
            facts.lists_in(document), key=lambda one: (not facts.of_objects(one[1]), one[0].count("."), -len(one[1]))
        )
        if (keyed := next(facts.keyed_in(document), None)) is not None:
            return self._by_product(document, keyed, answer)
        if not candidates:
            self.say(f"found no list in the answer: it is {pointer.describe(document)}")
            if (null := facts.null_path(document)) is not None:
                self.say(
                    f"there is null at {null!r}: if that means no rows, set rows_path: {null} and "
                    "no_rows: {null_list: true}, and probe again when there are some"
                )
            return None
        self.path, rows = candidates[0]
        where = repr(self.path) if self.path else "the answer itself (rows_path is empty)"
        self.say(f"the list is at {where}: {len(rows)} rows")
        others = [repr(path) for path, _ in candidates[1:]]
        if others:
            self.say(f"there are other lists, check which one is meant: {', '.join(others[:5])}")
        return Seen(document, rows, answer.headers.get("link", ""), self.path, answer.headers)

    def _by_product(self, document: Any, keyed: tuple[str, dict[str, Any]], answer: Answer) -> Seen:
        """Rows that are fields of an object, named by their products."""
        self.path, held = keyed
        self.keyed = True
        where = f"the object at {self.path!r}" if self.path else "the answer"
        self.say(f"{where} has a field for each product, {len(held)} of them: a script with process makes rows of it")
        self.say("could not determine whether more follow: an object is not read in pages by itself")
        rows = list(held.values())
        return Seen(document, rows, answer.headers.get("link", ""), self.path, answer.headers)

    def _stable(self, found: Seen) -> Asking[None]:
        again = yield from self._ask({})
        if again is None:
            self.say("the same request, asked again, gave no list: the endpoint is not stable")
        elif again.rows == found.rows:
            self.say("the same request, asked again, gave the same rows in the same order")
        elif facts.same_rows(again.rows, found.rows):
            self.say(
                "the same request, asked again, gave the same rows in another order: pages may overlap or lose rows"
            )
        else:
            self.say("the same request, asked again, gave other rows: what follows may be wrong")

    # pagination --------------------------------------------------------------------------------------------------

    def _paging(self, found: Seen) -> Asking[dict[str, Any] | None]:
        if not found.rows:
            self.say("could not determine the pagination: the list is empty")
            return None
        said = (yield from self._by_link(found)) or (yield from self._by_field(found))
        if said is not None:
            return said
        if len(found.rows) == 1:
            return self._not_paged(found, "one row is too few to tell pages apart")
        limit = yield from self._limit(found)
        counted = (yield from self._by_offset(found, limit)) or (yield from self._by_page(found, limit))
        if counted is not None:
            return counted
        sought = None if limit is None else (yield from self._by_seek(found, limit))
        return sought or self._not_paged(found, "no parameter that was tried gave another page")

    def _not_paged(self, found: Seen, why: str) -> dict[str, Any] | None:
        total = facts.total_of(found, headers=True)
        if total is not None and total[1] == len(found.rows):
            self.say(f"{total[0]} says {total[1]}, and so many rows came: one page (type none)")
            return {"type": "none"}
        self.say(f"could not determine the pagination: {why}")
        if untried := sorted(str(kind.__struct_config__.tag) for kind in pagination.TYPES if kind not in _TRIED):
            self.say(f"not tried: {', '.join(untried)}")
        if total is not None:
            self.say(f"{total[0]} says {total[1]}, but {len(found.rows)} rows came: there are more pages")
        else:
            self.say("if the answer is always complete, it is {type: none}; nothing in it says so")
        return None

    def _by_link(self, found: Seen) -> Asking[dict[str, Any] | None]:
        target = next_target(found.link)
        if target is None:
            return None
        self.say("the Link header names the next page (rel=next)")
        good = yield from self._follow(found, target, lambda seen: next_target(seen.link))
        return {"type": "next", "field": "Link"} if good else None

    def _by_field(self, found: Seen) -> Asking[dict[str, Any] | None]:
        for path, value in facts.next_fields(found.document, self.path):
            if facts.is_link(value):
                self.say(f"the field {path!r} holds the URL of the next page")
                if (yield from self._follow(found, value, _at(path))):
                    return {"type": "next", "field": path}
            elif (paging := (yield from self._by_token(found, path, value))) is not None:
                return paging
        return None

    def _follow(self, found: Seen, target: Any, following: Callable[[Seen], Any]) -> Asking[bool]:
        """Whether links lead to pages that do not overlap. Follows a few."""
        pages, base = [found.rows], self._url
        while isinstance(target, str) and target.strip() and len(pages) <= MAX_FOLLOWED:
            url = urljoin(base, target)
            if exact_origin(url) != exact_origin(self._url):
                self.say(f"it leads to another origin, {origin(url)}: not followed; see pagination.allow_hosts")
                return True
            seen = yield from self._ask({}, url=url)
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

    def _by_token(self, found: Seen, path: str, token: Any) -> Asking[dict[str, Any] | None]:
        if facts.says_end(found):
            self.say(f"the field {path!r} looks like a token for the next page, but the answer says that none follows")
            return None
        for param in self._candidates(path.rpartition(".")[2], *TOKEN_PARAMS):
            seen = yield from self._ask({param: token})
            if seen is None or seen.rows == found.rows or facts.overlap([found.rows], seen.rows):
                continue
            self.say(f"the field {path!r} holds a token; sent as {param!r} it gives the next page")
            pages, following = [found.rows, seen.rows], _token(seen, path)
            while following and isinstance(following, str | int) and len(pages) <= MAX_FOLLOWED:
                more = yield from self._ask({param: following})
                if more is None or not self._apart(pages, more.rows):
                    return None
                pages.append(more.rows)
                following = _token(more, path)
            self._followed(pages, ended=not following)
            return {"type": "next", "field": path, "kind": "token", "param": param}
        self.say(f"the field {path!r} looks like a token for the next page, but no parameter that was tried takes it")
        return None

    def _apart(self, pages: Sequence[list[Any]], rows: list[Any]) -> bool:
        shared = facts.overlap(pages, rows)
        if shared:
            self.say(f"page {len(pages) + 1} repeats {shared} rows of the pages before: pages overlap")
        return not shared

    def _limit(self, found: Seen) -> Asking[_Limit | None]:
        """The parameter that shortens a page, so that two known pages can be compared."""
        wanted = min(MOST_ROWS_ASKED, max(1, len(found.rows) // 2))
        for param in self._candidates(*LIMIT_PARAMS):
            seen = yield from self._ask({param: wanted})
            if seen is not None and seen.rows == found.rows[:wanted]:
                self.say(f"{param}={wanted} gives the first {wanted} rows: {param!r} sets how many a page has")
                self._shorter = seen
                return _Limit(param, wanted)
        self.say("could not determine a parameter that sets how many rows a page has")
        return None

    def _by_offset(self, found: Seen, limit: _Limit | None) -> Asking[dict[str, Any] | None]:
        if limit is None:
            return None
        for param in self._candidates(*OFFSET_PARAMS):
            asked = {limit.param: limit.rows}
            seen = yield from self._ask({**asked, param: limit.rows})
            if seen is None or not facts.is_second(found.rows, seen.rows, limit.rows):
                continue
            odd = yield from self._ask({**asked, param: 1})
            if odd is None or odd.rows != found.rows[1 : 1 + limit.rows]:
                continue  # it counts pages, or something else
            self.say(f"{param}={limit.rows} passes over {limit.rows} rows: what comes is rows {limit.rows + 1} onward")
            paging = {"type": "offset", "offset_param": param, "limit_param": limit.param, "limit": len(found.rows)}
            yield from self._ends({**asked, param: FAR}, {**asked, param: 0})
            return {**paging, **self._total_path(found)}
        return None

    def _by_page(self, found: Seen, limit: _Limit | None) -> Asking[dict[str, Any] | None]:
        size = len(found.rows) if limit is None else limit.rows
        asked = {} if limit is None else {limit.param: limit.rows}
        for param in self._candidates(*PAGE_PARAMS):
            first = yield from self._ask({**asked, param: 1})
            second = yield from self._ask({**asked, param: 2})
            if first is None or second is None:
                continue
            start = facts.first_page(found.rows, first.rows, second.rows, size)
            if start is None:
                continue
            self.say(
                f"{param}={start} gives the first {size} rows, {param}={start + 1} those after them, without overlap"
            )
            paging = {"type": "page", "page_param": param, "start": start, "limit": len(found.rows)}
            if limit is not None:
                paging["limit_param"] = limit.param
            yield from self._ends({**asked, param: FAR_PAGE}, {**asked, param: start})
            return {**paging, **self._total_path(found)}
        return None

    def _ends(self, beyond: dict[str, Any], first: dict[str, Any]) -> Asking[None]:
        """What comes after the end, which decides how the read stops."""
        answer = yield from self._send(self._url, beyond)
        seen = self._understood(answer)
        start = yield from self._ask(first)
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

    def _total_path(self, found: Seen) -> dict[str, str]:
        total = facts.total_of(found)
        if total is None:
            self.say("could not determine a total in the answer: the read ends at a short or empty page")
            return {}
        path, count = total
        shorter = None if self._shorter is None else facts.total_of(self._shorter)
        if count < len(found.rows) or (shorter != total if shorter else count == len(found.rows)):
            self.say(f"{path} says {count}: it counts the rows of a page, or may do so; not taken for the total")
            return {}
        self.say(f"{path} says {count}, whatever the page: taken for the total")
        return {"total_path": path}

    def _by_seek(self, found: Seen, limit: _Limit) -> Asking[dict[str, Any] | None]:
        asked = {limit.param: limit.rows}
        last = found.rows[limit.rows - 1]
        for field in facts.markers(found.rows):
            for param in self._candidates(*SEEK_PARAMS, field, f"{field}__gt"):
                seen = yield from self._ask({**asked, param: pointer.find(last, field)})
                if seen is None or not facts.is_second(found.rows, seen.rows, limit.rows):
                    continue
                self.say(f"{param} with the {field!r} of row {limit.rows} gives the rows after it, without overlap")
                yield from self._sought(found, {**asked, param: pointer.find(found.rows[-1], field)})
                shape = {"type": "seek", "param": param, "value_path": field}
                return {**shape, "limit_param": limit.param, "limit": len(found.rows)}
        return None

    def _sought(self, found: Seen, asked: dict[str, Any]) -> Asking[None]:
        seen = yield from self._ask(asked)
        if seen is not None and not facts.overlap([found.rows], seen.rows):
            what = "nothing: the read ends at an empty page" if not seen.rows else "further rows"
            self.say(f"after the last row that is known comes {what}")
        else:
            self.say(
                "could not determine the end: after the last known row, the ERP gives no list, or known rows again"
            )

    def _since(self, found: Seen) -> Asking[None]:
        """What asks for changes, as the flow file says it."""
        assert self.erp is not None
        if facts.is_odata(found.document) and facts.of_objects(found.rows):
            for name in facts.date_fields(found.rows):
                if (yield from self._asks_for_changes(found, "$filter", f"{name} ge {{}}Z")):
                    setting = {"key": "$filter", "type": "datetime", "template": f"{name} ge {{value}}"}
                    self.erp["query_settings"] = {"modified_date__gt": setting}
                    self.erp["date_format"] = "%Y-%m-%dT%H:%M:%SZ"
                    return
        names = facts.candidates(SINCE_PARAMS, self._url, self._body, facts.FILTER_OBJECTS)
        for name in names:
            if (yield from self._asks_for_changes(found, name, "{}.000000")):  # as flows send dates by default
                self.erp["modified_date_key"] = name
                return
        self.say("could not determine which parameter asks for changes since a date (modified_date_key)")

    def _asks_for_changes(self, found: Seen, param: str, form: str) -> Asking[bool]:
        """Whether it gives no rows for a future date, and all rows for one long ago. `form`: how a date is written."""
        none = yield from self._ask({param: form.format(FUTURE)})
        if none is None or none.rows:
            return False
        old = yield from self._ask({param: form.format(LONG_AGO)})
        if old is None or old.rows != found.rows:
            return False
        self.say(f"{param} with a future date gives no rows, with one long ago all: it asks for changes")
        return True

    # requests ----------------------------------------------------------------------------------------------------

    def _ask(self, params: Mapping[str, Any], *, url: str | None = None) -> Asking[Seen | None]:
        """The page that comes, None where no list comes."""
        return self._understood((yield from self._send(url or self._url, params)))

    def _understood(self, answer: Answer) -> Seen | None:
        if not answer.ok:
            return None
        try:
            document = answers.decode(answer, self._charset, self._form or JSON, self.path).document
        except ReadError:
            return None
        rows = pointer.find(document, self.path)
        if self.keyed and isinstance(rows, dict):
            rows = list(rows.values())
        if not isinstance(rows, list):
            return None
        return Seen(document, rows, answer.headers.get("link", ""), self.path, answer.headers)

    def _send(self, url: str, params: Mapping[str, Any]) -> Asking[Answer]:
        if self._method == "POST":
            return (yield Question("POST", url, msgspec.json.encode(nested(params, self._body))))
        return (yield Question(self._method, with_query(url, params) if params else url, None))

    def _candidates(self, *names: str) -> list[str]:
        return facts.candidates(names, self._url, self._body)


def _formats(answer: Answer) -> Iterator[Format]:
    """The formats that an answer may be in, the likeliest first."""
    yield JSON
    yield NdjsonFormat()
    yield XmlFormat()
    first = next((line for line in answer.body.splitlines() if line.strip()), b"")
    divider = csv_answer.divider_of(first.decode("utf-8", "replace"))
    if divider is not None:
        yield CsvFormat(delimiter=TAB if divider == "\t" else divider)


def _is_in(answer: Answer, form: Format) -> bool:
    try:
        document = answers.decode(answer, None, form).document
    except ReadError:
        return False
    return not isinstance(form, CsvFormat) or bool(document)


def _written(form: Format | None) -> Any:
    """A format as a flow file has it."""
    if isinstance(form, CsvFormat) and form != CsvFormat():
        return {"type": "csv", "delimiter": form.delimiter}
    assert form is not None
    return str(type(form).__struct_config__.tag)


def _token(seen: Seen, path: str) -> Any:
    """The token that leads on from a page; None where it says that nothing follows."""
    return None if facts.says_end(seen) else pointer.find(seen.document, path)


def _at(path: str) -> Callable[[Seen], Any]:
    return lambda seen: pointer.find(seen.document, path)
