"""Fetch missing: which products have no images, which identifiers the ERP is asked for, what came of asking. Pure.

Omnitron knows no filter for "has no image": products are listed since the day they were productized, and those without
images are asked for in the ERP by what `identifier_path` finds in them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from imageflow import pointer
from imageflow.errors import ImageFlowError
from imageflow.model import cron
from imageflow.model.flow import Definition, FetchMissing, Flow, Schedule
from imageflow.model.numbers import whole
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger, new_run_id

PAGE_LIMIT = 100
MAX_PAGES = 100_000
GIVE_UP = timedelta(minutes=5)
SHOWN = 5
MAX_IDENTIFIER_CHARS = 200
_IMAGES_PATH = "/api/v1/product_image/"


class Product(NamedTuple):
    """A product of Omnitron. `identifier`: what the ERP knows it by, None where nothing usable is at the path;
    `has_images`: None where the product does not say, then its images are to be asked for by `pk`.
    """

    pk: str | None
    sku: str | None
    base_code: str | None
    identifier: str | None
    has_images: bool | None


class Asked(NamedTuple):
    """What a round asks the ERP for: identifiers in the batches that one run each is limited to."""

    batches: tuple[tuple[str, ...], ...]
    under_way: int
    warnings: tuple[str, ...]


class Shape(ValueError):
    """Omnitron's answer has not the shape of a list of products."""


# rounds --------------------------------------------------------------------------------------------------------------


def key(flow: str) -> str:
    """What the rounds of a flow are remembered by, beside its schedule's ticks: no flow has such a name."""
    return f"{flow}#missing"


def wanted(definition: Definition) -> bool:
    """Whether rounds are due for the flow at all."""
    return definition.enabled and definition.inbound and definition.fetch_missing.enabled


def due_round(settings: FetchMissing, last: datetime, now: datetime) -> datetime | None:
    """The round to begin now: the newest after `last`. All schedulers find the same: rounds count from 1970."""
    return cron.due(Schedule(every=settings.every), "UTC", last, last, now)


def gives_up(error: Exception, failing: timedelta) -> bool:
    """Whether a round that could not look becomes a failed run, `failing` after its first try."""
    transient = error.transient if isinstance(error, ImageFlowError) else isinstance(error, TimeoutError)
    return not transient or failing >= GIVE_UP


def since(definition: Definition, now: datetime) -> date:
    """The first day of productization that counts, in the flow's timezone."""
    today = now.astimezone(ZoneInfo(definition.timezone)).date()
    return today - timedelta(days=min(definition.fetch_missing.productization_date_limit_days, today.toordinal() - 1))


def list_path(definition: Definition, now: datetime) -> str:
    """The path of the first page of products."""
    path = definition.omnitron.products_path
    mark = "&" if "?" in path else "?"
    return f"{path}{mark}productization_date__gte={since(definition, now).isoformat()}&page=1&limit={PAGE_LIMIT}"


def images_path(definition: Definition, pk: str) -> str:
    """The path that lists a product's images; it stands beside the products, whatever the channel."""
    path = definition.omnitron.products_path.partition("?")[0]
    beside = re.sub(r"(channel/[^/]+/)?products/?$", "product_image/", path)
    return f"{beside if beside != path else _IMAGES_PATH}?product={quote(pk, safe='')}&page=1&limit=1"


# answers -------------------------------------------------------------------------------------------------------------


def listed(document: Any) -> tuple[list[dict[str, Any]], str | None]:
    """The objects of a page and the link to the next one. Raises Shape: nothing is ever taken for an empty list."""
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list):
        raise Shape(f"the list of Omnitron has no results: it is {pointer.describe(document)}")
    following = document.get("next")
    if following is not None and not isinstance(following, str):
        raise Shape(f"the list of Omnitron has {pointer.describe(following)} as its next page")
    return [one for one in results if isinstance(one, dict)], following or None


def has_images(document: Any) -> bool:
    """Whether a list of images has any. Raises Shape."""
    results, _ = listed(document)
    return bool(results)


def product(fields: dict[str, Any], identifier_path: str) -> Product:
    """What matters of a product as Omnitron shows it."""
    images = fields.get("productimage_set")
    return Product(
        pk=_text(fields.get("pk")),
        sku=_text(fields.get("sku")),
        base_code=_text(fields.get("base_code")),
        identifier=_identifier(pointer.find_identifier(fields, identifier_path)),
        has_images=bool(images) if isinstance(images, list) else None,
    )


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _identifier(value: Any) -> str | None:
    """Identifiers travel joined by commas: one that holds a comma would be taken for two."""
    text = _text(whole(value) if isinstance(value, float) else value)
    return text if text is not None and "," not in text and len(text) <= MAX_IDENTIFIER_CHARS else None


# what to ask ---------------------------------------------------------------------------------------------------------


def under_way(runs: Iterable[Run]) -> frozenset[str]:
    """The identifiers that runs which have not ended are limited to."""
    return frozenset(identifier for run in runs if not run.ended for identifier in run.trigger.ids)


def plan(settings: FetchMissing, missing: Sequence[Product], busy: Collection[str]) -> Asked:
    """What to ask the ERP for, given the products without images and the identifiers that are under way already."""
    found = dict.fromkeys(one.identifier for one in missing if one.identifier is not None)
    ids = [identifier for identifier in found if identifier not in busy]
    nameless = [one for one in missing if one.identifier is None]
    warnings = []
    if nameless:
        names = shown(one.sku or f"pk {one.pk}" for one in nameless)
        warnings.append(
            f"{len(nameless)} products without images cannot be asked for: nothing usable (a text or number without a "
            f"comma) is at fetch_missing.identifier_path {settings.identifier_path!r}: {names}"
        )
    return Asked(tuple(_batches(ids, settings.batch_size)), len(found) - len(ids), tuple(warnings))


def _batches(ids: Iterable[str], size: int) -> Iterable[tuple[str, ...]]:
    left = iter(ids)
    while batch := tuple(islice(left, size)):
        yield batch


def runs_for(flow: Flow, asked: Asked, by: str, now: datetime) -> list[Run]:
    """One run a batch, to begin in their order."""
    runs = []
    for number, batch in enumerate(asked.batches):
        created = now + timedelta(microseconds=number)
        cause = Trigger("fetch_missing", by, batch)
        runs.append(_run(flow, cause, created, asked.warnings if number == 0 else ()))
    return runs


def failed_run(flow: Flow, by: str, now: datetime, stage: str, error: str) -> Run:
    """The run that shows a round which could not look for products: it has ended before it began to read."""
    ended = {"status": "failed", "error": error, "error_stage": stage, "read_complete": True}
    return _run(flow, Trigger("fetch_missing", by), now, (), finished_at=now, **ended)


def _run(flow: Flow, cause: Trigger, created: datetime, warnings: tuple[str, ...], **ended: Any) -> Run:
    values: dict[str, Any] = {
        "run_id": new_run_id(created),
        "flow": flow.name,
        "version": flow.version,
        "trigger": cause,
        "status": "queued",
        "created_at": created,
        "warnings": warnings,
    }
    return Run(**(values | ended))


# what came of it -----------------------------------------------------------------------------------------------------


def told_apart(run: Run, logs: Iterable[RowLog], names: dict[str, frozenset[str]]) -> list[str]:
    """What an ended run found of the identifiers it was limited to, as warnings: those the ERP does not have, and those
    it has but whose images did not get to Omnitron.

    `names`: of each identifier whose products (still) have no images, all that a row may call them: the identifier, the
    SKUs, the base codes. A run whose read failed, or with failed rows that name no product, cannot tell: it says so.
    """
    if not run.ended or run.error is not None:
        return []
    fate: dict[str, RowLog] = {log.product: log for log in logs if log.product is not None}
    asked = [identifier for identifier in run.trigger.ids if identifier in names]
    known = {identifier: [fate[name] for name in sorted(names[identifier]) if name in fate] for identifier in asked}
    absent = [identifier for identifier in asked if not known[identifier]]
    failed = [identifier for identifier in asked if any(log.state == "failed" for log in known[identifier])]
    return [*_absent(run, absent, fate), *_failed(failed, known)]


def _absent(run: Run, absent: list[str], fate: dict[str, RowLog]) -> list[str]:
    if not absent:
        return []
    anonymous = run.counts.failed - sum(log.state == "failed" for log in fate.values())
    if anonymous > 0:
        return [
            f"{len(absent)} identifiers are not in the ERP, or among {anonymous} failed rows that name no product: "
            + shown(absent)
        ]
    return [f"{len(absent)} identifiers are not in the ERP: {shown(absent)}"]


def _failed(failed: list[str], known: dict[str, list[RowLog]]) -> list[str]:
    if not failed:
        return []
    reasons = (next(log.reason for log in known[one] if log.state == "failed") for one in failed)
    pairs = [f"{one} ({reason})" for one, reason in zip(failed, reasons, strict=True)]
    return [f"{len(failed)} identifiers are in the ERP but failed: {shown(pairs)}"]


def names_of(missing: Iterable[Product]) -> dict[str, frozenset[str]]:
    """Of each identifier all names that rows may have for its products."""
    names: dict[str, set[str]] = {}
    for one in missing:
        if one.identifier is not None:
            given = (one.identifier, one.sku, one.base_code)
            names.setdefault(one.identifier, set()).update(name for name in given if name is not None)
    return {identifier: frozenset(found) for identifier, found in names.items()}


def shown(names: Iterable[str]) -> str:
    """The first few of many."""
    known = list(names)
    return ", ".join(known[:SHOWN]) + (f", … ({len(known) - SHOWN} more)" if len(known) > SHOWN else "")
