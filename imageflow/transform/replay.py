"""Which rows of a page stand for those that were not written, now that the page went through another version. Pure.

What the page gives now is laid beside the rows that it gave before. A product that has a row which is written, or on its
way, keeps it. The rest takes the places of the rows to be replaced: each takes the place of the row that names its product,
or else of the row with the same version (the same place in the page), or else the next one. Rows that are too many get new
numbers. A row that nothing came of any more is superseded: what its element was is in other rows now, or the flow drops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from imageflow.model.messages import ReplayPage
from imageflow.model.row import Row, RowLog
from imageflow.model.run import Run
from imageflow.transform.joining import join, lacking
from imageflow.transform.plan import Plan, plan_part

MAX_NAMES = 1000
"""So many values of a payload may name a product."""
NEW = 0
"""The number of a row that has none yet."""


JOINED = (
    "the images of its product are joined across the pages of the run, so the page cannot go through alone; "
    "`imageflow run FLOW` asks for all of them again, with `--since DATE` where it asks for changes alone"
)


def unjoinable(run: Run) -> str | None:
    """Why rows of a page that wait for others of their product cannot go through alone; None where the page is all of the run."""
    return JOINED if run.pages > 1 else lacking(msgspec.structs.replace(run, broken_pages=0))


class Replacement(NamedTuple):
    """What takes the place of rows: rows to be written, and rows that are settled now; NEW is the number of additional ones."""

    rows: tuple[Row, ...]
    logs: tuple[RowLog, ...]


class _Places:
    """The rows to be replaced, and which of them are still free."""

    def __init__(self, chosen: Sequence[RowLog], others: Sequence[RowLog]) -> None:
        self.chosen = sorted(chosen, key=lambda log: log.row)
        self.free = {log.row: log for log in self.chosen}
        self.named = _by_name(self.chosen)
        self.payloads: dict[bytes, list[int]] = {}
        for log in self.chosen:
            self.payloads.setdefault(_key(log), []).append(log.row)
        self.versions = {log.version: log.row for log in self.chosen}
        waiting = [log for log in others if not has_row(log)]
        self.left = _by_name(waiting)
        self.left_versions = {log.version for log in waiting if log.version}
        self.left_payloads = {_key(log) for log in waiting if log.payload is not None}
        self.kept = {log.product for log in others if has_row(log)}

    def of_product(self, product: str) -> int | None:
        """The place of a product; NEW where its places are taken; None where nothing says which."""
        if product not in self.named:
            return None
        return self._take(next((log.row for log in self.named[product] if log.row in self.free), NEW))

    def of_payload(self, log: RowLog) -> int | None:
        return self._take(next((row for row in self.payloads.get(_key(log), ()) if row in self.free), None))

    def of_version(self, version: int) -> int | None:
        row = self.versions.get(version)
        return self._take(row if row in self.free else None)

    def next(self) -> int:
        taken = self._take(next(iter(self.free), NEW))
        assert taken is not None
        return taken

    def _take(self, row: int | None) -> int | None:
        if row is not None:
            self.free.pop(row, None)
        return row


def has_row(log: RowLog) -> bool:
    """Whether a row of the page is not to be replaced: it is written or was to be, whatever came of it."""
    return log.product is not None and (log.state not in ("failed", "cancelled") or log.stage in ("login", "write"))


def replacement(message: ReplayPage, plan: Plan, chosen: Sequence[RowLog], others: Sequence[RowLog]) -> Replacement:
    """What takes the places of the `chosen` rows of a page, given the plan of the page and its `others`."""
    places = _Places(chosen, others)
    plan = _joined(message, plan)
    rows: list[Row] = []
    logs: list[RowLog] = []
    for item in _placed(plan, places):
        if isinstance(item, Row):
            rows.append(item)
        else:
            logs.append(msgspec.structs.replace(item, page=message.page))
    logs += [_nothing(message, log) for log in places.free.values()]
    return Replacement(tuple(rows), tuple(logs))


def _joined(message: ReplayPage, plan: Plan) -> Plan:
    """The plan of a page that is all of its run: rows that wait for the join are joined here."""
    if not plan.held:
        return plan
    part = plan_part(message.run_id, join(sorted(plan.held, key=lambda held: (held.product, held.version))))
    later = [msgspec.structs.replace(log, row=log.row + part.total) for log in plan.settled]
    return Plan(plan.total + part.total, part.ready, (*part.settled, *later))


def failed_again(message: ReplayPage, chosen: Sequence[RowLog], reason: str) -> Replacement:
    """All of the rows fail, with the reason."""
    logs = (msgspec.structs.replace(log, state="failed", reason=reason, page=message.page) for log in chosen)
    return Replacement((), tuple(logs))


def _placed(plan: Plan, places: _Places) -> Iterator[Row | RowLog]:
    """The items of the plan that are wanted, each with its number: first those that say which place is theirs."""
    unplaced: list[Row | RowLog] = []
    for item in _items(plan):
        if not _wanted(item, places):
            continue
        number = _place(item, places)
        if number is None:
            unplaced.append(item)
        else:
            yield msgspec.structs.replace(item, row=number)
    for item in unplaced:
        number = places.of_version(item.version)
        yield msgspec.structs.replace(item, row=places.next() if number is None else number)


def _items(plan: Plan) -> list[Row | RowLog]:
    """Everything that a page gives, by its place in the page."""
    both: list[tuple[int, Row | RowLog]] = [*plan.ready, *((log.row, log) for log in plan.settled)]
    return [item for _, item in sorted(both, key=lambda pair: pair[0])]


def _wanted(item: Row | RowLog, places: _Places) -> bool:
    """Whether the item is of the rows to be replaced, as far as can be told."""
    if item.product in places.kept:
        return False
    if isinstance(item, RowLog) and item.state == "failed" and not item.product:
        key = _key(item)
        return key in places.payloads or not (key in places.left_payloads or places.kept & set(_names(item.payload)))
    if item.product in places.named:
        return True
    return item.product not in places.left and item.version not in places.left_versions


def _place(item: Row | RowLog, places: _Places) -> int | None:
    if item.product is not None and (number := places.of_product(item.product)) is not None:
        return number
    return places.of_payload(item) if isinstance(item, RowLog) and item.payload is not None else None


def _key(log: RowLog) -> bytes:
    return msgspec.json.encode(log.payload)


def _nothing(message: ReplayPage, log: RowLog) -> RowLog:
    reason = f"version {message.version} of the flow gives no row of its own for it"
    return msgspec.structs.replace(log, state="superseded", stage="rows", reason=reason, page=message.page)


def _by_name(logs: Sequence[RowLog]) -> Mapping[str, list[RowLog]]:
    found: dict[str, list[RowLog]] = {}
    for log in logs:
        for name in dict.fromkeys([*([log.product] if log.product else []), *_names(log.payload)]):
            found.setdefault(name, []).append(log)
    return found


def _names(payload: Any) -> list[str]:
    """The values of a payload that may name a product."""
    names: list[str] = []
    waiting = [payload]
    while waiting and len(names) < MAX_NAMES:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            names.append(str(value).strip())
    return names
