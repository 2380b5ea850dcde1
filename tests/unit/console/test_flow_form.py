"""A flow's settings as a form, and back."""

import pytest

from imageflow.console import flow_form
from imageflow.errors import FlowFileError

DOCUMENT = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://b.example", "username": {"env": "U"}, "password": {"env": "P"}},
    "erp": {"endpoint_url": "https://erp.example/", "pagination": {"type": "next", "field": "next"}},
    "schedule": {"every": "15m"},
    "mapping": [{"operation": "shift", "spec": {"*": "[&0]"}}],
    "write": {"skip_unchanged": False, "concurrency": 4},
    "script": "def process_row(row):\n    return row\n",
}


def test_what_is_shown_comes_back_as_it_was():
    """A form that nobody changed changes nothing."""
    shown = flow_form.shown(DOCUMENT, inbound=True)
    assert shown["schedule.every"] == "15m"
    assert shown["write.skip_unchanged"] == "no"
    assert shown["omnitron.username"] == '{"env": "U"}'
    assert flow_form.changed(DOCUMENT, shown, inbound=True) == DOCUMENT
    crlf = {name: text.replace("\n", "\r\n") for name, text in shown.items()}
    assert flow_form.changed(DOCUMENT, crlf, inbound=True) == DOCUMENT


def test_two_changes_of_one_form():
    """Field by field: what one of them changed is so; where both did, mine is in the form, and theirs is told."""
    base = {"a": "1", "b": "1", "c": "1", "d": "1", "e": "x\ny"}
    mine = {"a": "2", "b": "1", "c": "2", "d": "2", "e": "x\r\ny\r\n"}
    theirs = {"a": "1", "b": "3", "c": "3", "d": "2", "e": "x\ny"}
    found = flow_form.merged(base, mine, theirs)
    assert found.fields == {"a": "2", "b": "3", "c": "2", "d": "2", "e": "x\ny"}
    assert (found.theirs, found.taken) == ({"c": "3"}, ("b",))
    assert flow_form.merged(base, {}, theirs).fields == theirs


def test_empty_fields_leave_the_setting_out():
    """And a part of the file that holds nothing else then."""
    made = flow_form.changed(DOCUMENT, {"schedule.every": " ", "script": "", "erp.pagination": ""}, inbound=True)
    assert "schedule" not in made
    assert "script" not in made
    assert made["erp"] == {"endpoint_url": "https://erp.example/"}
    assert DOCUMENT["schedule"] == {"every": "15m"}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("write.max_attempts", "5", 5),
        ("alarms.error_rate", "0.05", 0.05),
        ("write.concurrency", "auto", "auto"),
        ("write.concurrency", "8", 8),
        ("write.allow_clear", "yes", True),
        ("omnitron.username", "ayse", "ayse"),
        ("alarms.webhook_url", "https://hooks.example/x", "https://hooks.example/x"),
        ("schedule.cron", "*/5 * * * *", "*/5 * * * *"),
    ],
)
def test_fields_have_their_types(path, text, value):
    """Numbers, yes and no, texts, JSON."""
    part, _, name = path.partition(".")
    assert flow_form.changed(DOCUMENT, {path: text}, inbound=True)[part][name] == value


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("mapping", "[{", "not JSON"),
        ("erp.query_settings", "sku", 'must be JSON, as in {"sku": {"key": "sku"'),
        ("mapping", "[" * 100_000, "nested too deeply"),
        ("write.max_attempts", "many", "must be a number"),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_field(path, text, says):
    """Every one of them, with its path."""
    with pytest.raises(FlowFileError, match=says) as caught:
        flow_form.changed(DOCUMENT, {path: text, "erp.login": "x"}, inbound=True)
    assert {problem.path for problem in caught.value.problems} == {path, "erp.login"}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("erp.endpoint_url", "erp.endpoint_url"),
        ("erp.pagination.field", "erp.pagination"),
        ("mapping[0].spec", "mapping"),
        ("name", None),
        ("", None),
    ],
)
def test_where_a_problem_is_shown(path, field):
    """At the field, or at that which holds it."""
    assert flow_form.field_of(path, flow_form.shown(DOCUMENT, inbound=True)) == field


def test_outbound_flows_have_no_erp():
    """No schedule, no ERP, no looking for what is missing."""
    assert {group.key for group in flow_form.groups(inbound=False)} == {"script", "omnitron", "alarms"}


def test_defaults():
    """What holds where a field is empty, as one would write it."""
    wanted = {"erp.overlap": "300s", "write.max_attempts": "8", "timezone": "UTC", "erp.pagination": "", "script": ""}
    assert {path: flow_form.default(path) for path in wanted} == wanted


def test_what_choices_are_called():
    """Each has a name that can be translated, but for names that are the same everywhere; the values are what a flow file holds."""
    choices = [
        (field, choice)
        for group in flow_form.GROUPS
        for field in group.fields
        if field.kind == "choice"
        for choice in field.choices
    ]
    named = {path: set(names) for path, names in flow_form.CHOICES.items()}
    assert {field.path for field, _ in choices} - named.keys() == {"erp.method"}
    for field, choice in choices:
        assert choice in named.get(field.path, {"GET", "POST"})
    assert flow_form.called("write.preflight", "block") == "refuse the row"
    assert flow_form.called("erp.method", "GET") == "GET"
    assert flow_form.called("write.allow_clear", "no") == "no"
