"""Logs: a fixed phrase and fields, to stderr, as text or JSON. Run and flow are bound once per delivery.

Every line passes `_masked`, also those of libraries and tracebacks: no secret gets out, and nothing that steers a terminal.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import orjson
import structlog

from imageflow.text import color
from imageflow.text.masking import mask
from imageflow.text.printable import lines, one_line

QUIET = {"aio_pika": logging.CRITICAL, "aiormq": logging.CRITICAL, "aiohttp": logging.ERROR, "alembic": logging.WARNING}
"""Libraries whose own words say nothing that ours do not: connections lost and found again are our log lines."""

OUR_NAMES = frozenset(("timestamp", "level", "service", "flow", "run", "queue", "_record", "_from_structlog"))
MALFORMED_SECONDS = 10.0
_PROCESSORS: list[Any] = []


def set_level(level: int) -> None:
    """Leave out what is below a level of Python's logging."""
    logging.getLogger().setLevel(level)


def configure(log_format: Literal["text", "json"], *, level: int = logging.INFO) -> None:
    """Send all logs of this process to stderr."""
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=color.wanted(os.environ, terminal=sys.stderr.isatty()),
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _masked,
    ]
    # in place: a logger that was used before keeps the list
    _PROCESSORS[:] = [*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    requests = logging.getLogger("aiohttp.server")
    requests.filters[:] = [MalformedRequests()]
    for name, at_least in QUIET.items():
        logging.getLogger(name).setLevel(at_least)


class MalformedRequests(logging.Filter):
    """What aiohttp's server says is about requests that nobody could read, and it quotes them, with a traceback, before
    anybody has shown who they are. One line without content remains, once in MALFORMED_SECONDS, with a count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said = float("-inf")
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self._count += 1
        if time.monotonic() - self._said < MALFORMED_SECONDS:
            return False
        record.msg, record.args = "malformed requests were refused (%d since the last such line)", (self._count,)
        record.exc_info = record.exc_text = record.stack_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        self._said, self._count = time.monotonic(), 0
        return True


def _masked(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event without secrets. Names that we give ourselves stay: a password may be a word like `demo`."""
    for key, value in event.items():
        if key not in OUR_NAMES:
            event[key] = _without_secrets(value, lines if key == "exception" else one_line)
    return event


def _without_secrets(value: Any, fit: Callable[[str], str]) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case list() | tuple():
            return [_without_secrets(item, fit) for item in value]
        case dict():
            return {fit(str(key)): _without_secrets(item, fit) for key, item in value.items()}
    return fit(mask(str(value)))


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
