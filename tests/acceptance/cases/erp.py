"""An ERP that plays the answers of a case, as a real HTTP server."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

DATA = Path(__file__).parent / "data"
LOGIN_HEADER = "X-Api-Key"


class Asked(NamedTuple):
    """A request that the ERP got. `query` is decoded, `target` is as it was sent."""

    method: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any
    target: str
    headers: Mapping[str, str]

    def of(self, name: str) -> str | None:
        """The first value of a parameter."""
        return next((value for key, value in self.query if key == name), None)

    def texts(self, names: frozenset[str] | None = None) -> list[str]:
        """`name=value` of the parameters, as people write them; only of `names`."""
        joined = "&".join(f"{key}={value}" for key, value in self.query if names is None or key in names)
        return joined.split("&") if joined else []


class Step(msgspec.Struct):
    """A stored answer, and the request that it belongs to."""

    request: str
    status: int
    headers: dict[str, str]
    json: Any = msgspec.UNSET
    text: str = ""
    base64: str = ""

    def _target(self) -> str:
        """Path and query, without remarks."""
        return re.sub(r", asked again$| with(out)? \S+$| \{.*\}$", "", self.request.partition(" ")[2])

    @property
    def path(self) -> str:
        return self._target().partition("?")[0]

    @property
    def wanted(self) -> list[str]:
        """`name=value` of each parameter of the request."""
        query = self._target().partition("?")[2]
        return query.split("&") if query else []

    @property
    def names(self) -> frozenset[str]:
        return frozenset(text.partition("=")[0] for text in self.wanted)

    def fits(self, asked: Asked, names: frozenset[str]) -> bool:
        """Whether the request is meant. `names`: the parameters by which this path's answers differ."""
        if self.request == "any":
            return True
        same = (self.request.split(" ")[0], self.path) == (asked.method, asked.path)
        return same and self._same_query(asked, names) and self._same_body(asked) and self._same_login(asked)

    def _same_query(self, asked: Asked, names: frozenset[str]) -> bool:
        """A value in brackets, `since=(watermark of run 1)`, is any value."""
        loose = frozenset(text.partition("=")[0] for text in self.wanted if "=(" in text)
        found = [text.partition("=")[0] if text.partition("=")[0] in loose else text for text in asked.texts(names)]
        told_apart = [text for text in self.wanted if text.partition("=")[0] in names]
        wanted = [text.partition("=")[0] if "=(" in text else text for text in told_apart]
        return sorted(found) == sorted(wanted)

    def _same_body(self, asked: Asked) -> bool:
        body = re.search(r" (\{.*\})$", self.request)
        return body is None or json.loads(body[1]) == asked.body

    def _same_login(self, asked: Asked) -> bool:
        login = re.search(rf" with(out)? {LOGIN_HEADER}$", self.request)
        return login is None or (login[1] is None) == (LOGIN_HEADER in asked.headers)

    def body(self, hosts: Mapping[str, str]) -> bytes:
        """The body; `hosts` takes the place of ERP and INNER-HOST in it."""
        if self.base64:
            return base64.b64decode(self.base64)
        text = self.text if self.json is msgspec.UNSET else json.dumps(self.json, ensure_ascii=False)
        return _placed(text, hosts).encode()


def steps(case: str) -> list[Step]:
    """The stored answers of a case."""
    return msgspec.convert(json.loads((DATA / case / "answers.json").read_text("utf-8")), list[Step])


def _placed(text: str, hosts: Mapping[str, str]) -> str:
    for name, host in hosts.items():
        text = text.replace(f"http://{name}/", f"http://{host}/")
    return text


class Player:
    """Plays the answers of a case. Where several fit a request, they come in their order, and the last one stays.

    `asked` holds all requests, `unplanned` those that no answer fits: they get a 404.
    """

    def __init__(self, answers: list[Step]) -> None:
        self._answers = [step for step in answers if not step.request.startswith("POST to Omnitron")]
        self._played: set[int] = set()
        self.asked: list[Asked] = []
        self.unplanned: list[Asked] = []
        self.host = self.inner = ""

    @property
    def hosts(self) -> dict[str, str]:
        return {"ERP": self.host, "INNER-HOST": self.inner}

    @property
    def queries(self) -> list[list[str]]:
        """The parameters of each request, in order."""
        return [asked.texts() for asked in self.asked]

    def _chosen(self, asked: Asked) -> Step | None:
        here = [step for step in self._answers if step.path == asked.path]
        names = frozenset[str]().union(*(step.names for step in here)) if len(here) > 1 else frozenset()
        fitting = [index for index, step in enumerate(self._answers) if step.fits(asked, names)]
        if not fitting:
            return None
        chosen = next((index for index in fitting if index not in self._played), fitting[-1])
        self._played.add(chosen)
        return self._answers[chosen]

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        data = await request.read()
        asked = Asked(
            request.method,
            request.host,
            request.path,
            tuple(request.query.items()),
            json.loads(data) if data else None,
            request.raw_path,
            request.headers,
        )
        self.asked.append(asked)
        step = self._chosen(asked)
        if step is None:
            self.unplanned.append(asked)
            return web.json_response({"detail": "the case has no answer for this"}, status=404)
        headers = {name: _placed(value, self.hosts) for name, value in step.headers.items()}
        return web.Response(status=step.status, headers=headers, body=step.body(self.hosts))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listens on a free port, which has two names: `host`, and `inner` as the ERP is called behind its proxy."""
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            self.host, self.inner = f"127.0.0.1:{port}", f"localhost:{port}"
            yield
        finally:
            await runner.cleanup()
