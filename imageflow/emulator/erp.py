"""A fake ERP: any number of rows, every kind of pagination, logins, and hostile modes.

    GET or POST /images/{none|next|token|link|offset|page|seek}/     parameters in the query, or in the JSON body
    GET or POST /shapes/{next|odata|spring|graphql|nested|flat|csv}/   the same rows in the shapes of real ERPs, see shapes.py
    POST /login                     {"username", "password"} -> {"data": {"token": …}}
    POST /oauth2/token              a form with client_id and client_secret (or HTTP basic) -> {"access_token", "expires_in": …}
    GET  /media/{sku}/{n}.png       a picture, for rows whose images are here (`images_here`)
    GET  /_emulator/state           counters, the last requests, what changed
    GET  /_emulator/modes           every hostile mode, with its description
    GET  /_emulator/expected?sku=   what Omnitron should hold: {sku: images}
    POST /_emulator/faults          {"mode": NAME} or {"faults": […]}, see faults.py; also {"foreign": URL, "ceiling": N}
    POST /_emulator/rows            {"touch": [sku…], "delete": [sku…], "restore": [sku…], "put": [row…], "at": ISO date}
    POST /_emulator/reset

Rows are made from their number as they are asked for, so a million of them take no memory. What comes after the kind in
a path are more parameters, for dynamic URLs: /images/none/sku/SKU-000001/.
"""

from __future__ import annotations

import base64
import secrets
from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

import msgspec
import orjson
from aiohttp import web

from imageflow.emulator import hostile
from imageflow.emulator.catalog import base_code_of, index_of, indices_of, sku_of
from imageflow.emulator.faults import Verdict
from imageflow.emulator.hostile import Ask, Host, Mode, Page
from imageflow.emulator.pictures import picture
from imageflow.emulator.server import AnyFault, Emulator, credentials_in, json_answer
from imageflow.emulator.shapes import SHAPES, Part, Shape, WrongRequest, images_of

Auth = Literal["none", "token", "oauth2", "basic", "header"]
TOKEN_SECONDS = 3600
KINDS = ("none", "next", "token", "link", "offset", "page", "seek")
FIRST_CHANGE = datetime(2025, 1, 1, tzinfo=UTC)
"""Row n was last modified n seconds after this."""

_FIRST_SECOND = int(FIRST_CHANGE.timestamp())
DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000
SEEN = 1000
DATE_NAMES = ("modified_date__gt", "modified_date__gte", "modified_date", "modified")
_DATE = "%Y-%m-%dT%H:%M:%S.%f"
_TUNABLE: dict[str, Any] = {"foreign": str, "ceiling": int, "drip": float, "bomb_bytes": int}
_FIELDS = {"next": "next", "token": "next_token", "link": "Link"}


class Seen(msgspec.Struct, frozen=True):
    """A request for rows, as it came: `params` are those of query, path and body."""

    method: str
    path: str
    params: dict[str, Any]
    headers: dict[str, str]


class _Refused(Exception):
    """The request is answered with `status` and a reason."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class FakeErp(Emulator):
    """A fake ERP.

    `rows` is how many there are, or the rows themselves. `mode` is a name of `hostile.MODES`; `faults` see faults.py.
    `auth`: `token` (POST /login, the token in `Authorization`, with or without a word before it; `token_uses`: good for
    so many requests), `oauth2` (the same with POST /oauth2/token; username and password are the client's id and secret),
    `basic`, `header` (`X-Api-Key` holds the password), or none. `rows_path` is where the list stands
    in the answer (empty: it is the answer). `exclusive`: rows stamped exactly at the date asked for are left out.
    `timezone` is that of dates without an offset. `image_base` begins image URLs; `images_here` serves them too.
    `foreign` is another origin for modes that lead there.

    Attributes to look at: `seen` (the last requests for rows), `pages` (pages given), `logins`, `max_in_flight`.
    """

    def __init__(
        self,
        *,
        rows: int | Iterable[Mapping[str, Any]] = 1000,
        mode: str | None = None,
        faults: Iterable[AnyFault] = (),
        auth: Auth = "none",
        username: str = "demo",
        password: str = "demo",
        token_uses: int | None = None,
        rows_path: str = "results",
        exclusive: bool = False,
        timezone: str = "UTC",
        image_base: str = "https://images.example.com",
        images_here: bool = False,
        foreign: str = "http://127.0.0.1:9",
        ceiling: int = 10_000,
        drip: float = 0.2,
        bomb_bytes: int = 100 << 20,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        given = [faults] if isinstance(faults, str) else [*faults]
        super().__init__(faults=[*given, *([{"mode": mode}] if mode else [])])
        self._first_rows = rows if isinstance(rows, int) else [dict(row) for row in rows]
        self._first_faults = self.faults
        self._auth = auth
        self._credentials = (username, password)
        self._token_uses = token_uses
        self._rows_path = rows_path
        self._exclusive = exclusive
        self._timezone: tzinfo = ZoneInfo(timezone) if timezone != "UTC" else UTC
        self._image_base = image_base.rstrip("/")
        self._images_here = images_here
        self._now = now
        self._host = Host(
            foreign=foreign.rstrip("/"),
            ceiling=ceiling,
            drip=drip,
            bomb_bytes=bomb_bytes,
            pause=self.pause,
            stopping=self.is_stopping,
            hung=self.hung,
            expire_tokens=self.expire_tokens,
        )
        self._clear()

    def _clear(self) -> None:
        self.pages = 0
        self.logins = 0
        self.unauthorised = 0
        self.faulted = 0
        self.seen: deque[Seen] = deque(maxlen=SEEN)
        self._tokens: dict[str, int] = {}
        self._generated = self._first_rows if isinstance(self._first_rows, int) else 0
        self._last = self._generated
        self._put: dict[int, dict[str, Any]] = {}
        self._names: dict[str, int] = {}
        self._versions: dict[int, int] = {}
        self._stamps: dict[int, datetime] = {}
        self._deleted: set[int] = set()
        self._selections: OrderedDict[tuple[Any, ...], Sequence[int]] = OrderedDict()
        if not isinstance(self._first_rows, int):
            self.put(self._first_rows)

    def check_mode(self, mode: str | None) -> None:
        if mode is not None:
            hostile.mode_named(mode)

    def reset(self) -> None:
        """Reset: the initial rows and faults, no tokens, counters at zero."""
        self.restart(self._first_faults)
        self._clear()

    def expire_tokens(self) -> None:
        """From now on, all tokens given so far get a 401."""
        self._tokens.clear()

    # -- rows ----------------------------------------------------------------------------------------------------

    def skus(self) -> Iterator[str]:
        """The SKUs of all rows, in their order; rows without one are left out."""
        for index in self._all():
            name = self.row(index).get("sku") if index in self._put else sku_of(index)
            if isinstance(name, str):
                yield name

    def row(self, index: int) -> dict[str, Any]:
        """Row `index`, counted from 1, as the ERP gives it."""
        put = self._put.get(index)
        if put is not None:
            return put
        return {
            "sku": sku_of(index),
            "base_code": base_code_of(index),
            "modified_date": self._stamp(index).astimezone(self._timezone).strftime(_DATE),
            "images": [{"url": url, "order": order} for order, url in enumerate(self._urls(index))],
        }

    def expected_images(self, row: int | str) -> list[dict[str, Any]]:
        """What Omnitron should hold for a row (its number from 1, or its SKU). Raises KeyError where there is none."""
        index = row if isinstance(row, int) else self._index(row)
        if index is None or not 1 <= index <= self._last or index in self._deleted:
            raise KeyError(row)
        images = self.row(index).get("images") or []
        return sorted(
            (_as_omnitron(image, position) for position, image in enumerate(images)),
            key=lambda image: (image["order"], image["url"]),
        )

    def touch(self, ids: Iterable[str | int], *, at: datetime | None = None) -> None:
        """Give rows other images and a new modified date (now, or `at`). Raises KeyError for an unknown row."""
        for index in self._indices(ids):
            version = self._versions[index] = self._versions.get(index, 0) + 1
            self._stamps[index] = at or self._now()
            if index in self._put:
                self._put[index] = self._changed(self._put[index], index, version)
        self._selections.clear()

    def delete(self, ids: Iterable[str | int]) -> None:
        """Delete rows. Raises KeyError for an unknown row."""
        self._deleted.update(self._indices(ids))
        self._selections.clear()

    def restore(self, ids: Iterable[str | int]) -> None:
        """Bring deleted rows back."""
        self._deleted.difference_update(self._indices(ids))
        self._selections.clear()

    def put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of any shape: they replace those with the same SKU, others come last.

        A row without `modified_date` gets one: now.
        """
        for row in rows:
            given = dict(row)
            sku = given.get("sku")
            index = self._index(sku) if isinstance(sku, str) else None
            if index is None:
                self._last = index = self._last + 1
                if isinstance(sku, str):
                    self._names[sku] = index
            self._deleted.discard(index)
            stamp = self._date(given.get("modified_date"))
            self._stamps[index] = stamp or self._now()
            given.setdefault("modified_date", self._stamps[index].astimezone(self._timezone).strftime(_DATE))
            self._put[index] = given
        self._selections.clear()

    def _changed(self, row: dict[str, Any], index: int, version: int) -> dict[str, Any]:
        images = row.get("images")
        if isinstance(images, list):
            images = [_reversioned(image, version) for image in images]
        stamp = self._stamps[index].astimezone(self._timezone).strftime(_DATE)
        return {**row, "images": images, "modified_date": stamp}

    def _urls(self, index: int) -> list[str]:
        version = self._versions.get(index, 0)
        base = f"{self.url}/media" if self._images_here else self._image_base
        suffix = f"?v={version}" if version else ""
        kind = "png" if self._images_here else "jpg"
        return [f"{base}/{sku_of(index)}/{n}.{kind}{suffix}" for n in range(1, 2 + (index * 7 + version * 3) % 4)]

    def _stamp(self, index: int) -> datetime:
        return self._stamps.get(index) or FIRST_CHANGE + timedelta(seconds=index)

    def _index(self, sku: str) -> int | None:
        named = self._names.get(sku)
        if named is not None:
            return named
        index = index_of(sku)
        return index if index is not None and 1 <= index <= self._generated else None

    def _indices(self, ids: Iterable[str | int]) -> list[int]:
        found = []
        for one in [ids] if isinstance(ids, (str, int)) else ids:
            index = one if isinstance(one, int) else self._index(one)
            if index is None or not 1 <= index <= self._last:
                raise KeyError(f"there is no row {one!r}")
            found.append(index)
        return found

    def _date(self, text: object) -> datetime | None:
        """An ISO date, in the ERP's timezone unless it says otherwise; None where it is none."""
        if not isinstance(text, str):
            return None
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            return None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=self._timezone)).astimezone(UTC)

    # -- selections ----------------------------------------------------------------------------------------------

    def _all(self) -> Sequence[int]:
        return self._selection({})

    def _selection(self, params: Mapping[str, Any]) -> Sequence[int]:
        """The numbers of the rows that pass the filters, in their order. Raises _Refused."""
        since = self._since(params)
        key = (since, params.get("sku"), params.get("base_code"), params.get("status"))
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = self._select(*key)
            if len(self._selections) > 8:
                self._selections.popitem(last=False)
        return found

    def _since(self, params: Mapping[str, Any]) -> datetime | None:
        name = next((name for name in DATE_NAMES if params.get(name) not in (None, "")), None)
        if name is None:
            return None
        since = self._date(params[name])
        if since is None:
            raise _Refused(400, f"{name}: not an ISO date: {params[name]!r}")
        return since

    def _select(
        self, since: datetime | None, skus: str | None, base_codes: str | None, status: str | None
    ) -> Sequence[int]:
        if status not in (None, "", "active"):
            return ()
        wanted = self._wanted(skus, base_codes)
        if since is None and wanted is None and not self._deleted:
            return range(1, self._last + 1)
        candidates = self._changed_since(since) if wanted is None else wanted
        kept = (index for index in candidates if index not in self._deleted and self._passes(index, since))
        return array("L", kept)

    def _wanted(self, skus: str | None, base_codes: str | None) -> list[int] | None:
        """The rows that are named, in their order; None where nothing is."""
        sets = []
        if skus not in (None, ""):
            named = (self._index(sku.strip()) for sku in str(skus).split(","))
            sets.append({index for index in named if index is not None})
        if base_codes not in (None, ""):
            sets.append({index for code in str(base_codes).split(",") for index in self._of_base_code(code.strip())})
        return sorted(set.intersection(*sets)) if sets else None

    def _of_base_code(self, code: str) -> list[int]:
        generated = [index for index in indices_of(code) if index <= self._generated and index not in self._put]
        return generated + [index for index, row in self._put.items() if row.get("base_code") == code]

    def _changed_since(self, since: datetime | None) -> Iterator[int]:
        """Rows that may have changed since: those touched, and the tail of the others, whose dates ascend."""
        seconds = 0.0 if since is None else (since - FIRST_CHANGE).total_seconds()
        low = min(max(1, int(seconds)), self._last + 1)
        yield from sorted(index for index in self._stamps if index < low)
        yield from range(low, self._last + 1)

    def _passes(self, index: int, since: datetime | None) -> bool:
        if since is None:
            return True
        stamp = self._stamps.get(index)
        changed = (
            _FIRST_SECOND + index if stamp is None else stamp.timestamp()
        )  # a million times: no datetime arithmetic
        return changed > since.timestamp() if self._exclusive else changed >= since.timestamp()

    # -- requests ------------------------------------------------------------------------------------------------

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "media" and len(parts) == 3:
            number, _, _ = parts[2].partition(".")
            body = picture(parts[1], int(number) if number.isascii() and number.isdigit() else 0)
            return web.Response(body=body, content_type="image/png")
        login = parts in (["login"], ["oauth2", "token"])
        try:
            params = {} if login else await parameters(request, parts[2:])
            named = str(params.get("sku") or "")
            verdict = self._script.judge(path, named.split(","), self.in_flight, login=login)
            refusal = await self.meet(verdict)
            if refusal is not None:
                self.faulted += 1
                return refusal
            if login:
                return await (self._login(request) if parts == ["login"] else self._grant(request))
            if parts[0] == "shapes" and len(parts) > 1 and parts[1] in SHAPES:
                return self.unless_lost(verdict, self._shaped(request, path, SHAPES[parts[1]], params))
            if parts[0] != "images" or len(parts) < 2 or parts[1] not in KINDS:
                known = ", ".join([f"/images/{kind}/" for kind in KINDS] + [f"/shapes/{shape}/" for shape in SHAPES])
                raise _Refused(404, f"there is no {path}; there are: {known}")  # noqa: TRY301 - an answer, made below
            return self._rows(request, path, parts[1], params, verdict)
        except _Refused as refused:
            return json_answer(refused.status, {"detail": str(refused)}, refused.headers)

    async def _login(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            raise _Refused(405, "log in with POST")
        problems, given = credentials_in(await request.read())
        if problems or given != self._credentials:
            self.unauthorised += 1
            return json_answer(400, problems or {"detail": "wrong username or password"})
        token = secrets.token_urlsafe(24)
        self._tokens[token] = 0
        self.logins += 1
        return json_answer(200, {"data": {"token": token}})

    async def _grant(self, request: web.BaseRequest) -> web.Response:
        """A token by OAuth 2's client credentials."""
        if request.method != "POST":
            raise _Refused(405, "ask for a token with POST")
        form = dict(parse_qsl((await request.read()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        given = (form.get("client_id", ""), form.get("client_secret", ""))
        basic = request.headers.get("Authorization", "")
        if given != self._credentials and basic != _basic(*map(quote, self._credentials)):
            self.unauthorised += 1
            return json_answer(401, {"error": "invalid_client"})
        token = secrets.token_urlsafe(24)
        self._tokens[token] = 0
        self.logins += 1
        return json_answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})

    def _rows(
        self, request: web.BaseRequest, path: str, kind: str, params: dict[str, Any], verdict: Verdict
    ) -> web.StreamResponse:
        if request.method not in ("GET", "POST"):
            raise _Refused(405, "ask with GET or POST")
        self.seen.append(Seen(request.method, path, dict(params), dict(request.headers)))
        self._authorise(request)
        mode = hostile.mode_named(verdict.mode) if verdict.mode else None
        ask = self._ask(request, kind, params, verdict.strike)
        if mode is None:
            page = self._page(ask)
            response: web.StreamResponse = encoded(orjson.dumps(page.body()), page.link)
        else:
            response = self._hostile(mode, ask)
        return self.unless_lost(verdict, response)

    def _shaped(self, request: web.BaseRequest, path: str, shape: Shape, params: dict[str, Any]) -> web.StreamResponse:
        """A page in the shape of a real ERP."""
        if request.method != shape.method:
            raise _Refused(405, f"ask with {shape.method}")
        self.seen.append(Seen(request.method, path, dict(params), dict(request.headers)))
        self._authorise(request)
        try:
            asked = shape.asked(params)
        except WrongRequest as wrong:
            return json_answer(wrong.status, wrong.body)
        selection = self._selection({DATE_NAMES[0]: asked.since, "sku": asked.skus})
        rows: Sequence[Mapping[str, Any]]
        if shape.flat:
            table = images_of([self.row(index) for index in selection])
            rows, total = table[asked.start : asked.start + asked.limit], len(table)
        else:
            rows, total = [self.row(at) for at in selection[asked.start : asked.start + asked.limit]], len(selection)
        self.pages += 1
        written = shape.written(Part(rows, asked, total, f"http://{request.host}{request.raw_path}", params))
        return web.Response(body=written.body, headers=dict(written.headers))

    def _hostile(self, mode: Mode, ask: Ask) -> web.StreamResponse:
        if mode.refuse is not None and (refusal := mode.refuse(ask)) is not None:
            self.faulted += 1
            return refusal
        if mode.ask is not None:
            mode.ask(ask)
        page = self._page(ask)
        if mode.page is not None:
            mode.page(page, ask)
        body = orjson.dumps(page.body())
        return encoded(body, page.link) if mode.answer is None else mode.answer(body, ask)

    def _authorise(self, request: web.BaseRequest) -> None:
        """Raises _Refused unless the request carries what `auth` asks for."""
        given = request.headers.get("Authorization", "")
        username, password = self._credentials
        if self._auth in ("token", "oauth2"):
            allowed = self._token_is_good(given.rpartition(" ")[2])
        elif self._auth == "basic":
            allowed = given == _basic(username, password)
        else:
            allowed = self._auth == "none" or request.headers.get("X-Api-Key") == password
        if not allowed:
            self.unauthorised += 1
            challenge = {"WWW-Authenticate": 'Basic realm="erp"'} if self._auth == "basic" else None
            raise _Refused(401, "not logged in", challenge)

    def _token_is_good(self, token: str) -> bool:
        uses = self._tokens.get(token)
        limit = self._script.token_uses or self._token_uses
        if uses is None or (limit is not None and uses >= limit):
            self._tokens.pop(token, None)
            return False
        self._tokens[token] = uses + 1
        return True

    def _ask(self, request: web.BaseRequest, kind: str, params: dict[str, Any], strike: int) -> Ask:
        selection = self._selection(params)
        limit = len(selection) if kind == "none" else limit_in(params)
        return Ask(
            host=self._host,
            kind=kind,
            url=f"http://{request.host}{request.raw_path}",
            method=request.method,
            params=params,
            cookies=dict(request.cookies),
            selection=selection,
            everything=self._all,
            start=self._start(kind, params, selection, limit),
            limit=limit,
            strike=strike,
        )

    def _start(self, kind: str, params: Mapping[str, Any], selection: Sequence[int], limit: int) -> int:
        """How many rows of the selection come before the page. Raises _Refused."""
        if kind == "none":
            return 0
        if kind == "offset":
            return whole_number(params, "offset", 0)
        if kind == "page":
            return (max(1, whole_number(params, "page", 1)) - 1) * limit
        if kind == "seek":
            return self._after(params.get("after"), selection)
        cursor = next((params[name] for name in ("cursor", "token", "next_token") if params.get(name)), "p0")
        if not isinstance(cursor, str) or cursor[:1] != "p" or not cursor[1:].isdecimal():
            raise _Refused(400, f"no such cursor: {cursor!r}")
        return int(cursor[1:])

    def _after(self, marker: object, selection: Sequence[int]) -> int:
        if marker in (None, ""):
            return 0
        index = self._index(str(marker))
        if index is None:
            raise _Refused(400, f"after: there is no row {marker!r}")
        return bisect_right(selection, index)

    def _page(self, ask: Ask) -> Page:
        """The page that is asked for."""
        self.pages += 1
        end = ask.start + ask.limit
        rows = [self.row(index) for index in ask.selection[ask.start : end]]
        field = _FIELDS.get(ask.kind)
        onward: str | None = None
        if field is not None and end < len(ask.selection):
            onward = f"p{end}" if ask.kind == "token" else onward_url(ask, end)
        return Page(
            rows=rows,
            count=len(ask.selection),
            rows_path=self._rows_path,
            field=field,
            onward=onward,
            envelope={},
        )

    # -- control -------------------------------------------------------------------------------------------------

    async def control(self, request: web.BaseRequest, action: str) -> web.StreamResponse:
        if request.method == "GET" and action == "modes":
            return json_answer(200, {name: mode.about for name, mode in hostile.MODES.items()})
        if request.method == "GET" and action == "expected":
            named = request.query.get("sku")
            wanted = self.skus() if named is None else iter(named.split(","))
            return json_answer(200, {sku: self.expected_images(sku) for sku in wanted})
        if request.method == "POST" and action == "rows":
            self._change(orjson.loads(await request.read()))
            return json_answer(200, {"rows": len(self._all())})
        return await super().control(request, action)

    def take_faults(self, body: Any) -> None:
        """As for any emulator; beside the faults may stand what modes go by: `foreign`, `ceiling`, `drip`, `bomb_bytes`."""
        given = dict(body) if isinstance(body, dict) else {}
        changes = {name: msgspec.convert(given.pop(name), kind) for name, kind in _TUNABLE.items() if name in given}
        super().take_faults(given if isinstance(body, dict) else body)
        for name, value in changes.items():
            setattr(self._host, name, value)

    def _change(self, body: Any) -> None:
        if not isinstance(body, dict) or not set(body) <= {"touch", "delete", "restore", "put", "at"}:
            raise ValueError("an object with touch, delete, restore, put (lists) and at (an ISO date) is wanted")
        at = self._date(body.get("at"))
        if body.get("at") is not None and at is None:
            raise ValueError(f"at: not an ISO date: {body['at']!r}")
        self.put(body.get("put", ()))
        self.restore(body.get("restore", ()))
        self.touch(body.get("touch", ()), at=at)
        self.delete(body.get("delete", ()))

    def state(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Counters, the last requests for rows, and the rows that were touched or deleted."""
        return {
            "rows": len(self._all()),
            "touched": {self._name(index): version for index, version in self._versions.items()},
            "deleted": [self._name(index) for index in sorted(self._deleted)],
            "seen": msgspec.to_builtins(list(self.seen)[-int(query.get("seen", 20)) :]),
            "counters": self.counters(),
        }

    def _name(self, index: int) -> str:
        return str(self._put[index].get("sku", index)) if index in self._put else sku_of(index)

    def counters(self) -> dict[str, Any]:
        return {
            **super().counters(),
            "pages": self.pages,
            "logins": self.logins,
            "unauthorised": self.unauthorised,
            "faulted": self.faulted,
        }


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def encoded(body: bytes, link: Any) -> web.Response:
    """The answer with a page."""
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    return web.Response(body=body, headers=headers, content_type="application/json")


async def parameters(request: web.BaseRequest, segments: Sequence[str]) -> dict[str, Any]:
    """The parameters of a request: its path (name/value pairs), query and JSON body; a later one wins.

    Raises _Refused where the body is not a JSON object.
    """
    params: dict[str, Any] = dict(zip(segments[::2], segments[1::2], strict=False))
    params.update(request.query)
    body = await request.read() if request.method == "POST" else b""
    if body.strip():
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _Refused(400, f"the body is not JSON: {error}") from error
        if not isinstance(given, dict):
            raise _Refused(400, "the body is not a JSON object")
        params.update(given)
    return params


def whole_number(params: Mapping[str, Any], name: str, default: int) -> int:
    """Raises _Refused unless the parameter is a number that is not negative."""
    value = params.get(name)
    if value in (None, ""):
        return default
    if not str(value).isdecimal():
        raise _Refused(400, f"{name}: not a whole number: {value!r}")
    return int(value)


def limit_in(params: Mapping[str, Any]) -> int:
    limit = whole_number(params, "limit", DEFAULT_LIMIT)
    return min(limit or DEFAULT_LIMIT, MAX_LIMIT)


def onward_url(ask: Ask, start: int) -> str:
    """The absolute URL of the page that begins at `start`, with the filters that were asked for."""
    kept = {name: value for name, value in ask.params.items() if isinstance(value, (str, int)) and name != "cursor"}
    return f"{ask.url.partition('?')[0]}?{urlencode({**kept, 'cursor': f'p{start}', 'limit': ask.limit})}"


def _as_omnitron(image: Any, position: int) -> dict[str, Any]:
    if isinstance(image, str):
        return {"url": image, "order": position, "image_type": "default"}
    return {
        "url": image["url"],
        "order": image.get("order", position),
        "image_type": image.get("image_type", "default"),
    }


def _reversioned(image: Any, version: int) -> Any:
    if isinstance(image, str):
        return f"{image.partition('?')[0]}?v={version}"
    return (
        {**image, "url": _reversioned(image["url"], version)} if isinstance(image, dict) and "url" in image else image
    )
