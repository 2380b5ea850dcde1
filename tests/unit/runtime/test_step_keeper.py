"""What a process notes of steps is kept, once, in parts; and waits while the database is away."""

import pytest

from imageflow.errors import Postponed, StoreError
from imageflow.model.run_step import RunStep
from imageflow.runtime import step_keeper
from imageflow.runtime.step_keeper import StepKeeper
from tests.unit.model.test_run_step import at


class Ticking:
    """A clock that is one second later each time it is asked."""

    def __init__(self):
        self.seconds = -1

    def now(self):
        self.seconds += 1
        return at(self.seconds)


class Kept:
    """A store that keeps steps, unless it is away."""

    def __init__(self):
        self.batches = []
        self.away = False

    async def keep_steps(self, steps):
        if self.away:
            raise StoreError("away")
        self.batches.append(list(steps))


def keeper():
    store = Kept()
    return StepKeeper(store, Ticking()), store


async def test_work_is_noted_with_its_rows():
    """From its beginning to its end; a step of no run is not noted."""
    steps, store = keeper()
    with steps.at_work("r", "write", 10):
        pass
    with steps.at_work("", "write", 10):
        pass
    steps.count("r", "read", 5)
    await steps.keep()
    assert store.batches == [[RunStep("r", "read", at(3), at(4), 5), RunStep("r", "write", at(0), at(1), 10)]]
    await steps.keep()
    assert len(store.batches) == 1


async def test_work_that_fails_has_no_rows():
    """It was work all the same."""
    steps, store = keeper()
    with pytest.raises(ValueError, match="a bug"), steps.at_work("r", "write", 10):
        raise ValueError("a bug")
    await steps.keep()
    assert store.batches == [[RunStep("r", "write", at(0), at(1), 0)]]


async def test_work_that_is_put_off_is_a_wait():
    """Not work: the delivery comes again."""
    steps, store = keeper()
    with pytest.raises(Postponed), steps.at_work("r", "write", 10):
        raise Postponed(30.0, "Omnitron is away")
    with pytest.raises(Postponed), steps.put_off("", "write"):
        raise Postponed(30.0, "of no run")
    await steps.keep()
    assert store.batches == [[RunStep("r", "write", at(1), at(1), 0, 30.0)]]


async def test_what_cannot_be_kept_waits(monkeypatch):
    """While the database is away nothing is lost, and nothing is kept twice."""
    monkeypatch.setattr(step_keeper, "AT_ONCE", 2)
    steps, store = keeper()
    for name in ("login", "read", "write"):
        steps.count("r", name, 1)
    store.away = True
    await steps.keep()
    store.away = False
    await steps.keep()
    assert [[step.step for step in batch] for batch in store.batches] == [["login", "read"], ["write"]]
