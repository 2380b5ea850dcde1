"""What preflight does with rows."""

import pytest

from imageflow.errors import StoreError
from imageflow.write.image_check import ImageCheck
from imageflow.write.preflight import Finding, Found

from .fakes import IMAGES, RecordingStore, chunk

MISSING = [Found(0, IMAGES[0], Finding("image_not_found", "answers 404"))]
REASON = "image_not_found: images[0] https://images.example/a.jpg answers 404"


class Probe:
    """Finds what it is given."""

    def __init__(self, *findings):
        self.findings = list(findings)
        self.asked = 0

    async def inspect(self, sets):
        self.asked += len(sets)
        return self.findings[: len(sets)]


async def test_block():
    """A row with a faulty image is not sent, one without is, and one without time for a look comes again."""
    rows = chunk("abc", preflight="block")
    await ImageCheck(RecordingStore(), Probe(MISSING, [], None)).check(rows)
    assert [work.state for work in rows.works] == ["unsendable", "waiting", "busy"]
    assert rows.works[0].answer.reason == REASON


async def test_warn():
    """Faulty rows are sent with the reason, and the run is warned once for each code."""
    store = RecordingStore()
    check = ImageCheck(store, Probe(MISSING, [], MISSING))
    for _ in range(2):
        rows = chunk("abc", preflight="warn")
        await check.check(rows)
        assert [(work.state, work.images) for work in rows.works] == [
            ("waiting", REASON),
            ("waiting", None),
            ("waiting", REASON),
        ]
    assert [call[:2] for call in store.calls] == [("warn", "r")]


async def test_a_warning_that_could_not_be_stored_is_tried_again():
    """Only a stored warning is remembered."""
    store = RecordingStore()
    store.away = True
    check = ImageCheck(store, Probe(MISSING))
    with pytest.raises(StoreError):
        await check.check(chunk("a", preflight="warn"))
    store.away = False
    await check.check(chunk("a", preflight="warn"))
    assert len(store.calls) == 2


async def test_only_rows_to_be_sent_are_looked_at():
    """A product that is busy is not asked for."""
    probe = Probe([], [])
    await ImageCheck(RecordingStore(), probe).check(chunk("aa", preflight="block"))
    assert probe.asked == 1
