"""Akinon's Integrator API: forms and the list of flows."""

import pytest

from imageflow.gateway.integrator import credentials, listed, quartz
from imageflow.model.flow import Flow, Schedule
from tests.unit.gateway.test_post_body import definition


@pytest.mark.parametrize(
    ("form", "given"),
    [
        (b"username=a&password=b", ("a", "b")),
        (b"password=b%26c+d&username=a%40b.com&x=1", ("a@b.com", "b&c d")),
        (b"", None),
        (b"username=a", None),
        (b"username=a&password=", None),
        (b"username=a&username=b&password=c", None),
        (b'{"username": "a", "password": "b"}', None),
        (b"username=%ff&password=b", None),
        (b"\xff", None),
        (b"&".join(b"a=%d" % n for n in range(100)), None),
    ],
)
def test_credentials(form, given):
    """User name and password are taken from the form, once each; anything else is missing credentials."""
    assert credentials(form) == given


@pytest.mark.parametrize(
    ("cron", "seven"),
    [
        ("*/5 * * * *", "0 */5 * * * ? *"),
        ("0,30 * * * *", "0 0,30 * * * ? *"),
        ("0 9 * * 1-5", "0 0 9 ? * MON-FRI *"),
        ("0 9 * * 0,6", "0 0 9 ? * SUN,SAT *"),
        ("0 9 1 * *", "0 0 9 1 * ? *"),
        ("0 0,30 * * * ? *", "0 0,30 * * * ? *"),
    ],
)
def test_quartz(cron, seven):
    """Cron periods are listed as Quartz writes them."""
    assert quartz(cron) == seven


def test_listed_flow():
    """A flow is listed with the variables that the Integrator's clients read, true and false as text."""
    item = listed(Flow("posts", 1, definition(enabled=False), {}), "p1")
    assert (item["state"], item["component"]["parentGroupId"]) == ("STOPPED", "p1")
    variables = item["component"]["variables"]
    assert (variables["!inbound"], variables["!outbound"]) == ("false", "true")
    assert all(isinstance(value, str) for value in variables.values())


def test_listed_schedules():
    """A flow with a period is TIMER_DRIVEN, one with a cron expression CRON_DRIVEN."""
    every = definition(direction="inbound", schedule={"every": "90s"}, erp={"endpoint_url": "https://erp.example.com/"})
    variables = listed(Flow("a", 1, every, {}))["component"]["variables"]
    assert (variables["!schedulingStrategy"], variables["!schedulingPeriod"]) == ("TIMER_DRIVEN", "90 sec")
    cron = definition(schedule={"cron": "*/5 * * * *"})
    assert isinstance(cron.schedule, Schedule)
    assert listed(Flow("a", 1, cron, {}))["component"]["variables"]["!schedulingStrategy"] == "CRON_DRIVEN"
