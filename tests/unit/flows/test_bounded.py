"""What a flow of the API may name: each secret and each host, wherever it stands in the flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows.bounded import Reach, check
from imageflow.http.public_address import Allowed
from imageflow.secret import Bounds

FINE = {"env": "ERP_KEY"}
WRONG = {"env": "HOME"}
OAUTH = {"type": "oauth2", "token_url": "https://login.example.com/t", "client_id": FINE, "client_secret": FINE}


def document(**erp: Any) -> dict[str, Any]:
    omnitron = {"domain_url": "https://brand.example.com", "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}
    made = {"endpoint_url": "https://erp.example.com/images/", **erp}
    return {"name": "a", "direction": "inbound", "omnitron": omnitron, "erp": made}


def refusals(flow: dict[str, Any], dirs: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> list[str]:
    """The paths that are refused."""
    reach = Reach(Bounds(dirs, ("ERP_", "OMNITRON_")), Allowed(hosts))
    try:
        check(flow_file.parse(flow), reach)
    except FlowFileError as error:
        return [problem.path for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("erp", "path"),
    [
        ({"login": {"type": "basic", "username": FINE, "password": WRONG}}, "erp.login.password"),
        ({"login": {"type": "basic", "username": WRONG, "password": FINE}}, "erp.login.username"),
        ({"login": {"type": "header", "name": "X-Key", "value": WRONG}}, "erp.login.value"),
        (
            {"login": {"type": "token", "url": "https://erp.example.com/", "body": {"a": [{"b": WRONG}], "c": FINE}}},
            "erp.login.body.a[0].b",
        ),
        ({"login": {**OAUTH, "client_secret": WRONG}}, "erp.login.client_secret"),
        ({"login": {**OAUTH, "body": {"audience": WRONG}}}, "erp.login.body.audience"),
        ({"extra_headers": {"X-Key": WRONG, "X-Other": FINE}}, "erp.extra_headers.X-Key"),
        ({"extra_params": {"key": WRONG, "list": [1, FINE]}}, "erp.extra_params.key"),
        ({"query_settings": {"key": {"key": "k", "value": WRONG}}}, "erp.query_settings.key.value"),
    ],
)
def test_secrets(erp: dict[str, Any], path: str) -> None:
    """A secret that the settings do not allow is refused where it stands; those beside it are not."""
    assert refusals(document(**erp)) == [path]


def test_the_secrets_of_omnitron_and_of_alarms() -> None:
    """They are looked at as well, and each secret is named once among those that the flow refers to."""
    flow = document(extra_headers={"X-Key": FINE, "X-Again": FINE})
    flow["omnitron"]["password"] = WRONG
    flow["alarms"] = {"webhook_url": WRONG}
    assert refusals(flow) == ["omnitron.password", "alarms.webhook_url"]
    assert [ref.env for ref in flow_file.referenced_secrets(flow_file.parse(flow))] == ["HOME", "ERP_KEY"]


def test_files(tmp_path: Path) -> None:
    """A file is allowed in the folders of the settings, wherever a link leads."""
    folder, elsewhere = tmp_path / "secrets", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_text("x")
    (folder / "link").symlink_to(elsewhere)
    for name, path in (("good", []), ("../elsewhere", ["erp.extra_headers.X"]), ("link", ["erp.extra_headers.X"])):
        assert refusals(document(extra_headers={"X": {"file": str(folder / name)}}), (str(folder),)) == path
    assert refusals(document(extra_headers={"X": {"file": "/etc/passwd"}})) == ["erp.extra_headers.X"]


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("[::1]", False),
        ("10.0.0.7", False),
        ("169.254.169.254", False),
        ("8.8.8.8", True),
        ("erp.local", True),
    ],
)
def test_hosts(host: str, public: bool) -> None:
    """An address in a private network is refused in each URL, unless it is allowed; where a name leads is seen later."""
    login = {"type": "token", "url": f"https://{host}/login", "body": {}}
    flow = document(endpoint_url=f"https://{host}/images/", login=login)
    flow["omnitron"]["domain_url"] = f"https://{host}"
    flow["alarms"] = {"webhook_url": f"https://{host}/hook"}
    places = ["omnitron.domain_url", "alarms.webhook_url", "erp.endpoint_url", "erp.login.url"]
    assert refusals(flow) == ([] if public else places)
    assert refusals(flow, hosts=(host,)) == []
    assert refusals(flow, hosts=("*",)) == []


def test_the_host_that_gives_out_tokens() -> None:
    """It is as much a host that is asked as the ERP."""
    login = {**OAUTH, "token_url": "https://10.0.0.7/token"}
    assert refusals(document(login=login)) == ["erp.login.token_url"]
    assert refusals(document(login=login), hosts=("10.0.0.7",)) == []


def test_an_outbound_flow() -> None:
    """It has no ERP to look at."""
    flow = document()
    assert refusals({**flow, "direction": "outbound", "erp": None}) == []
