"""Jobs that go on whatever they raise."""

from __future__ import annotations

import asyncio

import pytest

from imageflow.runtime import kept
from imageflow.runtime.kept import KeptJobs


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept.retry_ladder, "delay", lambda _: 0)


async def test_a_job_that_raises_starts_again() -> None:
    """Each error is shown as a problem; a job that returns is over, and no problem any more."""
    jobs, seen = KeptJobs(), []
    errors: list[Exception] = [ValueError("a bug"), StopAsyncIteration(), ExceptionGroup("all", [OSError()])]

    async def job() -> None:
        seen.append(jobs.problems)
        if errors:
            raise errors.pop(0)

    await jobs.keep("the job", job)
    assert seen[0] == []
    assert seen[1] == ["the job failed and starts again: ValueError: a bug"]
    assert len(seen) == 4
    assert jobs.problems == []


async def test_a_job_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has run for a while it is no problem any more."""
    monkeypatch.setattr(kept, "STEADY_SECONDS", 0.01)
    jobs, failed = KeptJobs(), []

    async def job() -> None:
        if not failed:
            failed.append(True)
            raise ValueError("a bug")
        while jobs.problems:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(5):
        await jobs.keep("the job", job)
    assert failed


@pytest.mark.parametrize("instead", [None, RuntimeError("the connection is closed")])
async def test_a_cancelled_job_ends(instead: Exception | None) -> None:
    """Also where another error took the cancellation's place."""
    started = asyncio.Event()

    async def job() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if instead is not None:
                raise instead from None
            raise

    task = asyncio.create_task(KeptJobs().keep("the job", job))
    await started.wait()
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
