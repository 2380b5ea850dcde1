"""What a run waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imageflow.actions.run_waits import Wait, decide
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import HeldDomain

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
HOLD = HeldDomain("https://brand.omnitron.net", "Omnitron answered 503", NOW, 2)


def run(**fields: Any) -> Run:
    made = {"run_id": "r2", "flow": "winter", "version": 3, "trigger": Trigger("person", "ada"), "status": "queued"}
    return Run(**{**made, "created_at": NOW, **fields})


OLDER = run(run_id="r1", status="draining")


@pytest.mark.parametrize(
    ("waiting", "oldest", "hold", "expected"),
    [
        (run(), None, None, None),
        (run(), run(), None, None),
        (run(), OLDER, None, "an older run of winter is not done: r1, draining"),
        (run(status="reading"), None, None, None),
        (run(status="reading", waits_for="no answer"), None, None, "the ERP gave no page: no answer"),
        (
            run(status="reading", waits_for="no answer", again_at=LATER),
            None,
            HOLD,
            "the ERP gave no page: no answer; asked again at 2026-11-28T12:00:30.000000Z",
        ),
        (run(status="draining", counts=Counts(total=5)), None, None, None),
        (
            run(status="draining", counts=Counts(total=5)),
            None,
            HOLD,
            "Omnitron is away: https://brand.omnitron.net is held since 2026-11-28T12:00:00.000000Z: Omnitron answered 503",
        ),
    ],
)
def test_what_a_run_waits_for(waiting: Run, oldest: Run | None, hold: HeldDomain | None, expected: str | None) -> None:
    """An older run of its flow, an ERP that gives no page, with the next try, or a domain that is held; in this order."""
    found = decide(waiting, oldest, hold)
    assert (None if found is None else found.text) == expected


def test_the_same_wait_after_another_try() -> None:
    """When it is tried again is no part of why."""
    assert Wait("why", NOW).why == Wait("why", LATER).why
