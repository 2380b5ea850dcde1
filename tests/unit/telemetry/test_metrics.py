"""Metrics: what they add up to, and that what deploy/ and docs/ speak of is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from imageflow.telemetry import message_headers, metrics
from imageflow.telemetry.metrics import REGISTRY, InHand, Requests, Timing

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "imageflow.json"
OBSERVABILITY = ROOT / "docs" / "observability.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->"
NAME = re.compile(r"\b(?:imageflow|process|python)_[a-z0-9_]+")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def rules() -> list[dict]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """All PromQL of the dashboard, its variables too."""
    board = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    variables = [item["query"]["query"] for item in board["templating"]["list"] if item["type"] == "query"]
    return panels + variables


def table() -> str:
    """The table of metrics in docs/observability.md; `python -m tests.unit.telemetry.test_metrics` writes it there."""
    lines = ["| metric | labels | kind | meaning |", "|---|---|---|---|"]
    for collector in REGISTRY._collector_to_names:
        labels = getattr(collector, "_labelnames", None) or getattr(collector, "_labels", ())
        named = ", ".join(f"`{label}`" for label in (("stage", "flow") if isinstance(collector, InHand) else labels))
        for family in collector.describe() if hasattr(collector, "describe") else ():
            suffix = "_total" if family.type == "counter" else ""
            lines.append(f"| `{family.name}{suffix}` | {named} | {family.type} | {family.documentation} |")
    return "\n".join(lines)


def documented() -> tuple[str, str, str]:
    """The page before the table, the table, and what comes after it."""
    before, _, rest = OBSERVABILITY.read_text().partition(BEGIN)
    between, _, after = rest.partition(END)
    return before + BEGIN, between, END + after


def test_the_documented_metrics_are_those_there_are():
    """The table mirrors the code; `python -m tests.unit.telemetry.test_metrics` writes it anew."""
    assert documented()[1].strip() == table()


def test_every_alert_is_documented():
    """With what it means and the first step."""
    page = OBSERVABILITY.read_text()
    for rule in rules():
        assert f"| `{rule['alert']}` |" in page


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_every_metric_of_the_alerts_exists():
    """An alert on a metric that is not there never fires."""
    for rule in rules():
        named = set(NAME.findall(rule["expr"]))
        assert named <= metrics.names(), rule["alert"]
        assert named or "up{" in rule["expr"], rule["alert"]


def test_every_metric_of_the_dashboard_exists():
    """And each panel asks for one."""
    assert len(queries()) > 40
    for query in queries():
        named = set(NAME.findall(query))
        assert named, query
        assert named <= metrics.names(), query


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert():
    """A metric without a panel or an alert need not be measured."""
    looked_at = set(NAME.findall("\n".join([*queries(), *(rule["expr"] for rule in rules())])))
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("imageflow_")}
    unseen = {name for name in families if not any(seen.startswith(name) for seen in looked_at)}
    assert unseen == {"imageflow_build_info"}


def test_labels_that_alerts_group_by_exist():
    """What is summed by a label has it."""
    labels = {"stage", "flow", "domain", "state", "status", "outcome", "kind", "le", "instance"}
    for query in [*queries(), *(rule["expr"] for rule in rules())]:
        for group in re.findall(r"\bby \(([a-z, ]+)\)", query):
            assert {label.strip() for label in group.split(",")} <= labels, query


def test_kubernetes_is_scraped_like_compose():
    """The same rules and intervals; Debian's promtool does not know how to find pods, so it cannot check that file."""
    compose, kubernetes = (
        yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "prometheus-kubernetes.yml")
    )
    assert {**compose, "scrape_configs": 0} == {**kubernetes, "scrape_configs": 0}
    assert [job["job_name"] for config in (compose, kubernetes) for job in config["scrape_configs"]] == [
        "imageflow"
    ] * 2


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


@pytest.mark.slow
def test_promtool_takes_configuration_and_rules_and_the_alerts_fire(promtool):
    """`promtool check config`, and the story of a dead consumer (and others) told by `promtool test rules`."""
    for arguments in (
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run(
            [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_what_we_show(promtool):
    """`promtool check metrics` reads the exposition and finds nothing to complain of."""
    metrics.run_ended("promtool", "success", 3.0)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.exposition(), capture_output=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.decode().splitlines() if line.startswith("imageflow_")]
    assert (done.returncode in (0, 3), complaints) == (True, [])


def test_timings_are_a_histogram():
    """Observations fall into the bucket of their bound, and many equal ones count at once."""
    timing = Timing((0.1, 1.0))
    timing.observe(0.1)
    timing.observe(0.5, 3)
    timing.observe(7.0)
    assert timing.counts == [1, 3, 1]
    assert timing.total == pytest.approx(8.6)


def test_settled_rows_are_counted_with_their_latency():
    """A chunk's rows, by state, and how long ago their page was read."""
    metrics.rows_settled("latency", ["written", "failed", "written"], NOW, NOW.timestamp() - 4)
    assert sample("imageflow_rows_settled_total", flow="latency", state="written") == 2
    assert sample("imageflow_row_seconds_bucket", flow="latency", le="2.5") == 0
    assert sample("imageflow_row_seconds_bucket", flow="latency", le="5.0") == 3
    assert sample("imageflow_row_seconds_count", flow="latency") == 3
    assert sample("imageflow_row_seconds_sum", flow="latency") == 12
    assert sample("imageflow_last_settled_timestamp_seconds", flow="latency") == NOW.timestamp()


def test_requests_are_counted_by_answer():
    """A write without an answer counts too."""
    requests = Requests("https://counted.example.com")
    for status in (200, 200, 503, None):
        requests.count(status, 0.02)
    counts = {
        status: sample("imageflow_omnitron_requests_total", domain="https://counted.example.com", status=status)
        for status in ("200", "503", "none")
    }
    assert counts == {"200": 2, "503": 1, "none": 1}
    assert sample("imageflow_omnitron_request_seconds_count", domain="https://counted.example.com") == 4


def test_the_oldest_message_in_hand_is_the_lag():
    """It falls when that message is settled; a queue without consumers counts from when it was first seen with messages."""
    registry, in_hand = CollectorRegistry(), InHand(lambda: 1000.0)
    registry.register(in_hand)

    def lag(stage: str, flow: str) -> float | None:
        return registry.get_sample_value("imageflow_oldest_message_seconds", {"stage": stage, "flow": flow})

    with in_hand.handling("writer", "winter", 990.0):
        with in_hand.handling("writer", "winter", 940.0):
            assert lag("writer", "winter") == 60
        assert lag("writer", "winter") == 10
    assert lag("writer", "winter") == 0
    in_hand.unconsumed({("reader", ""): 700.0})
    assert lag("reader", "") == 300
    assert b"imageflow_in_hand" in generate_latest(registry)


def test_headers_tell_where_a_message_comes_from():
    """What follows keeps when its page was read; a message without headers, or with odd ones, is taken as it is."""
    unknown = message_headers.of({"published": "yesterday"})
    assert unknown.read is None
    with message_headers.handling(message_headers.of({"published": "100.5", "read": "50.25"})):
        following = message_headers.following()
        assert following["read"] == "50.250"
        assert float(following["published"]) > 1_000_000
        assert "read" not in message_headers.beside()
    assert message_headers.read_at() is None
    assert float(message_headers.following()["read"]) > 1_000_000


if __name__ == "__main__":
    start, _, end = documented()
    OBSERVABILITY.write_text(f"{start}{table()}\n{end}")
