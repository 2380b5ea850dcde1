"""The metrics of a process. Every stage counts here; `/metrics` shows them (gateway/app.py: monitoring_routes).

Labels have few values: flows, stages, domains, states, statuses. Never a product, a URL, a run, or a text that a sender
chooses. A queue that several flows share has an empty flow.

There are three kinds:

- events, counted where they happen;
- values that are computed when Prometheus asks (`watch_domain`, IN_HAND);
- what only store and broker know. Every scheduler reads it periodically (schedule/queue_metrics.py) and reports the same
  values, so queries take the maximum over processes, not the sum.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from imageflow import __version__

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROW_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
RUN_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"imageflow_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"imageflow_{name}", text, labels, registry=REGISTRY)


class Timing:
    """The durations of one set of labels. Not thread-safe."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += times
        self.total += seconds * times


class Timings(Collector):
    """A histogram for hot paths: no lock, and `observe` takes many equal durations at once."""

    def __init__(self, name: str, text: str, *labels: str, bounds: tuple[float, ...]) -> None:
        self._name = f"imageflow_{name}"
        self._text = text
        self._labels = labels
        self._bounds = bounds
        self._children: dict[tuple[str, ...], Timing] = {}
        REGISTRY.register(self)

    def labels(self, *values: str) -> Timing:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Timing(self._bounds)
        return child

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names: list[str] = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]  # the library gives no types
        for values, child in list(self._children.items()):
            below = 0
            buckets = []
            for name, count in zip(names, list(child.counts), strict=True):
                below += count
                buckets.append((name, float(below)))
            family.add_metric(values, buckets, child.total)
        yield family

    def describe(self) -> Iterable[Metric]:
        yield HistogramMetricFamily(self._name, self._text, labels=self._labels)


class Tallies(Collector):
    """A counter for hot paths: a child is a list of one number, which the caller adds to."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = f"imageflow_{name}"
        self._text = text
        self._labels = labels
        self._children: dict[tuple[str, ...], list[int]] = {}
        REGISTRY.register(self)

    def labels(self, *values: str) -> list[int]:
        return self._children.setdefault(values, [0])

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in list(self._children.items()):
            family.add_metric(values, child[0])
        yield family

    def describe(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._text, labels=self._labels)


class InHand(Collector):
    """The deliveries that this process has not settled, by stage and flow: their number, and the age of the oldest."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._published: dict[tuple[str, str], list[float]] = {}
        self._unconsumed: Mapping[tuple[str, str], float] = {}

    @contextmanager
    def handling(self, stage: str, flow: str, published_at: float) -> Iterator[None]:
        """Count a delivery while the body runs. `published_at`: when its message was first published, in Unix time."""
        published = self._published.setdefault((stage, flow), [])
        published.append(published_at)
        try:
            yield
        finally:
            published.remove(published_at)

    def unconsumed(self, since: Mapping[tuple[str, str], float]) -> None:
        """Report queues without a consumer: since when they were seen to hold messages, by stage and flow, in Unix time."""
        self._unconsumed = dict(since)

    def collect(self) -> Iterable[Metric]:
        in_hand, oldest = self.describe()
        now = self._clock()
        for key in sorted({*self._published, *self._unconsumed}):
            published = self._published.get(key, [])
            since = [*published, *([self._unconsumed[key]] if key in self._unconsumed else [])]
            in_hand.add_metric(key, len(published))
            oldest.add_metric(key, max(0.0, now - min(since)) if since else 0.0)
        yield from (in_hand, oldest)

    def describe(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        labels = ("stage", "flow")
        return (
            GaugeMetricFamily("imageflow_in_hand", "Deliveries that this process has not settled yet.", labels=labels),
            GaugeMetricFamily(
                "imageflow_oldest_message_seconds",
                "Lag: how long ago the oldest message in hand was first published; for a queue without consumers, how "
                "long it has been seen to hold messages.",
                labels=labels,
            ),
        )


# runs, pages, rows
RUNS = _counter("runs_ended_total", "Runs that ended, by their status.", "flow", "status")
RUN_SECONDS = Timings("run_seconds", "From a run's creation to its end.", "flow", bounds=RUN_BOUNDS)
PAGES_READ = _counter("pages_read_total", "Pages read from the ERP and stored.", "flow")
PAGES_TRANSFORMED = _counter("pages_transformed_total", "Pages whose rows are registered.", "flow")
ROWS = _counter(
    "rows_settled_total", "Rows settled: written, unchanged, superseded, failed or cancelled.", "flow", "state"
)
ROW_SECONDS = Timings(
    "row_seconds", "From the read (or post) of a row's page until the row is settled.", "flow", bounds=ROW_BOUNDS
)
LAST_SETTLED = _gauge("last_settled_timestamp_seconds", "When a row was last settled, in Unix time.", "flow")
POSTS = _counter("posts_total", "Outbound posts by status of the answer (202: accepted).", "flow", "status")

# stages
DELIVERIES = _counter("deliveries_total", "Queue deliveries by stage, flow and outcome.", "stage", "flow", "outcome")
REWRITES = _counter("rewrites_total", "Products written again, because a late write may have come over them.", "flow")
HANDLING_SECONDS = Timings(
    "handling_seconds", "How long a stage took to handle a message.", "stage", "flow", bounds=REQUEST_BOUNDS
)
IN_HAND = InHand()
REGISTRY.register(IN_HAND)
LOGINS = _counter("logins_total", "Logins to Omnitron, to the ERP and to the gateway.", "domain", "outcome")
ERP_REQUESTS = _counter(
    "erp_requests_total", "Requests to the ERP by status of the answer (none: no answer).", "flow", "status"
)
ERP_SECONDS = Timings("erp_request_seconds", "How long the ERP took to answer.", "flow", bounds=REQUEST_BOUNDS)
SANDBOX_STARTS = _counter("jail_starts_total", "Processes started for scripts and mappings.", "flow")
SANDBOX_FAILURES = _counter(
    "jail_failures_total",
    "Processes for scripts and mappings that died or were killed while they handled a page.",
    "flow",
)

# Omnitron
OMNITRON_REQUESTS = Tallies(
    "omnitron_requests_total", "Writes to Omnitron by status of the answer (none: no answer).", "domain", "status"
)
OMNITRON_SECONDS = Timings(
    "omnitron_request_seconds", "How long Omnitron took to answer a write.", "domain", bounds=REQUEST_BOUNDS
)
IN_FLIGHT = _gauge("in_flight", "Writes to Omnitron in flight.", "domain")
CONCURRENCY_LIMIT = _gauge(
    "concurrency_limit", "Writes to Omnitron that may be in flight at once; adapts to the answers.", "domain"
)
HELD = _gauge(
    "held", "1 while rows for the domain are held because Omnitron is away (the circuit breaker is open).", "domain"
)
PREFLIGHT = _counter("preflight_images_total", "Images checked before they are written, by result.", "outcome")

# the process
READY = _gauge("ready", "1 while /ready is green; updated every few seconds.")
BUILD = _gauge("build_info", "Always 1; the label is the version of ImageFlow.", "version")
BUILD.labels(__version__).set(1)

# what schedulers read from store and broker
LAST_LOOK = _gauge("last_look_timestamp_seconds", "When this scheduler last read queues and flows, in Unix time.")
QUEUE_MESSAGES = _gauge(
    "queue_messages", "Messages that are ready in a queue (stage parked: dead letters).", "stage", "flow"
)
QUEUE_CONSUMERS = _gauge("queue_consumers", "Consumers of a queue.", "stage", "flow")
RUNS_ACTIVE = _gauge("runs_active", "Runs that have not ended.", "flow", "status")
OLDEST_RUN = _gauge(
    "oldest_active_run_timestamp_seconds", "When the oldest run that has not ended was created, in Unix time.", "flow"
)
WATERMARK = _gauge("watermark_timestamp_seconds", "The watermark of an inbound flow, in Unix time.", "flow")
OUTBOX_OVERDUE = _gauge(
    "outbox_overdue", "Messages that the outbox should have published long ago (at most 100 are counted)."
)
ALARMS_OPEN = _gauge("alarms_open", "1 for each alarm that is open.", "flow", "kind")


class Requests:
    """Counts the writes to one domain. For the writer's hot path."""

    __slots__ = ("_answers", "_domain", "_seconds")

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._seconds = OMNITRON_SECONDS.labels(domain)
        self._answers: dict[int | None, list[int]] = {}

    def count(self, status: int | None, seconds: float) -> None:
        answers = self._answers.get(status)
        if answers is None:
            answers = self._answers[status] = OMNITRON_REQUESTS.labels(self._domain, str(status or "none"))
        answers[0] += 1
        self._seconds.observe(seconds)


class Asking:
    """A request to an ERP in flight. `status` is set with the answer."""

    status: int | None = None


@contextmanager
def asking_erp(flow: str) -> Iterator[Asking]:
    """Count the request that the body makes, and its duration."""
    asking, began = Asking(), time.monotonic()
    try:
        yield asking
    finally:
        ERP_REQUESTS.labels(flow, asking.status or "none").inc()
        ERP_SECONDS.labels(flow).observe(time.monotonic() - began)


def watch_domain(
    domain: str, *, in_flight: Callable[[], float], limit: Callable[[], float], held: Callable[[], float]
) -> None:
    """Register a domain's gauges: Prometheus calls the functions when it scrapes."""
    IN_FLIGHT.labels(domain).set_function(in_flight)
    CONCURRENCY_LIMIT.labels(domain).set_function(limit)
    HELD.labels(domain).set_function(held)


def rows_settled(flow: str, states: Iterable[str], now: datetime, read_at: float | None = None) -> None:
    """Count rows that were settled just now, one for each state; `read_at`: when their page was read, in Unix time."""
    counts = Counts(states)
    for state, rows in counts.items():
        ROWS.labels(flow, state).inc(rows)
    if rows := counts.total():
        LAST_SETTLED.labels(flow).set(now.timestamp())
        if read_at is not None:
            ROW_SECONDS.labels(flow).observe(max(0.0, now.timestamp() - read_at), rows)


def run_ended(flow: str, status: str, seconds: float) -> None:
    """Count a run that ended just now, `seconds` after it was created."""
    RUNS.labels(flow, status).inc()
    RUN_SECONDS.labels(flow).observe(seconds)


def names() -> set[str]:
    """The names of all samples there can be, those of histograms with their suffixes."""
    found: set[str] = set()
    for family in REGISTRY.collect():
        suffixes: Sequence[str] = {
            "counter": ("_total", "_created"),
            "histogram": ("_bucket", "_sum", "_count", ""),
        }.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes}
    return found


def exposition() -> bytes:
    """Everything as Prometheus text, of type CONTENT_TYPE."""
    return generate_latest(REGISTRY)
