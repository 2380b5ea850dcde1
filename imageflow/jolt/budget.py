"""What one application of a chain may use up in all, beside the limits of each value: many small things make a large one."""

from __future__ import annotations

from imageflow.jolt.errors import LimitError

MAX_NULLS = 1_000_000
"""How many places of lists may be filled with null, so that an index can be written to."""
MAX_CHARACTERS = 40_000_000
"""How many characters functions may make."""
MAX_PATTERN_SECONDS = 0.5
"""How long regular expressions may work, those not counted that take less than SLOW_SECONDS."""
SLOW_SECONDS = 0.001


class _Budget:
    """The process's: where threads apply chains side by side, the last one to begin renews it for all."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Another document begins."""
        self._nulls = MAX_NULLS
        self._characters = MAX_CHARACTERS
        self._seconds = MAX_PATTERN_SECONDS

    def nulls(self, count: int) -> None:
        """So many places are filled. Raises LimitError."""
        self._nulls -= count
        if self._nulls < 0:
            raise LimitError(f"lists with more than {MAX_NULLS:,} empty places")

    def characters(self, count: int) -> None:
        """A text of so many characters is made. Raises LimitError."""
        self._characters -= count
        if self._characters < 0:
            raise LimitError(f"texts with more than {MAX_CHARACTERS:,} characters in all")

    def pattern(self, pattern: str, seconds: float) -> None:
        """A regular expression has worked so long. Raises LimitError."""
        if seconds < SLOW_SECONDS:
            return
        self._seconds -= seconds
        if self._seconds < 0:
            raise LimitError(f"the regular expression {pattern!r} takes too long on so many texts")


budget = _Budget()
