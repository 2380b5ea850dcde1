"""How many bytes of request bodies a gateway holds at once, and how many of them one sender."""

from __future__ import annotations

from imageflow.errors import ThrottledError

RETRY_SECONDS = 1.0


class BodyBudget:
    """`total` bytes, of which one sender has at most `share`: a sender that holds its bodies back leaves room for others."""

    def __init__(self, total: int, share: int) -> None:
        self._free = total
        self._share = share
        self._held: dict[str, int] = {}

    def take(self, sender: str, size: int) -> None:
        """Count bytes as held by the sender. Raises ThrottledError where there is no room; they count all the same."""
        held = self._held.get(sender, 0) + size
        self._held[sender] = held
        self._free -= size
        if held > self._share:
            raise ThrottledError("too much is being posted at once by this sender; try again", RETRY_SECONDS)
        if self._free < 0:
            raise ThrottledError("too much is being posted at once; try again", RETRY_SECONDS, overload=True)

    def give_back(self, sender: str, size: int) -> None:
        """The bytes are not held any more."""
        self._free += size
        left = self._held.get(sender, 0) - size
        if left > 0:
            self._held[sender] = left
        else:
            self._held.pop(sender, None)
