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

from imageflow.model.field_types import Count, Duration, HttpUrl, Rate, Text, UrlPath
from imageflow.model.pagination import AnyPagination
from imageflow.model.pagination.none import NonePagination
from imageflow.secret import SecretRef

NAME_PATTERN = r"^[a-z0-9-]{1,20}$"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a flow file: unknown fields are refused."""


class Schedule(_Part, frozen=True):
    """When an inbound flow runs: exactly one of the fields."""

    cron: Text | None = None
    every: Duration | None = None
    after: Text | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.cron, self.every, self.after)) != 1:
            raise ValueError("must be exactly one of {cron: ...}, {every: ...} and {after: FLOW}")
        if self.every is not None and self.every < 1:
            raise ValueError("every: must be at least 1s")


class Omnitron(_Part, frozen=True):
    """Where image sets are written, and who logs in there."""

    domain_url: HttpUrl
    username: str | SecretRef
    password: SecretRef
    login_path: UrlPath = "/api/v1/auth/login/"
    images_path: UrlPath = "/api/v1/downloadable-image/"
    products_path: UrlPath = "/api/v1/products/"

    @property
    def domain(self) -> str:
        """The domain without a trailing slash: the key of claims, pacing and circuit breakers."""
        return self.domain_url.rstrip("/")


class TokenLogin(_Part, frozen=True, tag="token"):
    """POST `body` to `url`, take the token at `token_path` (dotted; empty: the whole answer), send it in `header`."""

    url: HttpUrl
    body: dict[str, Any] = {}
    token_path: str = "token"  # noqa: S105 - a path in the answer, not a secret
    header: Text = "Authorization"
    template: Text = "{token}"


class BasicLogin(_Part, frozen=True, tag="basic"):
    """HTTP basic authentication."""

    username: str | SecretRef
    password: SecretRef


class HeaderLogin(_Part, frozen=True, tag="header"):
    """A header with a secret value."""

    name: Text
    value: SecretRef


class QuerySetting(_Part, frozen=True):
    """The ERP's name and type for a logical parameter; `value` makes it a constant that every request carries."""

    key: Text
    type: Literal["string", "integer", "number", "boolean", "datetime", "date"] = "string"
    value: str | int | float | bool | SecretRef | None = None


class Success(_Part, frozen=True):
    """What a good answer says of itself: `value` stands at `path`."""

    path: Text
    value: str | int | float | bool | None = True


class NoRows(_Part, frozen=True):
    """Answers that mean that nothing changed: HTTP statuses, and null in the place of the list."""

    statuses: tuple[Annotated[int, msgspec.Meta(ge=200, le=499)], ...] = ()
    null_list: bool = False


class Erp(_Part, frozen=True):
    """Where and how the ERP is asked."""

    endpoint_url: HttpUrl | None = None
    method: Literal["GET", "POST"] = "GET"
    login: TokenLogin | BasicLogin | HeaderLogin | None = None
    extra_headers: dict[Text, str | SecretRef] = {}
    extra_params: dict[Text, Any] = {}
    query_settings: dict[Text, QuerySetting] = {}
    modified_date_key: Text | None = None
    date_format: Text = "%Y-%m-%dT%H:%M:%S.%f"
    initial_since: str | None = None
    overlap: Duration = Duration(300)
    rows_path: str = ""
    pagination: AnyPagination = NonePagination()
    success: Success | None = None
    no_rows: NoRows = NoRows()
    charset: Text | None = None
    timeout: Duration = Duration(30)
    rate_limit: Rate | None = None
    max_answer_bytes: Count = 64 * 1024 * 1024


class FetchMissing(_Part, frozen=True):
    """Whether and how products without images are looked for on Omnitron."""

    enabled: bool = False
    identifier_path: Text = "sku"
    productization_date_limit_days: Count = 7
    batch_size: Count = 50
    every: Duration = Duration(4 * 3600)


class Write(_Part, frozen=True):
    """How image sets are written."""

    concurrency: Literal["auto"] | Count = "auto"
    rate_limit: Rate | None = None
    skip_unchanged: bool = True
    allow_clear: bool = False
    max_attempts: Count = 8
    timeout: Duration = Duration(30)
    preflight: Literal["off", "warn", "block"] = "off"


class Alarms(_Part, frozen=True):
    """When a flow raises an alarm, and where it is posted."""

    error_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    average_flow_time: Duration | None = None
    silence: Duration | None = None
    webhook_url: HttpUrl | SecretRef | None = None


class Definition(_Part, frozen=True):
    """A whole flow file. Made by `flows.file.parse`, which checks what types cannot say."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    direction: Literal["inbound", "outbound"]
    omnitron: Omnitron
    enabled: bool = True
    schedule: Schedule | None = None
    timezone: str = "UTC"
    overlap_policy: Literal["skip", "queue"] = "skip"
    erp: Erp | None = None
    script_timeout: Duration = Duration(10)
    script: str | None = None
    script_file: Text | None = None
    mapping: list[dict[str, Any]] | None = None
    mapping_file: Text | None = None
    jolt: Literal["community", "strict"] = "community"
    filename_template: Text = "{sku}"
    group: Literal["auto", "page", "run"] = "auto"
    fetch_missing: FetchMissing = FetchMissing()
    write: Write = Write()
    alarms: Alarms = Alarms()

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
