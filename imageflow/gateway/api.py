"""The JSON API: each endpoint of the table becomes a route, and each request a checked call of its handler.

In this order: who, which role, the path, the query, the body. What a handler gives is of the type that the table says.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from imageflow.actions.actor import Actor
from imageflow.gateway import docs, openapi
from imageflow.gateway.access import PermissionDenied, may, shown
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.endpoints import ENDPOINTS, Endpoint
from imageflow.gateway.inputs import JSON, complaint
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.request_body import BodyReader
from imageflow.store import User

T = TypeVar("T")
AnyEndpoint = Endpoint[Any, Any, Any, Any]


class Api:
    """The API; `routes` are what an application serves of it."""

    def __init__(self, deps: Deps, reader: BodyReader) -> None:
        self._deps = deps
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        """The routes of all endpoints that have a handler, and of the document and its page."""
        return [*(self._route(endpoint) for endpoint in ENDPOINTS if endpoint.handler), *document_routes()]

    def _route(self, endpoint: AnyEndpoint) -> web.RouteDef:
        handler = endpoint.handler
        assert handler is not None

        async def answer(request: web.Request) -> web.StreamResponse:
            call = await self._call(endpoint, request)
            return _response(endpoint, await handler(self._deps, call), call.user)

        return web.route(endpoint.method, endpoint.path, answer)

    async def _call(self, endpoint: AnyEndpoint, request: web.Request) -> Call[Any, Any, Any]:
        authorization = request.headers.getall("Authorization", [])
        user = await self._deps.access.user(authorization)
        _check_role(user, endpoint)
        path, query = _path(endpoint, request), _query(endpoint, request)
        body = await self._body(endpoint, request)
        actor = Actor(user.name, request.remote or "", user.role)
        match = request.headers.get("If-Match", "")
        return Call(user, actor, path, query, body, request.content_type, authorization, match)

    async def _body(self, endpoint: AnyEndpoint, request: web.Request) -> Any:
        wanted = endpoint.body
        if wanted is None:
            return None
        if request.body_exists and request.content_type not in wanted.accepts:
            raise Refusal(415, f"the body must be {' or '.join(wanted.accepts)}, not {request.content_type[:100]}")
        async with self._reader.form(request, wanted.limit) as body:
            if not body and wanted.required:
                raise Refusal(400, "a body is required")
            return body if wanted.type is bytes else decoded(body or b"{}", wanted.type)


def document_routes() -> list[web.RouteDef]:
    """The OpenAPI document, and the page that shows it to people: made once, the same for everybody."""
    document = openapi.document(ENDPOINTS)
    text, page = msgspec.json.encode(document), docs.page(document)

    async def openapi_json(_request: web.Request) -> web.Response:
        return web.Response(body=text, content_type=JSON)

    async def docs_page(_request: web.Request) -> web.Response:
        return web.Response(text=page.html, content_type="text/html", headers={"Content-Security-Policy": page.policy})

    return [web.get("/api/openapi.json", openapi_json), web.get("/api/docs", docs_page)]


def _check_role(user: User, endpoint: AnyEndpoint) -> None:
    if endpoint.role is not None and not may(user, endpoint.role):
        raise PermissionDenied(f"it takes the role {endpoint.role} or above; {user.name} is {user.role}")


def _path(endpoint: AnyEndpoint, request: web.Request) -> Any:
    return None if endpoint.params is None else _converted(dict(request.match_info), endpoint.params, "the path")


def _query(endpoint: AnyEndpoint, request: web.Request) -> Any:
    if endpoint.query is None:
        return None
    given = dict(request.query)
    if len(given) < len(request.query):
        raise Refusal(400, "the query: a parameter is given twice")
    return _converted(given, endpoint.query, "the query")


def _converted(value: dict[str, str], kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, kind, strict=False)
    except (ValueError, OverflowError) as error:
        raise Refusal(400, f"{what}: {complaint(error, kind)}") from error


def decoded(body: bytes, kind: type[T]) -> T:
    """A JSON body of type `kind`. Refusal 400."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body: {complaint(error, kind)}") from error


def _response(endpoint: AnyEndpoint, answer: object, user: User) -> web.Response:
    if answer is None:
        return web.Response(status=endpoint.status)
    body = answer.encode() if isinstance(answer, str) else shown(user, msgspec.json.encode(answer))
    return web.Response(body=body, status=endpoint.status, content_type=endpoint.media)
