"""Flows: what their types say beyond single fields, and that a stored document means the same flow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imageflow.model.flow import Definition, Flow, Omnitron, Schedule, decode_custom

OMNITRON = {"domain_url": "https://brand.example.com/", "username": "u", "password": {"env": "PW"}}


def definition(**fields: Any) -> Definition:
    document = {"name": "winter", "direction": "inbound", "omnitron": OMNITRON, **fields}
    return msgspec.convert(document, Definition, dec_hook=decode_custom)


@pytest.mark.parametrize("fields", [{}, {"cron": "* * * * *", "every": "5m"}, {"every": "5m", "after": "autumn"}])
def test_a_schedule_is_one_thing(fields: dict[str, Any]):
    """A flow runs by cron, at intervals, or after another one."""
    with pytest.raises(msgspec.ValidationError, match="exactly one"):
        msgspec.convert(fields, Schedule, dec_hook=decode_custom)


def test_intervals_have_a_second():
    """Shorter intervals than a second are refused."""
    with pytest.raises(msgspec.ValidationError, match="at least 1s"):
        msgspec.convert({"every": "500ms"}, Schedule, dec_hook=decode_custom)


@pytest.mark.parametrize("section", ["", "omnitron", "write", "alarms", "fetch_missing"])
def test_unknown_fields_are_refused(section: str):
    """A misspelt field is an error everywhere, never ignored."""
    fields: dict[str, Any] = {"typo": 1} if not section else {section: {"typo": 1}}
    if section == "omnitron":
        fields = {"omnitron": OMNITRON | {"typo": 1}}
    with pytest.raises(msgspec.ValidationError, match="typo"):
        definition(**fields)


def test_derived_facts():
    """The direction, the rows' path and the domain that claims are kept by."""
    inbound = definition(erp={"endpoint_url": "https://erp/", "rows_path": "data.items"})
    assert (inbound.inbound, inbound.rows_path) == (True, "data.items")
    outbound = definition(direction="outbound")
    assert (outbound.inbound, outbound.rows_path) == (False, "")
    assert isinstance(inbound.omnitron, Omnitron)
    assert inbound.omnitron.domain == "https://brand.example.com"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"direction": "outbound"}, None),
        ({"direction": "outbound", "enabled": False}, "the flow 'winter' is disabled"),
        ({}, "the flow 'winter' is inbound: it reads from the ERP and takes no posts"),
    ],
)
def test_which_flows_take_posts(fields: dict[str, Any], why: str | None):
    """Outbound ones that are enabled."""
    assert Flow("winter", 1, definition(**fields), {}).no_posts == why


def test_only_our_own_types_are_custom():
    """Another type in the hook is a mistake of the code, and says so."""
    with pytest.raises(NotImplementedError):
        decode_custom(complex, "1j")
