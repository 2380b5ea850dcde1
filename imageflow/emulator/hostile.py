"""The ways in which ERPs are hostile, each under a name: `FakeErp(mode="repeated_page")`, `--fault mode=repeated_page`.

A mode steps in at one of four places while a page is answered:

    refuse   instead of the page: an answer, or None to go on
    ask      before the page is made: changes what is asked for
    page     after: changes the page as an object (rows, count, what comes next, envelope)
    answer   at last: turns the page's JSON text into an answer

`strike` counts, from 1, how often the mode has come up: modes that pass (`retry_after_zero`) stop after a few. The table
`MODES` is the documentation; a mode is `first=3`, `every=2`, `rate=…` and so on when it is set as a fault.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import gzip
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import orjson
from aiohttp import web

from imageflow.emulator.server import Canned, Raw, dropped, html_page, json_answer, raw, response_bytes

LATER = 3
"""How many requests a mode refuses that lets the later ones pass."""


class Host(msgspec.Struct, kw_only=True):
    """The part of the emulator that modes may read and call."""

    foreign: str
    ceiling: int
    drip: float
    bomb_bytes: int
    pause: Callable[[float], Any]
    stopping: Callable[[], bool]
    hung: Callable[[], Raw]
    expire_tokens: Callable[[], None]


class Ask(msgspec.Struct, kw_only=True):
    """One request for a page: rows `start` to `start + limit` of `selection`, which are the numbers of rows.

    `everything` is the selection without filters; `url` is what was asked for, absolute; `strike` see above.
    """

    host: Host
    kind: str
    url: str
    method: str
    params: dict[str, Any]
    cookies: dict[str, str]
    selection: Sequence[int]
    everything: Callable[[], Sequence[int]]
    start: int
    limit: int
    strike: int = 0


class Page(msgspec.Struct, kw_only=True):
    """One answer before it is encoded. `onward` is what stands in `field`, or in the Link header, to go on with."""

    rows: Any
    count: Any
    rows_path: str
    field: str | None
    onward: Any
    envelope: dict[str, Any]

    @property
    def link(self) -> Any:
        """What the Link header leads to, if there is one."""
        return self.onward if self.field == "Link" else None

    def body(self) -> Any:
        """The object to encode: the rows under their path, with what stands beside them."""
        if not self.rows_path:
            return self.rows
        body: dict[str, Any] = {"count": self.count, **self.envelope}
        if self.field not in (None, "Link"):
            body[str(self.field)] = self.onward
        *outer, last = self.rows_path.split(".")
        inner = body
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = self.rows
        return body


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """A named way to be hostile; `about` says what it does, for people."""

    about: str
    refuse: Callable[[Ask], web.StreamResponse | None] | None = None
    ask: Callable[[Ask], None] | None = None
    page: Callable[[Page, Ask], None] | None = None
    answer: Callable[[bytes, Ask], web.StreamResponse] | None = None


# -- refusals --------------------------------------------------------------------------------------------------------


def _status(status: int, *, times: int | None = None, later: bool = False, **headers: str) -> Any:
    """Refuses with `status`: the first `times` times, or always; `later`: from the second page on only."""

    def refuse(ask: Ask) -> web.StreamResponse | None:
        if (times is not None and ask.strike > times) or (later and ask.start == 0):
            return None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return json_answer(status, {"detail": f"refused with {status}"}, named)

    return refuse


def _storm(ask: Ask) -> web.StreamResponse | None:
    return json_answer(429, {"detail": "Too many requests"}) if ask.strike % 4 else None


def _retry_date(offset: float) -> Any:
    def refuse(ask: Ask) -> web.StreamResponse | None:
        if ask.strike > 1:
            return None
        when = email.utils.formatdate(time.time() + offset, usegmt=True)
        return json_answer(503, {"detail": "maintenance"}, {"Retry-After": when})

    return refuse


def _gateway_html(ask: Ask) -> web.StreamResponse | None:
    if ask.strike > LATER:
        return None
    return web.Response(status=502, text=html_page(502), content_type="text/html")


def _unauthorised_once(ask: Ask) -> web.StreamResponse | None:
    return json_answer(401, {"detail": "Invalid token."}) if ask.strike == 2 else None


def _expired(ask: Ask) -> web.StreamResponse | None:
    if ask.strike % 3:
        return None
    ask.host.expire_tokens()
    return json_answer(401, {"detail": "Token expired."})


def _preparing(ask: Ask) -> web.StreamResponse | None:
    return json_answer(202, {"status": "preparing"}) if ask.strike <= 2 else None


def _redirect(target: Callable[[Ask], str], status: int = 302) -> Any:
    def refuse(ask: Ask) -> web.StreamResponse | None:
        if "redirected" in ask.params:
            return None
        return web.Response(status=status, headers={"Location": target(ask)})

    return refuse


def _marked(ask: Ask) -> str:
    return f"{ask.url}{'&' if '?' in ask.url else '?'}redirected=1"


def _path_and_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _foreign(ask: Ask, url: str | None = None) -> str:
    return ask.host.foreign + _path_and_query(url or ask.url)


def _cookie_wall(ask: Ask) -> web.StreamResponse | None:
    if ask.cookies.get("session") == "open":
        return None
    return web.Response(
        status=302, headers={"Location": _path_and_query(ask.url), "Set-Cookie": "session=open; Path=/; HttpOnly"}
    )


# -- what is asked for -----------------------------------------------------------------------------------------------


def _first_page_again(ask: Ask) -> None:
    ask.start = 0


def _rows_appear(ask: Ask) -> None:
    ask.start = max(0, ask.start - (ask.strike - 1))


def _rows_vanish(ask: Ask) -> None:
    ask.start += ask.strike - 1 if ask.start else 0


def _no_filter(ask: Ask) -> None:
    ask.selection = ask.everything()
    if ask.kind == "none":
        ask.limit = len(ask.selection)


def _ten_at_most(ask: Ask) -> None:
    ask.limit = min(ask.limit, 10)


def _no_limit(ask: Ask) -> None:
    ask.limit *= 3


# -- the page as an object -------------------------------------------------------------------------------------------


def _rows(change: Callable[[list[Any]], Any]) -> Any:
    def page(page: Page, _: Ask) -> None:
        page.rows = change(page.rows)

    return page


def _onward(change: Callable[[Any, Ask], Any], *, at_end: bool = False) -> Any:
    """Changes what comes next where there is a next page, or (`at_end`) on the last one."""

    def page(page: Page, ask: Ask) -> None:
        if page.field is not None and (page.onward is None) == at_end:
            page.onward = change(page.onward, ask)

    return page


def _count(change: Callable[[int, Ask], Any]) -> Any:
    def page(page: Page, ask: Ask) -> None:
        page.count = change(page.count, ask)

    return page


def _instead(body: Any) -> Any:
    """Another envelope: `body` without the rows path."""

    def page(page: Page, _: Ask) -> None:
        page.rows, page.rows_path = body, ""

    return page


def _endless(page: Page, ask: Ask) -> None:
    if page.field is None:
        return
    if page.onward is None:
        ask.start = ask.start + ask.limit
        page.onward = f"p{ask.start}" if page.field == "next_token" else _with_cursor(ask, ask.start)


def _endless_wrapped(ask: Ask) -> None:
    ask.params["_position"] = ask.start
    ask.start %= max(1, len(ask.selection))


def _endless_onward(page: Page, ask: Ask) -> None:
    if page.field is not None:
        following = int(ask.params["_position"]) + max(1, len(page.rows))
        page.onward = f"p{following}" if page.field == "next_token" else _with_cursor(ask, following)


def _with_cursor(ask: Ask, position: int) -> str:
    return f"{ask.url.partition('?')[0]}?cursor=p{position}&limit={ask.limit}"


def _ceiling(page: Page, ask: Ask) -> None:
    room = max(0, ask.host.ceiling - ask.start)
    if len(page.rows) >= room:
        page.rows, page.onward = page.rows[:room], None


def _hole(page: Page, ask: Ask) -> None:
    if 0 < ask.start <= ask.limit:
        page.rows = []


def _stuck(page: Page, ask: Ask) -> None:
    if page.rows:
        page.rows[-1] = {**page.rows[-1], "sku": ask.params.get("after") or "SKU-000001"}


def _repeat_last(page: Page, ask: Ask) -> None:
    if ask.start and page.rows:
        page.rows.insert(0, dict(page.rows[-1]))


def _without_marker(page: Page, _: Ask) -> None:
    if page.rows:
        page.rows[-1] = {name: value for name, value in page.rows[-1].items() if name != "sku"}


def _only_onward_lost(page: Page, ask: Ask) -> None:
    if ask.start:
        page.onward = None


def _mixed(rows: list[Any]) -> list[Any]:
    junk: tuple[Any, ...] = (None, 7, "text", [], {})
    return [junk[number % len(junk)] if number % 2 else row for number, row in enumerate(rows)]


def _bad_images(rows: list[Any]) -> list[Any]:
    junk: tuple[Any, ...] = (
        None,
        "none",
        [{}],
        [{"url": "ftp://example.com/1.jpg"}],
        [{"url": None}],
        {"url": "x"},
        [[]],
    )
    return [{**row, "images": junk[number % len(junk)]} for number, row in enumerate(rows)]


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


# -- the answer as bytes ---------------------------------------------------------------------------------------------


def _typed(change: Callable[[bytes], bytes], content_type: str = "application/json", **headers: str) -> Any:
    def answer(body: bytes, _: Ask) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=change(body), headers={"Content-Type": content_type, **named})

    return answer


def _same(body: bytes) -> bytes:
    return body


def _first_value(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda body: body.replace(old, new, 1)


_JSON = ("Content-Type", "application/json")


def _raw_answer(make: Callable[[bytes], bytes], *, reset: bool = False) -> Any:
    return lambda body, _: raw(make(body), reset=reset)


def _cut(body: bytes) -> bytes:
    return response_bytes(200, [_JSON], body[: len(body) // 2], length=len(body))


def _chunked(body: bytes, *, size: bytes | None = None) -> bytes:
    head = response_bytes(200, [_JSON, ("Transfer-Encoding", "chunked")], b"", length=-1)
    return head + (size or b"%x" % len(body)) + b"\r\n" + body + b"\r\n"


def _held_open(make: Callable[[bytes], bytes]) -> Any:
    """Sends bytes, then nothing more; the connection stays open."""

    def answer(body: bytes, ask: Ask) -> web.StreamResponse:
        async def write(transport: asyncio.Transport) -> None:
            transport.write(make(body))
            while not transport.is_closing() and not ask.host.stopping():
                await ask.host.pause(0.25)

        return Raw(write)

    return answer


def _dripped(body: bytes, ask: Ask) -> web.StreamResponse:
    async def write(transport: asyncio.Transport) -> None:
        for byte in response_bytes(200, [_JSON], body):
            if transport.is_closing() or ask.host.stopping():
                return
            transport.write(bytes((byte,)))
            await ask.host.pause(ask.host.drip)

    return Raw(write)


def _endless_body(_: bytes, ask: Ask) -> web.StreamResponse:
    """Endless chunks, as fast as the client reads them, with a small buffer."""
    chunk = b"1000\r\n" + b'{"sku": ' * 512 + b"\r\n"

    async def write(transport: asyncio.Transport) -> None:
        transport.write(response_bytes(200, [_JSON, ("Transfer-Encoding", "chunked")], b"", length=-1) + b"1\r\n[\r\n")
        while not transport.is_closing() and not ask.host.stopping():
            full = transport.get_write_buffer_size() > 1 << 20
            if not full:
                transport.write(chunk * 16)
            await ask.host.pause(0.01)

    return Raw(write)


@functools.lru_cache(maxsize=2)
def bomb(size: int) -> bytes:
    """`size` bytes of JSON that compress to about a thousandth: a list of blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blank = b" " * (1 << 20)
    parts = [packer.compress(b'{"results": [')]
    parts.extend(packer.compress(blank) for _ in range(max(1, size >> 20)))
    parts.extend((packer.compress(b"]}"), packer.flush()))
    return b"".join(parts)


def _bomb(_: bytes, ask: Ask) -> web.StreamResponse:
    return Canned(200, bomb(ask.host.bomb_bytes), [_JSON, ("Content-Encoding", "gzip")])


def _encoded_as(name: str, change: Callable[[bytes], bytes]) -> Any:
    return lambda body, _: Canned(200, change(body), [_JSON, ("Content-Encoding", name)])


def _with_headers(headers: Callable[[], list[tuple[str, str]]]) -> Any:
    return lambda body, _: Canned(200, body, [_JSON, *headers()])


def _empty(status: int) -> Any:
    return lambda _, __: web.Response(status=status)


def _fixed(status: int, body: bytes, content_type: str = "application/json") -> Any:
    return lambda _, __: web.Response(status=status, body=body, headers={"Content-Type": content_type})


def _lines(body: bytes) -> bytes:
    parsed = orjson.loads(body)
    rows = parsed if isinstance(parsed, list) else parsed.get("results", [parsed])
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
_COOKIES = (
    ("Set-Cookie", "a=1; Path=/; HttpOnly"),
    ("Set-Cookie", 'b="quoted, with comma"; Expires=Wed, 21 Oct 2099 07:28:00 GMT'),
    ("Set-Cookie", "c=; Max-Age=0"),
    ("Set-Cookie", "novalue"),
    ("Set-Cookie", "d=1; Domain=.example.com; SameSite=None; Secure"),
)

MODES: dict[str, Mode] = {
    # paging
    "repeated_page": Mode(
        about="every page holds the rows of the first one; what comes next moves on", ask=_first_page_again
    ),
    "repeated_token": Mode(
        about="the same token (or next link) again and again",
        page=_onward(lambda _, ask: f"p{ask.limit}" if ask.kind == "token" else _with_cursor(ask, ask.limit)),
    ),
    "endless_token": Mode(
        about="always one more page with a new token; after the last row it begins again",
        ask=_endless_wrapped,
        page=_endless_onward,
    ),
    "endless_empty": Mode(about="after the last row empty pages, each with a new token", page=_endless),
    "self_next": Mode(
        about="the next link leads to the page that holds it",
        page=_onward(lambda _, ask: f"p{ask.start}" if ask.kind == "token" else ask.url),
    ),
    "foreign_next": Mode(
        about="the next link leads to another origin (`foreign`)",
        page=_onward(lambda onward, ask: _foreign(ask, onward) if ask.kind != "token" else onward),
    ),
    "relative_next": Mode(
        about="the next link has no origin: /images/…",
        page=_onward(lambda onward, ask: _path_and_query(onward) if ask.kind != "token" else onward),
    ),
    "query_next": Mode(
        about="the next link is a query only: ?cursor=…",
        page=_onward(lambda onward, ask: "?" + urlsplit(onward).query if ask.kind != "token" else onward),
    ),
    "schemeless_next": Mode(
        about="the next link begins with // and a foreign host",
        page=_onward(
            lambda onward, ask: "//" + _foreign(ask, onward).partition("//")[2] if ask.kind != "token" else onward
        ),
    ),
    "userinfo_next": Mode(
        about="the next link holds a user and password: http://user:pass@host/…",
        page=_onward(
            lambda onward, ask: onward.replace("://", "://user:secret@", 1) if ask.kind != "token" else onward
        ),
    ),
    "userinfo_trick_next": Mode(
        about="the next link looks like our origin but is the user part of a foreign one",
        page=_onward(
            lambda onward, ask: (
                "{}@{}".format("/".join(ask.url.split("/")[:3]), _foreign(ask, onward).partition("//")[2])
                if ask.kind != "token"
                else onward
            )
        ),
    ),
    "scheme_next": Mode(
        about="the next link has a scheme that is not HTTP: file:///etc/passwd",
        page=_onward(lambda _, __: "file:///etc/passwd"),
    ),
    "next_false": Mode(about="after the last page next is false", page=_onward(lambda _, __: False, at_end=True)),
    "next_empty": Mode(about='after the last page next is ""', page=_onward(lambda _, __: "", at_end=True)),
    "next_zero": Mode(about="after the last page next is 0", page=_onward(lambda _, __: 0, at_end=True)),
    "next_null_text": Mode(
        about='after the last page next is the text "null"', page=_onward(lambda _, __: "null", at_end=True)
    ),
    "next_object": Mode(about="next is an object", page=_onward(lambda onward, _: {"href": onward})),
    "next_lost": Mode(
        about="next is missing from the second page on though there are more rows", page=_only_onward_lost
    ),
    "shrinking_total": Mode(
        about="count falls by ten with each answer", page=_count(lambda n, ask: max(0, n - 10 * ask.strike))
    ),
    "growing_total": Mode(about="count grows by ten with each answer", page=_count(lambda n, ask: n + 10 * ask.strike)),
    "zero_total": Mode(about="count is 0 though there are rows", page=_count(lambda _, __: 0)),
    "text_total": Mode(about='count is a text: "1000"', page=_count(lambda n, _: str(n))),
    "null_total": Mode(about="count is null", page=_count(lambda _, __: None)),
    "shifting_offsets": Mode(about="a row appears in front with each request: pages overlap", ask=_rows_appear),
    "vanishing_rows": Mode(about="a row in front vanishes with each request: pages skip rows", ask=_rows_vanish),
    "offset_ceiling": Mode(about="no rows beyond a ceiling (`ceiling`, 10,000), silently", page=_ceiling),
    "ignored_limit": Mode(about="the limit is ignored: three times as many rows as asked for", ask=_no_limit),
    "capped_limit": Mode(about="the limit is capped at 10 rows, silently", ask=_ten_at_most),
    "ignored_offset": Mode(
        about="the offset, page number or marker is ignored: always the first rows", ask=_first_page_again
    ),
    "ignored_filter": Mode(about="filters are ignored: always all rows", ask=_no_filter),
    "empty_page": Mode(about="the second page is empty though more follow", page=_hole),
    "duplicate_rows": Mode(about="later pages hold a row twice", page=_repeat_last),
    "stuck_marker": Mode(about="the last row of a page has the marker that was asked with", page=_stuck),
    "missing_marker": Mode(about="the last row of a page has no sku", page=_without_marker),
    # the shape of the answer
    "missing_list": Mode(about="the list is not where it should be", page=_instead({"count": 0, "rows": []})),
    "null_list": Mode(about="the list is null", page=_rows(lambda _: None)),
    "object_list": Mode(
        about="the list is an object: rows by their number",
        page=_rows(lambda rows: dict(zip(map(str, range(len(rows))), rows, strict=True))),
    ),
    "text_list": Mode(about="the list is a text that holds JSON", page=_rows(lambda rows: orjson.dumps(rows).decode())),
    "single_object": Mode(
        about="one row stands there alone, without a list", page=_rows(lambda rows: rows[0] if rows else {})
    ),
    "null_rows": Mode(about="every row is null", page=_rows(lambda rows: [None] * len(rows))),
    "scalar_rows": Mode(about="rows are numbers", page=_rows(lambda rows: list(range(len(rows))))),
    "mixed_rows": Mode(about="every other row is null, a number, a text, a list or empty", page=_rows(_mixed)),
    "bad_images": Mode(
        about="rows whose images are null, text, not http, nested or without a URL", page=_rows(_bad_images)
    ),
    "empty_list": Mode(about="the list is empty, though count is not", page=_rows(lambda _: [])),
    "half_page": Mode(
        about="the second half of each page's rows is missing; count and next say nothing",
        page=_rows(lambda rows: rows[: (len(rows) + 1) // 2]),
    ),
    "error_200": Mode(
        about="200 with an error object", page=_instead({"error": {"code": 1205, "message": "deadlock victim"}})
    ),
    "deep_nesting": Mode(
        about="a list nested 200 deep beside the rows", page=lambda page, _: page.envelope.update(deep=_nested(200))
    ),
    "huge_ints": Mode(
        about="a number of 40 digits in the answer", answer=_typed(_first_value(b'"order":0', b'"order":' + b"9" * 40))
    ),
    "huge_order": Mode(
        about="an order that no 64-bit integer holds",
        answer=_typed(_first_value(b'"order":0', b'"order":18446744073709551616')),
    ),
    # the text of the answer
    "html_200": Mode(about="200 with an HTML page", answer=_fixed(200, html_page(200).encode(), "text/html")),
    "html_as_json": Mode(
        about="200 with an HTML page that is called JSON", answer=_fixed(200, html_page(200).encode())
    ),
    "truncated_json": Mode(
        about="the JSON text ends in the middle; the headers are right",
        answer=_typed(lambda body: body[: len(body) // 2]),
    ),
    "trailing_garbage": Mode(about="text after the JSON", answer=_typed(lambda body: body + b"\n<!-- 12 ms -->")),
    "xssi_prefix": Mode(about="text before the JSON: )]}',", answer=_typed(lambda body: b")]}',\n" + body)),
    "double_encoded": Mode(
        about="the JSON text is itself a JSON text", answer=_typed(lambda body: orjson.dumps(body.decode()))
    ),
    "python_repr": Mode(
        about="Python's spelling: single quotes, None", answer=_typed(lambda body: repr(orjson.loads(body)).encode())
    ),
    "json_lines": Mode(about="one row a line, no envelope", answer=_typed(_lines, "application/x-ndjson")),
    "empty_body": Mode(about="200 without a body", answer=_empty(200)),
    "no_content": Mode(about="204 and no body", answer=_empty(204)),
    "literal_null": Mode(about="the whole answer is null", answer=_fixed(200, b"null")),
    "bom": Mode(about="a byte order mark before the JSON", answer=_typed(lambda body: b"\xef\xbb\xbf" + body)),
    "utf16": Mode(
        about="UTF-16, called so",
        answer=_typed(lambda body: body.decode().encode("utf-16"), "application/json; charset=utf-16"),
    ),
    "wrong_charset": Mode(
        about="Latin-1 text that is called UTF-8: a byte that is none",
        answer=_typed(_first_value(b'"base_code":"', b'"base_code":"\xfc'), "application/json; charset=utf-8"),
    ),
    "unknown_charset": Mode(
        about="a charset that does not exist", answer=_typed(_same, "application/json; charset=klingon")
    ),
    "lone_surrogate": Mode(
        about="half of a surrogate pair in a text",
        answer=_typed(_first_value(b'"base_code":"', b'"base_code":"\\ud800')),
    ),
    "null_byte": Mode(
        about="\\u0000 in a text: no SQL text takes it",
        answer=_typed(_first_value(b'"base_code":"', b'"base_code":"\\u0000')),
    ),
    "control_characters": Mode(
        about="an unescaped line break in a text", answer=_typed(_first_value(b'"base_code":"', b'"base_code":"\n'))
    ),
    "nan": Mode(about="NaN for a number", answer=_typed(_first_value(b'"order":0', b'"order":NaN'))),
    "infinity": Mode(about="-Infinity for a number", answer=_typed(_first_value(b'"order":0', b'"order":-Infinity'))),
    "duplicate_keys": Mode(
        about="a key twice in one object", answer=_typed(_first_value(b'"sku":', b'"sku":"SKU-999999","sku":'))
    ),
    "wrong_content_type": Mode(about="good JSON that is called text/html", answer=_typed(_same, "text/html")),
    # the bytes of the answer
    "no_answer": Mode(about="the connection is closed without an answer", answer=lambda _, __: dropped()),
    "hang": Mode(about="no answer, ever", answer=lambda _, ask: ask.host.hung()),
    "reset_mid_body": Mode(
        about="the connection is reset in the middle of the body", answer=_raw_answer(_cut, reset=True)
    ),
    "wrong_content_length": Mode(about="Content-Length is more than there is; then the end", answer=_raw_answer(_cut)),
    "short_content_length": Mode(
        about="Content-Length is less than there is",
        answer=_raw_answer(lambda body: response_bytes(200, [_JSON], body, length=len(body) // 2)),
    ),
    "endless_body": Mode(about="chunk after chunk, without end", answer=_endless_body),
    "unfinished_chunks": Mode(about="the chunks are all there, the last mark never comes", answer=_held_open(_chunked)),
    "broken_chunk": Mode(
        about="a chunk whose size is no number", answer=_raw_answer(lambda body: _chunked(body, size=b"zz"))
    ),
    "slow_loris": Mode(about="one byte at a time (`drip` seconds between)", answer=_dripped),
    "gzip_bomb": Mode(about="a small gzip that unpacks to `bomb_bytes` (100 MB)", answer=_bomb),
    "gzip": Mode(about="an honest gzip, as it should be", answer=_typed(gzip.compress, Content_Encoding="gzip")),
    "bad_gzip": Mode(about="called gzip but is not", answer=_encoded_as("gzip", _same)),
    "truncated_gzip": Mode(
        about="gzip that ends in the middle", answer=_encoded_as("gzip", lambda body: gzip.compress(body)[:-20])
    ),
    "unknown_encoding": Mode(about="an unknown Content-Encoding", answer=_encoded_as("snappy", _same)),
    "too_many_headers": Mode(
        about="5,000 headers", answer=_with_headers(lambda: [(f"X-Header-{n}", "x") for n in range(5000)])
    ),
    "huge_header": Mode(about="a header of 1 MB", answer=_with_headers(lambda: [("X-Huge", "x" * (1 << 20))])),
    "cookies": Mode(about="cookies, odd ones too; none is needed", answer=_with_headers(lambda: list(_COOKIES))),
    "not_http": Mode(about="bytes that are not HTTP", answer=_raw_answer(lambda _: b"\x16\x03\x01 ERROR 42\r\n\r\n")),
    "early_hints": Mode(
        about="an informational answer (103) before the real one",
        answer=lambda body, _: Canned(200, body, [_JSON], before=_HINTS),
    ),
    # refusals
    "storm_429": Mode(about="three of four requests are a 429 without Retry-After", refuse=_storm),
    "retry_after_zero": Mode(
        about="429 with Retry-After: 0, three times, then well", refuse=_status(429, times=LATER, Retry_After="0")
    ),
    "retry_after_one": Mode(
        about="429 with Retry-After: 1, once, then well", refuse=_status(429, times=1, Retry_After="1")
    ),
    "retry_after_date": Mode(
        about="503 with Retry-After as a date in two seconds, once, then well", refuse=_retry_date(2)
    ),
    "retry_after_past": Mode(
        about="503 with Retry-After as a date of the past, once, then well", refuse=_retry_date(-3600)
    ),
    "retry_after_nonsense": Mode(
        about="503 with Retry-After: soon, once, then well", refuse=_status(503, times=1, Retry_After="soon")
    ),
    "retry_after_huge": Mode(about="429 with Retry-After: 86400", refuse=_status(429, Retry_After="86400")),
    "server_errors_then_ok": Mode(about="500 three times, then well", refuse=_status(500, times=LATER)),
    "bad_gateway_html": Mode(about="502 with an HTML page three times, then well", refuse=_gateway_html),
    "timeouts_then_ok": Mode(about="408 three times, then well", refuse=_status(408, times=LATER)),
    "too_early": Mode(about="425 once, then well", refuse=_status(425, times=1)),
    "always_500": Mode(about="always 500", refuse=_status(500)),
    "error_mid_read": Mode(about="500 from the second page on", refuse=_status(500, later=True)),
    "unauthorized_mid_read": Mode(about="401 for the second request, once", refuse=_unauthorised_once),
    "unauthorized": Mode(about="401, whatever the login", refuse=_status(401)),
    "expired_token": Mode(about="at every third request all tokens expire (401): log in again", refuse=_expired),
    "forbidden_mid_read": Mode(about="403 from the second page on", refuse=_status(403, later=True)),
    "not_found_mid_read": Mode(about="404 from the second page on", refuse=_status(404, later=True)),
    "accepted": Mode(about="202 without rows, twice, then well", refuse=_preparing),
    "redirect": Mode(about="302 to the same origin", refuse=_redirect(_marked)),
    "redirect_307": Mode(about="307 to the same origin: the method stays", refuse=_redirect(_marked, 307)),
    "redirect_relative": Mode(
        about="302 without an origin", refuse=_redirect(lambda ask: _path_and_query(_marked(ask)))
    ),
    "redirect_foreign": Mode(about="302 to another origin (`foreign`)", refuse=_redirect(_foreign)),
    "redirect_loop": Mode(about="always 302 to itself", refuse=_redirect(lambda ask: ask.url)),
    "redirect_nowhere": Mode(about="302 without Location", refuse=_status(302)),
    "redirect_to_login": Mode(
        about="302 to a login page in HTML", refuse=_redirect(lambda ask: f"/login?next={quote(ask.url, safe='')}")
    ),
    "cookie_wall": Mode(about="302 to itself with a cookie; without the cookie it never ends", refuse=_cookie_wall),
}
"""Every mode by its name."""

ALIASES = {
    "token_never_ends": "endless_token",
    "next_self": "self_next",
    "chunked_without_end": "endless_body",
    "five_xx_then_ok": "server_errors_then_ok",
    "redirect_same": "redirect",
    "429_storm": "storm_429",
    "infinity_json": "infinity",
}
"""Aliases of modes."""


def mode_named(name: str) -> Mode:
    """The mode of that name. Raises ValueError that lists all modes if there is none."""
    mode = MODES.get(ALIASES.get(name, name))
    if mode is None:
        raise ValueError(f"there is no mode {name!r}; there are: {', '.join(sorted(MODES))}")
    return mode
