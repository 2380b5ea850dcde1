"""`type: next`: the answer names the next page, by a URL or a token. It ends where the answer names none."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model.envelope import names_nothing
from imageflow.model.field_types import Complaints, Count, Text, json_path
from imageflow.model.link_header import next_target
from imageflow.model.pagination.contract import MAX_PAGES, Got, Last, More, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor

MAX_TOKEN_CHARS = 16_384


def _field(field: str) -> Complaints:
    if field != "Link":
        yield from json_path(field)


def _hosts(hosts: list[str]) -> Complaints:
    for index, host in enumerate(hosts):
        if not re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)(:\d{1,5})?", host):
            yield f"[{index}]", "must be a host, or host:port, without http://"


class NextPagination(Pagination, frozen=True, tag="next"):
    """Pages by what the answer says comes next: a URL or a token."""

    meanings: ClassVar = {"field": _field, "allow_hosts": _hosts}
    counts: ClassVar = False
    field: Annotated[
        Text,
        Meta(
            description="Where the answer names the next page: dotted, a JSON Pointer, or Link for the header of that name.",
            examples=["paging.next"],
        ),
    ] = "next"
    kind: Annotated[
        Literal["url", "token"], Meta(description="Whether that is a URL, or a token that goes into param.")
    ] = "url"
    param: Annotated[Text | None, Meta(description="The parameter that takes the token.", examples=["cursor"])] = None
    allow_hosts: Annotated[
        tuple[Text, ...],
        Meta(description="Hosts beside the ERP's own that a URL may lead to.", examples=[["cdn.erp.example.com"]]),
    ] = ()
    max_pages: Annotated[
        Count, Meta(description="A read of more pages is taken for one that never ends: it fails.")
    ] = MAX_PAGES

    def __post_init__(self) -> None:
        if self.kind == "token" and self.field == "Link":
            raise ValueError("kind: must be url with field: Link, the header that holds a URL")
        if self.kind == "token" and self.param is None:
            raise ValueError("param: required with kind: token (the parameter that carries it)")

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        return {} if self.param is None or cursor.token is None else {self.param: cursor.token}

    def judged(self) -> frozenset[str]:
        return frozenset((self.field,))

    def hosts(self) -> tuple[str, ...]:
        return self.allow_hosts

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        named = self._named(got)
        if named is None:
            return Last()
        return self._token(cursor, named, got) if self.kind == "token" else self._url(cursor, named)

    def _named(self, got: Got) -> Any:
        """What the answer names as the next page; None where it names none."""
        if self.field == "Link":
            return next_target(got.link)
        value = pointer.find(got.document, self.field)
        # 0 is how some say that there is no more: no page but the first could be called that
        return None if names_nothing(value) or value in ([], {}) else value

    def _token(self, cursor: Cursor, token: Any, got: Got) -> Turn:
        if not isinstance(token, str | int) or isinstance(token, bool):
            raise ReadError(f"the answer has {pointer.describe(token)} at {self.field!r} where a token was expected")
        text = str(token)
        if len(text) > MAX_TOKEN_CHARS:
            raise ReadError(f"the token at {self.field!r} has {len(text):,} characters")
        if cursor.has_seen(text.encode()):
            if got.ended or (not got.rows and text == cursor.token):
                return Last()  # it names no further page, it repeats how this one was asked for
            raise ReadError(f"page {cursor.pages} names a repeated token as the next one: the ERP goes in circles")
        return More(cursor.then(text.encode(), token=text))

    def _url(self, cursor: Cursor, target: Any) -> Turn:
        """The URL as the answer wrote it; the reader resolves and checks it."""
        if not isinstance(target, str):
            raise ReadError(f"the answer has {pointer.describe(target)} at {self.field!r} where a URL was expected")
        return More(cursor.but(url=target))
