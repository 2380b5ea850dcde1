"""One trace from the read to the write, over the queues; and what the metrics say of such runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from imageflow.commands.demo import demonstrate
from imageflow.telemetry import otel, tracing
from imageflow.telemetry.metrics import REGISTRY

ROWS = 200
NOTHING_INSTALLED = """
import sys
sys.modules["opentelemetry"] = None
from imageflow.telemetry import tracing
end = tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
with tracing.span("reader", "run", "flow", {}):
    tracing.note(outcome="done")
    assert tracing.headers() == {}
end()
"""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), otel.provider({})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    end = tracing.use(otel.Traces(provider))
    try:
        yield exporter
    finally:
        end()


async def test_a_run_is_one_trace(spans: InMemorySpanExporter) -> None:
    """Of an inbound run each write follows from a transformation, that from a read; of an outbound one from its post.
    The same runs move the metrics of every stage."""
    result = await demonstrate(ROWS, stop_seconds=5, log_format="text", serve=False, say=None)
    assert result["ok"], result
    inbound, outbound = (run.run_id for run in result["runs"])
    finished = spans.get_finished_spans()
    for run, first in ((inbound, "reader"), (outbound, "gateway")):
        mine = {span.context.span_id: span for span in finished if span.attributes["imageflow.run"] == run}
        assert {span.context.trace_id for span in mine.values()} == {otel.trace_id(run)}
        writes = [span for span in mine.values() if span.name == "writer"]
        assert sum(span.attributes["imageflow.rows"] for span in writes) >= ROWS
        for span in writes:
            assert lineage(span, mine)[:3] == ["writer", "transformer", first]
            assert span.attributes["imageflow.outcome"] == "done"
    assert {span.name for span in finished} == {"reader", "transformer", "writer", "gateway"}
    check_metrics()


def lineage(span: Any, known: dict[int, Any]) -> list[str]:
    """The names of a span and of those it follows from."""
    names = [span.name]
    while span.parent is not None:
        span = known[span.parent.span_id]
        names.append(span.name)
    return names


def check_metrics() -> None:
    """What such runs must have moved, by flow and stage."""
    for flow, stages in {
        "demo-inbound": ("reader", "transformer", "writer"),
        "demo-outbound": ("transformer", "writer"),
    }.items():
        assert sample("rows_settled_total", flow=flow, state="written") >= ROWS
        assert sample("row_seconds_count", flow=flow) >= ROWS
        assert sample("runs_ended_total", flow=flow, status="success") >= 1
        assert sample("run_seconds_count", flow=flow) >= 1
        assert sample("last_settled_timestamp_seconds", flow=flow) > 1e9
        assert sample("pages_transformed_total", flow=flow) >= 1
        for stage in stages:
            assert sample("deliveries_total", stage=stage, flow=flow, outcome="done") >= 1
            assert sample("handling_seconds_count", stage=stage, flow=flow) >= 1
    assert sample("pages_read_total", flow="demo-inbound") >= 2
    assert sample("erp_requests_total", flow="demo-inbound", status="200") >= 2
    assert sample("jail_starts_total", flow="demo-inbound") >= 1
    assert sample("posts_total", flow="demo-outbound", status="202") >= 1
    assert sample("ready") == 1
    assert sample("last_look_timestamp_seconds") > 1e9
    domains = {item.labels["domain"] for item in samples("concurrency_limit") if item.value >= 1}
    assert any(
        sample("omnitron_requests_total", domain=domain, status="201")
        + sample("omnitron_requests_total", domain=domain, status="200")
        >= 2 * ROWS
        and sample("logins_total", domain=domain, outcome="ok") >= 1
        and sample("held", domain=domain) == sample("in_flight", domain=domain) == 0
        for domain in domains
    )


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"imageflow_{name}", labels) or 0.0


def samples(name: str) -> list[Any]:
    return [item for family in REGISTRY.collect() if family.name == f"imageflow_{name}" for item in family.samples]


def test_a_message_without_context_joins_its_runs_trace(spans: InMemorySpanExporter) -> None:
    """What the sweep of another process publishes has no parent, but the run's trace all the same."""
    with tracing.span("reader", "run-1", "winter", {}):
        headers = tracing.headers()
    with tracing.span("transformer", "run-1", "winter", headers), tracing.span("writer", "run-1", "winter", {}):
        pass
    by_name = {span.name: span for span in spans.get_finished_spans()}
    assert {span.context.trace_id for span in by_name.values()} == {otel.trace_id("run-1")}
    assert by_name["transformer"].parent.span_id == by_name["reader"].context.span_id
    assert by_name["writer"].parent is None


def test_nothing_is_made_unless_asked() -> None:
    """Without a provider a span is the same nothing every time, and messages carry no context."""
    assert tracing.span("reader", "r", "f", {}) is tracing.span("writer", "r", "f", {})
    assert tracing.headers() == {}
    assert not tracing.asked({})
    assert not tracing.asked({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})
    assert tracing.asked({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})


def test_asked_for_but_not_installed() -> None:
    """That is said, and everything goes on without traces."""
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_INSTALLED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "imageflow[otel]" in done.stdout + done.stderr
