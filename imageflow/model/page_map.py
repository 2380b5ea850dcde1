"""The map of a run: what became of each of its pages, in a byte, and as a letter that people and programs read. Pure.

high half   the worst state of the page's rows: a place in WORST
low half    the share of rows that were written, in fifteenths; what is above nothing is at least one
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from imageflow.model.run import Run

WORST = ("", "unchanged", "superseded", "written", "cancelled", "failed")
"""States of rows, the worst last; first: the page has no rows."""
SHARES = 15
MANY = 8
"""So many fifteenths are most of a page."""
LETTERS = {
    "f": "a row failed",
    "c": "a row was cancelled",
    "w": "most rows were written",
    "p": "some rows were written",
    "u": "no row had to be written",
    "x": "in flight",
    "n": "read, not transformed yet",
    ".": "no rows",
    "?": "settled, not looked at yet",
}


class Tally:
    """Counts the rows of pages by state."""

    def __init__(self) -> None:
        self._counts: dict[int, Counter[str]] = {}

    def add(self, counted: Iterable[tuple[int, str, int]]) -> None:
        """So many rows (page, state, number)."""
        for page, state, rows in counted:
            self._counts.setdefault(page, Counter())[state] += rows

    def packed(self, pages: int) -> bytes:
        """A byte for each page from 1 on."""
        return bytes(_byte(self._counts.get(page, {})) for page in range(1, pages + 1))


def _byte(counts: Mapping[str, int]) -> int:
    rows = sum(counts.values())
    if not rows:
        return 0
    worst = max(WORST.index(state) if state in WORST else 0 for state, number in counts.items() if number)
    return worst << 4 | math.ceil(counts.get("written", 0) * SHARES / rows)


def letters(packed: bytes) -> str:
    """A letter of LETTERS for each page."""
    return "".join(_letter(byte >> 4, byte & SHARES) for byte in packed)


def _letter(worst: int, share: int) -> str:
    name = WORST[worst] if worst < len(WORST) else ""
    if name in ("failed", "cancelled"):
        return name[0]
    if not name:
        return "."
    return "w" if share >= MANY else "p" if share else "u"


def so_far(run: Run, failed: Collection[int]) -> str:
    """The letters of a run that has no map yet: which pages have failed rows is known. Rows settle about in the order in which
    they were read, so the pages before the share of rows that is settled count as settled; where all of these came to the same, what
    became of them is known, too.
    """
    counts = run.counts
    share = counts.settled / counts.total if counts.total else 0.0
    done = _alike(run)
    settled = run.pages if run.ended else math.floor(run.pages_done * share)
    known = frozenset(failed)
    return "".join(
        "f" if page in known else done if page <= settled else "x" if page <= run.pages_done else "n"
        for page in range(1, run.pages + 1)
    )


def _alike(run: Run) -> str:
    """The letter of settled pages without a failure."""
    counts = run.counts
    rest = counts.settled - counts.failed
    if rest and counts.written == rest:
        return "w"
    return "u" if rest and counts.unchanged + counts.superseded == rest else "?"
