"""When the steps of a run were at work: what each process notes, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from imageflow.model.run import Run

StepName = Literal["login", "read", "transform", "write"]
STEPS: tuple[StepName, ...] = ("login", "read", "transform", "write")


ENOUGH_SECONDS = 5.0
"""Before rows went on for so long, how long they take is not known: the first ones wait for log-ins and connections."""


class RunStep(msgspec.Struct, frozen=True):
    """A step of a run was at work from `first_at` to `last_at`, on so many rows, each try counted. `waited`: for so many seconds a
    process had to put work of it off.
    """

    run_id: str
    step: StepName
    first_at: datetime
    last_at: datetime
    rows: int = 0
    waited: float = 0.0

    def plus(self, other: RunStep) -> RunStep:
        """Both together."""
        return msgspec.structs.replace(
            self,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
            rows=self.rows + other.rows,
            waited=self.waited + other.waited,
        )


class Hold(msgspec.Struct, frozen=True):
    """Writers held back from a domain, from `since` on; `until` None: they still do."""

    since: datetime
    until: datetime | None
    reason: str
    domain: str = ""


class Notes:
    """What a process has noted of steps since it was last taken. Waits that overlap count once."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, StepName], RunStep] = {}
        self._waiting: dict[tuple[str, StepName], datetime] = {}

    def worked(self, run_id: str, step: StepName, since: datetime, now: datetime, rows: int = 0) -> None:
        """A step has worked on so many rows."""
        self._add(RunStep(run_id, step, since, now, rows))

    def waits(self, run_id: str, step: StepName, now: datetime, seconds: float) -> None:
        """Work of a step is put off for so many seconds."""
        key, until = (run_id, step), now + timedelta(seconds=seconds)
        since = max(now, self._waiting.get(key, now))
        if until > since:
            self._waiting[key] = until
            self._add(RunStep(run_id, step, now, now, 0, (until - since).total_seconds()))

    def take(self, now: datetime) -> list[RunStep]:
        """What was noted, in the order in which records are locked; it is forgotten here."""
        noted, self._noted = self._noted, {}
        self._waiting = {key: until for key, until in self._waiting.items() if until > now}
        return [noted[key] for key in sorted(noted)]

    def give_back(self, steps: Sequence[RunStep]) -> None:
        """What was taken could not be kept."""
        for step in steps:
            self._add(step)

    def _add(self, step: RunStep) -> None:
        key = (step.run_id, step.step)
        known = self._noted.get(key)
        self._noted[key] = step if known is None else known.plus(step)


def held_seconds(holds: Sequence[Hold], since: datetime, until: datetime) -> float:
    """For how many seconds between two instants something was held; spans that overlap count once."""
    held, at = 0.0, since
    for hold in sorted(holds, key=lambda one: one.since):
        begin, end = max(hold.since, at), min(hold.until or until, until)
        if end > begin:
            held += (end - begin).total_seconds()
            at = end
    return held


def seconds_left(run: Run, steps: Sequence[RunStep], holds: Sequence[Hold], now: datetime) -> float | None:
    """Seconds until all rows of a run are settled, if they go on as they went while nothing was held. None: that cannot be said,
    because not everything is read, nothing is settled yet, they went on too shortly, it is being cancelled, or writers hold back now.
    """
    counts = run.counts
    if run.ended or not run.read_complete or not counts.in_flight or not counts.settled:
        return None
    if run.cancelled_at is not None or any(hold.until is None for hold in holds):
        return None
    write = next((one for one in steps if one.step == "write"), None)
    began = run.retried_at or run.started_at or run.created_at if write is None else write.first_at
    busy = (now - began).total_seconds() - held_seconds(holds, began, now)
    if busy < ENOUGH_SECONDS:
        return None
    rows = write.rows if write is not None and write.rows else counts.settled  # of a retried run only what goes on now
    return busy / rows * counts.in_flight
