"""What a pagination type is: how a page is asked for, and what its answer says about the page after it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from msgspec import Meta

from imageflow.model.field_types import Complaints, Meaning, Text, json_path
from imageflow.model.pagination.cursor import Cursor

MAX_PAGES = 100_000
STAYS = "The watermark stays where it is"
"""The end of every warning that leaves a read incomplete."""


class Got(NamedTuple):
    """A page as it came: the whole answer, its rows, its Link header, and the URL that gave it (after redirects).

    `headers` by lower-case names. `place`: the object or list that holds the rows, where `rows` is made of it. `counted`:
    `rows` are the rows; else their number is unknown yet (a text that a script takes apart).

    What the answer says of itself (`model/envelope.py`): `more`: that rows follow; `ended`: that none do.
    """

    document: Any
    rows: list[Any]
    link: str
    url: str
    headers: Mapping[str, str] = {}
    place: Any = None
    counted: bool = True
    more: bool = False
    ended: bool = False


class More(NamedTuple):
    """There is a page after this one: ask for it with `cursor`.

    `same_part`: it is of the same part as this one; only a type that is `partitioned` says so. Not `kept`: this one is no page of
    its own, so it is not stored; the reader alone says so.
    """

    cursor: Cursor
    warnings: tuple[str, ...] = ()
    same_part: bool = False
    kept: bool = True


class Last(NamedTuple):
    """That was the last page. Not `complete`: the ERP itself says that there are rows which it did not give.
    Not `kept`: it is no page of its own (one that came before, or an error past the end), so it is not stored.
    """

    warnings: tuple[str, ...] = ()
    complete: bool = True
    kept: bool = True


Turn = More | Last


def json_paths(paths: list[str]) -> Complaints:
    """Paths into JSON, each written as one."""
    for index, path in enumerate(paths):
        yield from ((f"[{index}]", message) for _, message in json_path(path))


class Pagination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to get from one page to the next. A type gives `turn`, and of the rest what differs from here.

    The reader (`read/paging.py`) does for all types what does not depend on the type: it counts pages and rows and
    reads the envelope before it asks `turn`, refuses a page that came before, makes a URL absolute and refuses one that leads to a foreign host,
    and ends the read with an error after `max_pages`.

    The reader also ends a read without asking the type: at an answer that means "no rows" by the flow's `erp.no_rows`, and, once an
    answer has said that nothing follows, at a page that came before, a next URL that came before, and a page that the ERP refuses (a 404).
    It does none of that for a type that is `partitioned`.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {"ignore": json_paths}
    """Checks of single fields, by the field's name, for what its type cannot say; `flow lint` runs them, and those of `Pagination`.
    What several fields say together is for `__post_init__`."""
    counts: ClassVar[bool] = True
    """Whether the type counts rows, or looks at the last one: then every answer must hold them as a list. Else any document is a
    page, where the flow's script or mapping makes rows of it (`read/rows.py`)."""
    partitioned: ClassVar[bool] = False
    """Whether the type asks for one part of the rows after the other (one weekday, one letter, one month), so that each answer speaks
    of its part alone: its total, its next link, its emptiness say nothing of the parts after it.

    Then only the type ends the read. Each `More` leads to another part, unless it says `same_part`, and the reader judges each part like
    a read of its own: rows, pages and totals are compared within it, and a page that came in another part is no circle. Of a part that is
    left though its last answer speaks of more rows, the reader warns, and the read is incomplete. An answer that would end the read ends
    its part: where it is no page (no rows by `erp.no_rows`, a refusal past the end), `turn` is asked with a `Got` that has no
    document and no rows, and is `ended`. The first request of a part may be refused with 404 alone, and only after an answer that said
    that nothing follows. All these answers count as pages: after `max_pages` the read ends with an error.

    `rows` and `pages` of the cursor count the whole read, `rows_before` and `pages_before` what came before the part. `CountedPages`
    compares with the whole read, so it is no base for such a type.
    """
    ignore: Annotated[
        tuple[Text, ...],
        Meta(
            description="Paths in the answer that do not mean what they are taken for: what they say of more rows or of the end is not heard.",
            examples=[["meta.total"]],
        ),
    ] = ()

    def first(self) -> Cursor:
        """Asks for the first page."""
        return Cursor()

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        """The parameters that ask for the cursor's page (none where the cursor holds a whole URL)."""
        return {}

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        """What comes after the page `got`, which `cursor` asked for; `pages` and `rows` count it already. The cursor of the next page
        is made of this one (`cursor.but(…)`): it holds what was noticed so far.

        Raises ReadError when the ERP goes in circles, or when the answer lacks what leads to the next page.
        """
        raise NotImplementedError

    def count(self, rows: list[Any]) -> int:
        """How many rows of a page count."""
        return len(rows)

    def ends_at(self, rows: list[Any]) -> bool:
        """Whether a page with these rows would be the last one if its answer said nothing of more."""
        return False

    def judged(self) -> frozenset[str]:
        """The paths of what this type judges itself. Of what the answer says elsewhere, the reader says when it
        contradicts the end of the read.
        """
        return frozenset()

    def hosts(self) -> tuple[str, ...]:
        """The hosts, beside the ERP's own origin, that a URL may lead to: `HOST` or `HOST:PORT`."""
        return ()

    def most_pages(self) -> int:
        """After how many pages a read ends with an error: the field `max_pages`, where the type has it."""
        return int(getattr(self, "max_pages", MAX_PAGES))
