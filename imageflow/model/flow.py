"""A flow: where to read, how to transform, where to write, when. The types mirror the flow file field by field.

What a flow file may hold is in these structs alone: the JSON Schema, the validation and the defaults all come from
them. `flowfile.py` turns a file into a `Definition`; the store keeps the document as written (script and mapping files
inlined), so that a version means the same for ever.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from imageflow.secret import SecretRef

NAME_PATTERN = r"^[a-z0-9-]{1,20}$"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(float):
    """Seconds, written as `90s`, `5m`, `1h30m`, `250ms`, or a bare number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Raises ValueError that says how a duration is written."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = float(value)
        elif isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", value):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value))
        else:
            raise ValueError(f"must be a duration like 30s, 5m or 24h, not {value!r}")
        if not 0 <= seconds < 10 * 365 * 86_400:
            raise ValueError(f"must be a duration between 0 and 10 years, not {value!r}")
        return cls(seconds)


class Rate(float):
    """Events per second, written as `10/s`, `300/m` or `5000/h`."""

    @classmethod
    def parse(cls, value: object) -> Rate:
        """Raises ValueError that says how a rate is written."""
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)/(s|m|h)", value)):
            rate = float(match[1]) / _UNITS[match[2]]
            if 0 < rate <= 1_000_000:
                return cls(rate)
        raise ValueError(f"must be a rate above 0 like 10/s, 300/m or 5000/h, not {value!r}")


Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
HttpUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s?#]+\S*$")]
UrlPath = Annotated[str, msgspec.Meta(pattern=r"^/\S*$")]


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
        """The domain without a trailing slash: what the ledger, pacing and holds are kept by."""
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


class NonePagination(_Part, frozen=True, tag="none"):
    """One page."""


class OffsetPagination(_Part, frozen=True, tag="offset"):
    """Pages by the number of rows to pass over."""

    offset_param: Text = "offset"
    limit_param: Text = "limit"
    limit: Count = 100
    start: Annotated[int, msgspec.Meta(ge=0)] = 0
    total_path: str | None = None
    max_pages: Count = 100_000


class PagePagination(_Part, frozen=True, tag="page"):
    """Pages by number."""

    page_param: Text = "page"
    limit_param: Text = "limit"
    limit: Count = 100
    start: Annotated[int, msgspec.Meta(ge=0)] = 1
    total_path: str | None = None
    max_pages: Count = 100_000


class SeekPagination(_Part, frozen=True, tag="seek"):
    """Pages by a marker: a value of the last row of the page before."""

    param: Text
    value_path: Text
    limit_param: Text = "limit"
    limit: Count = 100
    max_pages: Count = 100_000


class NextPagination(_Part, frozen=True, tag="next"):
    """Pages by what the answer says comes next: a URL or a token."""

    field: Text = "next"
    kind: Literal["url", "token"] = "url"
    param: Text | None = None
    allow_hosts: tuple[Text, ...] = ()
    max_pages: Count = 100_000

    def __post_init__(self) -> None:
        if self.kind == "token" and self.param is None:
            raise ValueError("param: required with kind: token (the parameter that carries it)")


class QuerySetting(_Part, frozen=True):
    """The ERP's name and type for a logical parameter; `value` makes it a constant that every request carries."""

    key: Text
    type: Literal["string", "integer", "number", "boolean", "datetime", "date"] = "string"
    value: str | int | float | bool | None = None


class Erp(_Part, frozen=True):
    """Where and how the ERP is asked."""

    endpoint_url: HttpUrl | None = None
    method: Literal["GET", "POST"] = "GET"
    login: TokenLogin | BasicLogin | HeaderLogin | None = None
    extra_headers: dict[Text, str] = {}
    extra_params: dict[Text, Any] = {}
    query_settings: dict[Text, QuerySetting] = {}
    modified_date_key: Text | None = None
    date_format: Text = "%Y-%m-%dT%H:%M:%S.%f"
    initial_since: str | None = None
    overlap: Duration = Duration(300)
    rows_path: str = ""
    pagination: NonePagination | OffsetPagination | PagePagination | SeekPagination | NextPagination = NonePagination()
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
    """What is worth waking somebody."""

    error_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    average_flow_time: Duration | None = None
    silence: Duration | None = None
    webhook_url: HttpUrl | SecretRef | None = None


class Definition(_Part, frozen=True):
    """A whole flow file. `flowfile.parse` is the way to get one; it checks what types cannot say."""

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
    filename_template: Text = "{sku}"
    group: Literal["page", "run"] = "page"
    fetch_missing: FetchMissing = FetchMissing()
    write: Write = Write()
    alarms: Alarms = Alarms()

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def rows_path(self) -> str:
        """Where the list is inside an answer or a post; empty: the answer itself."""
        return self.erp.rows_path if self.erp is not None else ""


class Flow(msgspec.Struct, frozen=True):
    """One version of a flow as the store keeps it."""

    name: str
    version: int
    definition: Definition
    document: dict[str, Any]


def decode_custom(kind: type, value: object) -> Any:
    """Msgspec's hook for Duration and Rate."""
    if kind is Duration:
        return Duration.parse(value)
    if kind is Rate:
        return Rate.parse(value)
    raise NotImplementedError(kind)
