"""The ERP and Omnitron as they answer now, with a flow's own logins. Nothing is stored, and nothing is written."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from imageflow.clock import Clock
from imageflow.errors import ReadError, SecretError, StageError, TransportError
from imageflow.flows import file as flow_file
from imageflow.http.client import Answer, Transport
from imageflow.http.omnitron import OmnitronSessions
from imageflow.inspect import probe as probing
from imageflow.inspect.probe import Found
from imageflow.inspect.probe_inquiry import Inquiry, Known
from imageflow.model.flow import Definition
from imageflow.model.pagination.contract import More, Turn
from imageflow.model.pagination.none import NonePagination
from imageflow.model.run import Run, Trigger
from imageflow.read import request, staleness, unasked
from imageflow.read.asker import Asker, Read, Wanted
from imageflow.read.login import with_secrets
from imageflow.read.request import Question
from imageflow.read.rows import rows_of
from imageflow.secret import resolve
from imageflow.settings import Settings
from imageflow.text.masking import mask

FUTURE = timedelta(days=3650)
"""So far from now nothing has changed yet."""
NO_PRODUCT = "2147483646"
"""No product has this SKU; digits, for an ERP that takes only numbers."""
FOUND = (StageError, SecretError, TransportError)
"""What asking may raise, with words for people."""


class Check(msgspec.Struct, frozen=True):
    """The check of one thing that a flow needs: its name, whether all is well, and what was seen."""

    check: str
    ok: bool
    detail: str


class Checkup(msgspec.Struct, frozen=True):
    """What was checked of a flow."""

    ok: bool
    checks: list[Check]


class Answered(NamedTuple):
    """A page of the ERP as a run would store it, and what the run would warn of."""

    body: bytes
    warnings: tuple[str, ...]


class Live:
    """Asks for flows. Use `live` to have one."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._asker = Asker(transport, environ, clock)
        self._omnitron = OmnitronSessions(transport, environ, clock)

    async def page(self, definition: Definition, number: int = 1) -> Answered:
        """A page of the ERP, as the first run of the flow would get it: without a watermark. Pages before it are asked for too,
        for a page says how the next one is asked for. Raises ReadError where it is not there, and what asking raises.
        """
        read = await self._page(definition, number)
        if read.body is None:
            raise ReadError(f"the ERP answers that it has no rows for page {number}")
        return Answered(read.body, tuple(mask(warning) for warning in read.turn.warnings))

    async def probe(self, definition: Definition) -> Found:
        """What can be found out about the flow's endpoint, asked with the flow's login, headers and parameters, as its first run
        asks. Secrets are in none of the lines. Raises SecretError.
        """
        wanted = self._wanted(definition)
        first = msgspec.structs.replace(
            wanted.definition, erp=msgspec.structs.replace(wanted.erp, pagination=NonePagination())
        )
        question = request.build(first, wanted.run, NonePagination().first())
        known = Known(
            msgspec.json.decode(question.body) if question.body else {}, wanted.erp.answer_format, wanted.erp.charset
        )
        every = 1 / wanted.erp.rate_limit if wanted.erp.rate_limit else 0.0

        async def answered(asked: Question) -> Answer:
            answer, _ = await self._asker.fetch(wanted, asked, lambda: asyncio.sleep(every))
            return answer

        return await probing.found(Inquiry(question.url, question.method, {}, known), answered)

    async def _page(self, definition: Definition, number: int) -> Read:
        wanted = self._wanted(definition)
        every = 1 / wanted.erp.rate_limit if wanted.erp.rate_limit else 0.0
        at = 0
        while True:
            read = await self._asker.ask(wanted, lambda: asyncio.sleep(every))
            if not isinstance(read.turn, More) or (read.body is not None and read.turn.kept):
                at += 1  # an answer that is no page, and that others follow, has no number in a run
            if at == number:
                return read
            if not isinstance(read.turn, More):
                raise ReadError(f"the ERP gave {at} pages, so there is no page {number}")
            wanted = wanted._replace(cursor=read.turn.cursor)

    def _wanted(self, definition: Definition) -> Wanted:
        filled = with_secrets(definition, self._environ)
        erp, now = request.erp_of(filled), self._clock.now()
        run = Run(
            run_id="live",
            flow=filled.name,
            version=0,
            trigger=Trigger("person"),
            status="reading",
            created_at=now,
            started_at=now,
            since=request.since(filled, None),
            until=now,
        )
        return Wanted(run, filled, erp, erp.pagination.first())

    async def check(self, definition: Definition) -> Checkup:
        """Both logins, a page of the ERP, whether it knows what asks for changes and for single products, a product of Omnitron; what
        cannot be looked at, because something before it is wrong, is left out.
        """
        checks = [self._secrets(definition)]
        if checks[0].ok:
            if definition.inbound:
                checks += await self._erp(definition)
            checks += await self._sink(definition)
        return Checkup(all(check.ok for check in checks), checks)

    def _secrets(self, definition: Definition) -> Check:
        wrong = []
        named = list(flow_file.secrets(definition))
        for path, ref in named:
            try:
                resolve(ref, self._environ, bounded=definition.bounded)
            except SecretError as error:
                wrong.append(f"{path}: {error}")
        return Check("secrets", not wrong, "; ".join(wrong) or f"{len({ref for _, ref in named})} can be read")

    async def _erp(self, definition: Definition) -> list[Check]:
        checks = []
        if definition.erp is not None and definition.erp.login is not None:
            try:
                await self._asker.login(self._wanted(definition))
            except FOUND as error:
                return [Check("ERP login", False, str(error))]
            checks.append(Check("ERP login", True, "logged in"))
        try:
            rows, turn = await self._first(self._wanted(definition))
        except FOUND as error:
            return [*checks, Check("ERP page", False, str(error))]
        whole = isinstance(turn, More) or turn.complete
        checks.append(
            Check("ERP page", whole, "; ".join([f"rows on the first page: {len(rows)}", *map(mask, turn.warnings)]))
        )
        if (mark := staleness.asked(definition)) is not None:
            checks.append(await self._changes(definition, mark.what, rows))
        if (carrier := unasked.asked(definition)) is not None:
            checks.append(await self._products(definition, carrier, rows))
        return checks

    async def _changes(self, definition: Definition, what: str, rows: list[Any]) -> Check:
        """Whether the ERP understands what asks for changes: since a future date it must have none."""
        name = "ERP changes"
        try:
            came = await self._since(definition, FUTURE)
        except FOUND as error:
            try:
                await self._since(definition, -FUTURE)
            except FOUND:
                return Check(name, False, f"asked by {what} for changes, it fails: {error}. See erp.date_format")
            return Check(name, True, f"not known: asked by {what} for changes since a future date, it fails: {error}")
        return _heard(name, what, "changes since a future date", came, rows, "`imageflow probe URL` looks for one")

    async def _products(self, definition: Definition, what: str, rows: list[Any]) -> Check:
        """Whether the ERP understands what asks for single products: of an unknown product it must have no rows."""
        name, nothing = "ERP products", "an unknown product"
        try:
            came = await self._rows(definition, since=None, trigger=Trigger("person", ids=(NO_PRODUCT,)))
        except FOUND as error:
            return Check(name, True, f"not known: asked by {what} for {nothing}, it fails: {error}")
        return _heard(name, what, nothing, came, rows, "If not, `run --ids` and `run --missing` take all products")

    async def _since(self, definition: Definition, ahead: timedelta) -> list[Any]:
        """The rows of the first page that changed since so long from now."""
        return await self._rows(definition, since=self._clock.now() + ahead)

    async def _rows(self, definition: Definition, **asked: Any) -> list[Any]:
        """The rows of the first page, of a run that asks for something else."""
        wanted = self._wanted(definition)
        rows, _ = await self._first(wanted._replace(run=msgspec.structs.replace(wanted.run, **asked)))
        return rows

    async def _first(self, wanted: Wanted) -> tuple[list[Any], Turn]:
        """The rows of the first page, and what follows it."""
        read = await self._asker.ask(
            wanted, lambda: asyncio.sleep(1 / wanted.erp.rate_limit if wanted.erp.rate_limit else 0.0)
        )
        rows = [] if read.body is None else rows_of(wanted.definition, msgspec.json.decode(read.body)).rows
        return rows, read.turn

    async def _sink(self, definition: Definition) -> list[Check]:
        try:
            await self._omnitron.token(definition)
        except FOUND as error:
            return [Check("Omnitron login", False, str(error))]
        done = [Check("Omnitron login", True, f"logged in at {definition.omnitron.domain}")]
        try:
            answer = await self._omnitron.get_json(definition, f"{definition.omnitron.products_path}?limit=1")
            return [*done, Check("Omnitron product", True, product_seen(answer))]
        except FOUND as error:
            return [*done, Check("Omnitron product", False, str(error))]


def _heard(name: str, what: str, asked: str, came: list[Any], rows: list[Any], hint: str) -> Check:
    """Whether the ERP heeded `what`, by which it was `asked` for something that does not exist. `came`: its rows;
    `rows`: those that it gives without `what`.
    """
    if not came:
        return Check(name, True, f"asked by {what} for {asked}, it gives no rows")
    if came == rows:
        same = f"it ignores {what}: asked for {asked}, it gives the same {len(rows)} rows as without"
        return Check(name, False, f"{same}. Does the ERP know that parameter? {hint}")
    return Check(name, True, f"not known: asked by {what} for {asked}, it gives other rows")


def product_seen(answer: Any) -> str:
    """What a product list says of itself. Raises ReadError for what is no product list."""
    found = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise ReadError("Omnitron's product list does not hold results")
    if not found:
        return "Omnitron has no products"
    sku = found[0].get("sku") if isinstance(found[0], dict) else None
    count = answer.get("count")
    return f"{sku}" + (f", one of {count:,} products" if isinstance(count, int) else "")


@asynccontextmanager
async def live(settings: Settings, clock: Clock, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Live]:
    """A Live with connections of its own."""
    async with Transport.of(settings, connections=2) as transport:
        yield Live(transport, environ, clock)
