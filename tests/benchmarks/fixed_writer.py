"""`imageflow writer` with a limit that never adapts, for `auto` to be compared with: `… fixed_writer NUMBER`."""

from __future__ import annotations

import sys

from imageflow import cli
from imageflow.write import domain_queue
from imageflow.write.limiter import Limiter


class Fixed(Limiter):
    """As many requests at once as it was told, whatever comes of them."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    @property
    def limit(self) -> int:
        return self._number


if __name__ == "__main__":
    number = int(sys.argv[1])
    domain_queue.Limiter = lambda: Fixed(number)
    sys.argv[1:] = ["writer"]
    cli.main()
