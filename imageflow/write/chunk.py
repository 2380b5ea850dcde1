"""The rows that a writer has in hand from one delivery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from imageflow.model.flow import Definition
from imageflow.model.messages import RowsReady
from imageflow.store.doubts import LATE_SECONDS
from imageflow.write.lease import Lease
from imageflow.write.row_work import RowWork, State


class Chunk:
    """`works` holds the state of each row; each step of a row puts its new state in place of the old one. `token` and
    `lease` are what the chunk's claims are asked for with, and `since` is when: nothing of it is sent before."""

    __slots__ = ("definition", "lease", "message", "since", "token", "works")

    def __init__(
        self,
        message: RowsReady,
        definition: Definition,
        lease: Lease,
        token: str,
        since: datetime,
        works: Sequence[RowWork],
    ) -> None:
        self.message = message
        self.definition = definition
        self.lease = lease
        self.token = token
        self.since = since
        self.works = list(works)

    @property
    def domain(self) -> str:
        return self.definition.omnitron.domain

    @property
    def doubt_seconds(self) -> float:
        """How long a request of it may come late."""
        return self.definition.write.timeout + LATE_SECONDS

    def places(self, state: State) -> list[int]:
        """Where the rows of that state are in `works`."""
        return [place for place, work in enumerate(self.works) if work.state == state]
