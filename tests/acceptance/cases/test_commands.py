"""Commands, as people call them: files of identifiers, and probing an endpoint."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageflow.cli import main
from tests.acceptance.cases.erp import DATA
from tests.acceptance.cases.site import SECRETS, Site, Stage


class Shell:
    """The command line in this process; `said` is what a command wrote to stderr."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capture = folder, patch, capture
        self.said = ""
        for name, value in {**SECRETS, "IMAGEFLOW_DATA_DIR": str(folder / "data")}.items():
            patch.setenv(name, value)

    def call(self, *arguments: str) -> tuple[int, str]:
        """Exit status and stdout."""
        self._patch.setattr(sys, "argv", ["imageflow", *arguments])
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, self.said = self._capture.readouterr()
        return int(ended.value.code or 0), out


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


IDS: dict[str, dict[str, Any]] = json.loads((DATA / "ids_csv" / "expected.json").read_text("utf-8"))
REFUSED = {"cp1254.csv": ["UTF-8"], "comma_in_sku.csv": ["BL,18", "comma"]}
ASKED = {"header.csv": ["sku", "A-1"], "utf16.csv": ["A-1", "A-2"]}


def asked_of(stage: Stage) -> list[str]:
    """All identifiers that the ERP was asked for."""
    return [name for asked in stage.erp.asked for name in (asked.of("sku") or "").split(",")]


@pytest.mark.parametrize("file", list(IDS))
def test_ids_csv(site: Site, shell: Shell, file: str):
    """woocommerce/woocommerce#33481, oroinc/crm#96, medusajs/medusa#6461: files of identifiers as Excel saves them."""
    flows = shell.folder / "flows"
    flows.mkdir()
    shutil.copy(DATA / "ids_csv" / file, shell.folder)
    with site.stage("ids_csv") as stage:
        name = stage.write(flows)
        status, out = shell.call(
            "run", name, "--flows", str(flows), "--ids-file", str(shell.folder / file), "--wait", "--json"
        )
        asked = asked_of(stage)
    if file in REFUSED:
        assert (status, asked, out) == (2, [], "")
        assert all(text in shell.said for text in REFUSED[file])
    else:
        assert (status, asked) == (0, ASKED.get(file) or IDS[file]["asked"])
        assert json.loads(out.splitlines()[-1])["status"] == "empty"


@pytest.mark.parametrize(
    ("path", "field"), [("/odata/items", "@odata.nextLink"), ("/lara", "links.next"), ("/drf/", "next")]
)
def test_probe_envelopes(site: Site, shell: Shell, path: str, field: str):
    """microsoft/AL#6858, airbytehq/airbyte#34883: the next link of each envelope is found and proposed."""
    with site.stage("probe_envelopes") as stage:
        status, out = shell.call("probe", f"http://{stage.erp.host}{path}")
    assert status == 0
    assert yaml.safe_load(out)["erp"]["pagination"] == {"type": "next", "field": field}


def test_probe_envelopes_null(site: Site, shell: Shell):
    """mvanhorn/cli-printing-press#2656: null where the list should be: no list was found, or no_rows is proposed."""
    with site.stage("probe_envelopes") as stage:
        status, out = shell.call("probe", f"http://{stage.erp.host}/go")
    found = yaml.safe_load(out)
    if found is None:
        assert status == 1
        assert "list" in out
    else:
        assert (status, found["erp"]["no_rows"]) == (0, {"null_list": True})
