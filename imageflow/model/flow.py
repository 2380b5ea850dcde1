"""A flow: where to read, how to transform, where to write, when. The types mirror the flow file field by field.

What a flow file may hold is in these structs alone: the JSON Schema, the validation and the defaults all come from
them. `flows/file.py` turns a file into a `Definition`; the store keeps the document as written (script and mapping files
inlined), so that a version always means the same.
"""

from __future__ import annotations

import ast
import functools
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from imageflow.model.answer_format import Format, FormatName, format_of
from imageflow.model.field_types import Count, Duration, HttpUrl, Rate, Text, UrlPath
from imageflow.model.pagination import AnyPagination
from imageflow.model.pagination.none import NonePagination
from imageflow.secret import SecretRef

NAME_PATTERN = r"^[a-z0-9-]{1,20}$"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a flow file: unknown fields are refused."""


class Schedule(_Part, frozen=True):
    """When an inbound flow runs: exactly one of the fields."""

    cron: Annotated[
        Text | None,
        Meta(
            description="Fires at these times, in the flow's timezone: five fields, or Quartz' six or seven.",
            examples=["*/15 * * * *"],
        ),
    ] = None
    every: Annotated[
        Duration | None,
        Meta(description="Fires so often, counted from the fire before: at least 1s.", examples=["15m"]),
    ] = None
    after: Annotated[
        Text | None, Meta(description="Fires when a run of this flow has ended well.", examples=["other-flow"])
    ] = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.cron, self.every, self.after)) != 1:
            raise ValueError("must be exactly one of {cron: ...}, {every: ...} and {after: FLOW}")
        if self.every is not None and self.every < 1:
            raise ValueError("every: must be at least 1s")


class Omnitron(_Part, frozen=True):
    """Where image sets are written, and who logs in there."""

    domain_url: Annotated[
        HttpUrl,
        Meta(
            description="Where Omnitron is: scheme and host, without a path.", examples=["https://brand.omnitron.net"]
        ),
    ]
    username: Annotated[str | SecretRef, Meta(description="Who logs in to Omnitron; may be a secret.")]
    password: Annotated[SecretRef, Meta(description="The password: a secret, named by {env: NAME} or {file: PATH}.")]
    login_path: Annotated[UrlPath, Meta(description="Where it logs in.")] = "/api/v1/auth/login/"
    images_path: Annotated[
        UrlPath,
        Meta(description="Where image sets are written. Omnitron's integration API has /api/i1/downloadable_image/."),
    ] = "/api/v1/downloadable-image/"
    products_path: Annotated[
        UrlPath, Meta(description="Where products are listed: for base codes, and for products without images.")
    ] = "/api/v1/products/"

    @property
    def domain(self) -> str:
        """The domain without a trailing slash: the key of claims, pacing and circuit breakers."""
        return self.domain_url.rstrip("/")


class TokenLogin(_Part, frozen=True, tag="token"):
    """POST `body` to `url`, take the token at `token_path` (dotted; empty: the whole answer), send it in `header`."""

    url: Annotated[HttpUrl, Meta(description="Where to POST the body.", examples=["https://erp.example.com/login"])]
    body: Annotated[
        dict[str, Any],
        Meta(
            description="What is posted, as JSON. Any value in it may be a secret.",
            examples=[{"username": "me", "password": {"env": "ERP_PASSWORD"}}],
        ),
    ] = {}
    token_path: Annotated[
        str,
        Meta(description="Where the token is in the answer, dotted; empty: the whole answer.", examples=["data.token"]),
    ] = "token"  # noqa: S105 - a path in the answer, not a secret
    header: Annotated[Text, Meta(description="The header that carries the token.")] = "Authorization"
    template: Annotated[
        Text, Meta(description="What the header says; {token} stands for the token.", examples=["Bearer {token}"])
    ] = "{token}"


class OAuth2Login(_Part, frozen=True, tag="oauth2"):
    """OAuth 2 with client credentials: a token from `token_url` goes along as Bearer, and is renewed before it expires."""

    token_url: Annotated[
        HttpUrl, Meta(description="Where tokens are given out.", examples=["https://login.example.com/oauth2/token"])
    ]
    client_id: Annotated[str | SecretRef, Meta(description="Who asks for a token; may be a secret.")]
    client_secret: Annotated[SecretRef, Meta(description="The client's secret: a secret.")]
    scope: Annotated[
        Text | None, Meta(description="What the token shall allow; several with blanks between.", examples=["erp.read"])
    ] = None
    client_auth: Annotated[
        Literal["body", "header"],
        Meta(description="Where client_id and client_secret stand: in the body, or in a header as HTTP basic."),
    ] = "body"
    body: Annotated[
        dict[Text, Any],
        Meta(
            description="More fields of the request for a token, or others in place of them; a value may be a secret.",
            examples=[{"audience": "https://erp.example.com"}],
        ),
    ] = {}


class BasicLogin(_Part, frozen=True, tag="basic"):
    """HTTP basic authentication."""

    username: Annotated[str | SecretRef, Meta(description="Who logs in; may be a secret.")]
    password: Annotated[SecretRef, Meta(description="The password: a secret.")]


class HeaderLogin(_Part, frozen=True, tag="header"):
    """A header with a secret value."""

    name: Annotated[Text, Meta(description="The header's name.", examples=["X-Api-Key"])]
    value: Annotated[SecretRef, Meta(description="What it says: a secret.")]


class QuerySetting(_Part, frozen=True):
    """The ERP's name and type for a logical parameter; `value` makes it a constant that every request carries."""

    key: Annotated[Text, Meta(description="The ERP's name of the parameter.", examples=["updatedAfter"])]
    type: Annotated[
        Literal["string", "integer", "number", "boolean", "datetime", "date"],
        Meta(description="How its value is written."),
    ] = "string"
    value: Annotated[
        str | int | float | bool | SecretRef | None,
        Meta(
            description="A constant that every request carries; may be a secret. Without it the value comes from the run.",
            examples=["active"],
        ),
    ] = None
    template: Annotated[
        Text | None,
        Meta(
            description="What is sent, with {value} for the value: for an ERP that is asked by an expression. Several with one key are joined by and; one without a value is left out.",
            examples=["ModifiedAt ge {value}"],
        ),
    ] = None


class Success(_Part, frozen=True):
    """What a good answer says of itself: `value` stands at `path`."""

    path: Annotated[
        Text, Meta(description="Where the answer says it, dotted or as a JSON Pointer.", examples=["Success"])
    ]
    value: Annotated[str | int | float | bool | None, Meta(description="What a good answer says there.")] = True


class NoRows(_Part, frozen=True):
    """Answers that mean that nothing changed: HTTP statuses, null in the place of the list, and answers without a body."""

    statuses: Annotated[
        tuple[Annotated[int, Meta(ge=200, le=499)], ...],
        Meta(description="Statuses of an answer without rows.", examples=[[204, 304, 404]]),
    ] = ()
    null_list: Annotated[bool, Meta(description="Whether null in the place of the list means the same.")] = False
    empty_body: Annotated[bool, Meta(description="Whether an answer with nothing in it means the same.")] = False


class Erp(_Part, frozen=True):
    """Where and how the ERP is asked."""

    endpoint_url: Annotated[
        HttpUrl | None,
        Meta(
            description="What is asked for rows. It may hold {name} for a parameter of query_settings, {modified_date}, and dates like {now:%Y-%m-%d}.",
            examples=["https://erp.example.com/images/"],
        ),
    ] = None
    method: Annotated[
        Literal["GET", "POST"], Meta(description="GET sends parameters in the query, POST in a JSON body.")
    ] = "GET"
    login: Annotated[
        TokenLogin | OAuth2Login | BasicLogin | HeaderLogin | None,
        Meta(description="How ImageFlow logs in to the ERP; none unless given."),
    ] = None
    extra_headers: Annotated[
        dict[Text, str | SecretRef],
        Meta(
            description="Headers of each request; a value may be a secret. They go to the ERP's own host alone.",
            examples=[{"X-Company": "12"}],
        ),
    ] = {}
    extra_params: Annotated[
        dict[Text, Any],
        Meta(
            description="Parameters of each request. In a POST body dotted names nest, and a backslash escapes a dot.",
            examples=[{"status": "active"}],
        ),
    ] = {}
    query_settings: Annotated[
        dict[Text, QuerySetting],
        Meta(
            description="Parameters by their logical names, as sku, base_code and modified_date__gt, with the ERP's names for them.",
            examples=[{"sku": {"key": "sku", "type": "string"}}],
        ),
    ] = {}
    modified_date_key: Annotated[
        Text | None,
        Meta(
            description="The ERP's parameter that asks for changes since the watermark; wins over query_settings. Without either everything is asked for.",
            examples=["modified_date__gt"],
        ),
    ] = None
    date_format: Annotated[
        Text,
        Meta(
            description="How dates are written, as strftime says it; in the flow's timezone, without an offset.",
            examples=["%Y-%m-%d %H:%M"],
        ),
    ] = "%Y-%m-%dT%H:%M:%S.%f"
    initial_since: Annotated[
        str | None,
        Meta(
            description="What the first run asks for changes since: an ISO date; null: it asks for everything.",
            examples=["2026-01-31"],
        ),
    ] = None
    overlap: Annotated[
        Duration,
        Meta(
            description="So much before the watermark a run asks for changes, for an ERP whose clock or commits lag.",
            examples=["5m"],
        ),
    ] = Duration(300)
    rows_path: Annotated[
        str,
        Meta(
            description="Where the list of rows is in an answer: dotted, or a JSON Pointer; empty: the answer itself.",
            examples=["data.items"],
        ),
    ] = ""
    format: Annotated[
        FormatName | Format,
        Meta(
            description="How answers are written: the name of a format, or an object with its type and what it needs.",
            examples=["xml", {"type": "csv", "delimiter": ";"}],
        ),
    ] = "json"
    pagination: Annotated[
        AnyPagination,
        Meta(description="How to get from one page to the next.", examples=[{"type": "next", "field": "next"}]),
    ] = NonePagination()
    success: Annotated[
        Success | None,
        Meta(
            description="What a good answer says of itself; an answer that says anything else is a failed read.",
            examples=[{"path": "Success", "value": True}],
        ),
    ] = None
    no_rows: Annotated[
        NoRows, Meta(description="Answers that mean that nothing changed.", examples=[{"statuses": [204]}])
    ] = NoRows()
    charset: Annotated[
        Text | None,
        Meta(
            description="The encoding of answers that do not declare theirs; UTF-8 unless given.",
            examples=["windows-1254"],
        ),
    ] = None
    timeout: Annotated[Duration, Meta(description="How long an answer may take.", examples=["30s"])] = Duration(30)
    rate_limit: Annotated[Rate | None, Meta(description="At most so many requests in a time.", examples=["10/s"])] = (
        None
    )
    max_answer_bytes: Annotated[
        Count, Meta(description="A larger answer is a failed read; bytes after decompression.")
    ] = 64 * 1024 * 1024

    @property
    def answer_format(self) -> Format:
        """How answers are written, with what the flow leaves to the defaults."""
        return format_of(self.format)


class FetchMissing(_Part, frozen=True):
    """Whether and how products without images are looked for on Omnitron."""

    enabled: Annotated[
        bool, Meta(description="Whether the scheduler looks by itself; `imageflow run FLOW --missing` looks at once.")
    ] = False
    identifier_path: Annotated[
        Text,
        Meta(
            description="The field of an Omnitron product that the ERP knows it by.", examples=["attributes.erp_code"]
        ),
    ] = "sku"
    productization_date_limit_days: Annotated[
        Count, Meta(description="Only products that were productized in the last so many days are looked for.")
    ] = 7
    batch_size: Annotated[Count, Meta(description="So many products at most are in one run.")] = 50
    every: Annotated[Duration, Meta(description="How often the scheduler looks.", examples=["4h"])] = Duration(4 * 3600)


class Write(_Part, frozen=True):
    """How image sets are written."""

    concurrency: Annotated[
        Literal["auto"] | Count,
        Meta(
            description="Requests at once: auto adapts to Omnitron, over all flows of a domain; a number caps this flow.",
            examples=["auto"],
        ),
    ] = "auto"
    rate_limit: Annotated[Rate | None, Meta(description="At most so many writes in a time.", examples=["50/s"])] = None
    skip_unchanged: Annotated[bool, Meta(description="Whether an image set that Omnitron has already is left out.")] = (
        True
    )
    allow_clear: Annotated[
        bool, Meta(description="Whether a row without images may delete all images of its product; otherwise it fails.")
    ] = False
    max_attempts: Annotated[
        Count, Meta(description="After so many tries a row fails. An Omnitron that is away does not count.")
    ] = 8
    timeout: Annotated[Duration, Meta(description="How long a write may take.", examples=["30s"])] = Duration(30)
    preflight: Annotated[
        Literal["off", "warn", "block"],
        Meta(
            description="Whether each image is looked at before it is sent: reachable, PNG or JPEG, at most 2000x2000. warn: the run says it; block: the row fails."
        ),
    ] = "off"


class Alarms(_Part, frozen=True):
    """When a flow raises an alarm, and where it is posted."""

    error_rate: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description="The share of failed rows, from 0 to 1, above which the flow raises an alarm.", examples=[0.05]
        ),
    ] = None
    average_flow_time: Annotated[
        Duration | None, Meta(description="Runs that take longer than that raise an alarm.", examples=["10m"])
    ] = None
    silence: Annotated[Duration | None, Meta(description="No rows for that long raise an alarm.", examples=["24h"])] = (
        None
    )
    webhook_url: Annotated[
        HttpUrl | SecretRef | None,
        Meta(
            description="Where alarms are posted, signed; may be a secret.",
            examples=["https://hooks.example.com/imageflow"],
        ),
    ] = None


class Definition(_Part, frozen=True):
    """A whole flow file. Made by `flows.file.parse`, which checks what types cannot say."""

    name: Annotated[
        Annotated[str, Meta(pattern=NAME_PATTERN)],
        Meta(description="The flow's name: unique, 1 to 20 of a-z, 0-9 and -.", examples=["winter-images"]),
    ]
    direction: Annotated[
        Literal["inbound", "outbound"], Meta(description="inbound: the ERP is asked; outbound: the ERP posts.")
    ]
    omnitron: Annotated[Omnitron, Meta(description="Where image sets are written, and who logs in there.")]
    shared_file: Annotated[
        Text | None,
        Meta(
            description="A file with fields that several flows share, relative to the flow file. What the flow file says itself wins; omnitron, erp, fetch_missing, write and alarms are put together field by field.",
            examples=["brand.shared.yaml"],
        ),
    ] = None
    enabled: Annotated[bool, Meta(description="Whether the flow is scheduled and takes posts.")] = True
    schedule: Annotated[
        Schedule | None,
        Meta(description="When an inbound flow runs; without it only when a person asks.", examples=[{"every": "15m"}]),
    ] = None
    timezone: Annotated[
        str,
        Meta(
            description="The IANA name of the zone that cron and the ERP's dates are in.", examples=["Europe/Istanbul"]
        ),
    ] = "UTC"
    overlap_policy: Annotated[
        Literal["skip", "queue"],
        Meta(description="What a fire does while a run of the flow goes on: skip leaves it out, queue lets it wait."),
    ] = "skip"
    erp: Annotated[Erp | None, Meta(description="Where and how the ERP is asked; an inbound flow needs it.")] = None
    script_timeout: Annotated[
        Duration, Meta(description="How long the script may take for a page.", examples=["10s"])
    ] = Duration(10)
    script: Annotated[
        str | None,
        Meta(
            description="Python that makes rows: `process_row(row)` of each, or `process(response)` of a whole answer.",
            examples=["def process_row(row):\n    return row\n"],
        ),
    ] = None
    script_file: Annotated[
        Text | None, Meta(description="The script in a file, relative to the flow file.", examples=["winter.py"])
    ] = None
    mapping: Annotated[
        list[dict[str, Any]] | None,
        Meta(
            description="A Jolt chain that makes rows.",
            examples=[[{"operation": "shift", "spec": {"*": {"code": "[&1].sku"}}}]],
        ),
    ] = None
    mapping_file: Annotated[
        Text | None,
        Meta(description="The mapping in a file, relative to the flow file.", examples=["winter.jolt.json"]),
    ] = None
    jolt: Annotated[
        Literal["community", "strict"],
        Meta(
            description="community: also the operations and functions that NiFi has from 2.8 on; strict: only those of Jolt 0.1.8."
        ),
    ] = "community"
    filename_template: Annotated[
        Text,
        Meta(
            description="What names a product: {sku} or {base_code} alone is that field of the row; a longer template is read out of the file name in each image's URL.",
            examples=["{sku}_{image_order}.jpg"],
        ),
    ] = "{sku}"
    group: Annotated[
        Literal["auto", "page", "run"],
        Meta(
            description="Where rows of one product are joined: auto joins flat rows of a whole read; page joins within a page; run joins all rows of a read."
        ),
    ] = "auto"
    fetch_missing: Annotated[
        FetchMissing, Meta(description="Looks for products without images on Omnitron, and asks the ERP for them.")
    ] = FetchMissing()
    write: Annotated[Write, Meta(description="How image sets are written.")] = Write()
    alarms: Annotated[Alarms, Meta(description="When the flow raises an alarm, and where it is posted.")] = Alarms()

    @property
    def bounded(self) -> bool:
        """Whether the flow came over the API: then it may use only such secrets and hosts as the settings name."""
        return False

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def has_process(self) -> bool:
        """Whether the script has `process`, which makes rows of a whole answer."""
        return self.script is not None and _defines_process(self.script)

    @property
    def holds_back(self) -> Literal["nothing", "flat", "all"]:
        """Which rows wait until the read is complete, to be joined by product across pages; `flat`: rows with one image each.
        A post is one page: its flat rows are joined at once.
        """
        if self.group == "auto":
            return "flat" if self.inbound else "nothing"
        return "all" if self.group == "run" else "nothing"

    @property
    def rows_path(self) -> str:
        """Where the list is inside an answer or a post; empty: the answer itself."""
        return self.erp.rows_path if self.erp is not None else ""


_MAKES_ROWS = ("direction", "script", "mapping", "jolt", "rows_path", "filename_template", "group")


def makes_the_same_rows(one: Definition, other: Definition) -> bool:
    """Whether two versions of a flow make the same rows of the same page: between page and row they differ in nothing."""
    return all(getattr(one, name) == getattr(other, name) for name in _MAKES_ROWS)


class BoundedDefinition(Definition, frozen=True):
    """A flow that came over the API. A type of its own, so that no flow file can say of itself that it is not bounded."""

    @property
    def bounded(self) -> bool:
        return True


class Flow(msgspec.Struct, frozen=True):
    """One version of a flow as the store keeps it."""

    name: str
    version: int
    definition: Definition
    document: dict[str, Any]

    @property
    def no_posts(self) -> str | None:
        """Why it takes no posts; None: it does."""
        if self.definition.inbound:
            return f"the flow {self.name!r} is inbound: it reads from the ERP and takes no posts"
        return None if self.definition.enabled else f"the flow {self.name!r} is disabled"


@functools.lru_cache(maxsize=256)
def _defines_process(script: str) -> bool:
    try:
        tree = ast.parse(script)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(_name(node) == "process" for node in ast.walk(tree))


def _name(node: ast.AST) -> str | None:
    """The name that a function, an assignment or an import gives something."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None


def decode_custom(kind: type, value: object) -> Any:
    """Msgspec's hook for Duration and Rate."""
    if kind is Duration:
        return Duration.parse(value)
    if kind is Rate:
        return Rate.parse(value)
    raise NotImplementedError(kind)
