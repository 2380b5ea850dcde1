"""The life of a flow by commands: saved from a folder, switched off, compared, rolled back, deleted."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from imageflow.actions.actor import Actor
from imageflow.actions.flow_folder import FlowFolder, read
from imageflow.actions.runs import NotRunnable
from imageflow.cli import cli
from imageflow.errors import ConflictError, FlowFileError, ListenError, NotFoundError, RequestError, SecretError
from imageflow.settings import load
from imageflow.store.connect import open_store

OMNITRON = {"domain_url": "https://brand.example.com", "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}


class Shell:
    """Calls commands on one data directory, and writes flow files into one folder."""

    def __init__(self, folder: Path) -> None:
        self.flows = folder / "flows"
        self.flows.mkdir()
        self.environ = {"IMAGEFLOW_DATA_DIR": str(folder / "data")}

    def write(self, stem: str, /, **fields: Any) -> Path:
        path = self.flows / f"{stem}.yaml"
        erp = {"endpoint_url": "https://erp.example.com/images/"}
        path.write_text(
            yaml.safe_dump({"name": stem, "direction": "inbound", "omnitron": OMNITRON, "erp": erp, **fields})
        )
        return path

    def __call__(self, *args: str, stderr: bool = False, status: int = 0) -> str:
        done = CliRunner().invoke(cli, args, env=self.environ, catch_exceptions=False)
        assert done.exit_code == status, done.stderr
        return done.stderr if stderr else done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_folder_is_applied(shell: Shell) -> None:
    """A folder means its flow files; with --prune what is in none of them is deleted."""
    shell.write("a")
    shell.write("b")
    (shell.flows / "a.test.yaml").write_text("[]")
    assert shell("flow", "apply", "--force", str(shell.flows)) == "a: version 1\nb: version 1\n"
    (shell.flows / "a.yaml").unlink()
    (shell.flows / "a.test.yaml").unlink()
    assert shell("flow", "lint", str(shell.flows)).count(": ok") == 1
    assert shell("flow", "apply", str(shell.flows), "--prune") == "b: version 1\na: deleted\n"
    assert [flow["name"] for flow in shell.json("flow", "list")] == ["b"]


def test_lint_in_json(shell: Shell) -> None:
    """Each file with its problems and warnings; one name in two files is a problem of both; apply and test have JSON, too."""
    path = shell.write("a", omnitron={**OMNITRON, "domain_url": "http://brand.example.com"})
    assert [(one["file"], one["ok"]) for one in shell.json("flow", "lint", str(path))] == [(str(path), True)]
    assert shell.json("flow", "lint", str(path))[0]["warnings"][0]["path"] == "omnitron.domain_url"
    assert shell.json("flow", "apply", str(path)) == {
        "saved": [{"name": "a", "version": 1, "enabled": True}],
        "deleted": [],
    }
    case = {"name": "c", "input": [{"sku": "A", "images": ["https://a/1"]}], "expect": []}
    (shell.flows / "a.test.yaml").write_text(yaml.safe_dump([case]))
    (wrong,) = json.loads(shell("flow", "test", str(path), "--json", status=1))
    assert (wrong["case"], wrong["ok"]) == ("a.test.yaml: c", False)
    assert any("https://a/1" in line for line in wrong["difference"])
    (shell.flows / "a.test.yaml").unlink()
    shell.write("b", name="a")
    found = json.loads(shell("flow", "lint", str(shell.flows), "--json", status=2))
    assert [one["ok"] for one in found] == [False, False]
    assert "all have the name a" in found[0]["problems"][0]["message"]


def test_everything_wrong_at_once(shell: Shell) -> None:
    """A wrong field does not hide what is wrong with the script, and names the field that is meant."""
    path = shell.write("a", script="import os\ndef process_row(row):\n    return row\n")
    path.write_text(path.read_text().replace("endpoint_url", "url"))
    said = shell("flow", "lint", str(path), status=2)
    assert "erp.url: unknown field; did you mean endpoint_url?" in said
    assert "script: line 1: the module 'os' is not available" in said


def test_identifiers_that_cannot_be_asked_for(shell: Shell) -> None:
    """A run by identifiers of a flow without a parameter for them is refused, not queued."""
    shell("flow", "apply", str(shell.write("a")))
    with pytest.raises(NotRunnable, match=r"flow a: .*add erp\.query_settings\.sku"):
        shell("run", "a", "--ids", "A,B")
    assert shell.json("runs") == []


def test_secrets_beside_the_flow_file(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path of a secret is relative to the flow file, whatever folder a command is called in; a mapping is left alone."""
    mapping = [{"operation": "shift", "spec": {"*": {"file": "[&1].url"}}}]
    path = shell.write("a", omnitron={**OMNITRON, "password": {"file": "../secrets/omni.txt"}}, mapping=mapping)
    monkeypatch.chdir("/")
    shell("flow", "apply", str(path))
    document = shell.json("flow", "show", "a")["document"]
    assert document["omnitron"]["password"] == {"file": str(tmp_path / "secrets" / "omni.txt")}
    assert document["mapping"] == mapping
    with pytest.raises(SecretError, match=r"flow a: omnitron\.password: the file .*omni\.txt cannot be read"):
        shell("run", "a", "--wait")


def test_a_file_of_shared_settings(shell: Shell) -> None:
    """Lint checks it, and says what each flow takes from it; it is applied with the flows that name it, and shown with them."""
    path = shell.write("a")
    document = yaml.safe_load(path.read_text())
    brand = {"omnitron": document.pop("omnitron"), "write": {"timeout": "7s"}}
    path.write_text(yaml.safe_dump({**document, "shared_file": "brand.shared.yaml", "write": {"max_attempts": 3}}))
    (shell.flows / "brand.shared.yaml").write_text(yaml.safe_dump(brand))
    said = shell("flow", "lint", str(shell.flows))
    assert f"{path}: takes from brand.shared.yaml: omnitron, write.timeout\n" in said
    assert said.count(": ok") == 2
    assert shell("flow", "apply", str(shell.flows)) == "a: version 1\n"
    assert shell.json("flow", "show", "a")["document"]["write"] == {"timeout": "7s", "max_attempts": 3}
    assert "domain_url" in shell("flow", "show", "a")
    assert "shared settings" in shell("flow", "apply", str(shell.flows / "brand.shared.yaml"), status=2, stderr=True)
    (shell.flows / "brand.shared.yaml").write_text("omnitron: {domain_url: 7}\nname: a\n")
    wrong = shell("flow", "lint", str(shell.flows / "brand.shared.yaml"), status=2)
    assert "brand.shared.yaml: name: must stand in each flow file itself" in wrong
    assert "brand.shared.yaml: omnitron.domain_url: must be a text" in wrong


def test_a_folder_that_says_nothing_clear(shell: Shell) -> None:
    """No flow file in it: named, and so are sub-folders that hold some; one name in two files: both files are named."""
    deeper = shell.flows / "brand"
    deeper.mkdir()
    shell.write("a").rename(deeper / "a.yaml")
    with pytest.raises(FlowFileError, match=r"holds no flow file.*sub-folders are not looked into: .*brand"):
        shell("flow", "apply", str(shell.flows))
    shell.write("b", name="a")
    shell.write("c", name="a")
    with pytest.raises(FlowFileError, match=r"b\.yaml, .*c\.yaml: all have the name a"):
        shell("flow", "apply", str(shell.flows))


def test_disabled_stays_disabled(shell: Shell) -> None:
    """A flow that a user disabled is still disabled after its file was applied, and the user is told why."""
    path = shell.write("a", schedule={"every": "1h"})
    shell("flow", "apply", str(path))
    assert shell("flow", "disable", "a") == "a: disabled, version 2\n"
    assert shell("flow", "apply", str(path)) == (
        "a: version 2; it stays disabled, as a person disabled it (imageflow flow enable a)\n"
    )
    shown = shell.json("flow", "show", "a")
    assert (shown["enabled"], shown["next_fires"]) == (False, [])
    assert shell("flow", "enable", "a") == "a: enabled, version 3\n"
    assert len(shell.json("flow", "show", "a")["next_fires"]) == 5


def test_versions_are_listed_compared_and_brought_back(shell: Shell) -> None:
    """Each version with when, by whom and whether enabled; a diff of two; an earlier one saved once more."""
    shell("flow", "apply", str(shell.write("a", timezone="UTC")))
    path = shell.write("a", timezone="Europe/Istanbul", enabled=False)
    shell("flow", "apply", str(path))
    versions = shell.json("flow", "versions", "a")
    assert [(one["version"], one["enabled"]) for one in versions] == [(2, False), (1, True)]
    assert versions[0]["by"]
    assert shell("flow", "versions", "a").splitlines()[1].split()[0] == "2"
    changed = shell("flow", "diff", "a", "1", "2").splitlines()
    assert changed[:2] == ["--- a version 1", "+++ a version 2"]
    assert {"-timezone: UTC", "+timezone: Europe/Istanbul", "+enabled: false"} <= set(changed)
    assert shell.json("flow", "diff", "a", "1", "1") == {"flow": "a", "a": 1, "b": 1, "lines": []}
    assert "say the same" in shell("flow", "diff", "a", "2", "2", stderr=True)
    assert shell("flow", "rollback", "a", "1") == "a: version 3, which says what version 1 says\n"
    assert shell("flow", "export", "a") == shell("flow", "export", "a", "--version", "1")
    assert shell.json("flow", "show", "a", "--version", "2")["document"]["timezone"] == "Europe/Istanbul"
    assert shell("flow", "rollback", "a", "3") == "a: version 3 says what version 3 says: nothing is changed\n"
    whats = [one["what"] for one in shell.json("audit")]
    assert whats == ["flow.rollback", "flow.save", "flow.save"]
    assert shell.json("audit", "--what", "flow.rollback")[0]["detail"] == {"to": 1, "version": 3}
    assert "there are older ones" in shell("audit", "--limit", "1", stderr=True)
    assert "no changes by eve" in shell("audit", "--who", "eve", stderr=True)


def test_a_flow_that_goes_to_another_omnitron(shell: Shell) -> None:
    """Its runs ask for changes alone, so what was written before does not come there by itself: that is said, until all was read."""
    erp = {"endpoint_url": "https://erp.example.com/images/", "modified_date_key": "since"}
    path = shell.write("a", erp=erp)
    assert "another" not in shell("flow", "apply", str(path), stderr=True)
    other = {**OMNITRON, "domain_url": "https://other.example.com"}
    assert "now" not in shell("flow", "apply", str(shell.write("a", erp=erp, omnitron=other)), stderr=True)
    shell("flow", "apply", str(shell.write("a", erp=erp)))
    shell("watermark", "set", "a", "2026-01-31T09:00:00Z")
    said = shell("flow", "apply", str(shell.write("a", erp=erp, omnitron=other)), stderr=True)
    told = (
        "a: it writes to https://other.example.com now, and what was written before is on https://brand.example.com; runs ask "
        "the ERP for changes since 2026-01-31T09:00:00.000000Z alone: to write everything, imageflow watermark set a none && "
        "imageflow run a\n"
    )
    assert said == told
    assert shell("flow", "apply", str(path), stderr=True) == told
    shell("watermark", "set", "a", "none")
    assert shell("flow", "apply", str(path), stderr=True) == ""
    shell("watermark", "set", "a", "2026-01-31T09:00:00Z")
    shell("flow", "apply", str(shell.write("a", erp=erp, omnitron=other, timezone="UTC")))
    assert shell("flow", "apply", str(path), stderr=True) == ""


def test_a_run_does_not_undo_what_a_person_changed(shell: Shell) -> None:
    """`run --flows` and `flow apply --keep-changes` do as `up --flows`: a rollback stays until the file says something new,
    and both ways out are named; `flow apply` alone is a person's word.
    """
    flows = str(shell.flows)
    path = shell.write("a", timezone="UTC")
    assert f"{path} is applied: a: version 1" in shell("run", "a", "--flows", flows, stderr=True)
    assert [one["by"] for one in shell.json("flow", "versions", "a")] == ["file a.yaml"]
    shell.write("a", timezone="Europe/Istanbul")
    shell("run", "a", "--flows", flows)
    assert "so do `up --flows` and `run --flows` when the file changes" in shell(
        "flow", "rollback", "a", "1", stderr=True
    )
    said = shell("run", "a", "--flows", flows, stderr=True)
    assert "warning: a flow differs from its file, and stays as it is: a, version 3." in said
    assert f"imageflow flow export a > {path}" in said
    assert f"imageflow flow apply {path}" in said
    assert shell("flow", "apply", "--keep-changes", flows) == "a: version 3, as a person left it\n"
    assert [one["version"] for one in shell.json("flow", "versions", "a")] == [3, 2, 1]
    shell.write("a", timezone="Europe/Berlin")
    assert shell("flow", "apply", "--keep-changes", flows) == "a: version 4\n"
    assert shell.json("flow", "versions", "a")[0]["by"] == "file a.yaml"
    shell("flow", "rollback", "a", "1")
    assert shell("flow", "apply", flows) == "a: version 6\n"


def test_flows_that_no_file_names_are_told(shell: Shell) -> None:
    """A folder that is applied may be all that there is: what goes on without a file is named, and how it ends."""
    shell.write("a")
    shell.write("b").rename(shell.flows.parent / "b.yaml")
    shell("flow", "apply", str(shell.flows.parent / "b.yaml"))
    left = "in none of these files, and still there: b (imageflow flow delete NAME; --prune: all)"
    assert left in shell("flow", "apply", str(shell.flows), stderr=True)
    assert left in shell("flow", "apply", "--keep-changes", str(shell.flows / "a.yaml"), stderr=True)
    assert not shell("flow", "apply", str(shell.flows / "a.yaml"), stderr=True)


def test_a_broken_file_is_said_to_save_nothing(shell: Shell) -> None:
    """Of a folder all or none: what is wrong, and that nothing is saved; files of cases and of shared settings are checked as by
    `flow lint`, also where no flow needs them.
    """
    shell.write("a")
    flows = str(shell.flows)
    for file, text, wrong in (
        ("b.yaml", "name: b\n", r"b\.yaml: direction: .*required"),
        (
            "junk.test.yaml",
            "- {name: x, inputs: [], expect: []}",
            r"junk\.test\.yaml: \[0\]\.inputs: unknown field; did you mean input\?",
        ),
        ("junk.shared.yaml", "name: x", r"junk\.shared\.yaml: name: "),
    ):
        (shell.flows / file).write_text(text)
        with pytest.raises(FlowFileError, match=rf"{wrong}.*; nothing is saved: mend that first"):
            shell("flow", "apply", flows)
        assert "junk" not in file or file in shell("flow", "lint", flows, status=2)
        (shell.flows / file).unlink()
    assert shell.json("flow", "list") == []


def test_cases_without_a_flow(shell: Shell) -> None:
    """They are run by nothing, which is said by whatever takes the folder."""
    shell.write("a")
    (shell.flows / "junk.test.yaml").write_text("- {name: x, input: [], expect: []}")
    alone = "junk.test.yaml: warning: there is no junk.yaml beside it: its cases are not run"
    assert alone in shell("flow", "lint", str(shell.flows))
    assert alone in shell("flow", "apply", str(shell.flows), stderr=True)


def test_no_cases_in_json(shell: Shell) -> None:
    """JSON, and on stderr where cases would stand."""
    done = CliRunner().invoke(cli, ["flow", "test", str(shell.write("a")), "--json"], env=shell.environ)
    assert done.stdout == "[]\n"
    assert isinstance(done.exception, RequestError)
    assert str(done.exception) == "there are no cases: a.test.yaml would hold them"


def test_all_that_is_wrong_with_a_script(shell: Shell) -> None:
    """In one round: the name of its function, and what it may not import; a mistake that both checks see once."""
    shell.write("a", script="import os\ndef proces_row(row):\n    return row\n")
    said = shell("flow", "lint", str(shell.flows), status=2)
    assert (
        "script: must define process(response) or process_row(row); did you mean process_row, in place of proces_row?"
        in said
    )
    assert "script: line 1: the module 'os' is not available" in said
    shell.write("a", script="def process(:")
    assert shell("flow", "lint", str(shell.flows), status=2).count("SyntaxError") == 1


def test_sub_folders_are_named(shell: Shell) -> None:
    """Wherever a folder is taken, it is said that flow files of its sub-folders are not."""
    shell.write("a")
    deeper = shell.flows / "brand"
    deeper.mkdir()
    shell.write("b").rename(deeper / "b.yaml")
    hidden = shell.flows / ".imageflow"
    hidden.mkdir()
    shell.write("c").rename(hidden / "c.json")
    flows = str(shell.flows)
    for args in (("flow", "lint", flows), ("flow", "apply", flows), ("run", "a", "--flows", flows)):
        assert f"{flows}: sub-folders are not looked into: {deeper}\n" in shell(*args, stderr=True)


def test_a_watermark_that_no_run_could_use(shell: Shell) -> None:
    """Refused: one in the future, after which each run would be empty, and one of a flow that always asks for everything."""
    erp = {"endpoint_url": "https://erp.example.com/images/", "modified_date_key": "since"}
    shell("flow", "apply", str(shell.write("a", erp=erp)), str(shell.write("b")))
    future = shell("watermark", "set", "a", "2999-01-01", stderr=True, status=2)
    assert "2999-01-01 is in the future: until then each run would find nothing" in future
    with pytest.raises(NotRunnable, match="b has no parameter that says since when"):
        shell("watermark", "set", "b", "2026-01-31")
    assert shell.json("watermark", "set", "b", "none")["watermark"] is None
    assert shell.json("watermark", "set", "a", "2026-01-31")["watermark"] == "2026-01-31T00:00:00.000000Z"


def test_a_disabled_flow_runs_for_a_person(shell: Shell) -> None:
    """And it is said that it does not by itself."""
    shell("flow", "apply", str(shell.write("a")))
    assert "disabled" not in shell("run", "a", stderr=True)
    shell("flow", "disable", "a")
    assert "a is disabled: it runs because a person asks for it (imageflow flow enable a" in shell(
        "run", "a", stderr=True
    )


def test_a_port_that_cannot_be_had(shell: Shell) -> None:
    """An emulator says so in a line, as the gateway does; `up` before it applies a flow file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            shell("emulate", "erp", "--port", str(port))
        shell.write("a")
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
            shell("up", "--flows", str(shell.flows), "--port", str(port))
        assert shell.json("flow", "list") == []
        (shell.flows / "a.yaml").unlink()
        with pytest.raises(ListenError):  # a folder without files is no reason not to start
            shell("up", "--flows", str(shell.flows), "--port", str(port))
    assert "IMAGEFLOW_LISTEN" in " ".join(shell("up", "--help").split())


def test_a_list_is_in_one_zone(shell: Shell) -> None:
    """That of its flows, if they share one: also what is about no flow, or about one that is deleted; hints are in it, too."""
    for name in ("a", "b"):
        shell("flow", "apply", str(shell.write(name, timezone="Europe/Istanbul")))
    for _ in range(2):
        shell("run", "a")
        shell("cancel", shell.json("runs")[0]["run_id"])
    shell("flow", "delete", "a")
    records = [
        line for line in shell("audit").splitlines()[1:] if not line.startswith(" ")
    ]  # without what goes on below
    assert len(records) >= 6
    assert all("+03" in line for line in records)
    assert shell("runs", "a").count("+03") == shell("runs").count("+03") == 2
    older = shell("runs", "--limit", "1", stderr=True)
    until = re.search(r"--until (\S+\+03:00)", older)[1]  # type: ignore[index]
    assert len(shell.json("runs", "--until", until)) == 1
    shell(
        "flow", "apply", str(shell.write("b", timezone="Asia/Tokyo")), str(shell.write("a", timezone="Europe/Istanbul"))
    )
    assert "+03" in shell("runs", "a")
    assert "+03" not in shell("runs") + shell("audit") + shell("flow", "list")


def test_versions_are_bounded(shell: Shell) -> None:
    """The newest first, and that there are more; of a deleted flow that it is deleted, and how it comes back."""
    for zone in ("UTC", "Europe/Istanbul", "Europe/Paris"):
        shell("flow", "apply", str(shell.write("a", timezone=zone)))
    assert len(shell("flow", "versions", "a", "--limit", "2").splitlines()) == 3
    assert "there are older versions: --limit 4" in shell("flow", "versions", "a", "--limit", "2", stderr=True)
    assert not shell("flow", "versions", "a", stderr=True)
    shell("flow", "delete", "a")
    assert "the flow 'a' is deleted; to have it back: imageflow flow export a --version 3 > FILE" in shell(
        "flow", "versions", "a", stderr=True
    )


def test_what_is_asked_of_a_deleted_flow(shell: Shell) -> None:
    """Nobody says that it never was: each command names the way back."""
    shell("flow", "apply", str(shell.write("a")))
    shell("flow", "delete", "a")
    back = "the flow 'a' is deleted; to have it back: imageflow flow export a --version 1 > FILE, then imageflow flow apply FILE"
    for args in (["flow", "export", "a"], ["flow", "rollback", "a", "1"], ["flow", "show", "a"], ["run", "a"]):
        with pytest.raises(NotFoundError) as caught:
            shell(*args)
        assert str(caught.value) == back
    assert "name: a\n" in shell("flow", "export", "a", "--version", "1")
    with pytest.raises(NotFoundError, match="flow 'a' has no version 7; there are 1 to 1"):
        shell("flow", "export", "a", "--version", "7")


def test_a_flow_is_deleted(shell: Shell) -> None:
    """Not while another runs after it, and not while a run of it goes on; then it is gone, and its file brings it back."""
    shell("flow", "apply", str(shell.write("a")), str(shell.write("b", schedule={"after": "a"})))
    with pytest.raises(ConflictError, match="flow b runs after a: change that first"):
        shell("flow", "delete", "a")
    shell("flow", "delete", "b")
    shell("run", "a")
    run = shell.json("runs")[0]["run_id"]
    with pytest.raises(ConflictError, match=f"runs that have not ended .{run}"):
        shell("flow", "delete", "a")
    shell("cancel", run)
    assert shell("flow", "delete", "a") == "a: deleted\n"
    assert shell.json("flow", "list") == []
    assert [one["run_id"] for one in shell.json("runs")] == [run]
    assert shell("flow", "apply", str(shell.flows / "a.yaml")) == "a: version 2\n"


async def test_the_file_of_a_deleted_flow_is_named(shell: Shell) -> None:
    """Where `up --flows` saved it: that file brings it back, and so it is said which one; else a file that is applied does."""

    async def followed() -> None:
        settings = load({"IMAGEFLOW_DATA_DIR": shell.environ["IMAGEFLOW_DATA_DIR"]})
        async with open_store(settings) as store:
            folder = FlowFolder(shell.flows, store, Actor("up", origin="cli"))
            await folder.begin(read(shell.flows))

    shell.write("a")
    await followed()
    said = await asyncio.to_thread(shell, "flow", "delete", "a", stderr=True)
    assert "it was saved from a.yaml: delete that file, too, or the flow is back with the next `run --flows`" in said
    await asyncio.to_thread(shell, "flow", "apply", str(shell.write("b")))
    assert "applying a file with it brings it back" in await asyncio.to_thread(
        shell, "flow", "delete", "b", stderr=True
    )


def test_the_last_two_versions_are_compared(shell: Shell) -> None:
    """Without numbers, and with one the newest against it; one version alone is said."""
    shell("flow", "apply", str(shell.write("a", timezone="UTC")))
    assert "a has one version" in shell("flow", "diff", "a", stderr=True)
    for zone in ("Europe/Istanbul", "Europe/Paris"):
        shell("flow", "apply", str(shell.write("a", timezone=zone)))
    assert shell("flow", "diff", "a").splitlines()[:2] == ["--- a version 2", "+++ a version 3"]
    assert shell("flow", "diff", "a", "1").splitlines()[:2] == ["--- a version 1", "+++ a version 3"]


def test_a_broken_file_of_another_flow_does_not_stop_a_run(shell: Shell) -> None:
    """`run a --flows DIR` applies what is right, and says what is wrong with the others; they stay as they were."""
    for stem in ("a", "b", "twin-1", "twin-2"):
        shell.write(stem, **({"name": "twin"} if "twin" in stem else {}))
    shell.write("c", schedule={"every": "soon"})
    (shell.flows / "d.yaml").write_text("name: [\n")
    said = shell("run", "a", "--flows", str(shell.flows), stderr=True)
    assert "c.yaml: schedule.every: " in said
    assert "d.yaml: " in said
    assert "twin-1.yaml, " in said
    assert "a runs all the same" in said
    assert [flow["name"] for flow in shell.json("flow", "list")] == ["a", "b"]


@pytest.mark.parametrize("broken", ["name: a\ndirection: inbound\n", "name: [\n", "- a\n"])
def test_what_is_wrong_with_the_flow_that_is_to_run(shell: Shell, broken: str) -> None:
    """The flow's own file is wrong, or no file names the flow and one cannot be read: nothing runs and nothing is saved."""
    shell.write("b")
    (shell.flows / "a.yaml").write_text(broken)
    with pytest.raises(FlowFileError, match=r"a\.yaml"):
        shell("run", "a", "--flows", str(shell.flows))
    assert shell.json("flow", "list") == []


def test_an_answer_beside_the_flows(shell: Shell) -> None:
    """It is no flow file, and is not spoken of; unless the flow that is asked for is nowhere."""
    shell.write("a")
    (shell.flows / "answer.json").write_text('{"count": 1, "results": []}')
    assert "answer.json" not in shell("flow", "lint", str(shell.flows), stderr=True)
    assert "answer.json" not in shell("run", "a", "--flows", str(shell.flows), stderr=True)
    wanted = CliRunner().invoke(cli, ["run", "b", "--flows", str(shell.flows)], env=shell.environ)
    assert str(wanted.exception) == "there is no flow 'b'; there are: a"
    assert wanted.stderr.endswith("no flow files, as they have neither name nor direction: answer.json\n")
    (shell.flows / "c.yaml").write_text("- c\n")
    with pytest.raises(
        FlowFileError,
        match=r"c\.yaml: .*no file names the flow 'b'; the files that can be read name: a; no flow files, .*",
    ):
        shell("run", "b", "--flows", str(shell.flows))
