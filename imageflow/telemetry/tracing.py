"""Traces, if OpenTelemetry is installed (`pip install imageflow[otel]`) and its own variables ask for them.

A run is one trace: a span for each message that a stage handles, child of the span that published the message. Message
headers carry the context (W3C: `traceparent`, `tracestate`). A message may come without one, if a crash left it in the
outbox and another process published it. It then begins a span at the top of the run's trace: the trace's id is derived
from the run's.

Otherwise a span costs one comparison.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import structlog

log = structlog.get_logger()

HEADERS = ("traceparent", "tracestate")
ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")

FINISH_SECONDS = 3.0

_NOTHING: AbstractContextManager[None] = nullcontext()


class Traces(Protocol):
    """What traces are made with: `otel.Traces`. Not imported here, because it imports OpenTelemetry."""

    def span(
        self, name: str, run_id: str, headers: Mapping[str, str], attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[None]: ...

    def note(self, attributes: Mapping[str, str | int]) -> None: ...

    def headers(self) -> dict[str, str]: ...

    def close(self) -> None: ...


_traces: Traces | None = None


def asked(environ: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables ask for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environ.get(name) for name in ASKED_BY)


def start(environ: Mapping[str, str]) -> Callable[[], None]:
    """Send traces from now on, if the environment asks for them. Returns the function that ends it, for `finish`."""
    if not asked(environ):
        return _done
    try:
        from imageflow.telemetry import otel  # noqa: PLC0415 - an optional dependency

        return use(otel.Traces.exported(environ))
    except ImportError:
        log.warning("traces are asked for, but OpenTelemetry is not installed: pip install 'imageflow[otel]'")
        return _done


def use(traces: Traces) -> Callable[[], None]:
    """Make spans with `traces`. Returns the function that ends it."""
    global _traces  # noqa: PLW0603 - one per process, like OpenTelemetry's provider
    _traces = traces

    def end() -> None:
        global _traces  # noqa: PLW0603 - see above
        _traces = None
        traces.close()

    return end


def _done() -> None:
    """Nothing was started."""


async def finish(end: Callable[[], None]) -> None:
    """Send the spans that are left, within FINISH_SECONDS: a collector that is away must not delay the exit."""
    if end is not _done:
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FINISH_SECONDS)


def span(
    name: str, run_id: str, flow: str, headers: Mapping[str, str], **attributes: str | int
) -> AbstractContextManager[None]:
    """The body as a span of the run's trace, child of the span that a message's `headers` name."""
    if _traces is None:
        return _NOTHING
    return _traces.span(name, run_id, headers, _named({"run": run_id, "flow": flow, **attributes}))


def note(**attributes: str | int) -> None:
    """Add attributes to the current span, if there is one."""
    if _traces is not None:
        _traces.note(_named(attributes))


def _named(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"imageflow.{name}": value for name, value in attributes.items()}


def headers() -> dict[str, str]:
    """The headers by which a message continues the current span."""
    return {} if _traces is None else _traces.headers()
