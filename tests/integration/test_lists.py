"""Lists for people: filters, limits that say what they left out, sentences where there is nothing, and no files made by reading."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from imageflow import settings
from imageflow.cli import cli
from imageflow.errors import NotFoundError, RequestError
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.store import Store
from imageflow.store.connect import open_store

OMNITRON = {"domain_url": "https://brand.example.com", "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Here:
    """Commands on one data directory, whose store tests can fill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"IMAGEFLOW_DATA_DIR": str(folder / "data"), "COLUMNS": "80"}

    def call(self, *args: str) -> Result:
        return CliRunner().invoke(cli, args, env=self.environ, catch_exceptions=False)

    def lines(self, *args: str) -> list[str]:
        """The table that a command prints, without its heading."""
        done = self.call(*args)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()[1:]

    def said(self, *args: str) -> str:
        """What a command says beside its result."""
        done = self.call(*args)
        assert done.exit_code == 0, done.output
        return done.stderr

    def fill(self, work: Callable[[Store], Awaitable[Any]]) -> None:
        async def body() -> None:
            async with open_store(settings.load(self.environ)) as store:
                await work(store)

        asyncio.run(body())


@pytest.fixture
def here(tmp_path: Path) -> Here:
    made = Here(tmp_path)
    for name, timezone in (("a", "Europe/Istanbul"), ("b", "UTC")):
        path = tmp_path / f"{name}.yaml"
        erp = {"endpoint_url": "https://erp.example.com/images/", "modified_date_key": "since"}
        document = {"name": name, "direction": "inbound", "timezone": timezone, "omnitron": OMNITRON, "erp": erp}
        path.write_text(yaml.safe_dump(document))
    assert made.call("flow", "apply", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")).exit_code == 0
    return made


def a_run(number: int, flow: str = "a", kind: str = "schedule", by: str = "") -> Run:
    return Run(
        run_id=f"20260101-12000{number}-0123456789",
        flow=flow,
        version=1,
        trigger=Trigger(kind, by),
        status="queued",
        created_at=NOON + timedelta(hours=number),
    )


async def three_runs(store: Store) -> None:
    """An old one that failed, one by a person, and one of another flow that was cancelled."""
    await store.create_run(a_run(1))
    await store.start_reading(a_run(1).run_id, None, NOON)
    await store.end_read(a_run(1).run_id, error="no answer\x1b[2J", stage="read")
    await store.create_run(a_run(2, kind="person", by="ada"))
    await store.create_run(a_run(3, flow="b", kind="fetch_missing"))
    await store.cancel_run(a_run(3).run_id)


def ids(lines: list[str]) -> list[str]:
    return [line.split()[0][13:15] for line in lines if line.startswith("2026")]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], ["03", "02", "01"]),
        (["a"], ["02", "01"]),
        (["--status", "failed"], ["01"]),
        (["--status", "failed", "--status", "cancelled"], ["03", "01"]),
        (["--active"], ["02"]),
        (["--trigger", "person"], ["02"]),
        (["--trigger", "fetch_missing"], ["03"]),
        (["--since", "2026-01-01T14:00:00Z"], ["03", "02"]),
        (["--until", "2026-01-01T14:00:00Z"], ["01"]),
        (["a", "--since", "2026-01-01T17:00:00"], ["02"]),
        (["--limit", "1"], ["03"]),
    ],
)
def test_runs_are_filtered(here: Here, args: list[str], wanted: list[str]) -> None:
    """By flow, status, trigger and time, for people and in JSON; with a flow, times are in its zone."""
    here.fill(three_runs)
    assert ids(here.lines("runs", *args)) == wanted
    found = json.loads(here.call("runs", *args, "--json").stdout)
    assert [run["run_id"][13:15] for run in found] == wanted


def test_a_list_of_runs(here: Here) -> None:
    """Local time of the flow's zone; what does not fit stands under the line; no escape gets through."""
    here.fill(three_runs)
    done = here.call("runs", "a")
    assert done.stdout.splitlines()[0].split() == ["RUN", "FLOW", "STATUS", "STARTED", "TOOK"]
    assert "queued  2026-01-01 17:00:00 +03" in done.stdout
    assert "\n    by ada, pages 0, rows 0\n" in done.stdout
    assert "\n    no answer\ufffd[2J\n" in done.stdout
    assert "1 run did not end yet, and no process runs the services: imageflow up" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "there are older runs: --limit 2, or --until 2026-01-01T15:00:00Z" in here.said("runs", "--limit", "1")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["runs", "b", "--status", "failed", "--since", "1h"], "no failed runs of b since 1h"),
        (["alarms"], "no alarm is open"),
        (["alarms", "a", "--all"], "no alarm of a"),
        (["holds"], "no Omnitron is held"),
        (["audit", "--who", "eve", "--what", "flow.save"], "no changes by eve of the kind flow.save"),
        (["errors", "--flow", "b"], "no failure of b is open"),
        (["errors", "--closed"], "no failure is closed"),
        (["errors", a_run(2).run_id], f"no row of run {a_run(2).run_id} has failed"),
        (
            ["rows", a_run(2).run_id],
            f"run {a_run(2).run_id} has no settled row; its status: queued, no rows",
        ),
        (
            ["rows", a_run(2).run_id, "--state", "failed", "--product", "A", "--group", "f"],
            "has no failed row of product A of cause f",
        ),
        (["parked", "list"], "no message is parked"),
        (["user", "list"], "no users: imageflow user add"),
        (["key", "list", "a"], "no keys of a: imageflow key add a NAME"),
        (["key", "list"], "no keys"),
    ],
)
def test_empty_lists_say_what_was_asked(here: Here, args: list[str], said: str) -> None:
    """A sentence on stderr, nothing on stdout; --quiet says nothing."""
    here.fill(three_runs)
    done = here.call(*args)
    assert (done.exit_code, done.stdout) == (0, "")
    assert said in done.stderr
    assert here.call(*args, "--quiet").stderr == ""


def test_a_failed_poll_is_seen_beside_errors(here: Here) -> None:
    """`errors` knows rows; it also says that the run itself failed, and why."""
    here.fill(three_runs)
    said = here.said("errors", a_run(1).run_id)
    failed = f"run {a_run(1).run_id} itself failed in read: no answer\ufffd[2J\n"
    next_step = "    next: what was not read: mend what its error names, then: imageflow run a\n"
    assert said.endswith(failed + next_step)
    for args, of in ((["--flow", "a"], " of a"), ([], "")):
        assert here.said("errors", *args) == f"no failed row{of} is open\na: {failed}{next_step}"
    retried = " ".join(here.call("retry", a_run(1).run_id).stdout.split())
    assert (
        "it failed as a whole, in read, so there is no row to retry: mend what its error names, then: imag" in retried
    )


def test_a_cancel_while_nothing_runs(here: Here) -> None:
    """A run whose rows are on their way ends only where a process runs the services: `cancel` says so."""

    async def a_page_is_not_transformed(store: Store) -> None:
        await store.create_run(a_run(1))
        await store.start_reading(a_run(1).run_id, None, NOON)
        await store.save_page(a_run(1).run_id, 1, b"[]", cursor=None, last=True)

    here.fill(a_page_is_not_transformed)
    said = here.said("cancel", a_run(1).run_id)
    assert "no process runs the services: imageflow up" in said


def test_a_read_that_is_incomplete(here: Here) -> None:
    """`errors` of the run says so, why, and what to do: no row has failed, and yet rows are missing."""

    async def short_read(store: Store) -> None:
        run = a_run(1)
        await store.create_run(run)
        await store.start_reading(run.run_id, None, NOON)
        await store.warn(run.run_id, "the read ended after 1 row, though count is 9")
        await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True, incomplete=True)
        await store.register_page(run.run_id, 1, 1, [])
        await store.settle("t", [RowLog(run_id=run.run_id, row=1, product="P", state="written")])

    here.fill(short_read)
    said = here.said("errors", a_run(1).run_id)
    assert said == (
        f"no row of run {a_run(1).run_id} has failed\n"
        f"the read of run {a_run(1).run_id} is incomplete: the read ended after 1 row, though count is 9\n"
        "    next: what was not read: mend erp.pagination, then: imageflow run a\n"
    )


def test_a_cause_that_nobody_knows(here: Here) -> None:
    """It is not taken for one that has closed."""
    with pytest.raises(NotFoundError, match="there is no cause 'nope'; imageflow errors lists those that are open"):
        here.call("errors", "--group", "nope")


def test_rows_that_a_cancel_left(here: Here) -> None:
    """`rows` and `errors` say that they were not sent and how they are; nobody is sent to look for their errors."""

    async def cancelled_rows(store: Store) -> None:
        await many_rows(store, logged=0)
        await store.cancel_run(a_run(1).run_id)
        await store.cancel_rows(a_run(1).run_id)

    here.fill(cancelled_rows)
    run_id = a_run(1).run_id
    left = f"150 rows not sent, because the run was cancelled: imageflow retry {run_id}\n"
    assert here.said("rows", run_id, "--limit", "150") == left
    assert here.said("errors", run_id) == f"no row of run {run_id} has failed\n{left}"


async def many_rows(store: Store, logged: int = 150) -> None:
    run = a_run(1)
    await store.create_run(run)
    await store.start_reading(run.run_id, None, NOON)
    await store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    logs = [
        RowLog(
            run_id="", row=n, product=f"P-{n}", state="failed", stage="rows", reason="no URL", payload={"sku": f"P-{n}"}
        )
        for n in range(logged)
    ]
    await store.register_page(run.run_id, 1, 150, logs)


def test_rows_are_limited_for_people(here: Here) -> None:
    """A hundred unless more are asked for, and a word on the others; JSON has all, or as many as were asked for."""
    here.fill(many_rows)
    run_id = a_run(1).run_id
    done = here.call("rows", run_id)
    assert len(done.stdout.splitlines()) == 101
    assert "there are more rows: --limit 200; all: --json" in done.stderr
    assert f"150 rows failed: imageflow errors {run_id}; then: imageflow retry {run_id}" in done.stderr
    assert len(here.lines("rows", run_id, "--limit", "1000")) == 150
    [one] = here.lines("rows", run_id, "--product", "P-7")
    assert one.split() == ["8", "P-7", "failed", "rows:", "no", "URL"]
    everything = json.loads(here.call("rows", run_id, "--json").stdout)
    assert (len(everything), everything[149]["row"]) == (150, 150)
    assert len(json.loads(here.call("rows", run_id, "--json", "--limit", "3").stdout)) == 3
    group = json.loads(here.call("errors", run_id, "--json").stdout)[0]["group"]
    assert len(here.lines("rows", run_id, "--group", group, "--limit", "5")) == 5


def test_flows_and_versions(here: Here) -> None:
    """A flow's line says how its newest run went; a version when it was saved, in the flow's time."""
    here.fill(three_runs)
    listed = "\n".join(here.lines("flow", "list"))
    assert "a     inbound    enabled        1  -         queued" in listed
    assert "b     inbound    enabled        1  -         cancelled" in listed
    in_json = json.loads(here.call("flow", "list", "--json").stdout)
    assert [(one["last_run"]["status"], one["next_at"]) for one in in_json] == [("queued", None), ("cancelled", None)]
    assert "+03" in here.lines("flow", "versions", "a")[0]
    shown = here.call("flow", "show", "a").stdout
    assert shown.startswith("a, inbound, enabled, version 1\nschedule:   none; it runs when a person asks for it\n")
    assert "watermark:  none" in shown


def test_a_watermark_in_both_times(here: Here) -> None:
    """The flow's own time, as a person gave it, and UTC, as JSON has it."""
    first, second = here.call("watermark", "set", "a", "2026-01-31").stdout.splitlines()
    assert first == "watermark: 2026-01-31 00:00:00 +03 (2026-01-30T21:00:00.000000Z)"
    assert second.startswith("the next run asks for changes since: 2026-01-30 23:55:00 +03")


def test_a_run_that_nobody_carries_out(here: Here) -> None:
    """`run` without --wait says that no process runs the services."""
    done = here.call("run", "a")
    assert done.exit_code == 0
    assert "no process runs the services: imageflow up" in done.stderr


def test_what_is_published(here: Here) -> None:
    """It is for an outbound flow that takes posts, and holds something; while no process takes it in, that is said, there and
    beside the runs, with where to look.
    """
    rows = here.folder / "rows.json"
    rows.write_text('{"sku": "A", "images": ["https://c.example/1.jpg"]}')
    posts = here.folder / "posts.yaml"
    posts.write_text(yaml.safe_dump({"name": "posts", "direction": "outbound", "omnitron": OMNITRON}))
    for args, why in [
        (["posts", str(rows)], "there is no flow 'posts'; there are: a, b"),
        (["a", str(rows)], "the flow 'a' is inbound: it reads from the ERP and takes no posts; nothing is published"),
        (["posts", os.devnull], f"{os.devnull} is empty: there are no rows to publish"),
    ]:
        with pytest.raises(RequestError) as refused:
            here.call("publish", *args)
        assert str(refused.value) == why
    assert "published message" not in here.said("runs")
    here.call("flow", "apply", str(posts))
    done = here.call("publish", "posts", str(rows))
    assert done.stdout == "published 51 bytes for posts\n"
    assert done.stderr.splitlines() == [
        "it waits, since no process runs the services: imageflow up",
        "next: imageflow runs posts; what cannot be used is in imageflow parked list, with the reason",
    ]
    said = here.said("runs", "--active")
    assert "1 published message waits, and no process runs the services: imageflow up" in said
    assert (
        "schedule:   none; it runs when rows are posted to /api/outbound/posts\n"
        in here.call("flow", "show", "posts").stdout
    )
    here.call("flow", "disable", "posts")
    with pytest.raises(RequestError, match="'posts' is disabled: imageflow flow enable posts; nothing is published"):
        here.call("publish", "posts", str(rows))


def test_a_key_is_revoked_by_its_name(here: Here) -> None:
    """Where one key alone has it; else the ids are named."""
    for name in ("erp", "till", "till"):
        here.call("key", "add", "a", name)
    assert here.call("key", "revoke", "erp").stdout.startswith("erp: key ")
    ids = sorted(one["id"] for one in json.loads(here.call("key", "list", "--json").stdout))
    with pytest.raises(NotFoundError, match=f"2 keys have the name 'till'; give the id of one: {', '.join(ids)}"):
        here.call("key", "revoke", "till")
    assert here.call("key", "revoke", ids[0]).exit_code == 0
    with pytest.raises(NotFoundError, match="no key with the id or name 'erp': imageflow key list shows both"):
        here.call("key", "revoke", "erp")


READING = [
    ["runs"],
    ["rows", "r"],
    ["errors", "--flow", "a"],
    ["log", "r"],
    ["trace", "A"],
    ["alarms"],
    ["holds"],
    ["audit"],
]
READING += [
    ["flow", "list"],
    ["flow", "show", "a"],
    ["flow", "export", "a"],
    ["watermark", "show", "a"],
    ["user", "list"],
]
READING += [["key", "list"], ["check", "a"], ["try", "a", "--from-run", "r"]]


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_reading_makes_no_files(tmp_path: Path, args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the wrong folder a command that only reads says that there is no data, and where it looked; nothing is made."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, args)
    assert f"there is no data in {tmp_path}/imageflow-data yet; IMAGEFLOW_DATA_DIR says which" in done.stderr
    assert list(tmp_path.iterdir()) == []


NEEDING = [
    ["run", "a"],
    ["run", "a", "--wait"],
    ["cancel", "r"],
    ["retry", "r"],
    ["retry", "--flow", "a", "--wait"],
    ["resume", "r"],
    ["resume", "--all"],
    ["flow", "enable", "a"],
    ["flow", "disable", "a"],
    ["flow", "delete", "a"],
    ["flow", "rollback", "a", "1"],
    ["flow", "webhook-key", "a"],
    ["watermark", "set", "a", "none"],
    ["user", "remove", "ada"],
    ["key", "add", "a", "erp"],
    ["key", "revoke", "k"],
    ["parked", "list"],
    ["publish", "a", "-"],
]


@pytest.mark.parametrize("args", NEEDING, ids=" ".join)
def test_what_must_be_there_is_not_made(tmp_path: Path, args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the wrong folder a command that changes what is there is refused with where it looked, and makes nothing."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, args)
    assert isinstance(done.exception, NotFoundError)
    assert done.exception.exit_status == 2
    assert f"there is no data in {tmp_path}/imageflow-data yet" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_wrong_times_are_usage_errors(here: Here) -> None:
    """Each command names its own option, with the forms that are understood."""
    path = here.folder / "a.yaml"
    erp = {"endpoint_url": "https://erp.example.com/", "modified_date_key": "since"}
    path.write_text(yaml.safe_dump({"name": "a", "direction": "inbound", "omnitron": OMNITRON, "erp": erp}))
    here.call("flow", "apply", str(path))
    for args, name in [
        (("runs", "--since", "yesterday"), "--since"),
        (("runs", "--until", "yesterday"), "--until"),
        (("run", "a", "--since", "yesterday"), "--since"),
        (("watermark", "set", "a", "yesterday"), "TIME"),
    ]:
        done = CliRunner().invoke(cli, args, env=here.environ)
        assert done.exit_code == 2
        assert f"Error: {name}: must be an ISO date, as in 2026-01-31 or " in done.stderr


def test_how_long_ago_is_a_time_anywhere(here: Here) -> None:
    """A watermark, and since when a run reads again."""
    path = here.folder / "a.yaml"
    erp = {"endpoint_url": "https://erp.example.com/", "modified_date_key": "since"}
    path.write_text(yaml.safe_dump({"name": "a", "direction": "inbound", "omnitron": OMNITRON, "erp": erp}))
    here.call("flow", "apply", str(path))
    found = json.loads(here.call("watermark", "set", "a", "7d", "--json").stdout)
    ago = datetime.now(UTC) - datetime.fromisoformat(found["watermark"])
    assert timedelta(days=7) <= ago < timedelta(days=7, minutes=5)
    begun = json.loads(here.call("run", "a", "--since", "90m", "--json").stdout)
    assert datetime.now(UTC) - datetime.fromisoformat(begun["since"]) < timedelta(minutes=95)


def completed(here: Here, words: str) -> list[str]:
    """What a shell is offered at the end of these words."""
    *args, incomplete = words.split(" ")[1:]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.environ.items():
            patch.setenv(name, value)
        found = ShellComplete(cli, {}, "imageflow", "_IMAGEFLOW_COMPLETE").get_completions(args, incomplete)
    return [item.value for item in found]


def test_shells_complete_names(here: Here) -> None:
    """Commands, options, names of flows and ids of runs; nothing where there is no data, and no file is made."""
    here.fill(three_runs)
    assert completed(here, "imageflow wat") == ["watermark"]
    assert completed(here, "imageflow run ") == ["a", "b"]
    assert completed(here, "imageflow flow disable b") == ["b"]
    assert completed(here, "imageflow retry --flow ") == ["a", "b"]
    assert completed(here, "imageflow rows 20260101-12000") == [a_run(n).run_id for n in (3, 2, 1)]
    assert "--trigger" in completed(here, "imageflow runs --t")
    elsewhere = Here(here.folder / "elsewhere")
    assert completed(elsewhere, "imageflow run ") == []
    assert not (here.folder / "elsewhere").exists()


def test_shells_complete_flow_files(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a command takes them: of the folder that is typed, and of those in it; beside the names of flows."""
    monkeypatch.chdir(here.folder)
    (here.folder / "f").mkdir()
    for name in ("ed.yaml", "ed.test.yaml", "f/dict.yaml", "f/answer.json"):
        (here.folder / name).write_text("{}")
    for command in ("try", "check", "probe"):
        assert completed(here, f"imageflow {command} ed.y") == ["ed.yaml"]
        assert completed(here, f"imageflow {command} f") == ["f/dict.yaml"]
        assert completed(here, f"imageflow {command} ./f/d") == ["./f/dict.yaml"]
        assert completed(here, f"imageflow {command} {here.folder}/e") == [f"{here.folder}/ed.yaml"]
        assert completed(here, f"imageflow {command} a") == ["a", "a.yaml"]
        assert completed(here, f"imageflow {command} none/") == []
    assert completed(here, "imageflow flow show ed") == []


def test_shells_complete_versions_and_runs(here: Here) -> None:
    """Versions of the flow that stands before them; what has ended is neither cancelled nor resumed."""
    here.fill(three_runs)
    for words in ("cancel ", "resume "):
        assert completed(here, f"imageflow {words}") == [a_run(2).run_id]
    here.call("flow", "disable", "a")
    for words in ("rollback a ", "diff a ", "diff a 1 ", "show a --version ", "export a --version "):
        assert completed(here, f"imageflow flow {words}") == ["2", "1"]
    assert completed(here, "imageflow flow rollback nobody ") == []


def test_shells_complete_causes(here: Here) -> None:
    """Of the run that stands before them, or those that are open."""
    here.fill(many_rows)
    group = json.loads(here.call("errors", a_run(1).run_id, "--json").stdout)[0]["group"]
    for words in ("errors --group ", "retry --group ", f"rows {a_run(1).run_id} --group "):
        assert completed(here, f"imageflow {words}") == [group]
    assert completed(here, "imageflow rows nothing --group ") == []


def test_bash_is_told(here: Here) -> None:
    """The program itself answers what bash asks."""
    environ = {**os.environ, **here.environ, "_IMAGEFLOW_COMPLETE": "bash_complete"}
    environ |= {"COMP_WORDS": "imageflow run ", "COMP_CWORD": "2"}
    program = "import sys; sys.argv[0] = 'imageflow'; from imageflow.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], check=True, env=environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("plain,a\nplain,b\n", "")


def test_completion_takes_what_click_offers() -> None:
    """Each argument that names a flow or a run completes it."""

    def leaves(command: click.Command) -> list[click.Command]:
        if not isinstance(command, click.Group):
            return [command]
        context = click.Context(command)
        return [
            leaf
            for name in command.list_commands(context)
            for leaf in leaves(command.get_command(context, name) or command)
        ]

    parameters = [one for leaf in leaves(cli) for one in leaf.params if not isinstance(one.type, click.Choice)]
    named = [one for one in parameters if (one.metavar or "").strip("[].…") in ("FLOW", "RUN")]
    assert len(named) > 25
    assert {type(one.type).__name__ for one in named} == {"Known"}
