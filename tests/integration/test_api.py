"""The JSON API over real HTTP, with a real SQLite store and broker."""

import asyncio
import io
import json
import shutil
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from imageflow.actions import keys, users
from imageflow.actions.actor import Actor
from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.errors import BrokerError, ReadError, StoreError
from imageflow.flows.bounded import Reach
from imageflow.gateway.access import add_token
from imageflow.gateway.app import Gateway, serve
from imageflow.gateway.deps import Tools
from imageflow.gateway.endpoints import ENDPOINTS
from imageflow.gateway.login_pace import FIRST_SECONDS, PACES
from imageflow.http.client import Answer, Transport
from imageflow.http.public_address import Allowed
from imageflow.inspect.live import Live
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.read.answer import refuse
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule.fetch import Begun
from imageflow.secret import Bounds, Secret
from imageflow.store import LedgerEntry, ServiceSeen, User
from imageflow.store.connect import connect
from imageflow.text.excerpt import HIDDEN
from imageflow.write.outcome import explain
from tests.console_site import end_long_run, long_run
from tests.posting import accept_post

KEY = b"a secret key"
ERP_SECRET = "what the ERP is told"
REACH = Reach(Bounds((), ("P",)), Allowed(["127.0.0.1"]))
CLOCK = SystemClock()
OMNITRON = {"domain_url": "http://127.0.0.1:9", "username": "u", "password": {"env": "P"}}
POSTS = {"name": "posts", "direction": "outbound", "omnitron": OMNITRON}
OTHER = {"name": "other", "direction": "outbound", "omnitron": OMNITRON}
POLLED = {
    "name": "polled",
    "direction": "inbound",
    "omnitron": OMNITRON,
    "erp": {"endpoint_url": "https://erp.example.com/"},
    "schedule": {"cron": "*/5 * * * *"},
    "timezone": "Europe/Istanbul",
}
ROW = {"sku": "A", "images": ["https://cdn.example.com/a.jpg"]}
USERS = (("viewer", "viewer"), ("operator", "operator"), ("admin", "admin"))


class Api:
    """A running gateway, asked with tokens of users by their role."""

    def __init__(self, store, broker, session, url, tokens):
        self.store, self.broker, self.session, self.url, self.tokens = store, broker, session, url, tokens

    async def request(self, method, path, body=None, *, token="admin", headers=None, data=None):
        """Status, headers and the answer: its JSON where it is JSON."""
        auth = {"Authorization": f"Bearer {self.tokens.get(token, token)}"} if token else {}
        content = {"json": body} if body is not None else {"data": data}
        async with self.session.request(
            method, self.url + path, headers={**auth, **(headers or {})}, **content
        ) as answer:
            text = await answer.read()
            self.headers = answer.headers
            return answer.status, json.loads(text) if "json" in answer.content_type and text else text

    async def ok(self, method, path, body=None, *, status=200, **options):
        got, answer = await self.request(method, path, body, **options)
        assert got == status, answer
        return answer

    async def refused(self, status, method, path, body=None, **options):
        """What a refusal says; it is a problem body."""
        got, answer = await self.request(method, path, body, **options)
        assert got == status, (method, path, answer)
        assert self.headers["Content-Type"] == "application/problem+json"
        assert (answer["status"], answer["type"]) == (status, "about:blank")
        return answer["detail"]


async def nothing_missing(*_):
    return Begun([], ("nothing is missing",))


class Fetcher:
    """Stands for fetch missing, which asks Omnitron."""

    ask_now = staticmethod(nothing_missing)


async def furnished(file):
    """A store with users and flows; their tokens."""
    async with connect(Secret(f"sqlite:///{file}"), CLOCK) as store:
        await store.upgrade()
        for name, role in USERS:
            await store.save_user(User(name, "no hash", role))
        for document in (POSTS, OTHER, POLLED):
            await store.save_flow(document, "ada")
        return {name: await add_token(store, KEY, name, CLOCK, 3600) for name, _ in USERS}


@pytest.fixture(scope="module")
def furniture(tmp_path_factory):
    """A furnished store's file, to be copied, and the tokens: migrating it is half of what a test would cost."""
    file = tmp_path_factory.mktemp("furniture") / "store.db"
    return file, asyncio.run(furnished(file))


@asynccontextmanager
async def opened(tmp_path, furniture, *, broker=None):
    file, tokens = furniture
    shutil.copy(file, tmp_path / "store.db")
    async with (
        connect(Secret(f"sqlite:///{tmp_path}/store.db"), CLOCK) as store,
        SqliteBroker(tmp_path / "broker.db") as real_broker,
        Sandbox() as sandbox,
        Transport() as asking,
    ):
        used = broker(real_broker) if broker else real_broker
        tools = Tools(sandbox, Fetcher(), REACH, Live(asking, {"P": ERP_SECRET}, CLOCK))
        gateway = Gateway(store, used, CLOCK, KEY, ready=list, tools=tools)
        async with serve(gateway.app(), "127.0.0.1", 0, 2) as port, aiohttp.ClientSession() as session:
            yield Api(store, real_broker, session, f"http://127.0.0.1:{port}", dict(tokens))


@pytest.fixture
async def api(tmp_path, furniture):
    async with opened(tmp_path, furniture) as api:
        yield api


async def failed_run(store, flow="posts", *, rows=3, reason="no such product"):
    """An outbound run of `rows` rows of which all failed at the write, in two groups; its id."""
    now = CLOCK.now()
    run = Run(
        run_id=f"20260101-000000-{flow}",
        flow=flow,
        version=1,
        trigger=Trigger("outbound", by="erp"),
        status="draining",
        created_at=now,
        started_at=now,
        pages=1,
        read_complete=True,
    )
    await accept_post(store, run, b'[{"sku": "A"}]', rows=rows, key=None)
    await store.register_page(run.run_id, 1, rows, [])
    logs = [
        RowLog(
            run_id=run.run_id,
            row=number,
            product=f"SKU/{number}",
            state="failed",
            reason=reason if number < rows else "refused",
            http_status=404 if number < rows else 400,
            attempts=1,
            images=(Image("https://cdn.example.com/a.jpg"),),
            payload={"product_sku": f"SKU/{number}"},
        )
        for number in range(1, rows + 1)
    ]
    await store.settle("t", logs)
    return run.run_id


# roles ----------------------------------------------------------------------------------------------------------------


async def test_every_endpoint_asks_who_and_which_role(api):
    """Without a token every endpoint but the login is 401; with too small a role it is 403; with the role neither."""
    roles = [name for name, _ in USERS]
    for endpoint in ENDPOINTS:
        if endpoint.role is None or endpoint.name in (
            "log_out",
            "watch_events",
        ):  # tokens are needed still; a stream does not end
            continue
        path = endpoint.path.format(
            flow="posts", version=1, run="x", row=1, page=1, user="nobody", key="x", message="0" * 12, cause="0" * 16
        )
        for token in (None, "nobody's"):
            await api.refused(401, endpoint.method, path, token=token)
        for role in roles[: roles.index(endpoint.role)]:
            await api.refused(403, endpoint.method, path, token=role)
        status, _ = await api.request(endpoint.method, path, token=endpoint.role)
        assert status in {*endpoint.statuses} - {401, 403}, endpoint.name


# flows ----------------------------------------------------------------------------------------------------------------


async def test_flows_are_listed_and_shown(api):
    """Flows are listed by name in pages; one is shown with its next fires, watermark and document."""
    first = await api.ok("GET", "/api/flows?limit=2", token="viewer")
    assert [item["name"] for item in first["items"]] == ["other", "polled"]
    assert [(item["next_at"] is None, item["last_run"]) for item in first["items"]] == [(True, None), (False, None)]
    second = await api.ok("GET", f"/api/flows?limit=2&cursor={first['next']}", token="viewer")
    assert [item["name"] for item in second["items"]] == ["posts"]
    assert second["next"] is None
    shown = await api.ok("GET", "/api/flows/polled", token="viewer")
    assert (shown["version"], shown["direction"], shown["enabled"]) == (1, "inbound", True)
    assert shown["schedule"] == "cron */5 * * * * (Europe/Istanbul)"
    assert len(shown["next_fires"]) == 5
    assert shown["document"] == POLLED
    assert (shown["watermark"], shown["runs"]) == (None, [])


async def test_a_flow_is_saved_as_json_and_as_yaml(api):
    """A saved flow is a new version by its user, an equal one none; versions, export and audit log follow."""
    document = {**POLLED, "name": "new"}
    assert (await api.ok("PUT", "/api/flows/new", document))["version"] == 1
    assert (await api.ok("PUT", "/api/flows/new", document))["version"] == 1
    yaml = await api.ok("GET", "/api/flows/new/export")
    assert api.headers["Content-Type"].startswith("application/yaml")
    yaml = yaml.replace(b"Europe/Istanbul", b"UTC")
    saved = await api.ok("PUT", "/api/flows/new", data=yaml, headers={"Content-Type": "application/yaml"})
    assert saved["version"] == 2
    versions = await api.ok("GET", "/api/flows/new/versions?limit=1")
    assert [(item["version"], item["by"]) for item in versions["items"]] == [(2, "admin")]
    older = await api.ok("GET", f"/api/flows/new/versions?cursor={versions['next']}")
    assert ([item["version"] for item in older["items"]], older["next"]) == ([1], None)
    assert (await api.ok("GET", "/api/flows/new/versions/1"))["document"] == document
    assert b"Istanbul" in await api.ok("GET", "/api/flows/new/export?version=1")
    await api.refused(404, "GET", "/api/flows/new/versions/3")
    changes = await api.ok("GET", "/api/audit?what=flow.save")
    assert [(item["who"], item["object"], item["detail"]) for item in changes["items"]] == [
        ("admin", "flow new", {"version": 2}),
        ("admin", "flow new", {"version": 1}),
    ]
    assert changes["items"][0]["origin"] == "127.0.0.1"


async def test_a_flow_is_saved_if_nobody_else_has(api):
    """With If-Match only over the version that it names."""
    document = {**POLLED, "name": "new"}
    await api.ok("PUT", "/api/flows/new", document)
    named = {"If-Match": '"1"'}
    assert (await api.ok("PUT", "/api/flows/new", {**document, "timezone": "UTC"}, headers=named))["version"] == 2
    said = await api.refused(412, "PUT", "/api/flows/new", {**document, "enabled": False}, headers=named)
    assert "version 2" in said
    await api.refused(400, "PUT", "/api/flows/new", document, headers={"If-Match": '"x"'})
    assert (await api.ok("PUT", "/api/flows/new", document, headers={"If-Match": "*"}))["version"] == 3


async def test_a_flow_is_disabled_compared_rolled_back_and_deleted(api):
    """What was disabled stays so whatever is saved; versions are compared and brought back; a deleted flow is gone."""
    document = {**POLLED, "name": "new"}
    await api.ok("PUT", "/api/flows/new", document)
    await api.ok("PUT", "/api/flows/new", {**document, "timezone": "UTC"})
    assert (await api.ok("POST", "/api/flows/new/disable"))["enabled"] is False
    assert (await api.ok("PUT", "/api/flows/new", document))["enabled"] is False
    compared = await api.ok("GET", "/api/flows/new/diff?a=1&b=2", token="viewer")
    assert (compared["flow"], compared["a"], compared["b"]) == ("new", 1, 2)
    assert {"-timezone: Europe/Istanbul", "+timezone: UTC"} <= set(compared["lines"])
    await api.refused(404, "GET", "/api/flows/new/diff?a=1&b=9")
    await api.refused(403, "POST", "/api/flows/new/rollback", {"version": 1}, token="operator")
    back = await api.ok("POST", "/api/flows/new/rollback", {"version": 2})
    assert (back["version"], back["enabled"]) == (5, False)
    run = await api.ok("POST", "/api/flows/new/runs", {}, status=202)
    await api.refused(409, "DELETE", "/api/flows/new")
    await api.ok("POST", f"/api/runs/{run['run_id']}/cancel", status=202)
    await api.refused(403, "DELETE", "/api/flows/new", token="operator")
    assert not await api.ok("DELETE", "/api/flows/new", status=204)
    await api.refused(404, "GET", "/api/flows/new")
    changes = await api.ok("GET", "/api/audit?what=flow.delete")
    assert [item["object"] for item in changes["items"]] == ["flow new"]


async def test_a_wrong_flow_is_refused_with_every_problem(api):
    """What is wrong with a flow is named field by field, a script that does not compile as well; nothing is saved."""
    wrong = {**POSTS, "omnitron": {**OMNITRON, "password": "plain"}, "groop": "run"}
    got, answer = await api.request("PUT", "/api/flows/posts", wrong)
    assert got == 422
    assert {problem["path"] for problem in answer["problems"]} == {"omnitron.password", "groop"}
    assert "plain" not in json.dumps(answer).replace("plain text", "")
    got, answer = await api.request(
        "PUT", "/api/flows/posts", {**POSTS, "script": "def process(response):\n  return ("}
    )
    assert (got, answer["problems"][0]["path"]) == (422, "script")
    assert "'other'" in await api.refused(422, "PUT", "/api/flows/other", POSTS)
    assert "not valid JSON" in await api.refused(
        422, "PUT", "/api/flows/posts", data=b"{", headers={"Content-Type": "application/json"}
    )
    for document in ([], "x", {"script_file": "/etc/passwd", **POSTS}):
        await api.refused(422, "PUT", "/api/flows/posts", document)
    assert (await api.store.flow("posts")).version == 1


async def test_a_flow_is_checked_without_saving(api):
    """An operator may have a flow checked: its problems, or none; nothing is saved."""
    assert await api.ok("POST", "/api/lint", {**POSTS, "name": "fine"}, token="operator") == {"problems": []}
    found = await api.ok("POST", "/api/lint", {**POSTS, "name": "Not fine"}, token="operator")
    assert [problem["path"] for problem in found["problems"]] == ["name"]
    assert [flow.name for flow in await api.store.flows()] == ["other", "polled", "posts"]


async def test_a_flow_is_disabled_and_enabled(api):
    """Disabling is a version, after which posts are refused; enabling is another."""
    assert (await api.ok("POST", "/api/flows/posts/disable"))["enabled"] is False
    await api.refused(404, "POST", "/api/outbound/posts", [ROW])
    assert (await api.ok("POST", "/api/flows/posts/disable"))["version"] == 2
    assert (await api.ok("POST", "/api/flows/posts/enable"))["version"] == 3
    await api.ok("POST", "/api/outbound/posts", [ROW], status=202)


async def test_the_watermark_is_shown_and_set(api):
    """A watermark is set in the flow's timezone, backwards too, and cleared; an outbound flow has none."""
    none = {"flow": "polled", "watermark": None, "asks_since": None, "reading": []}
    assert await api.ok("GET", "/api/flows/polled/watermark", token="viewer") == none
    path = "/api/flows/polled/watermark"
    await api.refused(409, "PUT", path, {"since": "2026-01-02T03:00:00"})  # it has no parameter for it
    await api.store.save_flow({**POLLED, "erp": {**POLLED["erp"], "modified_date_key": "since"}})
    found = await api.ok("PUT", path, {"since": "2026-01-02T03:00:00"}, token="operator")
    assert found["watermark"] == "2026-01-02T00:00:00.000000Z"
    assert found["asks_since"] == "2026-01-01T23:55:00.000000Z"
    assert (await api.ok("PUT", path, {"since": "2025-01-01T00:00:00Z"}))["watermark"].startswith("2025-01-01T00")
    assert await api.ok("PUT", path, {"since": None}) == none
    for since in ("yesterday", "1969-01-01", "", "2999-01-01"):
        await api.refused(422, "PUT", path, {"since": since})
    await api.refused(400, "PUT", path, {})
    await api.refused(409, "GET", "/api/flows/posts/watermark")
    assert (await api.ok("GET", "/api/audit"))["items"][0]["what"] == "watermark.set"


# runs -----------------------------------------------------------------------------------------------------------------


async def test_a_run_is_started_for_identifiers(api):
    """A started run is queued for its identifiers, each once, by its user; an outbound flow has none."""
    body = {"identifiers": ["A", "B C", "A\n"]}
    await api.refused(409, "POST", "/api/flows/polled/runs", body)  # it has no parameter for them
    await api.store.save_flow({**POLLED, "erp": {**POLLED["erp"], "query_settings": {"sku": {"key": "sku"}}}})
    run = await api.ok("POST", "/api/flows/polled/runs", body, status=202, token="operator")
    assert (run["flow"], run["status"], run["version"]) == ("polled", "queued", 2)
    assert run["trigger"] == {"kind": "person", "by": "operator", "identifiers": ["A", "B C"]}
    assert run.items() <= (await api.ok("GET", f"/api/runs/{run['run_id']}", token="viewer")).items()
    assert (await api.broker.depth("imageflow.read")).ready == 1
    await api.ok("POST", "/api/flows/polled/runs", status=202)
    for wrong in ([], [""], ["A,B"], ["A\nB"], ["x" * 256], "A"):
        await api.refused(400, "POST", "/api/flows/polled/runs", {"identifiers": wrong})
    await api.refused(409, "POST", "/api/flows/posts/runs", {})
    await api.refused(404, "POST", "/api/flows/nope/runs", {})
    assert (await api.ok("GET", "/api/audit?what=run.start"))["items"][1]["detail"]["run_id"] == run["run_id"]


class Away:
    """A broker that takes nothing."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    async def publish(self, *_messages):
        raise BrokerError("away")


async def test_a_run_is_started_while_the_broker_is_away(tmp_path, furniture):
    """What is stored is done: the run begins when the outbox is swept, and nobody is told to start it again."""
    async with opened(tmp_path, furniture, broker=Away) as api:
        await api.ok("POST", "/api/flows/polled/runs", status=202)
        assert len(await api.store.unsent(0)) == 1


async def test_a_run_is_resumed(api):
    """What a run waits for is published anew; one that has ended has nothing to resume."""
    run = await api.ok("POST", "/api/flows/polled/runs", status=202)
    resumed = await api.ok("POST", f"/api/runs/{run['run_id']}/resume", status=202, token="operator")
    assert resumed == {"run_id": run["run_id"], "messages": 1}
    assert (await api.broker.depth("imageflow.read")).ready == 2
    await api.refused(409, "POST", f"/api/runs/{await failed_run(api.store)}/resume")
    await api.refused(404, "POST", "/api/runs/x/resume")


async def test_a_product_is_traced(api):
    """Everything that is known of a product comes with its rows; of an unknown one nothing is known."""
    run_id = await failed_run(api.store)
    story = await api.ok("GET", "/api/trace?product=SKU/1", token="operator")
    assert story["rows"][0]["run_id"] == run_id
    await api.refused(404, "GET", "/api/trace?product=nope")


async def test_runs_are_listed_in_pages(api):
    """Runs are listed newest first; page after page gives each once; flow, status and activity select."""
    started = [await api.ok("POST", "/api/flows/polled/runs", status=202) for _ in range(5)]
    ids = [run["run_id"] for run in started]
    await failed_run(api.store)
    seen, cursor = [], ""
    while True:
        found = await api.ok("GET", f"/api/runs?limit=2&flow=polled{cursor}", token="viewer")
        seen += [run["run_id"] for run in found["items"]]
        if found["next"] is None:
            break
        cursor = f"&cursor={found['next']}"
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 5
    assert [run["flow"] for run in (await api.ok("GET", "/api/runs?status=failed"))["items"]] == ["posts"]
    assert len((await api.ok("GET", "/api/runs?active=true"))["items"]) == 5
    assert (await api.ok("GET", "/api/runs?flow=nope"))["items"] == []
    assert (await api.ok("GET", "/api/runs?trigger=fetch_missing"))["items"] == []
    assert (await api.ok("GET", "/api/runs?until=2020-01-01T00:00:00Z"))["items"] == []
    assert len((await api.ok("GET", "/api/runs?active=true&since=2020-01-01T00:00:00%2B03:00&limit=2"))["items"]) == 2
    assert (await api.ok("GET", "/api/runs?until=2020-01-01"))["items"] == []
    assert "since: must be an ISO date" in await api.refused(400, "GET", "/api/runs?since=soon")


async def test_rows_errors_and_retry(api):
    """Failed rows are listed, grouped by cause, shown with their payload, traced, and taken back into flight by group."""
    run_id = await failed_run(api.store)
    base = f"/api/runs/{run_id}"
    assert (await api.ok("GET", base))["rows"]["failed"] == 3
    rows = await api.ok("GET", f"{base}/rows?limit=2&state=failed", token="viewer")
    assert [row["row"] for row in rows["items"]] == [1, 2]
    rest = await api.ok("GET", f"{base}/rows?limit=2&state=failed&cursor={rows['next']}")
    assert ([row["row"] for row in rest["items"]], rest["next"]) == ([3], None)
    assert [row["row"] for row in (await api.ok("GET", f"{base}/rows?product=SKU/2"))["items"]] == [2]
    assert (await api.ok("GET", f"{base}/rows?stage=read"))["items"] == []
    groups = (await api.ok("GET", f"{base}/errors"))["items"]
    assert [(group["rows"], group["http_status"], group["retryable"]) for group in groups] == [(2, 404, 2), (1, 400, 1)]
    group = groups[0]["group"]
    assert len((await api.ok("GET", f"{base}/rows?group={group}"))["items"]) == 2
    row = await api.ok("GET", f"{base}/rows/3")
    assert (row["reason"], row["payload"]) == ("refused", {"product_sku": "SKU/3"})
    await api.refused(404, "GET", f"{base}/rows/4")
    assert await api.ok("GET", f"{base}/pages/1", token="operator") == [{"sku": "A"}]
    await api.refused(404, "GET", f"{base}/pages/2")
    assert [row["run_id"] for row in (await api.ok("GET", "/api/rows?product=SKU/1"))["items"]] == [run_id]
    retried = await api.ok("POST", f"{base}/retry", {"group": group}, status=202, token="operator")
    assert retried == {"run_id": run_id, "rows": 2, "version": 1, "left": [], "note": None}
    [left] = (await api.ok("POST", f"{base}/retry", {"row": 1}, status=202))["left"]
    assert (left["rows"], left["reason"], left["do"]) == (1, "in flight", "imageflow runs posts")
    await api.refused(404, "POST", f"{base}/retry", {"row": 4})
    assert (await api.ok("POST", f"{base}/retry", {"row": 3}, status=202))["rows"] == 1
    assert (await api.ok("POST", f"{base}/retry", status=202))["rows"] == 0
    assert (await api.ok("GET", base))["status"] == "draining"
    assert (await api.broker.depth("imageflow.write.posts")).ready == 2


async def test_a_run_is_cancelled(api):
    """It ends at once where nothing is in flight, and again; one that ended otherwise is a conflict."""
    run = await api.ok("POST", "/api/flows/polled/runs", status=202)
    for _ in range(2):
        ended = await api.ok("POST", f"/api/runs/{run['run_id']}/cancel", status=202, token="operator")
        assert (ended["status"], ended["rows"]["cancelled"]) == ("cancelled", 0)
    await api.refused(403, "POST", f"/api/runs/{run['run_id']}/cancel", token="viewer")
    await api.refused(409, "POST", f"/api/runs/{await failed_run(api.store)}/cancel")
    await api.refused(404, "POST", "/api/runs/x/cancel")
    assert [change["what"] for change in (await api.ok("GET", "/api/audit?what=run.cancel"))["items"]] == ["run.cancel"]


async def test_a_flow_is_retried(api):
    """Open failures are listed over all runs of a flow, and put through by group or all at once."""
    run_id = await failed_run(api.store)
    groups = (await api.ok("GET", "/api/flows/posts/errors", token="viewer"))["items"]
    assert [(group["rows"], group["retryable"]) for group in groups] == [(2, 2), (1, 1)]
    body = {"group": groups[0]["group"]}
    found = await api.ok("POST", "/api/flows/posts/retry", body, status=202, token="operator")
    assert (found["flow"], found["rows"], [run["run_id"] for run in found["runs"]]) == ("posts", 2, [run_id])
    assert (await api.ok("POST", "/api/flows/posts/retry", status=202))["rows"] == 1
    assert (await api.ok("POST", "/api/flows/posts/retry", status=202)) == {"flow": "posts", "rows": 0, "runs": []}
    await api.refused(404, "POST", "/api/flows/nope/retry")


async def test_errors_over_all_flows(api):
    """Causes of all flows in pages, with their rows; a cause is put through again over all of them, and then it has closed."""
    runs = {await failed_run(api.store), await failed_run(api.store, "other")}
    first = await api.ok("GET", "/api/errors?limit=2", token="viewer")
    rest = await api.ok("GET", f"/api/errors?limit=2&cursor={first['next']}", token="viewer")
    causes = first["items"] + rest["items"]
    assert [(one["flow"], one["rows"]) for one in causes] == [("other", 2), ("posts", 2), ("other", 1), ("posts", 1)]
    assert rest["next"] is None
    assert [one["flow"] for one in (await api.ok("GET", "/api/errors?flow=other"))["items"]] == ["other", "other"]
    group = causes[0]["group"]
    rows = await api.ok("GET", f"/api/errors/{group}/rows?limit=3", token="viewer")
    last = await api.ok("GET", f"/api/errors/{group}/rows?limit=3&cursor={rows['next']}", token="viewer")
    assert {row["run_id"] for row in rows["items"] + last["items"]} == runs
    assert (len(rows["items"]), len(last["items"]), last["next"]) == (3, 1, None)
    assert len((await api.ok("GET", f"/api/errors/{group}/rows?flow=posts"))["items"]) == 2

    await api.refused(403, "POST", f"/api/errors/{group}/retry", token="viewer")
    done = await api.ok("POST", f"/api/errors/{group}/retry", {"flow": "posts"}, status=202, token="operator")
    assert (done["group"], done["rows"], len(done["runs"])) == (group, 2, 1)
    assert (await api.ok("POST", f"/api/errors/{group}/retry", status=202))["rows"] == 2
    assert "imageflow errors" in await api.refused(404, "POST", f"/api/errors/{group}/retry")
    closed = (await api.ok("GET", "/api/errors?state=closed"))["items"]
    assert [(one["rows"], one["total"], one["closed_at"] is None) for one in closed] == [(0, 2, False)] * 2
    assert (await api.ok("GET", "/api/errors?state=closed&limit=1"))["next"]
    assert len([one for one in (await api.ok("GET", "/api/audit"))["items"] if one["what"] == "run.retry"]) == 2
    await api.refused(404, "GET", "/api/errors?flow=nope")
    await api.refused(400, "GET", "/api/errors?cursor=AAAA")


async def test_search(api):
    """A product by its beginning or its exact name, a flow, a run by the beginning of its id or its last part, a cause by its words."""
    run_id = await failed_run(api.store)
    written = [LedgerEntry("http://127.0.0.1:9", f"ABC-{n}", 1, "d", None, None) for n in range(3)]
    await api.store.settle("", [], written=written)

    async def found(text):
        hits = (await api.ok("GET", f"/api/search?q={text}", token="viewer"))["items"]
        return [(hit["kind"], hit["name"]) for hit in hits]

    assert await found("ABC") == [("product", f"ABC-{n}") for n in range(3)]
    assert await found("SKU/2") == [("product", "SKU/2")]
    assert await found("poll") == [("flow", "polled")]
    assert await found(run_id[:12]) == [("run", run_id)]
    assert ("run", run_id) in await found("posts")
    [(kind, group)] = await found("NO%20SUCH")
    assert kind == "cause"
    assert await found(group) == [("cause", group)]
    assert await found("nothing") == []
    await api.refused(400, "GET", "/api/search?q=")


async def test_series_and_what_waits(api):
    """A point for each step, zone and step of the reader's choice; the system shows services and how long what waits takes."""
    store = api.store
    await store.count_series()
    await failed_run(store)
    run = await api.ok("POST", "/api/outbound/posts", [ROW], status=202)
    await store.register_page(run["run_id"], 1, 1, [])
    await store.count_series()
    await store.report([ServiceSeen("h/1/writer", "writer", "h", 1, "1", CLOCK.now(), "1 delivery")], 30)
    points = (await api.ok("GET", "/api/flows/posts/series", token="viewer"))["items"]
    assert len(points) in (288, 289, 290)
    assert sum(point["failed"] for point in points) == 3
    days = (await api.ok("GET", "/api/flows/posts/series?step=1d&since=2026-01-01"))["items"]
    assert (days[0]["at"], sum(point["failed"] for point in days)) == ("2026-01-01T00:00:00.000000Z", 3)
    assert "2,000 steps" in await api.refused(422, "GET", "/api/flows/posts/series?since=2020-01-01")
    await api.refused(422, "GET", "/api/flows/posts/series?since=soon")
    await api.refused(404, "GET", "/api/flows/nope/series")
    system = await api.ok("GET", "/api/system", token="viewer")
    [backlog] = system["backlogs"]
    assert (backlog["flow"], backlog["rows"], backlog["per_minute"] > 0, backlog["empty_in"] > 0) == (
        "posts",
        1,
        True,
        True,
    )
    assert [(one["kind"], one["alive"], one["doing"]) for one in system["services"]] == [("writer", True, "1 delivery")]


async def test_now_and_the_course_of_a_run(api):
    """What needs somebody, that which most rows wait for first, with all flows; a run with steps, holds and the map of its pages;
    rows of a page; holds and versions over time; some rows retried.
    """
    run_id = await long_run(api.store)
    await api.store.hold("w1", {OMNITRON["domain_url"]: "503"}, 3600)
    run = await api.ok("GET", f"/api/runs/{run_id}", token="viewer")
    assert run["page_map"] == "?f" + "?" * 27 + "x"
    assert [step["step"] for step in run["steps"]] == ["read", "transform", "write"]
    assert (run["holds"][-1]["reason"], run["holds"][-1]["until"], run["seconds_left"]) == ("503", None, None)
    rows = (await api.ok("GET", f"/api/runs/{run_id}/rows?page=2"))["items"]
    assert [row["row"] for row in rows] == [3, 4]
    await end_long_run(api.store)
    ended = await api.ok("GET", f"/api/runs/{run_id}")
    assert ended["page_map"] == "ufw" + "u" * 27
    now = await api.ok("GET", "/api/now", token="viewer")
    assert [need["rows"] for need in now["needs"]] == sorted((need["rows"] for need in now["needs"]), reverse=True)
    assert {need["kind"] for need in now["needs"]} >= {"cause", "hold"}
    assert [row["product"] for row in now["arrived"]] == ["L-6", "L-5", "L-3"]
    polled = next(flow for flow in now["flows"] if flow["flow"] == "polled")
    assert (polled["run_id"], polled["held"], polled["open"], len(polled["points"])) == (run_id, True, 1, 48)
    assert polled["fresh_since"] is not None
    marks = await api.ok("GET", "/api/marks", token="viewer")
    assert marks["holds"][-1]["domain"] == OMNITRON["domain_url"]
    assert {one["flow"] for one in marks["saved"]} >= {"polled"}
    assert (await api.ok("POST", f"/api/runs/{run_id}/retry", {"rows": [4]}, status=202))["rows"] == 1


async def test_a_window_is_read(api):
    """A run of a window keeps its bounds; what is no window is refused."""
    await api.refused(409, "POST", "/api/flows/polled/runs", {"since": "2026-01-02"})
    await api.store.save_flow({**POLLED, "erp": {**POLLED["erp"], "modified_date_key": "since"}})
    run = await api.ok("POST", "/api/flows/polled/runs", {"since": "2026-01-02T00:00Z"}, status=202, token="operator")
    assert (run["since"], run["until"]) == ("2026-01-02T00:00:00.000000Z", None)
    await api.refused(422, "POST", "/api/flows/polled/runs", {"since": "yesterday"})
    await api.refused(422, "POST", "/api/flows/polled/runs", {"until": "2026-01-02"})
    await api.refused(422, "POST", "/api/flows/polled/runs", {"since": "2026-01-02", "identifiers": ["A"]})
    await api.refused(409, "POST", "/api/flows/polled/runs", {"since": "2026-01-02", "until": "2026-01-03"})


async def test_missing_images_are_fetched(api):
    """Fetch missing answers with the runs that it began and its warnings; it enters the audit log."""
    found = await api.ok("POST", "/api/flows/polled/fetch-missing", status=202, token="operator")
    assert found == {"runs": [], "warnings": ["nothing is missing"]}
    await api.refused(409, "POST", "/api/flows/posts/fetch-missing")
    assert (await api.ok("GET", "/api/audit"))["items"][0]["what"] == "run.missing"


# alarms, audit log ----------------------------------------------------------------------------------------------------


async def test_alarms_and_holds(api):
    """Alarms are listed newest first, open or closed; held domains with since when and why."""
    await api.store.sound("posts", {"silence": "nothing for a day", "error_rate": "half failed"}, notify=False)
    await api.store.sound("posts", {"silence": "nothing for a day"}, notify=False)
    await api.store.hold("w1", {"http://127.0.0.1:9": "503"}, 60)
    assert [a["kind"] for a in (await api.ok("GET", "/api/alarms?state=open", token="viewer"))["items"]] == ["silence"]
    first = await api.ok("GET", "/api/alarms?limit=1&flow=posts")
    second = await api.ok("GET", f"/api/alarms?limit=1&cursor={first['next']}")
    assert {first["items"][0]["kind"], second["items"][0]["kind"]} == {"silence", "error_rate"}
    (held,) = (await api.ok("GET", "/api/holds", token="viewer"))["items"]
    assert (held["domain"], held["reason"], held["writers"]) == ("http://127.0.0.1:9", "503", 1)


async def test_parked_messages_are_shown_replayed_and_dropped(api):
    """What lies parked is listed with its reason, shown whole, sent back to its queue, or dropped; both are audited."""
    await api.broker.publish(Outgoing("imageflow.outbound", b"rows", headers={"flow": "posts"}))
    await api.broker.publish(Outgoing("imageflow.outbound", b"junk"))
    async with api.broker.consume("imageflow.outbound", prefetch=2) as deliveries:
        for _ in range(2):
            await (await anext(deliveries)).park("cannot be used")
    listed = (await api.ok("GET", "/api/parked", token="viewer"))["items"]
    assert [(item["excerpt"], item["reason"], item["queue"]) for item in listed] == [
        ("rows", "cannot be used", "imageflow.outbound"),
        ("junk", "cannot be used", "imageflow.outbound"),
    ]
    rows, junk = (item["id"] for item in listed)
    assert (await api.ok("GET", f"/api/parked/{rows}", token="operator"))["body"] == "rows"
    await api.refused(403, "DELETE", f"/api/parked/{junk}", token="viewer")
    await api.ok("DELETE", f"/api/parked/{junk}", token="operator", status=204)
    await api.ok("POST", f"/api/parked/{rows}/replay", token="operator", status=204)
    await api.refused(404, "POST", f"/api/parked/{rows}/replay")
    assert (await api.ok("GET", "/api/parked"))["items"] == []
    assert (await api.broker.depth("imageflow.outbound")).ready == 1
    whats = [(item["what"], item["object"]) for item in (await api.ok("GET", "/api/audit"))["items"]]
    assert whats == [("parked.replay", f"message {rows}"), ("parked.drop", f"message {junk}")]


# users, keys ----------------------------------------------------------------------------------------------------------


async def test_users_are_added_changed_and_removed(api):
    """A user added logs in; another role counts at once; removed, their token opens nothing. No answer has a hash."""
    await api.ok("PUT", "/api/users/eve", {"password": "correct horse", "role": "viewer"})
    login = {"username": "eve", "password": "correct horse"}
    token = (await api.ok("POST", "/api/login", login, token=None))["token"]
    assert await api.ok("GET", "/api/me", token=token) == {"name": "eve", "role": "viewer"}
    await api.refused(403, "POST", "/api/flows/polled/runs", {}, token=token)
    await api.ok("PATCH", "/api/users/eve", {"role": "operator"})
    await api.ok("POST", "/api/flows/polled/runs", {}, token=token, status=202)
    listed = await api.ok("GET", "/api/users?limit=2")
    assert listed["items"] == [{"name": "admin", "role": "admin"}, {"name": "eve", "role": "operator"}]
    more = await api.ok("GET", f"/api/users?cursor={listed['next']}")
    assert [user["name"] for user in more["items"]] == ["operator", "viewer"]
    await api.ok("DELETE", "/api/users/eve", status=204)
    await api.refused(401, "GET", "/api/me", token=token)
    await api.refused(404, "DELETE", "/api/users/eve")
    await api.refused(404, "PATCH", "/api/users/eve", {"role": "admin"})
    whats = [(item["what"], item["object"]) for item in (await api.ok("GET", "/api/audit?who=admin"))["items"]]
    assert whats == [("user.remove", "user eve"), ("user.role", "user eve"), ("user.save", "user eve")]


async def test_an_admin_stays(api):
    """Nobody removes themselves or changes their own role."""
    await api.refused(409, "DELETE", "/api/users/admin")
    await api.refused(409, "PATCH", "/api/users/admin", {"role": "viewer"})
    await api.refused(409, "PUT", "/api/users/admin", {"password": "correct horse", "role": "viewer"})
    await api.ok("PATCH", "/api/users/admin", {"role": "admin"})


async def test_keys_are_shown_once(api):
    """A key's text is in the answer that makes it and in no other, nor in the audit log."""
    made = await api.ok("POST", "/api/flows/posts/keys", {"name": "erp", "days": 2}, status=201)
    expires = datetime.fromisoformat(made["expires_at"])
    assert timedelta(days=1.99) < expires - datetime.now(UTC) < timedelta(days=2)
    more = [await api.ok("POST", "/api/flows/posts/keys", {"name": name}, status=201) for name in ("b", "a")]
    keys = await api.ok("GET", "/api/flows/posts/keys?limit=2")
    assert [item["name"] for item in keys["items"]] == ["a", "b"]
    rest = await api.ok("GET", f"/api/flows/posts/keys?cursor={keys['next']}")
    assert (rest["items"][0]["id"], rest["items"][0]["created_by"]) == (made["id"], "admin")
    audit = await api.ok("GET", "/api/audit")
    for key in (made, *more):
        assert key["key"] not in json.dumps([keys, rest, audit])
    await api.refused(404, "POST", "/api/flows/nope/keys", {"name": "erp"})
    await api.refused(422, "POST", "/api/flows/posts/keys", {"name": " "})
    assert (await api.ok("GET", "/api/flows/other/keys"))["items"] == []


ATTEMPTS = [
    # who, method, path, status
    ("no token", "POST", "/api/outbound/posts", 401),
    ("no token", "GET", "/api/runs", 401),
    ("no token", "GET", "/api/nowhere", 404),
    ("no token", "GET", "/api/docs", 200),
    ("forged", "GET", "/api/runs", 401),
    ("of another secret", "GET", "/api/runs", 401),
    ("expired", "POST", "/api/outbound/posts", 401),
    ("expired", "GET", "/api/runs", 401),
    ("logged out", "GET", "/api/runs", 401),
    ("logged out", "POST", "/api/outbound/posts", 401),
    ("removed user", "GET", "/api/runs", 401),
    ("another password since", "GET", "/api/runs", 401),
    ("viewer", "POST", "/api/outbound/posts", 403),
    ("viewer", "GET", "/api/runs", 200),
    ("viewer", "POST", "/api/flows/polled/runs", 403),
    ("viewer", "GET", "/api/users", 403),
    ("operator", "POST", "/api/outbound/posts", 202),
    ("operator", "GET", "/api/audit", 403),
    ("operator", "POST", "/api/flows/posts/disable", 403),
    ("admin", "POST", "/api/outbound/posts", 202),
    ("admin", "GET", "/api/audit", 200),
    ("key", "POST", "/api/outbound/posts", 202),
    ("key", "POST", "/api/outbound/other", 403),
    ("key", "POST", "/api/outbound/nope", 403),
    ("key", "GET", "/api/runs", 403),
    ("key", "GET", "/api/nifi/flow/list", 403),
    ("other flow's key", "POST", "/api/outbound/posts", 403),
    ("expired key", "POST", "/api/outbound/posts", 401),
    ("revoked key", "POST", "/api/outbound/posts", 401),
    ("cut key", "POST", "/api/outbound/posts", 401),
]


@pytest.fixture
async def everybody(api):
    """An API whose tokens and keys are in every state."""
    tokens = api.tokens
    tokens["forged"] = "A" * 43
    tokens["of another secret"] = await add_token(api.store, b"another", "admin", CLOCK, 600)
    tokens["expired"] = await add_token(api.store, KEY, "admin", CLOCK, -1)
    for name in ("removed", "changed"):
        await api.store.save_user(User(name, "no hash", "admin"))
    tokens["removed user"] = await add_token(api.store, KEY, "removed", CLOCK, 600)
    tokens["another password since"] = await add_token(api.store, KEY, "changed", CLOCK, 600)
    tokens["logged out"] = await add_token(api.store, KEY, "admin", CLOCK, 600)
    for name in ("removed user", "another password since", "logged out"):
        await api.ok("GET", "/api/me", token=name)  # they are known to the gateway
    await api.ok("DELETE", "/api/users/removed", status=204)
    await api.ok("PUT", "/api/users/changed", {"password": "another one", "role": "admin"})
    await api.ok("POST", "/api/logout", token="logged out", status=204)
    for name, flow in (("key", "posts"), ("other flow's key", "other"), ("revoked key", "posts")):
        made = await api.ok("POST", f"/api/flows/{flow}/keys", {"name": name}, status=201)
        tokens[name] = made["key"]
        if name == "revoked key":
            await api.ok("POST", "/api/outbound/posts", [ROW], token=name, status=202)
            await api.ok("DELETE", f"/api/keys/{made['id']}", status=204)
    tokens["cut key"] = tokens["key"][:-1]
    past = Past()
    tokens["expired key"] = (await keys.add(api.store, KEY, "posts", "late", 1, Actor("ada", "test"), past)).text
    return api


class Past:
    """A clock of two days ago."""

    def now(self):
        return CLOCK.now() - timedelta(days=2)


async def test_authentication_attempts(everybody):
    """Each attempt to come in gets its status; who is refused leaves nothing behind."""
    runs = len(await everybody.store.runs())
    got = []
    for who, method, path, _ in ATTEMPTS:
        body = [ROW] if "/outbound/" in path else {} if method == "POST" else None
        status, _answer = await everybody.request(method, path, body, token=None if who == "no token" else who)
        got.append((who, method, path, status))
    assert got == ATTEMPTS
    assert len(await everybody.store.runs()) == runs + sum(attempt[3] == 202 for attempt in ATTEMPTS)


async def test_brute_force(api):
    """After ten wrong passwords the right one is not tried either, but gets 429 with Retry-After; another user logs in."""
    for name in ("eve", "bob"):
        await users.save(api.store, name, "correct horse", "viewer", Actor("ada", "test"))
    right, wrong = ({"username": "eve", "password": password} for password in ("correct horse", "guess"))
    for _ in range(PACES["pair"].free):
        await api.refused(401, "POST", "/api/login", wrong, token=None)
    for guess in (wrong, right):
        await api.refused(429, "POST", "/api/login", guess, token=None)
        assert 0 < int(api.headers["Retry-After"]) <= FIRST_SECONDS
    await api.ok("POST", "/api/login", {**right, "username": "bob"}, token=None)


async def test_a_key_posts_in_its_name(api):
    """A run that a key began says which."""
    made = await api.ok("POST", "/api/flows/posts/keys", {"name": "erp"}, status=201)
    run_id = (await api.ok("POST", "/api/outbound/posts", [ROW], token=made["key"], status=202))["run_id"]
    assert (await api.ok("GET", f"/api/runs/{run_id}"))["trigger"]["by"] == "key erp"


async def test_the_use_of_a_key_is_known(api, monkeypatch):
    """When it opened the door last; a key that never did, or was refused, says nothing. It is noted once a minute at most, and
    a post is taken although that cannot be noted.
    """
    made = await api.ok("POST", "/api/flows/posts/keys", {"name": "erp"}, status=201)
    await api.request("POST", "/api/outbound/other", [ROW], token=made["key"])
    (unused,) = (await api.ok("GET", "/api/flows/posts/keys"))["items"]
    assert unused["used_at"] is None
    noted, note = [], api.store.note_key_use

    async def counted(*of):
        noted.append(of)
        await note(*of)

    monkeypatch.setattr(api.store, "note_key_use", counted)
    for _ in range(3):
        await api.ok("POST", "/api/outbound/posts", [ROW], token=made["key"], status=202)
    (used,) = (await api.ok("GET", "/api/flows/posts/keys"))["items"]
    assert (len(noted), used["used_at"] is not None) == (1, True)

    async def away(*_of):
        raise StoreError("away")

    again = await api.ok("POST", "/api/flows/posts/keys", {"name": "other"}, status=201)
    monkeypatch.setattr(api.store, "note_key_use", away)
    await api.ok("POST", "/api/outbound/posts", [ROW], token=again["key"], status=202)


# every request --------------------------------------------------------------------------------------------------------

JSON_TYPE = {"Content-Type": "application/json"}


REFUSED = [
    (404, "GET", "/api/nope", {}),
    (404, "GET", "/api/runs/", {}),
    (405, "DELETE", "/api/runs", {}),
    (405, "OPTIONS", "/api/runs", {"headers": {"Origin": "https://evil.example.com"}}),
    (415, "PUT", "/api/flows/posts", {"data": b"a: b", "headers": {"Content-Type": "text/plain"}}),
    (415, "PUT", "/api/users/x", {"data": b"{}", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
    (415, "PUT", "/api/users/x", {"data": b"{}", "headers": {**JSON_TYPE, "Content-Encoding": "br"}}),
    (413, "PUT", "/api/users/x", {"data": b" " * 20_000 + b"{}", "headers": JSON_TYPE}),
    (413, "PUT", "/api/flows/posts", {"data": io.BytesIO(b" " * (1 << 20) + b"{}"), "headers": JSON_TYPE}),
    (400, "PUT", "/api/users/x", {"data": b"[" * 10_000, "headers": JSON_TYPE}),
    (400, "PUT", "/api/users/x", {"data": b'"\xff"', "headers": JSON_TYPE}),
    (400, "PUT", "/api/users/x", {"data": b"", "headers": JSON_TYPE}),
    (400, "PUT", "/api/users/x", {"body": {"password": "correct horse", "role": "admin", "more": 1}}),
    (400, "PUT", "/api/users/x", {"body": {"password": "correct horse", "role": "root"}}),
    (400, "PUT", "/api/users/x%00", {"body": {"password": "correct horse", "role": "admin"}}),
    (400, "GET", "/api/runs?limit=0", {}),
    (400, "GET", "/api/runs?limit=ten", {}),
    (400, "GET", "/api/runs?limit=5&limit=6", {}),
    (400, "GET", "/api/runs?status=done", {}),
    (400, "GET", "/api/runs?nope=1", {}),
    (400, "GET", "/api/runs?cursor=x", {}),
    (400, "GET", "/api/runs?cursor=WzFd", {}),
    (400, "GET", "/api/runs?cursor=%C3%BC", {}),
    (400, "GET", "/api/flows/posts/versions/0", {}),
    (400, "GET", "/api/flows/posts/versions/99999999999999999999", {}),
    (400, "GET", "/api/runs/x/rows/x", {}),
    (404, "GET", "/api/runs/%00/rows", {}),
    (404, "GET", "/api/flows/nope", {}),
    (422, "PUT", "/api/flows/posts", {"data": b"a: &a b", "headers": {"Content-Type": "application/yaml"}}),
    (422, "PUT", "/api/flows/posts", {"data": b"\xff", "headers": {"Content-Type": "application/yaml"}}),
]


async def test_what_is_refused(api):
    """What is wrong with a request is answered with its status and a problem body, and says nothing to other origins."""
    for status, method, path, options in REFUSED:
        await api.refused(status, method, path, **options)
        assert not [name for name in api.headers if name.lower().startswith("access-control")]
        if status == 405:
            assert "GET" in api.headers["Allow"]


async def test_answers_are_safe(api):
    """Answers are not sniffed, framed or kept; no cookie is set; the server does not say what it is made of."""
    await api.ok("GET", "/api/me")
    assert api.headers["X-Content-Type-Options"] == "nosniff"
    assert api.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in api.headers["Content-Security-Policy"]
    assert api.headers["Server"] == "ImageFlow"
    assert "Set-Cookie" not in api.headers


async def test_the_page_needs_no_other_host(api):
    """The page of the API is HTML that loads nothing, runs nothing, and names every endpoint."""
    html = (await api.ok("GET", "/api/docs", token=None)).decode()
    assert api.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in api.headers["Content-Security-Policy"]
    assert "<script" not in html
    assert "src=" not in html
    assert (
        "http"
        not in html.replace("http(s)", "").replace("^https?", "").replace("http_status", "").partition("types</h2>")[0]
    )
    for endpoint in ENDPOINTS:
        assert f'id="{endpoint.name}"' in html
    document = await api.ok("GET", "/api/openapi.json", token=None)
    assert document["openapi"] == "3.1.0"


async def test_flows_over_the_api_are_bounded(tmp_path, furniture):
    """A secret and a host that the settings do not name are refused when the flow is saved, and when it is checked, with their
    paths. What a person at the machine saved stays that person's when it is disabled and enabled."""
    async with opened(tmp_path, furniture) as api:
        bad = {**POSTS, "omnitron": {**OMNITRON, "domain_url": "http://10.0.0.1", "password": {"file": "/etc/passwd"}}}
        said = await api.refused(422, "PUT", "/api/flows/posts", bad)
        assert "omnitron.password" in said
        checked = await api.ok("POST", "/api/lint", bad)
        assert [problem["path"] for problem in checked["problems"]] == ["omnitron.password", "omnitron.domain_url"]
        await api.ok("POST", "/api/flows/posts/disable")
        assert not (await api.store.flow("posts")).definition.bounded
        await api.ok("PUT", "/api/flows/posts", {**POSTS, "enabled": True, "timezone": "Europe/Istanbul"})
        assert (await api.store.flow("posts")).definition.bounded
        await api.ok("POST", "/api/flows/posts/disable")
        assert (await api.store.flow("posts")).definition.bounded


async def test_viewers_see_no_plain_secret_of_an_older_version(api):
    """It was saved before lint refused it; operators see it, to mend it."""
    old = {**POLLED, "erp": {"endpoint_url": "https://erp.example.com/", "extra_headers": {"X-Api-Key": "hush-hush-1"}}}
    await api.store.save_flow(old, "ada")
    for path in ("/api/flows/polled", "/api/flows/polled/versions/2", "/api/flows/polled/export"):
        assert "hush-hush-1" not in str(await api.ok("GET", path, token="viewer"))
        assert "hush-hush-1" in str(await api.ok("GET", path, token="operator"))


INTERNAL = Answer(500, {}, b"<html>intranet: canary-7</html>")


async def test_viewers_see_no_excerpt_of_an_answer_that_is_no_json(api):
    """It may be of an internal page. A viewer reads that there is one and who sees it, operators read it: in every answer of the
    API and of the Integrator API."""
    run_id = await failed_run(api.store, reason=explain(INTERNAL))
    with pytest.raises(ReadError) as refused:
        refuse(INTERNAL, "http://10.0.0.1", None)
    run = Run(
        run_id="20260101-000000-0000000002",
        flow="polled",
        version=1,
        trigger=Trigger("person", by="ada"),
        status="queued",
        created_at=CLOCK.now(),
    )
    await api.store.create_run(run)
    await api.store.release_runs()
    await api.store.start_reading(run.run_id, None, None)
    await api.store.end_read(run.run_id, error=str(refused.value), stage="read")
    paths = [
        endpoint.path.format(
            flow=flow, version=1, run=one, row=1, page=1, user="ada", key="x", message="0" * 12, cause="0" * 16
        )
        + query
        for endpoint in ENDPOINTS
        for flow, one in (("polled", run.run_id), ("posts", run_id))
        for query in ("", "?product=SKU/1")
        if endpoint.method == "GET" and endpoint.role == "viewer" and endpoint.name != "watch_events"
    ]
    paths += [
        f"/logs?log_type={kind}&original_filename_uuid={one}" for kind in (1, 2, 3) for one in (run_id, run.run_id)
    ]
    hidden, shown = set(), set()
    for path in paths:
        _, seen = await api.request("GET", path, token="viewer")
        assert "canary-7" not in str(seen), path
        hidden |= {path} if HIDDEN in str(seen) else set()
        _, seen = await api.request("GET", path, token="operator")
        shown |= {path} if "canary-7" in str(seen) else set()
    assert hidden == shown
    run_path, rows_path = f"/api/runs/{run.run_id}", f"/api/runs/{run_id}/rows/1"
    assert {run_path, f"{run_path}/log", rows_path, f"/api/runs/{run_id}/errors", "/api/rows?product=SKU/1"} <= shown
    assert len(shown) >= 8
