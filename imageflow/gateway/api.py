"""The JSON API: each endpoint of the table becomes a route, and each request a checked call of its handler.

In this order: who, which role, the path, the query, the body. What a handler gives is of the type that the table says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable
from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import FlowFileError, NotFoundError
from imageflow.gateway import docs, openapi, shapes
from imageflow.gateway.access import Access, UserError, may
from imageflow.gateway.deps import Call, Deps, LatePublisher, Tools
from imageflow.gateway.endpoints import ENDPOINTS, JSON, Endpoint
from imageflow.gateway.handlers_flows import FlowHandlers
from imageflow.gateway.handlers_ops import OpsHandlers
from imageflow.gateway.handlers_runs import RunHandlers
from imageflow.gateway.handlers_users import UserHandlers
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.request_body import Reader
from imageflow.store import Store, User

Handler = Callable[[Call], Awaitable[Any]]
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The API over a store; `routes` are what an application serves of it."""

    def __init__(
        self, store: Store, broker: Broker, clock: Clock, access: Access, reader: Reader, tools: Tools
    ) -> None:
        self._access = access
        self._reader = reader
        deps = Deps(store, broker, LatePublisher(store, broker), clock, access, tools)
        self._handlers = (FlowHandlers(deps), RunHandlers(deps), OpsHandlers(deps), UserHandlers(deps))

    def routes(self) -> list[web.RouteDef]:
        """The routes of all endpoints but those of other modules, and of the document and its page."""
        served = [self._route(endpoint) for endpoint in ENDPOINTS if not endpoint.elsewhere]
        return [*served, *document_routes()]

    def _route(self, endpoint: Endpoint) -> web.RouteDef:
        handler = self._handler(endpoint.name)

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                call = await self._call(endpoint, request)
                return _response(endpoint, await handler(call))
            except (NotFoundError, NotRunnable, UserError, FlowFileError) as error:
                raise refusal_of(error) from error

        return web.route(endpoint.method, endpoint.path, answer)

    def _handler(self, name: str) -> Handler:
        found: Handler = next(getattr(part, name) for part in self._handlers if hasattr(part, name))
        return found

    async def _call(self, endpoint: Endpoint, request: web.Request) -> Call:
        authorization = request.headers.getall("Authorization", [])
        user = await self._access.user(authorization)
        _check_role(user, endpoint)
        path, query = _path(endpoint, request), _query(endpoint, request)
        body = await self._body(endpoint, request)
        actor = Actor(user.name, request.remote or "")
        return Call(user, actor, path, query, body, request.content_type, authorization)

    async def _body(self, endpoint: Endpoint, request: web.Request) -> Any:
        wanted = endpoint.body
        if wanted is None:
            return None
        if request.body_exists and request.content_type not in wanted.accepts:
            raise Refusal(415, f"the body must be {' or '.join(wanted.accepts)}, not {request.content_type[:100]}")
        async with self._reader.read(request, wanted.limit) as body:
            if not body and wanted.required:
                raise Refusal(400, "a body is required")
            return body if wanted.type is None else _decoded(body or b"{}", wanted.type)


def document_routes() -> list[web.RouteDef]:
    """The OpenAPI document, and the page that shows it to people: made once, the same for everybody."""
    document = openapi.document(ENDPOINTS)
    text, page = msgspec.json.encode(document), docs.page(document)

    async def openapi_json(_request: web.Request) -> web.Response:
        return web.Response(body=text, content_type=JSON)

    async def docs_page(_request: web.Request) -> web.Response:
        return web.Response(text=page.html, content_type="text/html", headers={"Content-Security-Policy": page.policy})

    return [web.get("/api/openapi.json", openapi_json), web.get("/api/docs", docs_page)]


def refusal_of(error: NotFoundError | NotRunnable | UserError | FlowFileError) -> Refusal:
    """The refusal that an error of the caller's is."""
    match error:
        case NotFoundError():
            return Refusal(404, str(error))
        case NotRunnable():
            return Refusal(409, str(error))
        case FlowFileError(problems=problems):
            first = f"; the first: {problems[0]}" if len(problems) > 1 else f": {problems[0]}"
            return Refusal(422, f"the flow has {len(problems)} problem{'s' * (len(problems) > 1)}{first}", problems)
    return Refusal(422, str(error))


def _check_role(user: User, endpoint: Endpoint) -> None:
    if endpoint.role is not None and not may(user, endpoint.role):
        raise Refusal(403, f"it takes the role {endpoint.role} or above; {user.name} is {user.role}")


def _path(endpoint: Endpoint, request: web.Request) -> dict[str, Any]:
    return {name: _converted(request.match_info[name], shapes.PATHS[name], name) for name in endpoint.parameters}


def _query(endpoint: Endpoint, request: web.Request) -> Any:
    if endpoint.query is None:
        return None
    given = dict(request.query)
    if len(given) < len(request.query):
        raise Refusal(400, "the query: a parameter is given twice")
    return _converted(given, endpoint.query, "the query")


def _converted(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except (ValueError, OverflowError) as error:
        raise Refusal(400, f"{what}: {error}") from error


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body: {error}") from error


def _response(endpoint: Endpoint, answer: Any) -> web.Response:
    if answer is None:
        return web.Response(status=endpoint.status)
    raw = answer.encode() if isinstance(answer, str) else answer
    body = raw if isinstance(raw, bytes) else msgspec.json.encode(answer)
    return web.Response(body=body, status=endpoint.status, content_type=endpoint.media)
