"""The OpenAPI 3.1 document of the JSON API, made from the table of endpoints and the types it names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from imageflow import __version__
from imageflow.flows import schema
from imageflow.gateway import problem_details
from imageflow.gateway.endpoints import FLOW_FILE, Endpoint
from imageflow.gateway.inputs import EVENT_STREAM, JSON

Json = dict[str, Any]
AnyEndpoint = Endpoint[Any, Any, Any, Any]

REFERENCE = "#/components/schemas/{name}"
BROKEN = (500, 503)
"""What a server answers that is wrong, or whose database is away: on any request."""

_WHY = {
    400: "The path, the query or the body is not as described; `detail` says what is wrong.",
    401: "There is no token, or it is unknown or has expired.",
    403: "The role, or the key, does not allow it.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "It does not go with the state of things.",
    412: "There is a newer version than the one that If-Match names.",
    413: "The body is too large.",
    415: "The body is of another content type, or compressed in another way than gzip.",
    422: "The request is well formed, but cannot be accepted; `detail` says why.",
    429: "Too much of it; try again later.",
    500: "An unexpected error; the gateway's log has it.",
    503: "Something behind the gateway is away; try again later.",
}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "In seconds."}}
_ABOUT = """\
Everything that the command line does. Log in for a token, and send it as `Authorization: Bearer TOKEN`. A viewer reads;
an operator also starts runs, retries rows, posts rows and sets watermarks; an admin also changes flows, users and keys.
Errors are problem bodies (RFC 9457). Lists are paged: give `next` of one page as `cursor` for the one after."""


def document(endpoints: Iterable[AnyEndpoint]) -> Json:
    """The document: plain JSON values."""
    endpoints = tuple(endpoints)
    schemas = _Schemas(endpoints)
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ImageFlow", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, **_flow_file()},
            "responses": {str(status): _refused(status, schemas) for status in _WHY},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of /api/login."},
                "key": {"type": "http", "scheme": "bearer", "description": "A key of the flow."},
            },
        },
    }


def _described(types: Sequence[Any]) -> tuple[Sequence[Json], dict[str, Json]]:
    """The schemas of types, and what they refer to, as plain JSON values: msgspec gives a default as it is, a tuple too."""
    described = msgspec.json.schema_components(types, ref_template=REFERENCE)
    found, components = msgspec.json.decode(msgspec.json.encode(described))
    return found, components


class _Schemas:
    """The JSON Schemas of all types that the endpoints name."""

    def __init__(self, endpoints: tuple[AnyEndpoint, ...]) -> None:
        named = [endpoint.answer for endpoint in endpoints if endpoint.answer is not None]
        bodies = [endpoint.body.type for endpoint in endpoints if endpoint.body and endpoint.body.type is not bytes]
        types = [problem_details.Problem, *named, *bodies]
        found, self.components = _described(types)
        self._found = list(zip(types, found, strict=True))

    def __getitem__(self, kind: Any) -> Json:
        return next(schema for known, schema in self._found if known is kind or known == kind)


def _flow_file() -> Json:
    """The JSON Schema of flow files, its definitions as components."""
    document = schema.schema()
    parts = {"FlowFile": document, **{f"FlowFile.{name}": part for name, part in document.pop("$defs").items()}}
    del document["$schema"]
    text = msgspec.json.encode(parts).replace(b"#/$defs/", b"#/components/schemas/FlowFile.")
    moved: Json = msgspec.json.decode(text)
    return moved


def _operation(endpoint: AnyEndpoint, schemas: _Schemas) -> Json:
    role = "anybody" if endpoint.role is None else f"role {endpoint.role}"
    operation: Json = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": f"{endpoint.about} For {role}.".strip(),
        "security": _security(endpoint),
        "x-role": endpoint.role,
        "responses": _responses(endpoint, schemas),
    }
    if parameters := [*_path(endpoint), *_query(endpoint), *_headers(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        schema = endpoint.body.schema if endpoint.body.type is bytes else schemas[endpoint.body.type]
        content = {media: {"schema": schema} for media in endpoint.body.accepts}
        operation["requestBody"] = {"required": endpoint.body.required, "content": content}
    return operation


def _security(endpoint: AnyEndpoint) -> list[Json]:
    if endpoint.role is None:
        return []
    return [{"token": []}, {"key": []}] if endpoint.tag == "outbound" else [{"token": []}]


def _path(endpoint: AnyEndpoint) -> list[Json]:
    if endpoint.params is None:
        return []
    (_,), components = _described([endpoint.params])
    kinds = components[endpoint.params.__name__]["properties"]
    return [_parameter("path", name, kinds[name], required=True) for name in endpoint.parameters]


def _query(endpoint: AnyEndpoint) -> list[Json]:
    if endpoint.query is None:
        return []
    (_,), components = _described([endpoint.query])
    struct = components[endpoint.query.__name__]
    required = struct.get("required", ())
    return [
        _parameter("query", name, schema, required=name in required) for name, schema in struct["properties"].items()
    ]


def _headers(endpoint: AnyEndpoint) -> list[Json]:
    return [_parameter("header", name, schema, required=False) for name, schema in endpoint.headers.items()]


def _parameter(where: str, name: str, schema: Mapping[str, Any], *, required: bool) -> Json:
    said = {key: value for key, value in schema.items() if key != "description"}
    parameter = {"in": where, "name": name, "required": required, "schema": said}
    if "description" in schema:
        parameter["description"] = schema["description"]
    return parameter


def _responses(endpoint: AnyEndpoint, schemas: _Schemas) -> Json:
    refusals = [status for status in (*endpoint.statuses, *BROKEN) if status != endpoint.status]
    done = {str(endpoint.status): _done(endpoint, schemas)}
    return done | {str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals}


def _done(endpoint: AnyEndpoint, schemas: _Schemas) -> Json:
    response: Json = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.media == EVENT_STREAM:
        response["content"] = {EVENT_STREAM: {"schema": {"type": "string"}}}
    elif endpoint.media != JSON:
        response["content"] = {endpoint.media: {"schema": FLOW_FILE}}
    elif endpoint.answer is not None:
        response["content"] = {JSON: {"schema": schemas[endpoint.answer]}}
    return response


def _refused(status: int, schemas: _Schemas) -> Json:
    response: Json = {
        "description": _WHY[status],
        "content": {problem_details.CONTENT_TYPE: {"schema": schemas[problem_details.Problem]}},
    }
    if status in (429, 503):
        response["headers"] = _RETRY_AFTER
    return response
