"""OpenTelemetry, behind `tracing.py`. Importing this module raises ImportError where OpenTelemetry is not installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_run: ContextVar[str | None] = ContextVar("run", default=None)
_context = TraceContextTextMapPropagator()


def trace_id(run_id: str) -> int:
    """The id of a run's trace: derived from the run's id, so that every process finds the same one."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16]) or 1


class _RunIds(RandomIdGenerator):
    """Random ids, except that a span without a parent joins the trace of its run."""

    def generate_trace_id(self) -> int:
        run = _run.get()
        return super().generate_trace_id() if run is None else trace_id(run)


def provider(environ: Mapping[str, str]) -> TracerProvider:
    """A TracerProvider with one trace per run, and no exporter yet."""
    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME") or "imageflow"})
    return TracerProvider(resource=resource, id_generator=_RunIds(), shutdown_on_exit=False)


class Traces:
    """Spans of one provider."""

    def __init__(self, made: TracerProvider) -> None:
        self._provider = made
        self._tracer = made.get_tracer("imageflow")

    @classmethod
    def exported(cls, environ: Mapping[str, str]) -> Traces:
        """Spans that go where the environment says. Raises ImportError where its exporter is not installed."""
        made = provider(environ)
        made.add_span_processor(BatchSpanProcessor(_exporter(environ)))
        return cls(made)

    @contextmanager
    def span(
        self, name: str, run_id: str, headers: Mapping[str, str], attributes: Mapping[str, str | int]
    ) -> Iterator[None]:
        """The body as a span of the run's trace, child of the span that the message's `headers` name, if they do."""
        token = _run.set(run_id)
        try:
            with self._tracer.start_as_current_span(
                name,
                context=_context.extract(headers),
                kind=trace.SpanKind.CONSUMER if headers else trace.SpanKind.INTERNAL,
                attributes=attributes,
            ):
                yield
        finally:
            _run.reset(token)

    def note(self, attributes: Mapping[str, str | int]) -> None:
        """Add attributes to the current span, if there is one."""
        trace.get_current_span().set_attributes(attributes)

    def headers(self) -> dict[str, str]:
        """The headers by which a message continues the current span."""
        carrier: dict[str, str] = {}
        _context.inject(carrier)
        return carrier

    def close(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()


def _exporter(environ: Mapping[str, str]) -> SpanExporter:
    if environ.get("OTEL_TRACES_EXPORTER") == "console":
        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional

    exporter: SpanExporter = OTLPSpanExporter()
    return exporter
