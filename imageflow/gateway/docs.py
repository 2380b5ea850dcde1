"""The page of the OpenAPI document for people: one HTML text without scripts, pictures or other hosts. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

Json = Mapping[str, Any]

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { margin-bottom: .2rem; } h2 { margin: 2.2rem 0 .5rem; text-transform: capitalize; }
nav a { margin-right: .9rem; } p { max-width: 48rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { background: var(--soft); padding: .7rem; overflow: auto; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: 0 .8rem; }
summary { cursor: pointer; padding: .45rem 0; } summary code { font-weight: 600; }
.method { display: inline-block; min-width: 4.2rem; } .role { float: right; opacity: .7; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }
"""
_METHODS = ("get", "post", "put", "patch", "delete")


class DocsPage(NamedTuple):
    """The page, and the Content-Security-Policy that it needs: its own style and nothing else."""

    html: str
    policy: str


def page(document: Json) -> DocsPage:
    """The page of an OpenAPI document."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return DocsPage("\n".join(_lines(document)) + "\n", policy)


def _lines(document: Json) -> Iterator[str]:
    info = document["info"]
    tags = [tag["name"] for tag in document["tags"]]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])} API</h1><p>Version {escape(info['version'])} · "
    yield '<a href="/api/openapi.json">OpenAPI document</a></p>'
    yield f"<p>{escape(info['description'])}</p>"
    yield "<nav>" + "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in (*tags, "types")) + "</nav>"
    for tag in tags:
        yield f'<h2 id="{escape(tag)}">{escape(tag)}</h2>'
        for path, method, operation in _operations(document):
            if tag in operation["tags"]:
                yield from _operation(path, method, operation, document)
    yield '<h2 id="types">types</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield from _type(name, schema)
    yield "</body></html>"


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _operation(path: str, method: str, operation: Json, document: Json) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary><code><span class="method">{method.upper()}</span>'
    role = f'<span class="role">{escape(operation.get("x-role") or "anybody")}</span>'
    yield f" {escape(path)}</code> {escape(operation['summary'])} {role}</summary>"
    yield f"<p>{escape(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        yield _table(("parameter", "in", "type", ""), (_parameter(one) for one in parameters))
    if body := operation.get("requestBody"):
        rows = ((escape(media), _kind(content["schema"])) for media, content in body["content"].items())
        yield _table(("body" if body["required"] else "body (optional)", "type"), rows)
    yield _table(("answer", "type", ""), _answers(operation["responses"], document))
    yield "</details>"


def _parameter(parameter: Json) -> tuple[str, ...]:
    name = f"<code>{escape(parameter['name'])}</code>" + ("" if parameter["required"] else "?")
    return name, parameter["in"], _kind(parameter["schema"]), escape(parameter.get("description", ""))


def _answers(responses: Json, document: Json) -> Iterator[tuple[str, ...]]:
    for status, response in responses.items():
        full = document["components"]["responses"][status] if "$ref" in response else response
        kinds = [_kind(content["schema"]) for content in full.get("content", {}).values()]
        yield status, " or ".join(kinds), escape(full["description"])


def _type(name: str, schema: Json) -> Iterator[str]:
    yield f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
    yield f"<p>{escape(schema.get('description', ''))}</p>"
    if properties := schema.get("properties"):
        required = schema.get("required", ())
        rows = (
            (f"<code>{escape(field)}</code>" + ("" if field in required else "?"), _kind(kind), _said(kind))
            for field, kind in properties.items()
        )
        yield _table(("field", "type", ""), rows)
    else:
        yield f"<pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
    yield "</details>"


def _said(schema: Json) -> str:
    found = [schema.get("description"), *(one.get("description") for one in schema.get("anyOf", ()))]
    return escape(" ".join(text for text in found if text))


def _kind(schema: Json) -> str:
    """A schema in a few words, as HTML; what is named is linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#type-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return escape(" | ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    limits = (f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema)
    return escape(", ".join([schema.get("format") or schema.get("type") or "anything", *limits]))


_LIMITS = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "at least characters:",
    "maxLength": "at most characters:",
    "pattern": "like",
    "default": "default",
}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>" + "".join(lines) + "</table>"
