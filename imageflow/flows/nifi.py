"""What NiFi and Akinon's Integrator say of flows: a flow definition that NiFi downloads, or the answer of `GET /api/nifi/flow/list`.
Pure.

A flow definition (`flowContents`) holds process groups with processors: one with a schedule begins, InvokeHTTP asks the ERP or
writes to Omnitron, JoltTransformJSON maps. The list holds variables of each flow.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import plain_secrets
from imageflow.flows.imported import MIN_SECRET, Found, take_parameter
from imageflow.flows.nifi_values import Scope, Value, resolved, schedule, seconds
from imageflow.jolt.comments import without_comments

MAX_BYTES = 16 << 20
MAX_FLOWS = 500
MAX_GROUPS = 2000
MAX_PROCESSORS = 5000
MAX_CONNECTIONS = 20_000
MAX_DEPTH = 50
MAX_STEPS = 100

DOORS = ("ListenHTTP", "HandleHttpRequest")
ASKING = ("InvokeHTTP", "GetHTTP")
BEGINNING = (*DOORS, *ASKING, "GenerateFlowFile")
JOLT = {
    "shift": "shift",
    "default": "default",
    "remove": "remove",
    "sort": "sort",
    "card": "cardinality",
    "modify-default": "modify-default-beta",
    "modify-overwrite": "modify-overwrite-beta",
    "modify-define": "modify-define-beta",
}
"""NiFi's names of single Jolt transformations, after `jolt-transform-`, and Jolt's own."""
HARMLESS = frozenset(
    (
        "GenerateFlowFile", "UpdateAttribute", "ReplaceText", "LogAttribute", "LogMessage", "SplitJson", "MergeContent",
        "RouteOnAttribute", "RetryFlowFile", "ControlRate", "Wait", "Notify", "HandleHttpResponse", "Funnel", "DebugFlow",
        "JoltTransformJSON", "JoltTransformRecord", "EvaluateJsonPath", *DOORS, *ASKING,
    )
)  # fmt: skip
"""Processors that have a counterpart, or need none."""
INVOKE_OWN = frozenset(
    (
        "HTTP Method", "Remote URL", "disable-http2", "SSL Context Service", "Connection Timeout", "Read Timeout", "idle-timeout",
        "max-idle-connections", "Include Date Header", "Follow Redirects", "cookie-strategy", "Attributes to Send", "Useragent",
        "Basic Authentication Username", "Basic Authentication Password", "oauth2-access-token-provider",
        "proxy-configuration-service", "Proxy Host", "Proxy Port", "Proxy Type", "invokehttp-proxy-user",
        "invokehttp-proxy-password", "Put Response Body In Attribute", "Max Length To Put In Attribute",
        "ignore-response-content", "use-etag", "etag-max-cache-size", "Content-Type", "send-message-body", "form-body-form-name",
        "set-form-filename", "Use Chunked Encoding", 'Penalize on "No Retry"', "Always Output Response",
        "flow-file-naming-strategy", "Add Response Headers to Request", "Digest Authentication", "Trusted Hostname",
        "HTTP URL", "HTTP/2 Disabled", "Socket Connect Timeout", "Socket Read Timeout", "Socket Write Timeout",
        "Socket Idle Timeout", "Socket Idle Connections", "Proxy Configuration Service", "Request OAuth2 Access Token Provider",
        "OAuth2 Access Token Refresh Strategy", "Request Username", "Request Password", "Request Digest Authentication Enabled",
        "Request Failure Penalization Enabled", "Request Body Enabled", "Request Multipart Form-Data Name",
        "Request Multipart Form-Data Filename Enabled", "Request Chunked Transfer-Encoding Enabled", "Request Content-Encoding",
        "Request Content-Type", "Request Date Header Enabled", "Request Header Attributes Pattern", "Request User-Agent",
        "Response Body Attribute Name", "Response Body Attribute Size", "Response Body Ignored", "Response Cache Enabled",
        "Response Cache Size", "Response Cookie Strategy", "Response Generation Required", "Response FlowFile Naming Strategy",
        "Response Header Request Attributes Enabled", "Response Header Request Attributes Prefix", "Response Redirects Enabled",
        "URL", "Filename", "Username", "Password", "User Agent", "Accept Content-Type", "Data Timeout", "redirect-cookie-policy",
        "Request Header", "Use Digest Authentication",
    )
)  # fmt: skip
"""InvokeHTTP's own properties in versions 1 and 2 of NiFi, and GetHTTP's; all others are headers."""
MAKER_OWN = frozenset(
    (
        "Delete Attributes Expression", "Store State", "Stateful Variables Initial Value", "canonical-value-lookup-cache-size",
        "Cache Value Lookup Cache Size", "File Size", "Batch Size", "Data Format", "Unique FlowFiles", "generate-ff-custom-text",
        "Custom Text", "character-set", "Character Set", "mime-type", "Mime Type",
    )
)  # fmt: skip
"""Own properties of UpdateAttribute and GenerateFlowFile; all others are attributes."""


def read(data: bytes) -> list[Found]:
    """The flows that a file tells of. Raises FlowFileError for one that is too large, no JSON, or neither of both kinds."""
    if len(data) > MAX_BYTES:
        raise _wrong(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(f"is no JSON: {error}") from error
    entries = document if isinstance(document, list) else _map(document).get("flows")
    if isinstance(entries, list):
        found = [flow for entry in entries[:MAX_FLOWS] if (flow := _listed(_map(entry))) is not None]
    else:
        found = _defined(_map(document))
    if not found:
        raise _wrong(
            "tells of no flow: it is neither a flow definition of NiFi (flowContents, with a processor InvokeHTTP or ListenHTTP) "
            "nor the list of Akinon's Integrator (entries with component.variables)"
        )
    return found


def _wrong(text: str) -> FlowFileError:
    return FlowFileError([Problem("", f"the file {text}")])


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None or isinstance(value, dict | list)
        else json.dumps(value)
    )


# the list of Akinon's Integrator --------------------------------------------------------------------------------------


def _listed(entry: Mapping[str, Any]) -> Found | None:
    """A flow of the list; None for an entry that is none. Its variables have names with `!`, others as the Integrator's page."""
    component = _map(entry.get("component"))
    variables = _variables(component.get("variables"))
    title = variables.get("flowslug") or _text(component.get("name"))
    if not title or not variables:
        return None
    found = Found(title, questions=[])
    found.inbound = variables.get("outbound") != "true" and variables.get("inbound", "true") == "true"
    found.enabled = not {_text(one.get("state")) for one in (entry, component)} & {"STOPPED", "DISABLED"}
    if (kind := variables.get("flowtype", "")) and "image" not in kind.lower():
        found.ask(f"there it is a flow of the type {kind!r}: ImageFlow moves images")
    if found.inbound and variables.get("schedulingperiod"):
        found.schedule, question = schedule(variables.get("schedulingstrategy", ""), variables["schedulingperiod"])
        if question:
            found.ask(question)
    elif found.inbound:
        found.ask("schedule: when does it run, e.g. {every: 15m}?")
    _settings(found, variables)
    return found


def _variables(value: Any) -> dict[str, str]:
    """Variables by names without case and signs: an object, or NiFi's list of {variable: {name, value}}."""
    pairs: list[tuple[Any, Any]] = list(_map(value).items())
    for one in _list(value):
        inner = _map(_map(one).get("variable")) or _map(one)
        pairs.append((inner.get("name"), inner.get("value")))
    return {_plain(_text(name)): _text(content) for name, content in pairs if _text(name)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _settings(found: Found, variables: Mapping[str, str]) -> None:
    """What the Integrator calls the settings of an image flow, where the list has them."""
    found.omnitron = _origin(variables.get("domainurl", ""))
    found.url = variables.get("endpointurl") or None
    found.method = (variables.get("httpmethod") or variables.get("method") or "GET").upper()
    found.modified_date_key = variables.get("modifieddatekey") or None
    found.timezone = variables.get("timezone") or variables.get("timezonesettings") or None
    found.filename_template = variables.get("filenametemplate") or None
    for name, into in (
        ("extraheaders", found.headers),
        ("addextraheaders", found.headers),
        ("extraparams", found.params),
    ):
        if variables.get(name):
            into.update(_object(found, name, variables[name]))
    if text := variables.get("mapping") or variables.get("jolt") or variables.get("joltspec"):
        _take_mapping(found, "chain", Value(text), "the mapping")
    if variables.get("script", "").strip():
        found.ask("it has a script there: see docs/scripts.md for what `script` may do here, and copy it")


def _object(found: Found, name: str, text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        found.ask(f"{name}: it is no JSON object there; set it by hand")
        return {}
    return value


def _origin(url: str) -> str | None:
    """Scheme and host; None for what is no address."""
    try:
        parts = urlsplit(url.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    good = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"[{}\s]", parts.hostname)
    return f"{parts.scheme}://{parts.hostname}{port}" if good else None


# a flow definition of NiFi --------------------------------------------------------------------------------------------


class _Processor(msgspec.Struct, frozen=True):
    """A processor: the last part of its type, its properties, and what it knows of names."""

    id: str
    name: str
    kind: str
    properties: dict[str, str]
    kept_back: frozenset[str]
    strategy: str
    period: str
    disabled: bool
    scope: Scope


def _defined(document: Mapping[str, Any]) -> list[Found]:
    """The flows of a definition: the root, if something begins in it; else each of its groups in which something does."""
    root = _map(document.get("flowContents")) or _map(_map(document.get("versionedFlowSnapshot")).get("flowContents"))
    contexts = _map(document.get("parameterContexts"))
    parts = itertools.islice(_parts(root, contexts, None, 0), MAX_FLOWS)
    return [_flow(group, contexts, outer) for group, outer in parts if _does_anything(group, 0)]


def _parts(
    group: Mapping[str, Any], contexts: Mapping[str, Any], outer: Scope | None, depth: int
) -> Iterator[tuple[Mapping[str, Any], Scope | None]]:
    """The groups in which something begins, with what names stand for around them."""
    if depth > MAX_DEPTH:
        raise _wrong(f"nests process groups more than {MAX_DEPTH} deep")
    if any(_kind(_map(one)) in BEGINNING for one in _list(group.get("processors"))):
        yield group, outer
        return
    scope = _scope(group, contexts, outer)
    for inner in _list(group.get("processGroups"))[:MAX_GROUPS]:
        yield from _parts(_map(inner), contexts, scope, depth + 1)


def _does_anything(group: Mapping[str, Any], depth: int) -> bool:
    """Whether it asks or listens over HTTP, itself or in a group within."""
    if depth > MAX_DEPTH:
        raise _wrong(f"nests process groups more than {MAX_DEPTH} deep")
    return any(_kind(_map(one)) in (*ASKING, *DOORS) for one in _list(group.get("processors"))) or any(
        _does_anything(_map(inner), depth + 1) for inner in _list(group.get("processGroups"))[:MAX_GROUPS]
    )


def _kind(processor: Mapping[str, Any]) -> str:
    return _text(processor.get("type")).rpartition(".")[2]


def _flow(group: Mapping[str, Any], contexts: Mapping[str, Any], outer: Scope | None) -> Found:
    found = Found(_text(group.get("name")) or "flow", questions=[])
    found.secrets |= _plain_parameters(contexts)
    processors, edges = _collected(group, contexts, outer)
    order = _with_attributes(found, _ordered(processors, edges))
    door = next((one for one in order if one.kind in DOORS), None)
    found.inbound = door is None
    if door is not None:
        found.ask(
            f"its ERP posted to {door.kind} {door.name!r}: it now posts to /api/outbound/FLOW, see docs/outbound.md"
        )
    else:
        _begins(found, order, edges)
    for one in order:
        if one.kind in ASKING:
            _asks(found, one, order, edges)
    _maps(found, order)
    others = sorted({one.kind for one in order if one.kind not in HARMLESS})
    if others:
        found.ask(f"no counterpart: {', '.join(others)}; what they do to the data goes into script or mapping")
    return found


def _with_attributes(found: Found, order: Sequence[_Processor]) -> list[_Processor]:
    """The processors, which know the attributes that others of the flow set."""
    makers = [one for one in order if one.kind in ("UpdateAttribute", "GenerateFlowFile")]
    pairs = [pair for one in makers for pair in one.properties.items() if pair[1] and pair[0] not in MAKER_OWN]
    found.secrets |= {text for name, text in pairs if len(text) >= MIN_SECRET and plain_secrets.refused(name, text)}
    scopes = [one.scope._replace(attributes={**dict(pairs), **one.scope.attributes}) for one in order]
    return [msgspec.structs.replace(one, scope=scope) for one, scope in zip(order, scopes, strict=True)]


def _collected(
    group: Mapping[str, Any], contexts: Mapping[str, Any], outer: Scope | None = None, depth: int = 0
) -> tuple[list[_Processor], list[tuple[str, str]]]:
    """The processors of a group and of the groups in it, and what flows from which to which."""
    if depth > MAX_DEPTH:
        raise _wrong(f"nests process groups more than {MAX_DEPTH} deep")
    scope = _scope(group, contexts, outer)
    processors = [_processor(_map(one), scope) for one in _list(group.get("processors"))]
    ends = [
        (_map(_map(one).get("source")), _map(_map(one).get("destination"))) for one in _list(group.get("connections"))
    ]
    edges = [(_text(source.get("id")), _text(target.get("id"))) for source, target in ends]
    for inner in _list(group.get("processGroups"))[:MAX_GROUPS]:
        more, further = _collected(_map(inner), contexts, scope, depth + 1)
        processors, edges = processors + more, edges + further
    if len(processors) > MAX_PROCESSORS or len(edges) > MAX_CONNECTIONS:
        raise _wrong(f"holds more than {MAX_PROCESSORS:,} processors or {MAX_CONNECTIONS:,} connections")
    return processors, edges


def _scope(group: Mapping[str, Any], contexts: Mapping[str, Any], outer: Scope | None) -> Scope:
    """What names stand for in a group: variables of it and of those around it, and its parameters."""
    attributes = {
        **(outer.attributes if outer else {}),
        **{k: _text(v) for k, v in _map(group.get("variables")).items()},
    }
    name = _text(group.get("parameterContextName"))
    if not name and outer is not None:
        return Scope(outer.parameters, outer.secret, attributes)
    parameters, secret = _parameters(name, contexts, ())
    return Scope(parameters, frozenset(secret), attributes)


def _parameters(name: str, contexts: Mapping[str, Any], seen: tuple[str, ...]) -> tuple[dict[str, str], set[str]]:
    """A context's parameters, over those that it inherits; the names of those that NiFi keeps back."""
    context = _map(contexts.get(name))
    known: dict[str, str] = {}
    secret: set[str] = set()
    if name in seen or len(seen) > MAX_DEPTH:
        return known, secret
    for inner in reversed(_list(context.get("inheritedParameterContexts"))[:MAX_DEPTH]):
        more, hidden = _parameters(_text(inner), contexts, (*seen, name))
        known, secret = {**known, **more}, secret | hidden
    for entry in _list(context.get("parameters")):
        one = _map(_map(entry).get("parameter")) or _map(entry)
        key, value = _text(one.get("name")), _text(one.get("value"))
        if one.get("sensitive") or plain_secrets.refused(key, value):
            secret.add(key)
            known.pop(key, None)
        else:
            known[key] = value
    return known, secret


def _plain_parameters(contexts: Mapping[str, Any]) -> set[str]:
    """Parameters that are secrets by their names or looks, and stand in the definition all the same."""
    entries = [_map(one) for context in contexts.values() for one in _list(_map(context).get("parameters"))]
    inner = [_map(one.get("parameter")) or one for one in entries]
    pairs = [(_text(one.get("name")), _text(one.get("value"))) for one in inner]
    return {value for name, value in pairs if len(value) >= MIN_SECRET and plain_secrets.refused(name, value)}


def _processor(entry: Mapping[str, Any], scope: Scope) -> _Processor:
    config = _map(entry.get("config")) or entry  # NiFi's API wraps what a definition has beside the name
    given = _map(config.get("properties"))
    descriptors = _map(entry.get("propertyDescriptors"))
    kept_back = {name for name, one in descriptors.items() if _map(one).get("sensitive")}
    properties = {name: _text(value) for name, value in given.items()}
    return _Processor(
        id=_text(entry.get("identifier")) or _text(entry.get("id")),
        name=_text(entry.get("name"))[:60],
        kind=_kind(entry),
        properties=properties,
        kept_back=frozenset(kept_back),
        strategy=_text(config.get("schedulingStrategy")),
        period=_text(config.get("schedulingPeriod")),
        disabled=_text(entry.get("scheduledState")) == "DISABLED",
        scope=scope,
    )


def _ordered(processors: Sequence[_Processor], edges: Sequence[tuple[str, str]]) -> list[_Processor]:
    """The processors in the order in which data flows, those that begin first; each once, also where it goes in circles."""
    by_id = {one.id: one for one in processors}
    following: dict[str, list[str]] = {}
    for source, target in edges:
        following.setdefault(source, []).append(target)
    targets = {target for source, target in edges if source != target}
    begin = [one.id for one in processors if one.id not in targets]
    waiting = [*begin, *(one.id for one in processors)][::-1]
    seen: dict[str, None] = {}
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen[at] = None
            waiting += following.get(at, ())[::-1]
    return [by_id[at] for at in seen if at in by_id]


def _value(one: _Processor, *names: str) -> Value:
    """A property, by its names in the versions of NiFi; empty where it is not set."""
    text = next((one.properties[name] for name in names if one.properties.get(name)), "")
    return resolved(text, one.scope)


def _begins(found: Found, order: Sequence[_Processor], edges: Sequence[tuple[str, str]]) -> None:
    """The schedule is that of the processor that nothing flows into."""
    targets = {target for _, target in edges}
    begin = [one for one in order if one.id not in targets and one.kind in ("GenerateFlowFile", *ASKING)] or order[:1]
    first = next((one for one in begin if one.strategy == "CRON_DRIVEN"), begin[0])
    found.enabled = not first.disabled
    found.schedule, question = schedule(first.strategy, resolved(first.period, first.scope).text)
    if question:
        found.ask(question)
    if len(begin) > 1:
        names = ", ".join(one.name for one in begin[:5])
        found.ask(f"several processors begin there ({names}): the schedule is that of {first.name!r}")


def _asks(found: Found, one: _Processor, order: Sequence[_Processor], edges: Sequence[tuple[str, str]]) -> None:
    """What a processor that asks over HTTP is for: it writes to Omnitron, it logs in, or it reads rows."""
    url = _value(one, "HTTP URL", "Remote URL", "URL").text.replace("#{", "%23{")
    address = url.partition("?")[0].lower()
    if "omnitron" in address or "downloadable" in address:
        found.omnitron = found.omnitron or _origin(url)
        if "downloadable" in address and _origin(url):
            found.images_path = urlsplit(url).path
    elif re.search(r"log-?in|token|oauth|/auth|sign-?in", address):
        _logs_in(found, one, url, order, edges)
    elif found.url is not None:
        found.ask(f"{one.name!r} asks another address: it is left out, as a flow asks one endpoint")
    else:
        found.url = url
        _request(found, one, order, edges)


def _logs_in(
    found: Found, one: _Processor, url: str, order: Sequence[_Processor], edges: Sequence[tuple[str, str]]
) -> None:
    if found.login is not None or _origin(url) is None or "${" in url or "%23{" in url:
        found.ask(f"{one.name!r} logs in at an address that cannot be taken over: set erp.login by hand")
        return
    body = _body(found, one, order, edges)
    found.login = {"type": "token", "url": url.partition("?")[0], "body": body}
    found.ask("erp.login: where in its answer is the token (token_path), and how is it sent (header, template)?")


def _request(found: Found, one: _Processor, order: Sequence[_Processor], edges: Sequence[tuple[str, str]]) -> None:
    """Method, headers, login and body of the request for rows."""
    found.method = (_value(one, "HTTP Method").text or "GET").upper()
    names = ("Request Username", "Basic Authentication Username", "Username")
    if username := _value(one, *names).text:
        found.username, found.basic = username, True
    for name, text in one.properties.items():
        if name in one.kept_back and name not in INVOKE_OWN:
            found.headers[name] = None
        elif text and name not in INVOKE_OWN:
            _header(found, name, resolved(text, one.scope), order)
    if _value(one, "Request OAuth2 Access Token Provider", "oauth2-access-token-provider").text:
        found.ask(
            "erp.login: NiFi gets a token by OAuth 2 there: set {type: oauth2, token_url, client_id, client_secret}"
        )
    period = seconds(_value(one, "Socket Read Timeout", "Read Timeout").text)
    if period is not None and 1 <= period <= 600:
        found.timeout = f"{period:g}s"
    if found.method == "POST":
        found.params.update(_body(found, one, order, edges))


def _header(found: Found, name: str, value: Value, order: Sequence[_Processor]) -> None:
    carried = re.fullmatch(r"(\w{1,20} )?\$\{([\w.]{1,60})\}", value.text)
    if value.secret:
        found.headers[name] = None
    elif carried is not None and found.login is not None:
        paths = [_value(one, carried[2]).text for one in order if one.kind == "EvaluateJsonPath"]
        path = next((path[2:] for path in paths if re.fullmatch(r"\$(\.\w+)+", path)), None)
        found.login |= {"header": name, "template": f"{carried[1] or ''}{{token}}"} | (
            {"token_path": path} if path else {}
        )
    elif value.open:
        found.ask(f"the header {name!r} is computed there: set it in erp.extra_headers, or leave it out")
    else:
        found.headers[name] = value.text


def _body(
    found: Found, one: _Processor, order: Sequence[_Processor], edges: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """What a processor posts: the text of the nearest one before it that makes one, as far as that is JSON."""
    by_id = {other.id: other for other in order}
    waiting, seen = [one.id], set[str]()
    while waiting and len(seen) < MAX_STEPS:
        at = waiting.pop(0)
        maker = by_id.get(at)
        if maker is not None and maker.kind in ("GenerateFlowFile", "ReplaceText"):
            names = ("Custom Text", "generate-ff-custom-text", "Replacement Value")
            text = next((maker.properties[name] for name in names if maker.properties.get(name)), "")
            return _filled(found, maker, _object(found, f"what {maker.name!r} makes", text)) if text.strip() else {}
        seen.add(at)
        waiting += [source for source, target in edges if target == at and source not in seen and source not in waiting]
    return {}


def _filled(found: Found, maker: _Processor, value: dict[str, Any]) -> dict[str, Any]:
    """A body with what its expressions stand for; without what NiFi computes."""
    filled: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            filled[name] = _filled(found, maker, item)
            continue
        known = resolved(item, maker.scope) if isinstance(item, str) else None
        if known is None:
            filled[name] = item
        elif known.secret:
            filled[name] = None
        elif known.open or "{now:" in known.text:
            take_parameter(found, name, known.text)
        else:
            filled[name] = known.text
    return filled


def _maps(found: Found, order: Sequence[_Processor]) -> None:
    """The mappings one after the other, as data flows through them; what splits pages before them names the rows."""
    splits = False
    for one in order:
        if one.kind == "SplitJson" and not found.mapping:
            splits = True
            path = re.sub(r"\[\*\]|\.\*$|^\$\.?", "", _value(one, "JsonPath Expression").text)
            found.rows_path = path if re.fullmatch(r"\w+(\.\w+)*", path) else None
        elif one.kind in ("JoltTransformJSON", "JoltTransformRecord"):
            transform = _value(one, "Jolt Transform", "jolt-transform", "jolt-record-transform").text
            spec = _value(one, "Jolt Specification", "jolt-spec", "jolt-record-spec")
            if found.mapping:
                found.ask(
                    "there are several mappings there: they were put one after the other, in the order of the connections"
                )
            _take_mapping(found, transform.removeprefix("jolt-transform-") or "chain", spec, repr(one.name))
    if splits and found.mapping:
        found.ask(
            "NiFi split the list before the mapping, so it maps one row; here it is given the whole list: put the shift's spec "
            'under "*", as docs/mapping.md shows'
        )


def _take_mapping(found: Found, transform: str, spec: Value, where: str) -> None:
    """Add a Jolt spec to the mapping. Java's Jolt reads over comments, so they are no mistake."""
    if transform == "sort" and not spec.text:
        found.mapping = [*(found.mapping or []), {"operation": "sort"}]
        return
    try:
        chain = msgspec.json.decode(without_comments(spec.text))
    except (msgspec.DecodeError, RecursionError):
        found.ask(f"mapping: the Jolt spec of {where} is no JSON (expressions of NiFi?): copy it by hand")
        return
    if transform != "chain":
        if transform not in JOLT:
            found.ask(
                f"mapping: {where} is a transformation {transform[:40]!r}, which is not part of Jolt: set it by hand"
            )
            return
        chain = [{"operation": JOLT[transform], "spec": chain}]
    if not isinstance(chain, list):
        found.ask(f"mapping: the Jolt spec of {where} is no list of operations: copy it by hand")
        return
    if spec.open or spec.secret:
        found.ask(f"mapping: the Jolt spec of {where} has expressions of NiFi in it, which are texts here")
    found.mapping = [*(found.mapping or []), *chain]
