"""What Prometheus sees of a process. Every stage counts here; `/metrics` shows it (gateway/app.py: monitoring_routes).

Labels are few-valued: flows, domains, states, statuses. Never a product, a URL, a run or what a stranger may choose.
"""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"imageflow_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"imageflow_{name}", text, labels, registry=REGISTRY)


RUNS = _counter("runs_ended_total", "Runs that ended, by their status.", "flow", "status")
PAGES_READ = _counter("pages_read_total", "Pages read from the ERP and stored.", "flow")
PAGES_TRANSFORMED = _counter("pages_transformed_total", "Pages whose rows are known and registered.", "flow")
ROWS = _counter("rows_settled_total", "Rows settled: written, unchanged, superseded or failed.", "flow", "state")
POSTS = _counter(
    "posts_total", "Outbound posts by the status they were answered with (202: accepted).", "flow", "status"
)
DELIVERIES = _counter("deliveries_total", "Queue deliveries by stage, and what became of them.", "stage", "outcome")
LOGINS = _counter("logins_total", "Logins to Omnitron, to the ERP and to the gateway.", "domain", "outcome")
OMNITRON_REQUESTS = _counter("omnitron_requests_total", "Requests to Omnitron by answer.", "domain", "status")
OMNITRON_SECONDS = Histogram(
    "imageflow_omnitron_request_seconds",
    "How long Omnitron took to answer.",
    ("domain",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
IN_FLIGHT = _gauge("in_flight", "Requests to Omnitron under way.", "domain")
CONCURRENCY_LIMIT = _gauge("concurrency_limit", "Requests to Omnitron allowed at once, as adapted.", "domain")
HELD = _gauge("held", "1 while rows for the domain are held back because Omnitron is away.", "domain")
PREFLIGHT = _counter(
    "preflight_images_total", "Images looked at before they are written, by what was found.", "outcome"
)
LAST_SETTLED = _gauge("last_settled_timestamp_seconds", "When a row was last settled, in Unix time.", "flow")


def rows_settled(flow: str, state: str, rows: int, now: datetime) -> None:
    """Count rows that were settled just now."""
    ROWS.labels(flow, state).inc(rows)
    LAST_SETTLED.labels(flow).set(now.timestamp())


def exposition() -> bytes:
    """Everything as Prometheus text, of type CONTENT_TYPE."""
    return generate_latest(REGISTRY)
