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
    """There is a page after this one: ask for it with `cursor`."""

    cursor: Cursor
    warnings: tuple[str, ...] = ()


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

    The reader also ends a read without asking the type: at an answer that means "no rows" by the flow's `erp.no_rows`, and at a 404
    once an answer has said that nothing follows. A type whose answers speak of a part of the rows only (one letter, one month) needs a change there.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {"ignore": json_paths}
    """Checks of single fields, by the field's name, for what its type cannot say; `flow lint` runs them, and those of `Pagination`."""
    counts: ClassVar[bool] = True
    """Whether the type counts rows, or looks at the last one: then every answer must hold them as a list."""
    ignore: Annotated[
        tuple[Text, ...],
        Meta(
            description="Paths in the answer that do not mean what they are taken for: what they say of more rows or of the end is not heard.",
            examples=["meta.total"],
        ),
    ] = ()

    def first(self) -> Cursor:
        """Asks for the first page."""
        return Cursor()

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        """The parameters that ask for the cursor's page (none where the cursor holds a whole URL)."""
        return {}

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        """What comes after the page `got`, which `cursor` asked for; `pages` and `rows` count it already.

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
