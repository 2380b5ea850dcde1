"""What becomes of a delivery. Pure.

    handled                                            ack
    Postponed                                          redeliver after its pause; no attempt is counted
    the database is away, or the queue is full         redeliver soon; no attempt is counted
    the queue is away                                  requeue after a pause: nothing can be published now
    MessageError                                       park with the reason: the message cannot be used
    NotFoundError                                      give up: what the message speaks of is not there
    any other error                                    retry on the ladder; after FAILURE_LIMIT attempts give up
    delivered CRASH_LIMIT times and never settled      give up unhandled: it takes workers down

To give up is to mark all rows of the message failed, with the reason, and then to ack: every run ends. Where that fails
for good the message is parked.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import msgspec

from imageflow.errors import BrokerError, MessageError, NotFoundError, Postponed, QueueFullError, StoreError
from imageflow.model import retry_ladder
from imageflow.text.masking import mask

FAILURE_LIMIT = 6
CRASH_LIMIT = 8
AWAY_PAUSE_SECONDS = 2.0


class Facts(NamedTuple):
    """What is known of a delivery: how often it was delivered before and not settled, how many attempts failed."""

    deliveries: int
    failures: int


class Ack(msgspec.Struct, frozen=True):
    """Everything derived from the message is durable elsewhere. `outcome` is the name that metrics show."""

    outcome: Literal["done", "gave_up"] = "done"


class Retry(msgspec.Struct, frozen=True):
    """Redeliver after `delay` seconds; `counts` as a failed attempt or not."""

    delay: float
    counts: bool

    @property
    def outcome(self) -> str:
        return "failed" if self.counts else "postponed"


class Park(msgspec.Struct, frozen=True):
    """Put it aside as a dead letter, with the reason."""

    reason: str
    outcome: ClassVar[str] = "parked"


class Requeue(msgspec.Struct, frozen=True):
    """Put it back into its queue after `after` seconds, without publishing anything."""

    after: float
    outcome: ClassVar[str] = "handed_back"


class GiveUp(msgspec.Struct, frozen=True):
    """Settle what the message holds as failed, with the reason."""

    reason: str


Settlement = Ack | Retry | Park | Requeue
"""How a delivery ends."""

DONE = Ack()


def before_handling(facts: Facts) -> GiveUp | None:
    """Give up on a message that came back unsettled too often: each time its worker died."""
    if facts.deliveries < CRASH_LIMIT:
        return None
    return GiveUp(f"it was taken {facts.deliveries} times and never finished")


def decide(error: Exception | None, facts: Facts) -> Settlement | GiveUp:
    """What follows from what the stage raised (None: nothing)."""
    if error is None:
        return DONE
    foreseen = _foreseen(error)
    if foreseen is not None:
        return foreseen
    if isinstance(error, NotFoundError):  # all that a message speaks of is stored before it is published
        return GiveUp(str(error))
    if facts.failures + 1 >= FAILURE_LIMIT:
        return GiveUp(_unexpected(error))
    return Retry(float(retry_ladder.delay(facts.failures + 1)), counts=True)


def after_giving_up(error: Exception | None, reason: str) -> Settlement:
    """What follows from what the stage raised when it gave up for `reason`: the end, or another try at giving up."""
    if error is None:
        return Ack("gave_up")
    return _foreseen(error) or Park(f"{reason}; and it cannot be settled: {error}")


def undecodable(error: Exception) -> Park:
    """A message that cannot be read is parked, whatever reading it raised."""
    return Park(str(error) if isinstance(error, MessageError) else _unexpected(error))


def _foreseen(error: Exception) -> Settlement | None:
    match error:
        case Postponed():
            return Retry(error.retry_after, counts=False)
        case MessageError():
            return Park(str(error))
        case StoreError() | QueueFullError() if error.transient:
            return Retry(AWAY_PAUSE_SECONDS, counts=False)
        case BrokerError() if error.transient:
            return Requeue(AWAY_PAUSE_SECONDS)
    return None


def _unexpected(error: Exception) -> str:
    return mask(f"unexpected error: {type(error).__name__}: {error}")
