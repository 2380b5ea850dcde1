"""A flow is tried against its ERP and its Omnitron as they answer now: a page of the ERP, both logins, a product."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from imageflow.cli import cli
from imageflow.emulator.erp import FakeErp
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.errors import NotFoundError, ReadError


class Shell:
    """Commands, beside an ERP of 120 rows and an Omnitron."""

    def __init__(self, folder: Path, erp: FakeErp, omnitron: FakeOmnitron) -> None:
        self.folder, self.erp, self.omnitron = folder, erp, omnitron

    def flow(self, **changed: Any) -> str:
        """The path of a flow file."""
        omnitron = {"domain_url": self.omnitron.url, "username": "demo", "password": {"env": "OMNITRON_PASSWORD"}}
        erp = {
            "endpoint_url": f"{self.erp.url}/images/next/",
            "extra_params": {"limit": 50},
            "rows_path": "results",
            "pagination": {"type": "next"},
            **changed.pop("erp", {}),
        }
        path = self.folder / "main.yaml"
        document = {"name": "main", "direction": "inbound", "omnitron": omnitron, "erp": erp, **changed}
        path.write_text(yaml.safe_dump(document))
        return str(path)

    async def __call__(self, *args: str, **environ: str) -> Result:
        known = {"IMAGEFLOW_DATA_DIR": str(self.folder / "data"), "OMNITRON_PASSWORD": "demo", "ERP_PASSWORD": "demo"}
        return await asyncio.to_thread(CliRunner().invoke, cli, args, env={**known, **environ})

    async def check(self, path: str, **environ: str) -> dict[str, Any]:
        done = await self("check", path, "--json", **environ)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.exit_code == (0 if found["ok"] else 1)
        return found


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    erp, omnitron = FakeErp(rows=120), FakeOmnitron(products=7)
    async with erp.serve(), omnitron.serve():
        yield Shell(tmp_path, erp, omnitron)


SCRIPT = "def process_row(row):\n    return {'sku': row['sku'], 'images': [i['url'] for i in row['images']]}\n"


async def test_a_page_of_the_erp_is_tried(shell: Shell) -> None:
    """The first page unless another is named; it goes through script and rows; nothing is stored or written."""
    path = shell.flow(script=SCRIPT)
    done = await shell("try", path, "--live", "--json")
    assert (done.exit_code, len(json.loads(done.stdout)["rows"])) == (0, 50)
    third = json.loads((await shell("try", path, "--live", "--page", "3", "--json")).stdout)
    assert [row["product"] for row in third["rows"]] == [f"SKU-{number:06}" for number in range(101, 121)]
    assert (shell.omnitron.written, shell.omnitron.logins) == (0, 0)
    assert not (shell.folder / "data").exists()


async def test_a_page_that_is_not_there(shell: Shell) -> None:
    """It is said how many there are; an outbound flow has no ERP; one source of the answer, not two."""
    path = shell.flow()
    error = (await shell("try", path, "--live", "--page", "9")).exception
    assert isinstance(error, ReadError)
    assert str(error) == "the ERP gave 3 pages, so there is no page 9"
    assert (await shell("try", path, "--live", "--from-run", "x")).exit_code == 2
    assert (await shell("try", path)).exit_code == 2
    assert isinstance((await shell("try", "nobody", "--live")).exception, NotFoundError)


async def test_all_is_well(shell: Shell) -> None:
    """Secrets, both logins, a page, a product: each with what was seen."""
    login = {"type": "basic", "username": "demo", "password": {"env": "ERP_PASSWORD"}}
    found = await shell.check(shell.flow(erp={"login": login}))
    assert found["ok"]
    assert [(one["check"], one["ok"]) for one in found["checks"]] == [
        *(
            ("secrets", True),
            ("ERP login", True),
            ("ERP page", True),
            ("Omnitron login", True),
            ("Omnitron product", True),
        )
    ]
    assert [one["detail"] for one in found["checks"]][2:] == [
        "rows on the first page: 50",
        f"logged in at {shell.omnitron.url}",
        "SKU-000001, one of 7 products",
    ]
    assert shell.omnitron.written == 0
    lines = (await shell("check", shell.flow())).stdout.splitlines()
    assert lines[1].split() == ["ok", "secrets", "1", "can", "be", "read"]


async def test_a_read_that_would_be_incomplete(shell: Shell) -> None:
    """`try`, `flow test` and `check` warn as the run does: without pagination the first of three pages is all that is read."""
    path = shell.flow(script=SCRIPT, erp={"pagination": {"type": "none"}})
    text = "the read ended after 50 rows, though the answer says that there are more: "
    found = await shell.check(path)
    (page,) = [one for one in found["checks"] if one["check"] == "ERP page"]
    assert (page["ok"], f"rows on the first page: 50; {text}" in page["detail"]) == (False, True)
    done = await shell("try", path, "--live")
    told = " ".join(done.stdout.split())  # on one line, however narrow the terminal is
    assert (done.exit_code, f" warning: {text}" in told, told.count("the read ended")) == (0, True, 1)
    tried = await shell("try", path, "--live", "--json")
    assert [one.startswith(text) for one in json.loads(tried.stdout)["warnings"]] == [True]
    cases = [{"name": "one", "input": json.loads(tried.stdout)["steps"][0]["output"], "error": "none"}]
    (shell.folder / "main.test.yaml").write_text(json.dumps(cases))
    (case,) = json.loads((await shell("flow", "test", path, "--json")).stdout)
    assert [one.startswith(text) for one in case["warnings"]] == [True]


@pytest.mark.parametrize("command", [("check",), ("try", "--live"), ("probe",)])
async def test_a_file_that_is_wrong_or_missing_is_named(shell: Shell, command: tuple[str, ...]) -> None:
    """With its path as it was given, and what is there instead."""
    path = shell.flow(direction="sideways")
    wrong = await shell(*command, path)
    assert str(wrong.exception).startswith(f"{path}: direction: ")
    missing = await shell(*command, path.replace("main", "mian"))
    assert str(missing.exception).startswith(f"{shell.folder}/mian.yaml: cannot be read: ")
    assert str(missing.exception).endswith("; there are: main.yaml")


async def test_what_is_wrong(shell: Shell) -> None:
    """Each thing that is wrong is named with its reason; what does not depend on it is looked at all the same."""
    missing = await shell.check(shell.flow(), OMNITRON_PASSWORD="")
    assert [(one["check"], one["ok"]) for one in missing["checks"]] == [("secrets", False)]
    assert "OMNITRON_PASSWORD" in missing["checks"][0]["detail"]
    refused = await shell.check(shell.flow(), OMNITRON_PASSWORD="other")
    assert [(one["check"], one["ok"]) for one in refused["checks"]][1:] == [
        ("ERP page", True),
        ("Omnitron login", False),
    ]
    assert "Unable to log in" in refused["checks"][-1]["detail"]
    login = {
        "type": "token",
        "url": f"{shell.erp.url}/login",
        "body": {"username": "demo", "password": {"env": "ERP_PASSWORD"}},
    }
    away = await shell.check(shell.flow(erp={"login": {**login, "token_path": "data.token"}}), ERP_PASSWORD="other")
    assert [(one["check"], one["ok"]) for one in away["checks"]][1:] == [
        *(("ERP login", False), ("Omnitron login", True), ("Omnitron product", True))
    ]
    path = await shell.check(shell.flow(erp={"rows_path": "nowhere"}))
    assert "nowhere" in next(one["detail"] for one in path["checks"] if one["check"] == "ERP page")


@pytest.mark.parametrize(
    ("erp", "ok", "detail"),
    [
        ({"modified_date_key": "modified_date__gt"}, True, "it gives no rows"),
        (
            {"modified_date_key": "modifed_date"},
            False,
            "it ignores the parameter 'modifed_date': asked for changes since a future date",
        ),
        (
            {"modified_date_key": "modified_date__gt", "date_format": "%d/%m/%Y"},
            False,
            "asked by the parameter 'modified_date__gt' for changes, it fails: the ERP (",
        ),
        (
            {"endpoint_url": "{}/images/none/sku/{modified_date}/", "initial_since": "2020-01-01"},
            True,
            "it gives no rows",
        ),
    ],
)
async def test_whether_the_erp_knows_what_asks_for_changes(
    shell: Shell, erp: dict[str, Any], ok: bool, detail: str
) -> None:
    """An ERP that gives the same rows since a future date ignores the parameter that asks for changes."""
    if "endpoint_url" in erp:
        erp = {**erp, "endpoint_url": shell.erp.url + erp["endpoint_url"][2:], "pagination": {"type": "none"}}
    found = await shell.check(shell.flow(erp=erp))
    (seen,) = [one for one in found["checks"] if one["check"] == "ERP changes"]
    assert (seen["ok"], found["ok"]) == (ok, ok)
    assert detail in seen["detail"]


@pytest.mark.parametrize(
    ("key", "ok", "detail"),
    [
        ("sku", True, "asked by the parameter 'sku' for an unknown product, it gives no rows"),
        (
            "stok",
            False,
            "it ignores the parameter 'stok': asked for an unknown product, it gives the same 100 rows",
        ),
        (
            "limit",
            True,
            "not known: asked by the parameter 'limit' for an unknown product, it gives other rows",
        ),
        ("modified_date__gt", True, "it fails: the ERP ("),
    ],
)
async def test_whether_the_erp_knows_what_asks_for_products(shell: Shell, key: str, ok: bool, detail: str) -> None:
    """An ERP that gives the same rows for an unknown product ignores the parameter that asks for products."""
    erp = {"query_settings": {"sku": {"key": key}}, "pagination": {"type": "none"}, "extra_params": {}}
    found = await shell.check(shell.flow(erp=erp))
    (seen,) = [one for one in found["checks"] if one["check"] == "ERP products"]
    assert (seen["ok"], detail in seen["detail"]) == (ok, True), seen


async def test_an_outbound_flow(shell: Shell) -> None:
    """Only Omnitron is looked at."""
    path = shell.flow(direction="outbound", erp={"endpoint_url": None, "pagination": {"type": "none"}, "rows_path": ""})
    assert [one["check"] for one in (await shell.check(path))["checks"]] == [
        "secrets",
        "Omnitron login",
        "Omnitron product",
    ]
    assert (await shell("try", path, "--live")).exit_code == 2


async def test_a_new_flow_from_a_probe(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says what the probe found and why, names its schema, is no wrong flow, and can be tried at once."""
    monkeypatch.chdir(shell.folder)
    done = await shell("flow", "new", "winter", "--probe", f"{shell.erp.url}/images/next/")
    assert done.exit_code == 0, done.output
    text = (shell.folder / "winter.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=.imageflow/flow.schema.json\n")
    assert json.loads((shell.folder / ".imageflow" / "flow.schema.json").read_text())["$defs"]
    assert (await shell("flow", "lint", "winter.yaml")).stdout == "winter.yaml: ok\n"
    assert (await shell("try", "winter.yaml", "--live")).exit_code == 0
    again = await shell("flow", "new", "winter")
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    assert (await shell("flow", "new", "posts", "--direction", "outbound")).exit_code == 0
    assert (await shell("flow", "new", "plain")).exit_code == 0
    assert (await shell("flow", "lint", ".")).stdout.count(": ok") == 3
    assert (await shell("flow", "new", "Winter!")).exit_code == 2
    assert (await shell("flow", "new", "x", "--probe", "http://127.0.0.1:9/")).exit_code == 1
    assert not (shell.folder / "x.yaml").exists()


async def test_a_new_flow_of_an_erp_that_asks_for_a_login(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe failed, so the exit status is 1; the file is written with a sketch of erp.login, and what to do is said."""
    monkeypatch.chdir(shell.folder)
    shell.erp._auth = "header"
    url = f"{shell.erp.url}/images/next/"
    done = await shell("flow", "new", "winter", "--probe", url)
    assert done.exit_code == 1
    assert "answered 401" in done.stderr
    assert "winter.yaml is written all the same, with a sketch of erp.login" in str(done.exception)
    assert "# login: {type: token" in (shell.folder / "winter.yaml").read_text()
    assert (await shell("flow", "lint", "winter.yaml")).stdout == "winter.yaml: ok\n"
    seen = await shell("probe", url)
    assert (seen.exit_code, "it asks for a login" in seen.stderr, "imageflow probe FILE" in seen.stderr) == (
        1,
        True,
        True,
    )
    assert (await shell("flow", "new", "let-in", "--probe", url, "--header", "X-Api-Key: demo")).exit_code == 0


async def test_probe_with_a_flow(shell: Shell) -> None:
    """The endpoint is asked with the flow's login, headers, body and parameters; secrets are in no line; a URL has options."""
    shell.erp._auth = "header"
    login = {"type": "header", "name": "X-Api-Key", "value": {"env": "ERP_PASSWORD"}}
    path = shell.flow(
        erp={
            "endpoint_url": f"{shell.erp.url}/images/page/",
            "method": "POST",
            "login": login,
            "extra_params": {"limit": 50, "status": "active"},
            "extra_headers": {"X-Company": "12"},
            "pagination": {"type": "none"},
        }
    )
    done = await shell("probe", path)
    assert done.exit_code == 0, done.output
    proposed = yaml.safe_load(done.stdout)["erp"]
    assert proposed["rows_path"] == "results"
    assert proposed["pagination"]["page_param"] == "page"
    assert "endpoint_url" not in proposed
    assert all(seen.params["status"] == "active" for seen in shell.erp.seen)
    assert all(seen.headers["X-Company"] == "12" for seen in shell.erp.seen)
    denied = await shell("probe", f"{shell.erp.url}/images/page/")
    assert denied.exit_code == 1
    assert "401" in denied.output
    assert (await shell("probe", path, "--method", "GET")).exit_code == 2
    missing = await shell("probe", path, ERP_PASSWORD="")
    assert missing.exit_code != 0
