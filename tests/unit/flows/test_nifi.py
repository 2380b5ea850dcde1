"""What NiFi and Akinon's Integrator say of flows, and the flow files that come of it."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows import nifi
from imageflow.flows.imported import Imported, comment, imported

FILES = Path(__file__).parent / "nifi"
SECRETS = ("Pa55-w0rd-of-the-ERP", "Yaz2026!x", "k-1234567890", "abc123def")


def made(name: str) -> list[Imported]:
    flows: list[Imported] = []
    for found in nifi.read((FILES / name).read_bytes()):
        flows.append(imported(found, {one.name for one in flows}))
    return flows


def text_of(one: Imported) -> str:
    return comment(one.questions) + flow_file.dump(one.document)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_gives_flow_files(path: Path) -> None:
    """They can be read and are flows; no secret is in them, also not in a comment; each question is one line."""
    for one in made(path.name):
        text = text_of(one)
        assert not any(secret in text for secret in SECRETS)
        assert "\x1b" not in text
        read = flow_file.read_text(text.encode(), is_yaml=True)
        assert read == one.document
        if path.stem != "hostile":  # its mapping is broken, and `import` says so
            assert flow_file.parse(read).name == one.name
        assert all(line.startswith("#") for line in text.splitlines()[: len(one.questions) + 1])


def test_a_chain_with_parameters() -> None:
    """Schedule, URL, headers, login, watermark and mapping of a flow that asks, maps and writes."""
    [one] = made("chain.json")
    assert one.document["schedule"] == {"cron": "0 0/5 * * * ?"}
    assert one.document["omnitron"]["domain_url"] == "https://brand.omnitron.example.net"
    assert one.document["omnitron"]["images_path"] == "/api/i1/downloadable_image/"
    assert one.document["erp"] == {
        "endpoint_url": "https://erp.example.com/images/",
        "login": {"type": "header", "name": "Authorization", "value": {"env": "WINTER_IMAGES_AUTHORIZATION"}},
        "extra_headers": {"X-Company": "12"},
        "extra_params": {"status": "active", "company": "12"},
        "modified_date_key": "modified_date__gt",
        "timeout": "20s",
    }
    assert [step["operation"] for step in one.document["mapping"]] == ["shift"]
    assert any("WINTER_IMAGES_AUTHORIZATION" in question for question in one.questions)


def test_pages_that_are_split() -> None:
    """What splits pages names the rows; single transformations become a chain; what has no counterpart is asked."""
    [one] = made("split.json")
    assert one.name == "canta-gorselleri"
    erp = one.document["erp"]
    assert (erp["rows_path"], erp["extra_params"], erp["timeout"]) == ("data.items", {"$format": "json"}, "60s")
    assert erp["login"]["username"] == "reader"
    assert [step["operation"] for step in one.document["mapping"]] == ["shift", "default"]
    assert any("ExecuteScript" in question for question in one.questions)
    assert any('under "*"' in question for question in one.questions)


def test_a_login_and_a_body() -> None:
    """The body that NiFi makes becomes extra_params, without secrets and without what it computes; a token is taken along."""
    [one] = made("post.json")
    erp = one.document["erp"]
    assert erp["login"] == {
        "type": "token",
        "url": "https://nebim.example.com/api/Login",
        "body": {"userName": "integrator", "password": {"env": "NEBIM_IMAGES_PASSWORD"}},
        "header": "Authorization",
        "template": "Bearer {token}",
        "token_path": "accessToken",
    }
    assert erp["extra_params"]["filter"] == {"season": "winter", "secretKey": {"env": "NEBIM_IMAGES_SECRETKEY"}}
    assert (erp["method"], erp["modified_date_key"]) == ("POST", "updatedAfter")


def test_groups_are_flows() -> None:
    """Each group in which something begins is a flow: one that is posted to, one that polls, in the scope of its groups."""
    door, poll = made("groups.json")
    assert (door.document["direction"], poll.document["enabled"]) == ("outbound", False)
    assert "erp" not in door.document
    assert poll.document["schedule"] == {"cron": "0 30 3 * * ? *"}
    assert poll.document["erp"] == {
        "endpoint_url": "https://sap.example.com:8443/export/{now:%Y-%m-%d}/images.json",
        "extra_headers": {"X-Tenant": "tr"},
    }


def test_the_list_of_the_integrator() -> None:
    """Variables as an object or as a list; a stopped flow is not enabled; settings are taken where the list has them."""
    first, second, third = made("list.json")
    assert (first.name, first.document["schedule"]) == ("winter-image", {"cron": "0 0,30 * * * ? *"})
    assert (second.name, second.document["direction"], second.document["enabled"]) == ("erp-posts", "outbound", False)
    assert third.name == "winter-image-2"
    assert third.document["erp"]["extra_params"] == {
        "status": "active",
        "page": 1,
        "token": {"env": "WINTER_IMAGE_2_TOKEN"},
    }
    assert (third.document["timezone"], third.document["filename_template"]) == ("Europe/Istanbul", "{base_code}")
    assert any("'stock'" in question for question in third.questions)


@pytest.mark.parametrize(
    ("entry", "component", "enabled"),
    [
        ({}, {}, True),
        ({"state": "RUNNING"}, {"state": "RUNNING"}, True),
        ({"state": "STOPPED"}, {}, False),
        ({}, {"state": "STOPPED"}, False),
        ({}, {"state": "DISABLED"}, False),
        ({"state": "DISABLED"}, {"state": "RUNNING"}, False),
        ({"state": ["STOPPED"]}, {"state": {}}, True),
    ],
)
def test_a_stopped_flow_of_the_list(entry: dict[str, Any], component: dict[str, Any], enabled: bool) -> None:
    """Wherever the state stands, in the entry or in its component."""
    one = {**entry, "component": {"variables": {"!flow_slug": "winter"}, **component}}
    [found] = nifi.read(json.dumps([one]).encode())
    assert found.enabled is enabled
    assert imported(found, ()).document.get("enabled", True) is enabled


def test_placeholders_of_the_list() -> None:
    """The one of the watermark names the parameter for changes; others are asked; none is sent with its braces."""
    params = {
        "since": "{modified_date}",
        "day": "{now:%Y-%m-%d}",
        "who": {"id": "{sku}"},
        "page": 1,
        "token": "{T0ken-1234}",
    }
    variables = {
        "!flow_slug": "winter",
        "endpoint_url": "https://erp.example.com/images?d={modified_date}&b={base_code}",
        "extra_params": json.dumps(params),
        "extra_headers": json.dumps({"X-Day": "{today}", "X-Shop": "7"}),
    }
    [found] = nifi.read(json.dumps([{"component": {"variables": variables}}]).encode())
    one = imported(found, ())
    erp = one.document["erp"]
    assert erp["endpoint_url"] == "https://erp.example.com/images"
    assert erp["modified_date_key"] == "since"
    assert erp["extra_params"] == {"page": 1, "token": {"env": "WINTER_TOKEN"}}
    assert erp["extra_headers"] == {"X-Shop": "7"}
    for asked in (
        "'since' carries the watermark",
        "'day' is a",
        "'who.id' is a",
        "'d' is a",
        "'b' is a",
        "'X-Day' is a",
    ):
        assert any(asked in question for question in one.questions), asked
    assert flow_file.parse(one.document).name == "winter"


@pytest.mark.parametrize(("method", "key"), [("POST", "filter.since"), ("GET", None)])
def test_a_placeholder_in_a_body(method: str, key: str | None) -> None:
    """In a POST body the parameter is named by its path; in a query there is no such parameter."""
    variables = {
        "!flow_slug": "winter",
        "endpoint_url": "https://erp.example.com/images",
        "http_method": method,
        "extra_params": json.dumps({"filter": {"since": "{modified_date}"}, "empty": {}}),
    }
    [found] = nifi.read(json.dumps([{"component": {"variables": variables}}]).encode())
    erp = imported(found, ()).document["erp"]
    assert (erp.get("modified_date_key"), erp["extra_params"]) == (key, {"empty": {}})


def test_what_must_not_get_through() -> None:
    """A secret is known wherever else it stands; what NiFi computes is asked; circles end."""
    [one] = made("hostile.json")
    assert one.document["erp"]["extra_params"] == {
        name: {"env": f"X_OMNITRON_EVIL_YES_{name.upper()}"} for name in ("api_key", "n", "t")
    }
    assert "schedule" not in one.document
    assert any("'X-Computed' is computed" in question for question in one.questions)


def definition(**fields: Any) -> bytes:
    processor = {
        "identifier": "p",
        "name": "p",
        "type": "x.InvokeHTTP",
        "schedulingPeriod": "1 min",
        "properties": fields,
    }
    return json.dumps({"flowContents": {"name": "f", "processors": [processor]}}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "tells of no flow"),
        (b"{}", "tells of no flow"),
        (b"7", "tells of no flow"),
        (b'[{"component": 3}, null, {"component": {"name": "x", "variables": "y"}}]', "tells of no flow"),
        (b'{"flowContents": {"processors": [null, 7, {"type": 3}], "processGroups": [[]]}}', "tells of no flow"),
        (b" " * (nifi.MAX_BYTES + 1), "larger than 16 MiB"),
        (
            json.dumps(
                {"flowContents": {"processors": [{"type": "x.InvokeHTTP"}] * (nifi.MAX_PROCESSORS + 1)}}
            ).encode(),
            "more than 5,000 processors",
        ),
        (b'{"flowContents": ' + b'{"processGroups": [' * 60 + b"{}" + b"]}" * 60 + b"}", "more than 50 deep"),
    ],
)
def test_what_is_no_such_file(data: bytes, said: str) -> None:
    """Is refused with the reason, and within a bound."""
    with pytest.raises(FlowFileError, match=said):
        nifi.read(data)


def test_what_grows_stays_bounded() -> None:
    """Parameters that double each other, and a wide net of connections, take no time."""
    bomb = [{"name": f"p{n}", "value": f"#{{p{n + 1}}}" * 10} for n in range(50)]
    nodes = [{"identifier": str(n), "name": str(n), "type": "x.LogAttribute"} for n in range(150)]
    asks = {
        "identifier": "0",
        "name": "a",
        "type": "x.InvokeHTTP",
        "properties": {"HTTP Method": "POST", "HTTP URL": "#{p0}"},
    }
    edges = [{"source": {"id": str(a)}, "destination": {"id": str(b)}} for a in range(130) for b in range(130)]
    root = {"name": "f", "processors": [asks, *nodes[1:]], "connections": edges, "parameterContextName": "c"}
    document = {"flowContents": root, "parameterContexts": {"c": {"name": "c", "parameters": bomb}}}
    begun = time.process_time()
    [found] = nifi.read(json.dumps(document).encode())
    assert imported(found, ()).document["erp"]["endpoint_url"] == "https://erp.example.com/images/"
    assert time.process_time() - begun < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("flowContents", "processors", "processGroups", "type", "properties", "component", "variables", "name")
            )
            | st.text(max_size=8),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_any_json(document: Any) -> None:
    """Gives flows, or is refused; nothing else."""
    try:
        found = nifi.read(json.dumps(document).encode())
    except FlowFileError:
        return
    for one in found:
        flow_file.read_text(text_of(imported(one, ())).encode(), is_yaml=True)


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=60))
def test_any_property(url: str, header: str, value: str) -> None:
    """Whatever a processor says, the file can be read, and holds what the document holds."""
    [found] = nifi.read(definition(**{"HTTP URL": url, header: value, "HTTP Method": value}))
    one = imported(found, ())
    assert flow_file.read_text(text_of(one).encode(), is_yaml=True) == one.document


def flow_of(*processors: dict[str, Any], contexts: dict[str, Any] | None = None) -> Imported:
    """The flow of processors that follow one another."""
    ids = [str(n) for n in range(len(processors))]
    nodes = [
        {"identifier": n, "name": f"p{n}", "schedulingPeriod": "1 min", **one}
        for n, one in zip(ids, processors, strict=True)
    ]
    edges = [{"source": {"id": a}, "destination": {"id": b}} for a, b in itertools.pairwise(ids)]
    group = {"name": "f", "processors": nodes, "connections": edges, "parameterContextName": "c"}
    [found] = nifi.read(json.dumps({"flowContents": group, "parameterContexts": contexts or {}}).encode())
    return imported(found, ())


def asks(url: str, **properties: Any) -> dict[str, Any]:
    return {"type": "org.apache.nifi.processors.standard.InvokeHTTP", "properties": {"HTTP URL": url, **properties}}


def maps(transform: str, spec: str | None) -> dict[str, Any]:
    return {
        "type": "x.JoltTransformJSON",
        "properties": {"Jolt Transform": f"jolt-transform-{transform}", "Jolt Specification": spec},
    }


ERP = asks("https://e.example.com/x")


@pytest.mark.parametrize(
    ("processors", "said"),
    [
        ([asks("https://e.example.com/${who}/x")], "a part of its path is computed there"),
        ([asks("https://e.example.com/eyJhbGciOiJIUzI1NiJ9.x/list")], "a part of its path looks like a secret"),
        ([asks("https://[::1/x")], "What stands there cannot be taken over"),
        ([asks("https://e.example.com/x?q=${now():toNumber()}")], "the parameter 'q' is computed there"),
        ([asks("https://e.example.com/x", **{"Request Username": "${user}"})], "the whole value of 'username'"),
        ([ERP, asks("https://other.example.com/y")], "'p1' asks another address"),
        ([asks("https://e.example.com/login?x=${y}"), ERP], "'p0' logs in at an address that cannot be taken over"),
        ([ERP, maps("chain", '{"operation": "shift"}')], "is no list of operations"),
        ([ERP, maps("shift", '{"a": "${b}"}')], "has expressions of NiFi in it"),
        ([{"type": "x.ReplaceText", "properties": {"Replacement Value": "a=b"}}, asks("https://e.example.com/x", **{"HTTP Method": "POST"})],
         "is no JSON object there"),
        ([asks("https://e.example.com/x", **{"Request OAuth2 Access Token Provider": "7f"})], "{type: oauth2, token_url"),
        ([{**asks("https://e.example.com/x", **{"X-Key": None}), "propertyDescriptors": {"X-Key": {"sensitive": True}}}], "the whole value of 'X-Key'"),
    ],
)  # fmt: skip
def test_what_is_asked(processors: list[dict[str, Any]], said: str) -> None:
    """What cannot be taken over as it is becomes a question; the file is a flow all the same."""
    one = flow_of(*processors)
    assert any(said in question for question in one.questions), one.questions
    flow_file.parse(one.document)


def test_attributes_that_others_set() -> None:
    """They are filled in; a secret among them is left out wherever it goes."""
    sets = {
        "season": "w26",
        "from": "${now():format('yyyy-MM-dd')}",
        "token": "topsecret99",
        "Store State": "Do not store state",
    }
    url = "https://e.example.com/x?season=${season}&since=${from}&t=${token}"
    one = flow_of({"type": "x.UpdateAttribute", "properties": sets}, asks(url, **{"X-State": "${Store State}"}))
    assert one.document["erp"]["extra_params"] == {"season": "w26", "t": {"env": "F_T"}}
    assert one.document["erp"]["modified_date_key"] == "since"
    assert "topsecret99" not in text_of(one)


def test_a_sort_has_no_spec() -> None:
    """It sorts the keys, and is one operation."""
    assert flow_of(ERP, maps("sort", None)).document["mapping"] == [{"operation": "sort"}]


def test_a_secret_in_a_mapping() -> None:
    """The mapping is left out: its text would hold the secret."""
    contexts = {
        "c": {"parameters": [{"name": "apiKey", "value": "topsecret99"}, {"parameter": {"name": "x", "value": "1"}}]}
    }
    one = flow_of(ERP, maps("default", '{"*": {"k": "topsecret99"}}'), contexts=contexts)
    assert "mapping" not in one.document
    assert any("holds a secret and is left out" in question for question in one.questions)


def test_two_beginnings() -> None:
    """The schedule is that of the one with a cron expression, and that is asked about."""
    tick = {"identifier": "t", "name": "tick", "type": "x.GenerateFlowFile", "schedulingStrategy": "CRON_DRIVEN"}
    group = {"processors": [{"identifier": "a", "name": "ask", **ERP}, {**tick, "schedulingPeriod": "0 0 3 * * ?"}]}
    [found] = nifi.read(json.dumps({"flowContents": group}).encode())
    assert found.schedule == {"cron": "0 0 3 * * ?"}
    assert any("several processors begin there (ask, tick)" in question for question in found.questions)


def test_a_list_without_a_schedule() -> None:
    """It is asked; headers that are no JSON are, too, and a question is asked once."""
    variables = {"!flowSlug": "a", "!inbound": "true", "Extra Headers": "X: 1", "Endpoint URL": "https://e.example.com"}
    [found] = nifi.read(json.dumps([{"component": {"name": "a", "variables": variables}}]).encode())
    found.ask("again")
    found.ask("again")
    assert found.questions.count("again") == 1
    assert any(question.startswith("schedule: when does it run") for question in found.questions)
    assert any(question.startswith("extraheaders: it is no JSON object") for question in found.questions)
