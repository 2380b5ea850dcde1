"""Traces, for whoever has OpenTelemetry (`pip install imageflow[otel]`) and asks for them by its own variables.

A run is one trace: a span for each message that a stage handles, child of the span that published it. The context
travels in the messages' headers (W3C: `traceparent`, `tracestate`). A message that comes without one (it was left in the
outbox by a crash and published by another process) begins a span at the top of the same trace: the trace's id is made
of the run's.

Without OpenTelemetry, or unasked, a span is one comparison.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import structlog

log = structlog.get_logger()

HEADERS = ("traceparent", "tracestate")
ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")

FINISH_SECONDS = 3.0

_NOTHING: AbstractContextManager[None] = nullcontext()
_tracer: Any = None
_run: ContextVar[str | None] = ContextVar("run", default=None)


def asked(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces, in OpenTelemetry's own words."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environ.get(name) for name in ASKED_BY)


def trace_id(run_id: str) -> int:
    """The id of a run's trace: the same wherever it is asked for."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16]) or 1


def start(environ: Mapping[str, str]) -> Callable[[], None]:
    """Send traces from now on, if the environment asks for them; returns what ends that (it sends what is left)."""
    if not asked(environ):
        return _done
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        made, exporter = provider(environ), _exporter(environ)
    except ImportError:
        log.warning("traces are asked for, but OpenTelemetry is not installed: pip install 'imageflow[otel]'")
        return _done
    made.add_span_processor(BatchSpanProcessor(exporter))
    return use(made)


def provider(environ: Mapping[str, str]) -> Any:
    """A TracerProvider whose traces are runs, without an exporter. Raises ImportError."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME") or "imageflow"})
    return TracerProvider(resource=resource, id_generator=_id_generator(), shutdown_on_exit=False)


def _exporter(environ: Mapping[str, str]) -> Any:
    if environ.get("OTEL_TRACES_EXPORTER") == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _id_generator() -> Any:
    """Ids at random, but a span without a parent begins the trace of its run."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RunIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            run = _run.get()
            return super().generate_trace_id() if run is None else trace_id(run)

    return RunIds()


def use(made: Any) -> Callable[[], None]:
    """Make spans with this TracerProvider; returns what ends that."""
    global _tracer  # noqa: PLW0603 - one per process, like the provider
    _tracer = made.get_tracer("imageflow")

    def end() -> None:
        global _tracer  # noqa: PLW0603
        _tracer = None
        made.shutdown()

    return end


def _done() -> None:
    """Nothing was started."""


async def finish(end: Callable[[], None]) -> None:
    """Send what is left, for FINISH_SECONDS at most: nobody waits longer for a collector that is away."""
    if end is not _done:
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FINISH_SECONDS)


def span(
    name: str, run_id: str, flow: str, headers: Mapping[str, str], **attributes: str | int
) -> AbstractContextManager[Any]:
    """What happens in the body, as a part of the run's trace: child of what `headers` name."""
    return _NOTHING if _tracer is None else _span(name, run_id, flow, headers, attributes)


@contextmanager
def _span(
    name: str, run_id: str, flow: str, headers: Mapping[str, str], attributes: Mapping[str, str | int]
) -> Iterator[Any]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({name: headers[name] for name in HEADERS if name in headers})
    token = _run.set(run_id)
    try:
        with _tracer.start_as_current_span(
            name,
            context=parent,
            kind=trace.SpanKind.CONSUMER if headers else trace.SpanKind.INTERNAL,
            attributes=_named({"run": run_id, "flow": flow, **attributes}),
        ) as current:
            yield current
    finally:
        _run.reset(token)


def note(**attributes: str | int) -> None:
    """Say more about the span that is under way, if there is one."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(attributes))


def _named(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"imageflow.{name}": value for name, value in attributes.items()}


def headers() -> dict[str, str]:
    """The headers by which a message continues the span that is under way."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return carrier
