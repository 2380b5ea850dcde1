"""The gateway's HTTP side: routes, what every answer has in common, and how the server starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp.typedefs
import aiohttp.web_response
import msgspec
import structlog
from aiohttp import web

from imageflow.actions import shapes
from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import ImageFlowError, ListenError, RequestError
from imageflow.gateway import events, integrator
from imageflow.gateway.access import Access, AuthenticationError
from imageflow.gateway.api import Api
from imageflow.gateway.browser import cookie_name, way
from imageflow.gateway.client_address import Network, client_address, client_scheme
from imageflow.gateway.deps import Deps, Tools
from imageflow.gateway.events import Events
from imageflow.gateway.in_hand import Handler, InHand
from imageflow.gateway.inputs import Credentials
from imageflow.gateway.late_publisher import LatePublisher
from imageflow.gateway.outbound import NDJSON_TYPES, QUEUE_LIMIT, Outbound, Posted, check_key
from imageflow.gateway.problem_details import CONTENT_TYPE, Refusal, refusal
from imageflow.gateway.request_body import MAX_FORM_BYTES, BodyReader
from imageflow.gateway.sessions import Sessions
from imageflow.store import AcceptedPost, Store, User
from imageflow.telemetry import metrics
from imageflow.text.instant import iso

READY_SECONDS = 5.0
LATER_SECONDS = 5.0
CHECKS_AT_ONCE = 2
TRIES_AT_ONCE = 2
IDLE_SECONDS = 75.0
"""A connection that is idle, or has not sent its headers, is closed after this time."""
LINGER_SECONDS = 5.0
"""A refused body is read (and thrown away) for this time, so that the other side sees the answer."""
MAX_LINE_BYTES = 8_190
MAX_HEADERS = 100

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer that does not set its own. None of them lets another origin read: CORS stays off."""

IN_HAND = web.AppKey("in_hand", InHand)

Ready = Callable[[], Awaitable[list[str]]]
Pages = Callable[[Deps, Sessions, BodyReader], Iterable[web.AbstractRouteDef]]
"""Makes the routes of the console."""

log = structlog.get_logger("imageflow.gateway")

# aiohttp says its own and Python's version in every answer, also in those that no application sees (malformed HTTP).
aiohttp.web_response.SERVER_SOFTWARE = "ImageFlow"  # type: ignore[attr-defined]  # it has no setting


class Gateway:
    """The door: outbound posts, logins, the JSON API (with `tools`), Akinon's Integrator API, and what monitoring asks."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        secret_key: bytes,
        *,
        ready: Ready,
        queue_limit: int = QUEUE_LIMIT,
        reader: BodyReader | None = None,
        tools: Tools | None = None,
        trusted: Sequence[Network] = (),
        pages: Pages | None = None,
    ) -> None:
        self.sessions = Sessions(store, secret_key, clock)
        self._access = Access(store, secret_key, clock)
        publisher = LatePublisher(store, broker)
        self._outbound = Outbound(store, broker, publisher, clock, queue_limit=queue_limit)
        self._reader = reader or BodyReader()
        self._integrator = integrator.Integrator(store, self._access, self._reader)
        self._api: list[web.AbstractRouteDef] = []
        self._pages: list[web.AbstractRouteDef] = []
        self._events = Events(store, self._listener)
        if tools is not None:
            checking, trying = asyncio.Semaphore(CHECKS_AT_ONCE), asyncio.Semaphore(TRIES_AT_ONCE)
            deps = Deps(store, broker, publisher, clock, self._access, secret_key, tools, checking, trying)
            self._api = [*Api(deps, self._reader).routes(), *self._events.routes()]
            if pages is not None:
                self._pages = list(pages(deps, self.sessions, self._reader))
        self._ready = ready
        self._trusted = trusted

    def app(self, *, watched_elsewhere: bool = False) -> web.Application:
        """The web application; `serve` runs it. `watched_elsewhere`: metrics, and why the process is not ready, are on a port
        of their own, which need not be open to the world.
        """
        app = application(
            [
                *(public_routes(self._ready) if watched_elsewhere else monitoring_routes(self._ready)),
                *self._integrator.routes(),
                web.post("/api/login", self._login),
                web.post("/api/outbound/{flow}", self._post),
                *self._api,
                *self._pages,
            ],
            self._trusted,
        )
        app.cleanup_ctx.append(_beside(self._events.run))
        app.on_shutdown.append(self._finish)
        return app

    async def _finish(self, _app: web.Application) -> None:
        await self._outbound.finish()

    async def _listener(self, request: web.Request) -> User:
        """Who listens to the event stream: a user with a token, or, in a browser that cannot send one, with a session."""
        authorization = request.headers.getall("Authorization", [])
        session = request.cookies.get(cookie_name(way(request.scheme, request.host)))
        if not authorization and session and (user := await self.sessions.user(session)) is not None:
            return user
        return await self._access.user(authorization)

    async def _login(self, request: web.Request) -> web.Response:
        async with self._reader.form(request, MAX_FORM_BYTES) as body:
            try:
                wanted = msgspec.json.decode(body, type=Credentials)
            except (ValueError, RecursionError) as error:
                raise Refusal(400, "username and password are required, as a JSON object") from error
        token = await self._access.login(wanted.username, wanted.password, request.remote or "")
        if token is None:
            raise AuthenticationError("unknown user or wrong password")
        return _json(shapes.LoggedIn(token.text, iso(token.expires_at)))

    async def _post(self, request: web.Request) -> web.Response:
        known: list[str] = []
        status = 500
        try:
            accepted = await self._accept(request, known)
            status = 202
        except ImageFlowError as error:
            status = refusal(error).status
            raise
        finally:
            metrics.POSTS.labels(known[0] if known else "", status).inc()
        return _json(shapes.Accepted(accepted.run_id, accepted.rows), status=202)

    async def _accept(self, request: web.Request, known: list[str]) -> AcceptedPost:
        """In this order: who, which flow, is there room, what. `known` receives the flow's name once it is one."""
        credential = self._access.credential(request.headers.getall("Authorization", []))
        by = await self._access.poster(credential, request.match_info["flow"])
        flow = await self._outbound.flow(request.match_info["flow"])
        known.append(flow.name)
        key = check_key(request.headers.getall("Idempotency-Key", []))
        await self._outbound.check_room(flow.name)
        async with self._reader.post(request, by) as body:
            await self._access.poster(credential, flow.name)  # a body may take longer than the right to post it lasts
            return await self._outbound.accept(flow, Posted(body, request.content_type in NDJSON_TYPES, key, by))


def application(routes: Iterable[web.AbstractRouteDef], trusted: Sequence[Network] = ()) -> web.Application:
    """An application whose every answer is ours: problem bodies for errors, no tracebacks, safe headers. Behind `trusted`
    proxies, a request's `remote` is the address that they say.
    """
    in_hand = InHand(_late)
    middlewares = [in_hand.middleware, *([_behind(trusted)] if trusted else []), _problems]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_FORM_BYTES)
    app[IN_HAND] = in_hand
    app[events.STOPPING] = asyncio.Event()
    app.add_routes(routes)
    app.cleanup_ctx.append(_beside(in_hand.run))
    app.on_response_prepare.append(_safe_headers)
    return app


def _beside(
    run: Callable[[web.Application], Coroutine[Any, Any, None]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """What runs as long as an application does."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run(app))
            yield
            task.cancel()

    return context


async def _health(_request: web.Request) -> web.Response:
    return _json({"status": "ok"})


def public_routes(ready: Ready) -> list[web.AbstractRouteDef]:
    """/health: the process lives. /ready: whether it works."""

    async def readiness(_request: web.Request) -> web.Response:
        works = not await _problems_of(ready)
        return _json({"ready": works}, status=200 if works else 503)

    return [web.get("/health", _health), web.get("/ready", readiness)]


def monitoring_routes(ready: Ready) -> list[web.AbstractRouteDef]:
    """/health: the process lives. /ready: it works, or the `problems` that hinder it. /metrics: for Prometheus."""

    async def readiness(_request: web.Request) -> web.Response:
        problems = await _problems_of(ready)
        return _json({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def exposition(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    return [web.get("/health", _health), web.get("/ready", readiness), web.get("/metrics", exposition)]


def monitoring(ready: Ready, *, alone: bool = True) -> web.Application:
    """An application with the monitoring routes only, for a service without a gateway. With `alone=False`, it answers
    503 to other requests, so that they come again later.
    """

    async def later(_request: web.Request) -> web.Response:
        return refused(Refusal(503, "ImageFlow starts; try again later", retry_after=LATER_SECONDS))

    return application([*monitoring_routes(ready), *([] if alone else [web.route("*", "/{path:.*}", later)])])


async def _problems_of(ready: Ready) -> list[str]:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await ready()
    except TimeoutError:
        return [f"no answer within {READY_SECONDS:g} seconds"]
    except ImageFlowError as error:
        return [str(error)]
    except Exception:
        log.exception("readiness check failed")
        return ["the readiness check itself failed; the log has it"]


def _behind(trusted: Sequence[Network]) -> aiohttp.typedefs.Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        scheme = client_scheme(request.remote, request.headers.get("X-Forwarded-Proto", ""), trusted)
        remote = client_address(request.remote, forwarded, trusted)
        return await handler(request.clone(remote=remote, scheme=scheme or request.scheme))

    return middleware


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem body; log the unforeseen ones."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return _routing_problem(answer)
    except TimeoutError:
        return _late(request)
    except ImageFlowError as error:
        if not isinstance(error, Refusal | RequestError):
            log.warning("request failed", path=request.path, error=str(error))
        return refused(refusal(error))
    except Exception:
        log.exception("request failed", path=request.path)
        return refused(Refusal(500, "an unexpected error; the gateway's log has it"))


def _late(request: web.Request) -> web.Response:
    log.warning("request timed out", path=request.path)
    return refused(Refusal(503, "it took too long; try again later", retry_after=5))


def refused(why: Refusal) -> web.Response:
    """The problem body of a refusal. After a 408 nothing more of the request is waited for."""
    answer = _json(why.body, status=why.status, headers=why.headers)
    answer.content_type = CONTENT_TYPE
    if why.status == HTTPStatus.REQUEST_TIMEOUT:
        answer.force_close()
    return answer


def _routing_problem(error: web.HTTPException) -> web.Response:
    """The router's own 404, 405 and the like."""
    details = {404: "there is nothing at this address", 405: "this address does not take that method"}
    answer = refused(Refusal(error.status, details.get(error.status, error.reason)))
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


async def _safe_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)


def _json(value: Any, *, status: int = 200, headers: Any = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int, stop_seconds: float) -> AsyncIterator[int]:
    """Serve an application (once) on host and port, 0 for any free one; gives the port.

    Leaving stops listening, lets requests in hand finish within three quarters of `stop_seconds`, then closes what is
    left. Raises ListenError when the port cannot be had.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # request_body.py does it, with a bound
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=LINGER_SECONDS,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
        shutdown_timeout=stop_seconds / 10,  # aiohttp waits for that twice
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await _start(site, host, port)
        try:
            yield runner.addresses[0][1]
        finally:
            await site.stop()
            app[events.STOPPING].set()
            await app[IN_HAND].finish(stop_seconds * 0.75)
    finally:
        await runner.cleanup()


async def _start(site: web.TCPSite, host: str, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        raise ListenError(host, port, error) from error
