"""Every error of ImageFlow, as a tree with two axes.

*Where* it happened is the class: people read it. *What next* is in the attributes: `transient` (the same may succeed
later, not before `retry_after` seconds) and `exit_status` (2: a setting, a command or a flow file is wrong). Constructors
take these facts; nothing changes an error afterwards, and nothing is decided by an error's text.

    ImageFlowError
    ├── SettingsError          an IMAGEFLOW_* variable is wrong; exit 2
    │   ├── ListenError        a port cannot be had
    │   └── DataDirBusy        another process runs services on the data directory
    ├── SecretError            a secret that a flow names cannot be read; exit 2
    ├── FlowFileError          a flow file is wrong, with all its problems; exit 2
    ├── RequestError           what a person asked for cannot be done; exit 2
    │   ├── ParameterError     what is given for a parameter is wrong; `parameter` is its name
    │   ├── NotFoundError      there is no such flow, run, page or row
    │   ├── NotRunnable        the flow or the run cannot be started by hand
    │   ├── ConflictError      what was asked for comes too late, or contradicts what was done; exit 1
    │   ├── UserError          a user or a key cannot be added like this
    │   ├── OwnUserError       a user may not remove themselves or change their own role
    │   ├── AuthenticationError  the gateway does not know who asks
    │   ├── PermissionDenied   the role, or the key, does not allow it
    │   ├── PostError          what was posted cannot be taken; `kind` says why
    │   │   └── KeyReused      the idempotency key was used for another body
    │   └── ThrottledError     too much at once (transient); `overload`: by all together
    ├── StageError             a step of a run failed; `stage` is its name
    │   ├── LoginError         Omnitron or the ERP refused the login
    │   ├── ReadError          the ERP's answer cannot be used
    │   └── OmnitronError      Omnitron's answer to a look-up cannot be used
    ├── SandboxError           scripts cannot be run safely on this machine
    ├── TransportError         no answer over HTTP; `kind` says why
    ├── BrokerError            the queue is away (transient), or refuses us (not transient)
    │   ├── QueueFullError     the queue takes no more for now (transient)
    │   ├── LostError          the connection to RabbitMQ, or a channel of it, was lost (transient)
    │   └── MissingError       RabbitMQ has no such queue
    ├── StoreError             the database is away (transient)
    │   ├── LostTransaction    a transaction was not committed; the store runs it again, a few times
    │   └── NotReadyError      a database is not in a state to be moved; exit 2
    ├── NotReplayable          the queue that a dead letter came from is not known
    ├── MessageError           a message cannot be decoded
    ├── Postponed              control flow: redeliver after `retry_after`, without counting an attempt
    └── Refusal                the gateway's HTTP answer to a request that it does not serve

Errors whose names begin with an underscore belong to one module and are caught there, or by a base class of this tree.
"""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from imageflow.text.masking import mask
from imageflow.text.printable import lines


class ImageFlowError(Exception):
    """Something went wrong in ImageFlow."""

    exit_status = 1
    transient = False
    retry_after: float | None = None

    def __init__(
        self, message: str | None = None, *, transient: bool | None = None, retry_after: float | None = None
    ) -> None:
        """`transient`: None leaves it to the class."""
        super().__init__(lines(mask(message)) if message else type(self).__doc__)
        if transient is not None:
            self.transient = transient
        if retry_after is not None:
            self.retry_after = retry_after


class SettingsError(ImageFlowError):
    """A setting is wrong."""

    exit_status = 2


class ListenError(SettingsError):
    """A port cannot be had."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(f"cannot listen on {host}:{port}: {reason.lower()}")


class SecretError(ImageFlowError):
    """A secret cannot be read."""

    exit_status = 2


class Problem(NamedTuple):
    """One thing wrong in a flow file: the dotted path of the field and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class FlowFileError(ImageFlowError):
    """A flow file is wrong; `problems` names each field."""

    exit_status = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))

    def of(self, file: object) -> FlowFileError:
        """The same, with the name of the file before each problem."""
        return FlowFileError([Problem("", f"{file}: {problem}") for problem in self.problems])


class RequestError(ImageFlowError):
    """What was asked for cannot be done."""

    exit_status = 2


class ParameterError(RequestError):
    """What is given for a parameter is wrong; `parameter` is its name in the API: a command has its own name for it."""

    def __init__(self, parameter: str, reason: str) -> None:
        self.parameter, self.reason = parameter, reason
        super().__init__(f"{parameter}: {reason}")


class NotFoundError(RequestError):
    """There is no such thing."""


class ConflictError(RequestError):
    """It comes too late, or contradicts what was done meanwhile."""

    exit_status = 1


PostKind = Literal["malformed", "too large", "encoding", "conflict"]
"""Why a post cannot be taken: it is not what it should be; there is too much of it; it is compressed in a way that is not
understood; or it contradicts an earlier one."""


class PostError(RequestError):
    """What was posted cannot be taken."""

    def __init__(self, message: str, kind: PostKind = "malformed") -> None:
        super().__init__(message)
        self.kind = kind


class ThrottledError(RequestError):
    """Too much is asked at once: by this sender, or by all together (`overload`)."""

    transient = True

    def __init__(self, message: str, retry_after: float, *, overload: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
        self.overload = overload


class StageError(ImageFlowError):
    """A step of a run failed; `stage` is the name that row logs and runs show."""

    stage = ""


class LoginError(StageError):
    """The login was refused."""

    stage = "login"


class ReadError(StageError):
    """The ERP's answer cannot be used."""

    stage = "read"


class SandboxError(ImageFlowError):
    """Scripts cannot be run safely here."""


TransportKind = Literal["timeout", "no connection", "broken", "refused"]
"""Why there is no answer: none came in time; there was no connection, or none that is safe; the connection or the answer
broke off; or the request cannot be sent, or its answer is too large to be taken."""


class TransportError(ImageFlowError):
    """The other side cannot be reached or did not answer in time. Transient, unless its kind is `refused`."""

    def __init__(self, message: str | None = None, kind: TransportKind = "broken") -> None:
        super().__init__(message, transient=kind != "refused")
        self.kind = kind


class BrokerError(ImageFlowError):
    """The message queue cannot be reached."""

    transient = True


class QueueFullError(BrokerError):
    """The queue is full; try again later."""


class LostError(BrokerError):
    """The connection to RabbitMQ, or a channel of it, was lost."""


class MissingError(BrokerError):
    """RabbitMQ has no such queue."""


class StoreError(ImageFlowError):
    """The database cannot be reached."""

    transient = True


class MessageError(ImageFlowError):
    """A message cannot be decoded."""


class Postponed(ImageFlowError):
    """Not now: the message shall come again after `retry_after` seconds; that does not count as a failure."""

    transient = True
    retry_after: float

    def __init__(self, retry_after: float, why: str) -> None:
        super().__init__(why, retry_after=retry_after)
