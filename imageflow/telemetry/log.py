"""Logs: a fixed phrase and fields, to stderr, as text or JSON. Run and flow are bound once per delivery."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import orjson
import structlog

from imageflow.secret import Secret

QUIET = {"aio_pika": logging.CRITICAL, "aiormq": logging.CRITICAL, "aiohttp": logging.ERROR, "alembic": logging.WARNING}
"""Libraries whose own words say nothing that ours do not: connections lost and found again are our log lines."""


def configure(log_format: Literal["text", "json"], *, level: int = logging.INFO) -> None:
    """Send all logs of this process to stderr."""
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
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
    for name, at_least in QUIET.items():
        logging.getLogger(name).setLevel(at_least)


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=_text).decode()


def _text(value: Any) -> str:
    return "***" if isinstance(value, Secret) else str(value)
