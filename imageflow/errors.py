"""Every error of ImageFlow, as a tree with two axes.

*Where* is the class: people read it. *What next* is in the attributes that steer: `transient` (try again later, not
before `retry_after` seconds) and `exit_status` (2: the user's settings, command or flow file are wrong).

    ImageFlowError
    ├── SettingsError          an IMAGEFLOW_* variable                       exit 2
    ├── SecretError            a secret that a flow names is not to be had   exit 2
    ├── FlowFileError          a flow file, with all its problems            exit 2
    ├── NotFoundError          no such flow, run, page or row                exit 2
    ├── StageError             a step of a run
    │   ├── LoginError         Omnitron or the ERP refused the login
    │   ├── ReadError          the ERP's answer cannot be used
    │   ├── ScriptError        the script failed
    │   └── MappingError       the mapping failed
    ├── TransportError         connection, time-out: always transient
    ├── BrokerError            the queue is away (transient)
    │   └── QueueFullError     the queue takes no more for now (transient)
    ├── StoreError             the database is away (transient)
    ├── MessageError           a message that cannot be decoded
    └── Postponed              not an error of anybody: the message wants to come again after `retry_after` seconds
"""

from __future__ import annotations

from typing import NamedTuple


class ImageFlowError(Exception):
    """Something went wrong in ImageFlow."""

    exit_status = 1
    transient = False
    retry_after: float | None = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class SettingsError(ImageFlowError):
    """A setting is wrong."""

    exit_status = 2


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


class NotFoundError(ImageFlowError):
    """There is no such thing."""

    exit_status = 2


class StageError(ImageFlowError):
    """A step of a run failed; `stage` is the name that row logs and runs show."""

    stage = ""


class LoginError(StageError):
    """The login was refused."""

    stage = "login"


class ReadError(StageError):
    """The ERP's answer cannot be used."""

    stage = "read"


class ScriptError(StageError):
    """The script failed."""

    stage = "script"


class MappingError(StageError):
    """The mapping failed."""

    stage = "mapping"


class TransportError(ImageFlowError):
    """The other side cannot be reached or did not answer in time."""

    transient = True


class BrokerError(ImageFlowError):
    """The message queue cannot be reached."""

    transient = True


class QueueFullError(BrokerError):
    """The queue is full; try again later."""


class StoreError(ImageFlowError):
    """The database cannot be reached."""

    transient = True


class MessageError(ImageFlowError):
    """A message cannot be decoded."""


class Postponed(ImageFlowError):
    """Not now: the message shall come again after `retry_after` seconds; that does not count as a failure."""

    transient = True

    def __init__(self, retry_after: float, why: str) -> None:
        self.retry_after = retry_after
        super().__init__(why)
