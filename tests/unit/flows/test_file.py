"""Flow files: reading, checking with every problem named, and writing back."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.errors import FlowFileError
from imageflow.flows import check as flow_check
from imageflow.flows import file as flow_file
from imageflow.flows.words import PLAIN_REFUSED
from imageflow.model import flow, pagination
from imageflow.model.pagination.next import NextPagination
from imageflow.secret import SecretRef

WHOLE = """
name: winter-images
direction: inbound
enabled: true
schedule: {cron: "*/5 * * * *"}
timezone: Europe/Istanbul
overlap_policy: skip
omnitron:
  domain_url: https://brand.omnitron.net
  username: {env: OMNITRON_USERNAME}
  password: {env: OMNITRON_PASSWORD}
  login_path: /api/v1/auth/login/
  images_path: /api/v1/downloadable-image/
  products_path: /api/v1/products/
erp:
  endpoint_url: https://erp.example.com/images/{sku}/{modified_date}/{now:%Y-%m-%d}
  method: GET
  login:
    type: token
    url: https://erp.example.com/login
    body: {user: imageflow, password: {env: ERP_PASSWORD}, realms: [{file: /run/secrets/realm}]}
    token_path: data.token
    header: Authorization
    template: "{token}"
  extra_headers: {X-Company: "12"}
  extra_params: {status: active, limit: 5}
  query_settings:
    sku: {key: sku, type: string}
    modified_date__gt: {key: modified_date__gt, type: datetime}
    custom: {key: status, type: string, value: active}
  modified_date_key: modified_date__gt
  date_format: "%Y-%m-%dT%H:%M:%S.%f"
  initial_since: 2025-12-21
  overlap: 5m
  rows_path: results
  pagination: {type: next, field: next, allow_hosts: [cdn.example.com, "erp2.example.com:8443"]}
  timeout: 30s
  rate_limit: 10/s
script_timeout: 10s
script: |
  def process(response):
      return response
mapping: [{operation: shift, spec: {"*": {sku: "[&1].sku"}}}]
filename_template: "{sku}"
group: page
fetch_missing: {enabled: true, identifier_path: sku, productization_date_limit_days: 7, batch_size: 50}
write:
  concurrency: auto
  rate_limit: null
  skip_unchanged: true
  allow_clear: false
  max_attempts: 8
  timeout: 30s
alarms: {error_rate: 0.05, average_flow_time: 10m, silence: 24h, webhook_url: {env: ALARM_URL}}
"""
PAGINATIONS = " | ".join(kind.__struct_config__.tag for kind in pagination.TYPES)
SMALL: dict[str, Any] = {
    "name": "small",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://b.omnitron.net", "username": "me", "password": {"env": "P"}},
    "erp": {"endpoint_url": "https://erp.example.com/images"},
}


def write(folder: Path, text: str, name: str = "flow.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def whole(folder: Path) -> dict[str, Any]:
    return flow_file.load(write(folder, WHOLE))


OAUTH = {"type": "oauth2", "token_url": "https://e/t", "client_id": "imageflow", "client_secret": {"env": "ERP_SECRET"}}


def changed(**changes: Any) -> dict[str, Any]:
    """The small flow with fields set; `erp__rows_path=…` sets a field of a section."""
    document = copy.deepcopy(SMALL)
    for name, value in changes.items():
        *sections, field = name.split("__") if not name.startswith("__") else [name]
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = value
    return document


def complaints(document: Any) -> list[str]:
    with pytest.raises(FlowFileError) as refused:
        flow_file.parse(document)
    return [str(problem) for problem in refused.value.problems]


def refusal(path: Path) -> str:
    with pytest.raises(FlowFileError) as refused:
        flow_file.load(path)
    return str(refused.value)


# a right flow ---------------------------------------------------------------------------------------------------------


def test_a_whole_flow_file_is_understood(tmp_path: Path) -> None:
    """Every field of the design is taken, durations and rates as seconds and events per second."""
    definition = flow_file.parse(whole(tmp_path))
    assert definition.erp is not None
    assert (definition.erp.overlap, definition.erp.rate_limit, definition.alarms.silence) == (300.0, 10.0, 86_400.0)
    assert definition.erp.initial_since == "2025-12-21"
    assert isinstance(definition.erp.login, flow.TokenLogin)
    assert isinstance(definition.erp.pagination, NextPagination)
    assert definition.erp.pagination.allow_hosts == ("cdn.example.com", "erp2.example.com:8443")


def test_required_fields_are_enough() -> None:
    """What the design calls required is all that is required; the rest has the documented defaults."""
    definition = flow_file.parse(SMALL)
    assert definition.timezone == "UTC"
    assert definition.filename_template == "{sku}"
    assert definition.write.concurrency == "auto"


def test_an_outbound_flow_needs_no_erp_and_may_name_rows_path() -> None:
    """Outbound flows have nothing to read, but may say where the rows are in a post."""
    outbound = {name: SMALL[name] for name in ("name", "omnitron")} | {"direction": "outbound"}
    assert flow_file.parse(outbound).rows_path == ""
    assert flow_file.parse(outbound | {"erp": {"rows_path": "data.items"}}).rows_path == "data.items"


@pytest.mark.parametrize(
    "document",
    [
        changed(erp__endpoint_url="http://127.0.0.1:8080/x?y={now:%Y%m%d}"),
        changed(erp__endpoint_url="https://h/{base_code}", erp__query_settings={"base_code": {"key": "b"}}),
        changed(erp__query_settings={"n": {"key": "n", "type": "integer", "value": "5"}}),
        changed(erp__rows_path="/data/a~1b/items"),
        changed(erp__rows_path="$values"),
        changed(erp__success={"path": "Success"}, erp__no_rows={"statuses": [204, 404], "null_list": True}),
        changed(erp__charset="windows-1254", erp__pagination={"type": "none", "ignore": ["meta.total", "X-Total"]}),
        changed(erp__method="POST", erp__extra_params={"a.b": 1, "c\\.d.e": 2}),
        changed(erp__method="GET", erp__extra_params={"a..b": 1}),
        changed(erp__login={"type": "header", "name": "X-Api-Key", "value": {"file": "/run/secrets/key"}}),
        changed(erp__login={"type": "basic", "username": {"env": "U"}, "password": {"env": "P"}}),
        changed(erp__pagination={"type": "next", "field": "Link"}),
        changed(erp__initial_since="2025-12-21T12:00:30+03:00"),
        changed(schedule={"every": "90s"}),
        changed(schedule={"every": 90}),
        changed(schedule={"after": "other-flow"}),
        changed(schedule={"cron": "0 0,30 * * * ? *"}),
        changed(schedule=None, script=None, mapping=None),
        changed(filename_template="{base_code}_{sku}_{image_order}.jpg"),
        changed(script="try:\n    def process_row(row, limit=5):\n        return row\nexcept ValueError:\n    pass\n"),
        changed(script="process = lambda response: '\\d'\n"),
        changed(mapping=[{"operation": "com.bazaarvoice.jolt.Shiftr", "spec": {}}]),
        changed(write__concurrency=4, write__rate_limit="5000/h"),
        changed(alarms__webhook_url="https://hooks.example.com/x", alarms__error_rate=1),
    ],
)
def test_what_is_right_is_taken(document: dict[str, Any]) -> None:
    """Each documented way to write a field passes."""
    flow_file.parse(document)


# every problem --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "a flow file must be an object"),
        ({}, "omnitron: required, and missing"),
        (changed(naem="x"), "naem: unknown field; did you mean name?"),
        (changed(rows_path="x"), "rows_path: unknown field; did you mean erp.rows_path?"),
        (changed(omnitron__xyzzy=1), "omnitron.xyzzy: unknown field; there are: domain_url, "),
        (changed(name="Winter Images"), "name: must be 1 to 20 characters of a-z, 0-9 and -"),
        (changed(name="x\n"), "name: must be 1 to 20 characters"),
        (changed(name="x" * 21), "name: must be 1 to 20 characters of a-z, 0-9 and -; these are 21"),
        (changed(name=5), "name: must be a text, not a number: put it in quotes"),
        (changed(direction="inbond"), "direction: must be inbound | outbound, not 'inbond'; did you mean inbound?"),
        (changed(enabled="yes"), "enabled: must be true or false, not a text"),
        (changed(write=None), "write: must be an object with fields, not null"),
        (changed(erp=[]), "erp: must be an object with fields, not a list of 0"),
        (changed(write__concurrency=0), "write.concurrency: must be auto or a whole number of at least 1, not 0"),
        (changed(write__concurrency=True), "write.concurrency: must be auto or a whole number"),
        (changed(write__max_attempts=1.0), "write.max_attempts: must be a whole number, not a number"),
        (changed(write__timeout="0s"), "write.timeout: must be longer than 0s"),
        (changed(write__rate_limit=10), "write.rate_limit: must be a rate above 0 like 10/s, 300/m or 5000/h, not 10"),
        (changed(script_timeout="10 seconds"), "script_timeout: must be a duration like 30s, 5m or 24h, not '10 sec"),
        (changed(alarms__error_rate=5), "alarms.error_rate: must be a number of at most 1"),
        (changed(alarms__error_rate=float("nan")), "alarms.error_rate: must be a finite number"),
        (changed(erp__extra_params={"n": 2**64}), "erp.extra_params.n: is a number too large"),
        (changed(erp__extra_params={"n": "\0"}), "erp.extra_params.n: holds characters that cannot be stored"),
        (changed(erp__extra_params={"\ud800": 1}), "erp.extra_params: has a field whose name is no text"),
        (changed(erp__extra_params={"n": object()}), "erp.extra_params.n: must be JSON, not object"),
        # sections
        (changed(erp__pagination={"type": "ofset"}), f"erp.pagination.type: must be {PAGINATIONS},"),
        (changed(erp__pagination={}), f"erp.pagination.type: required, and missing: {PAGINATIONS}"),
        (changed(erp__pagination="none"), f"erp.pagination: must be an object with type: {PAGINATIONS}"),
        (changed(erp__pagination={"type": "seek"}), "erp.pagination.value_path: required, and missing"),
        (changed(erp__pagination={"type": "page", "limit": 0}), "erp.pagination.limit: must be a whole number of at least 1"),
        (changed(erp__pagination={"type": "next", "kind": "token"}), "erp.pagination.param: required with kind: token"),
        (
            changed(erp__pagination={"type": "next", "kind": "token", "field": "Link", "param": "t"}),
            "erp.pagination.kind: must be url",
        ),
        (
            changed(erp__pagination={"type": "next", "allow_hosts": ["https://x.com/"]}),
            "erp.pagination.allow_hosts[0]: must be a host",
        ),
        (changed(erp__login={"url": "https://x"}), "erp.login.type: required, and missing: token | oauth2 | basic | header"),
        (changed(mapping=[{"operation": "shft"}]), "mapping[0].operation: must be shift | default"),
        (changed(mapping=[{"spec": {}}]), "mapping[0].operation: required, and missing"),
        (changed(mapping={"operation": "shift"}), "mapping: must be a list, not an object"),
        (changed(mapping=[5]), "mapping[0]: must be an object"),
        # direction, schedule, time
        (changed(erp={}), "erp.endpoint_url: required for an inbound flow, and missing"),
        (changed(direction="outbound", schedule={"every": "5m"}), "schedule: is for inbound flows only"),
        (changed(schedule={}), "schedule: must be exactly one of"),
        (changed(schedule={"every": "5m", "after": "x"}), "schedule: must be exactly one of"),
        (changed(schedule={"every": "10ms"}), "schedule.every: must be at least 1s"),
        (changed(schedule={"after": "small"}), "schedule.after: must be another flow"),
        (changed(schedule={"after": "Other Flow"}), "schedule.after: must be the name of a flow"),
        (changed(schedule={"cron": "61 * * * *"}), "schedule.cron: '61' is no minute: it takes 0-59"),
        (changed(schedule={"cron": "0 0 30 2 *"}), "schedule.cron: the cron expression '0 0 30 2 *' never fires"),
        (changed(timezone="Europe/Istambul"), "timezone: 'Europe/Istambul' is no IANA timezone; did you mean Europe/Istanbul?"),
        (changed(timezone="../../etc/passwd"), "is no IANA timezone"),
        (changed(timezone="Europe"), "is no IANA timezone"),
        (changed(timezone=""), "is no IANA timezone"),
        (changed(erp__date_format="yyyy-MM-dd"), "erp.date_format: names no part of a date"),
        (changed(erp__date_format="%Y-%Q"), "erp.date_format: %Q means nothing to strftime"),
        (changed(erp__date_format="%Y%"), "erp.date_format: % means nothing"),
        (changed(erp__initial_since="yesterday"), "erp.initial_since: 'yesterday' is no ISO date"),
        (changed(erp__initial_since="0001-01-01"), "erp.initial_since: is too far away"),
        # URLs and placeholders
        (changed(erp__endpoint_url="erp.example.com"), "erp.endpoint_url: must be an absolute URL that begins with http"),
        (changed(erp__endpoint_url="https://me:pw@erp.example.com/"), "erp.endpoint_url: cannot be used as a URL: it holds a user"),
        (changed(omnitron__domain_url="https://h/?x=1"), "omnitron.domain_url: must not have a query"),
        (changed(omnitron__login_path="api"), "omnitron.login_path: must be a path that begins with /"),
        (changed(erp__endpoint_url="https://h/{skuu}", erp__query_settings={"sku": {"key": "s"}}), "no {skuu}; did you mean {sku}?"),
        (changed(erp__endpoint_url="https://h/{x}", erp__query_settings={"x": {"key": "s"}}), "{x} never has a value"),
        (changed(erp__endpoint_url="https://h/{sku"), "erp.endpoint_url: has a brace that is not closed"),
        (changed(erp__endpoint_url="https://h/{modified_date}"), "{modified_date} needs erp.initial_since"),
        (changed(erp__endpoint_url="https://h/{now:yyyy}"), "{now:yyyy}: names no part of a date"),
        (changed(erp__endpoint_url="https://{sku}.x.com/", erp__query_settings={"sku": {"key": "s"}}), "cannot stand in the host"),
        (changed(erp__query_settings={"n": {"key": "n", "type": "integer", "value": "x"}}), "n.value: must be of type integer, not 'x'"),
        (changed(erp__query_settings={"n": {"key": "n", "template": "a"}}), "n.template: must hold {value}"),
        (changed(erp__query_settings={"n": {"key": "n", "value": {}}}), "n.value: must be a text or a whole number or a number"),
        # paths, headers, templates
        (changed(erp__rows_path="data..items"), "erp.rows_path: has an empty part"),
        (changed(erp__success={"path": "a..b"}), "erp.success.path: has an empty part"),
        (changed(erp__success={"value": True}), "erp.success.path: required, and missing"),
        (changed(erp__success={"path": "a", "value": []}), "erp.success.value: must be"),
        (changed(erp__success={"path": "a", "is": 1}), "erp.success.is: unknown field"),
        (changed(erp__no_rows={"statuses": [500]}), "erp.no_rows.statuses[0]: must be a whole number of at most 499"),
        (changed(erp__no_rows={"null_list": 1}), "erp.no_rows.null_list: must be true or false"),
        (changed(erp__pagination={"type": "none", "ignore": ["$.a"]}), "erp.pagination.ignore[0]: must be a dotted path"),
        (changed(erp__pagination={"type": "page", "ignore": "a"}), "erp.pagination.ignore: must be a list"),
        (changed(erp__login={**OAUTH, "body": {"a": [1]}}), "erp.login.body.a: must be a single value"),
        (changed(erp__login={**OAUTH, "client_auth": "query"}), "erp.login.client_auth: must be body | header"),
        (changed(erp__format="tsv"), "erp.format: must be csv | json | ndjson | xml, not 'tsv'"),
        (changed(erp__format={"type": "tsv"}), "erp.format.type: must be json | ndjson | csv | xml"),
        (changed(erp__format={"type": "csv", "delimiter": ";;"}), "erp.format.delimiter: must be a single character"),
        (changed(erp__format={"type": "csv", "delimiter": ";", "quote": ";"}), "erp.format.quote: must not be the delimiter"),
        (changed(erp__format={"type": "csv", "columns": ["a", "a"]}), "erp.format.columns[1]: is given twice"),
        (changed(erp__format={"type": "xml", "lists": ["a.b"]}), "erp.format.lists[0]: must be the bare name"),
        (changed(erp__format=[]), "erp.format: must be"),
        (changed(erp__charset="klingon"), "erp.charset: 'klingon' is not known"),
        (changed(erp__charset="idna"), "erp.charset: 'idna' is no charset of texts"),
        (changed(erp__method="POST", erp__extra_params={"a..b": 1}), "erp.extra_params.a..b: has an empty part"),
        (changed(erp__method="POST", erp__modified_date_key=".a"), "erp.modified_date_key: has an empty part"),
        (
            changed(erp__method="POST", erp__pagination={"type": "page", "page_param": "paging."}),
            "erp.pagination.page_param: has an empty part",
        ),
        (
            changed(erp__method="POST", erp__query_settings={"sku": {"key": "a..b"}}),
            "erp.query_settings.sku.key: has an empty part",
        ),
        (changed(erp__rows_path="$.data.items"), "erp.rows_path: must be a dotted path like data.items"),
        (changed(erp__rows_path="data.items[0]"), "erp.rows_path: must be a dotted path"),
        (changed(erp__rows_path="/a~2"), "erp.rows_path: is no JSON Pointer"),
        (changed(erp__extra_headers={"X Y": "1"}), "erp.extra_headers.X Y: must be the name of an HTTP header"),
        (changed(erp__extra_headers={"X": "1\r\nY: 2"}), "erp.extra_headers.X: must not hold line breaks"),
        (changed(erp__extra_headers={"X": 12}), "erp.extra_headers.X: must be a text or a secret: {env: NAME} or {file: PATH}; put it in quotes"),
        (changed(erp__extra_headers={"X": "1", "x": "2"}), "erp.extra_headers.x: is given twice"),
        (changed(erp__extra_headers={"Host": "a"}), "erp.extra_headers.Host: this header is set by"),
        (changed(erp__extra_headers={"Content-Length": "1"}), "erp.extra_headers.Content-Length: this header is set by"),
        (changed(filename_template="{skuu}"), "filename_template: there is no field {skuu}; did you mean {sku}?"),
        (changed(filename_template="{sku}{image_order}.jpg"), "filename_template: "),
        (changed(filename_template="{image_order}.jpg"), "must hold {sku} or {base_code}"),
        (changed(filename_template="{sku"), "filename_template: has a brace"),
        # script, files
        (changed(script="def process(:\n  pass"), "script: line 1: SyntaxError"),
        (changed(script="x = 1\nreturn x"), "script: line 2: SyntaxError"),
        (changed(script="def proces(r):\n  return r"), "script: must define process(response) or process_row(row)"),
        (changed(script="def process():\n  return 1"), "script: line 1: process must take exactly one argument"),
        (changed(script="async def process(r):\n  return r"), "script: line 1: process must be a plain function"),
        (changed(script="(" * 100_000), "script: "),
        (changed(script="-" * 100_000 + "1"), "script: cannot be compiled"),
        (changed(script="def process(r): return r", script_file="x.py"), "script_file: must not be given together with script"),
        (changed(mapping_file="x.json"), "mapping_file: is read in flow files only"),
        # fetch missing
        (changed(fetch_missing__enabled=True), "fetch_missing.enabled: needs erp.query_settings.sku"),
        (changed(direction="outbound", fetch_missing__enabled=True), "fetch_missing.enabled: is for inbound flows only"),
        (changed(fetch_missing__productization_date_limit_days=10**9), "limit_days: must be at most 36500 days"),
    ],
)  # fmt: skip
def test_each_problem_is_named_with_its_field(document: Any, complaint: str) -> None:
    """What is wrong is said with the dotted path and what is expected."""
    found = complaints(document)
    assert any(complaint in text for text in found), found


def test_all_problems_are_named_at_once() -> None:
    """Wrong fields, wrong meanings and what does not fit together are all in one error."""
    document = changed(
        naem="x",
        schedule={"cron": "bad"},
        timezone="Nowhere",
        omnitron__password="hunter2",
        write__max_attempts=0,
        erp__endpoint_url="https://h/{nope}",
        erp__rows_path="a..b",
    )
    del document["direction"]
    paths = [problem.path for problem in flow_check.problems(document)]
    assert set(paths) >= {
        "naem",
        "direction",
        "schedule.cron",
        "timezone",
        "omnitron.password",
        "write.max_attempts",
        "erp.endpoint_url",
        "erp.rows_path",
    }
    assert len(paths) == len(set(paths))


def test_very_deep_documents_are_refused() -> None:
    """Nesting that would overflow somebody's stack later is a problem now."""
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert "is nested deeper than 100 levels" in complaints(changed(erp__extra_params={"x": deep}))[0]


def test_many_problems_are_cut() -> None:
    """A document that is something else altogether does not give a million problems."""
    assert len(flow_check.problems({f"field{n}": 1 for n in range(100_000)})) <= flow_check.MAX_PROBLEMS


# secrets --------------------------------------------------------------------------------------------------------------

PLAIN = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (changed(omnitron__password=PLAIN), "omnitron.password"),
        (changed(omnitron__password=[PLAIN]), "omnitron.password"),
        (changed(omnitron__password={"value": PLAIN}), "omnitron.password"),
        (changed(omnitron__password={PLAIN: 1}), "omnitron.password"),
        (changed(erp__login={"type": "basic", "username": "u", "password": PLAIN}), "erp.login.password"),
        (changed(erp__login={"type": "header", "name": "X-Key", "value": PLAIN}), "erp.login.value"),
        (changed(erp__login={"type": "token", "url": "https://e/", "body": {"password": PLAIN}}), "erp.login.body.password"),
        (changed(erp__login={"type": "token", "url": "https://e/", "body": {"a": [{"Password": PLAIN}]}}), "erp.login.body.a[0].Password"),
        (changed(erp__login={**OAUTH, "client_secret": PLAIN}), "erp.login.client_secret"),
        (changed(erp__login={**OAUTH, "body": {"password": PLAIN}}), "erp.login.body.password"),
        (changed(erp__extra_headers={"Authorization": PLAIN}), "erp.extra_headers.Authorization"),
    ],
)  # fmt: skip
def test_plain_secrets_are_refused_and_not_repeated(document: dict[str, Any], path: str) -> None:
    """A password in plain text is refused with the way to write it, and stands in no message."""
    found = flow_check.problems(document)
    assert [problem.path for problem in found] == [path]
    assert PLAIN_REFUSED in found[0].message
    assert PLAIN not in str(complaints(document))


@pytest.mark.parametrize(
    "secret", [{}, {"env": None}, {"env": "A", "file": "b"}, {"env": ""}, {"env": PLAIN}, {"env": 5}, {"file": " "}, {"file": []}]
)  # fmt: skip
def test_references_to_secrets_name_one_place(secret: dict[str, Any]) -> None:
    """A reference holds exactly one of env and file; what was pasted in the wrong place is not repeated."""
    for document in (
        changed(omnitron__password=secret),
        changed(omnitron__username=secret),
        changed(alarms__webhook_url=secret),
    ):
        assert PLAIN not in str(complaints(document))


def test_referenced_secrets_are_all_found(tmp_path: Path) -> None:
    """Every secret that a flow names is listed once, those inside the login's body too, mapping specs never."""
    document = whole(tmp_path) | {"mapping": [{"operation": "default", "spec": {"env": "NO_SECRET"}}]}
    document["erp"]["login"]["body"]["again"] = {"env": "ERP_PASSWORD"}
    assert flow_file.referenced_secrets(flow_file.parse(document)) == [
        SecretRef(env="OMNITRON_USERNAME"),
        SecretRef(env="OMNITRON_PASSWORD"),
        SecretRef(env="ERP_PASSWORD"),
        SecretRef(file="/run/secrets/realm"),
        SecretRef(env="ALARM_URL"),
    ]


# files ----------------------------------------------------------------------------------------------------------------


def test_script_and_mapping_files_are_inlined(tmp_path: Path) -> None:
    """The document is self-contained: files beside the flow file become fields, in their place."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "script.py").write_bytes(b"\xef\xbb\xbfdef process(r):\r\n    return r\r\n")
    (tmp_path / "parts" / "mapping.json").write_text('[{"operation": "shift", "spec": {}}]')
    text = json.dumps({"script_file": "parts/script.py", "mapping_file": "parts/mapping.json"} | SMALL)
    document = flow_file.load(write(tmp_path, text, "flow.json"))
    assert list(document)[:2] == ["script", "mapping"]
    assert document["script"] == "def process(r):\n    return r\n"
    definition = flow_file.parse(document)
    assert definition.mapping == [{"operation": "shift", "spec": {}}]
    assert definition.script_file is None


def test_a_mapping_may_be_yaml(tmp_path: Path) -> None:
    """A mapping file that is no .json is read as YAML."""
    write(tmp_path, "- operation: shift\n  spec: {a: b}\n", "m.yaml")
    document = flow_file.load(write(tmp_path, json.dumps(SMALL | {"mapping_file": "m.yaml"})))
    assert document["mapping"] == [{"operation": "shift", "spec": {"a": "b"}}]


def test_a_mapping_file_with_a_single_spec_says_how_to_write_it(tmp_path: Path) -> None:
    """NiFi's processor takes the spec of one operation; here a chain is a list."""
    write(tmp_path, '{"*": {"a": "b"}}', "m.json")
    with pytest.raises(FlowFileError) as caught:
        flow_file.load(write(tmp_path, json.dumps(SMALL | {"mapping_file": "m.json"})))
    (problem,) = caught.value.problems
    assert (problem.path, "write [{operation: shift, spec: this}]" in problem.message) == ("mapping_file", True)


def test_a_missing_part_is_named_with_all_other_problems(tmp_path: Path) -> None:
    """A script file that is not there does not hide what else is wrong."""
    text = json.dumps(changed(naem=1, script_file="gone.py", mapping_file=".", timezone="X"))
    found = refusal(write(tmp_path, text))
    assert "script_file: gone.py: cannot be read: No such file or directory" in found
    assert "mapping_file: " in found
    assert "naem: unknown field" in found
    assert "timezone: " in found


def test_both_script_and_file_are_refused(tmp_path: Path) -> None:
    """A script given twice is ambiguous, wherever the file is."""
    document = flow_file.load(write(tmp_path, json.dumps(changed(script="process = 1", script_file="gone.py"))))
    assert "script_file: must not be given together with script" in str(complaints(document))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: [", "line 1: is not valid YAML"),
        ("name: x\n\tdirection: y\n", "line 2: is not valid YAML"),
        ("name: x\nname: y\n", "line 2: is not valid YAML: the field 'name' is given twice, first in line 1"),
        ("erp:\n  a: 1\n  a: 2\n", "line 3: is not valid YAML: the field 'a' is given twice"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: &x [*x]\n", "aliases"),
        ("a: *nobody\n", "line 1: is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: is not valid YAML: tags"),
        ("a: !!binary aGk=\n", "tags"),
        ("? [a, b]\n: 1\n", "a field's name must be a text"),
        ("a: 1\n---\nb: 2\n", "line 2: is not valid YAML: a second document"),
        ("a: " + "[" * 500 + "]" * 500, "is nested deeper than 100 levels"),
        ("a: " + "[" * 100_000, "is nested deeper than 100 levels"),
        ("a: " + "{b: " * 100_000, "is nested deeper than 100 levels"),
        ("- " * 100_000, "is nested deeper than 100 levels"),
        ("a: " + "9" * 5000, "is a number that cannot be read"),
        ("a: \x07", "line 1: is not valid YAML"),
        ("", "a flow file must be an object"),
        ("- a\n", "a flow file must be an object"),
        ("a: " + "x" * (1 << 20), "is larger than 1024 KiB"),
    ],
)
def test_unreadable_yaml_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    """What is no YAML, or YAML that could mean two things or blow up, is refused, with the line."""
    assert complaint in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1,\n}', "line 2: is not valid JSON"),
        ('{"a": 1, "a": 2}', "the field 'a' is given twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "number that is too long"),
        ("", "line 1: is not valid JSON"),
    ],
)
def test_unreadable_json_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    """The same for JSON."""
    assert complaint in refusal(write(tmp_path, text, "flow.json"))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A file that is not there, is a folder, or is not UTF-8 is a problem, not a crash."""
    assert "cannot be read: No such file" in refusal(tmp_path / "gone.yaml")
    assert "is not a file" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: x\nauthor: Gül\n".encode("latin-1"))
    assert "line 2: is not UTF-8 text" in refusal(tmp_path / "latin.yaml")


def test_a_missing_file_says_what_is_there(tmp_path: Path) -> None:
    """The flow files of its folder, at most ten; none, where there are none."""
    with pytest.raises(FlowFileError, match=r"cannot be read: No such file or directory$"):
        flow_file.load(tmp_path / "wintr.yaml")
    with pytest.raises(FlowFileError, match=r"cannot be read: No such file or directory$"):
        flow_file.load(tmp_path / "none" / "wintr.yaml")
    for name in ("winter.yaml", "winter.test.yaml", *(f"z{n:02}.yaml" for n in range(10))):
        (tmp_path / name).write_text("")
    with pytest.raises(FlowFileError, match=r"directory; there are: winter\.yaml, z00\.yaml, .*, z08\.yaml, …$"):
        flow_file.load(tmp_path / "wintr.yaml")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('{"count": 2, "results": [{"name": "x"}]}', False),
        ('[{"name": "x", "direction": "inbound"}]', False),
        ("{}", False),
        ('"name"', False),
        ("[" + " " * flow_file.MAX_FILE_BYTES + "]", False),
        ('{"name": "x"}', True),
        ('{"direction": "sideways"}', True),
        ('{"name": ', True),
        ("", True),
    ],
)
def test_what_lies_beside_flows_is_left_alone(tmp_path: Path, text: str, is_one: bool) -> None:
    """A JSON file of a folder is a flow file if it has a name or a direction, or if nobody can tell; a YAML file is one anyway."""
    path = write(tmp_path, text, "answer.json")
    assert flow_file.is_flow_file(path) == is_one
    told = "" if is_one else "no flow files, as they have neither name nor direction: answer.json"
    assert flow_file.left_alone(tmp_path) == told
    assert flow_file.files_of(path) == [path]
    if not is_one:
        with pytest.raises(FlowFileError, match=f"holds no flow file .*; {told}$"):
            flow_file.files_of(tmp_path)
    yaml_file = write(tmp_path, text, "answer.yaml")
    assert yaml_file in flow_file.files_of(tmp_path)


def test_a_body_is_read_as_a_file_is() -> None:
    """What comes over HTTP is read by the same rules; bytes that are no text are refused."""
    assert flow_file.read_text(b"a: 0012\r\n", is_yaml=True) == {"a": "0012"}
    assert flow_file.read_text(b'\xef\xbb\xbf{"a": 1}', is_yaml=False) == {"a": 1}
    with pytest.raises(FlowFileError, match="is not UTF-8 text"):
        flow_file.read_text(b"\xff", is_yaml=True)


def test_any_file_of_values_is_read(tmp_path: Path) -> None:
    """Test cases and other files: any JSON or YAML."""
    assert flow_file.read_value(write(tmp_path, "[1, 2]")) == [1, 2]
    assert flow_file.is_case_file(Path("a.test.yaml"))
    assert not flow_file.is_flow_file(write(tmp_path, "{}", "a.test.yaml"))


# writing --------------------------------------------------------------------------------------------------------------

JSON_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
WORDS = st.sampled_from(
    ["yes", "0012", "1e3", "2025-12-21", "null", "~", "<<", "=", "a\n b\n", "\n", " x", "#", "- a", "12:30", "", "\t", "a: b", "x \ny"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXT | WORDS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_an_exported_flow_reads_well(tmp_path: Path) -> None:
    """The script is a block, fields keep their order, and it is the same flow when it is read again."""
    document = whole(tmp_path)
    text = flow_file.dump(document)
    assert "script: |\n  def process(response):\n      return response\n" in text
    assert [line.partition(":")[0] for line in text.splitlines() if re.match("[a-z]", line)] == list(document)
    assert flow_file.load(write(tmp_path, text, "again.yaml")) == document


@pytest.mark.slow
@given(st.dictionaries(JSON_TEXT | WORDS, JSON, max_size=5))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> None:
    """Any document survives dump and load."""
    document = {f"k{key}": value for key, value in document.items()}
    path = tmp_path_factory.mktemp("dump") / "flow.yaml"
    path.write_bytes(flow_file.dump(document).encode())
    assert flow_file.load(path) == document


# whatever comes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(JSON | st.dictionaries(st.sampled_from([*SMALL, "script", "mapping", "schedule", "write"]), JSON))
@settings(max_examples=300, deadline=None)
def test_any_document_is_parsed_or_refused(document: Any) -> None:
    """No document raises anything but FlowFileError."""
    try:
        flow_file.parse(document)
    except FlowFileError as error:
        assert error.problems
        assert str(error)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in _places(item, (*path, key)))]


@pytest.mark.slow
@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_flow_is_parsed_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """With anything in any place of a whole flow, parse takes it or names problems; the types never disagree with it."""
    document = whole(tmp_path_factory.mktemp("damaged"))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(_places(document)[1:]))
        parent: Any = document
        for key in place[:-1]:
            parent = parent[key]
        action = data.draw(st.sampled_from(["set", "set", "delete", "add"]))
        if action == "set":
            parent[place[-1]] = data.draw(JSON)
        elif action == "delete":
            del parent[place[-1]]
        elif isinstance(parent, dict):
            parent[data.draw(JSON_TEXT)] = data.draw(JSON)
        if not document:
            break
    found = flow_check.problems(document)
    if not found:
        msgspec.convert(document, flow.Definition, dec_hook=flow.decode_custom)
        flow_file.referenced_secrets(flow_file.parse(document))


@pytest.mark.parametrize("document", [[], [None], "text", None, 1])
def test_what_is_no_object_is_a_problem_of_the_file(document: object) -> None:
    """A list or a text in place of a flow is refused as such."""
    with pytest.raises(FlowFileError, match="must be an object"):
        flow_file.compiled(document)  # type: ignore[arg-type]


def test_all_mistakes_at_once() -> None:
    """What is compiled is looked at even if fields are wrong, unless the script or the mapping itself is."""
    script = "import os\ndef process_row(row):\n    return row\n"
    with pytest.raises(FlowFileError) as caught:
        flow_file.compiled(changed(script=script, erp__endpoint_url="nowhere"))
    assert [problem.path for problem in caught.value.problems] == ["erp.endpoint_url", "script"]
    with pytest.raises(FlowFileError) as caught:
        flow_file.compiled(changed(script="def process(:", mapping=[{"operation": "shift", "spec": {"*": "&(x)"}}]))
    assert {problem.path.partition("[")[0].partition(".")[0] for problem in caught.value.problems} == {
        "script",
        "mapping",
    }
    assert flow_file.compiled(changed(script="def process_row(row):\n    return row\n")).script is not None


def test_what_a_file_takes(tmp_path: Path) -> None:
    """Of a file of cases, of shared settings, and of a flow that shares nothing: nothing."""
    (tmp_path / "x.shared.yaml").write_text("timezone: UTC\n")
    (tmp_path / "a.yaml").write_text("name: a\nshared_file: x.shared.yaml\n")
    (tmp_path / "b.yaml").write_text("name: b\n")
    (tmp_path / "a.test.yaml").write_text("[]")
    assert flow_file.taken(tmp_path / "a.yaml") == ("x.shared.yaml", ["timezone"])
    for name in ("b.yaml", "x.shared.yaml", "a.test.yaml"):
        assert flow_file.taken(tmp_path / name) == ("", [])
