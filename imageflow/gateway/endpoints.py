"""The JSON API as one table: routing, validation, roles and the OpenAPI document are made from it.

Each row names its handler, and mypy checks that the handler takes and gives the types that the row says: those of
inputs.py and of actions/shapes.py.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal

import msgspec

from imageflow.actions import shapes, shapes_now
from imageflow.actions.actor import Role
from imageflow.actions.dead_letters import Parked
from imageflow.actions.search import Hit
from imageflow.gateway import handlers_errors, handlers_flows, handlers_ops, handlers_runs, handlers_users, inputs
from imageflow.gateway.deps import A, B, Call, Deps, P, Q
from imageflow.gateway.inputs import EVENT_STREAM, JSON, YAML
from imageflow.gateway.paging import Page
from imageflow.gateway.request_body import MAX_BODY_BYTES, MAX_FORM_BYTES
from imageflow.store import ErrorGroup

FLOW_FILE = {"$ref": "#/components/schemas/FlowFile"}
MAX_FLOW_BYTES = 1 << 20
MAX_IDENTIFIERS_BYTES = 4 << 20

Tag = Literal[
    "sessions", "flows", "runs", "rows", "outbound", "alarms", "parked", "users", "keys", "audit", "events", "system"
]


class Body(msgspec.Struct, Generic[B], frozen=True):
    """What a request's body holds. `type` is its JSON's; bytes: the handler reads them, and `schema` is shown.

    `required`: without a body it is refused; else it is as if it were `{}`.
    """

    type: type[B]
    required: bool = True
    limit: int = MAX_FORM_BYTES
    accepts: tuple[str, ...] = (JSON,)
    schema: dict[str, Any] = {}


class Endpoint(msgspec.Struct, Generic[P, Q, B, A], frozen=True, kw_only=True):
    """An operation. `handler` None: it is documented here and served by another module.

    `role`: who may, and those above; None: anybody. `params`, `query` and `body` say what path, query and body hold;
    `answer` is the type of the answer's JSON; None: no body. `refusals` are statuses that are its own; those that follow
    from role, query and body are added by `statuses`. `media`: an answer that is no JSON: a flow file, or a stream of events.
    """

    name: str
    handler: Callable[[Deps, Call[P, Q, B]], Awaitable[A]] | None = None
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    params: type[P] | None = None
    tag: Tag
    summary: str
    role: Role | None = "viewer"
    answer: type[A] | None = None
    status: int = 200
    query: type[Q] | None = None
    headers: dict[str, Any] = {}
    body: Body[B] | None = None
    refusals: tuple[int, ...] = ()
    about: str = ""
    media: str = JSON

    @property
    def parameters(self) -> list[str]:
        """The names in braces in its path, in their order."""
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def statuses(self) -> list[int]:
        """Every status that it answers with, but for those of a server that is wrong."""
        found = {self.status, *self.refusals}
        if self.parameters or self.query is not None or self.body is not None:
            found.add(400)
        if self.role is not None:
            found |= {401, 403}
        if self.body is not None:
            found |= {408, 413, 415}
        return sorted(found)


_FLOW = Body(bytes, limit=MAX_FLOW_BYTES, accepts=(JSON, YAML), schema=FLOW_FILE)
_DRAFT = Body(bytes, limit=MAX_FLOW_BYTES, accepts=(JSON, YAML), schema={"description": "A flow file, right or wrong."})
_ROWS = Body(
    bytes,
    limit=MAX_BODY_BYTES,
    accepts=(JSON, "application/x-ndjson"),
    schema={"description": "An object, a list, or NDJSON; also gzip. What a row holds, the flow says.", "example": []},
)
_KEY_HEADER = {
    "Idempotency-Key": {
        "type": "string",
        "pattern": "^[!-~]{1,255}$",
        "description": "A repeat with the same key and body within 24 hours gets the first post's run, and adds nothing.",
    }
}

_MATCH_HEADER = {
    "If-Match": {
        "type": "string",
        "maxLength": 20,
        "description": 'The version that this was made of, as in `"7"`: if there is a newer one, nothing is saved.',
    }
}

ENDPOINTS: tuple[Endpoint[Any, Any, Any, Any], ...] = (
    # sessions
    Endpoint(
        name="log_in",
        method="POST",
        path="/api/login",
        tag="sessions",
        summary="Log in",
        about="Gives a token for 12 hours. After ten failures within five minutes: 429.",
        role=None,
        body=Body(inputs.Credentials),
        answer=shapes.LoggedIn,
        refusals=(401, 429),
    ),
    Endpoint(
        name="log_out",
        handler=handlers_users.log_out,
        method="POST",
        path="/api/logout",
        tag="sessions",
        summary="Revoke the token that this is sent with",
        status=204,
    ),
    Endpoint(
        name="show_me",
        handler=handlers_users.show_me,
        method="GET",
        path="/api/me",
        tag="sessions",
        summary="Show who is logged in",
        answer=shapes.Me,
    ),
    # flows
    Endpoint(
        name="list_flows",
        handler=handlers_flows.list_flows,
        method="GET",
        path="/api/flows",
        tag="flows",
        summary="List the flows, by name: when each runs next, and its newest run",
        query=inputs.Paged,
        answer=Page[shapes.FlowListed],
    ),
    Endpoint(
        name="show_flow",
        handler=handlers_flows.show_flow,
        method="GET",
        path="/api/flows/{flow}",
        params=inputs.FlowPath,
        tag="flows",
        summary="Show a flow, its next fires, watermark and newest runs",
        answer=shapes.FlowShown,
        refusals=(404,),
    ),
    Endpoint(
        name="save_flow",
        handler=handlers_flows.save_flow,
        method="PUT",
        path="/api/flows/{flow}",
        params=inputs.FlowPath,
        tag="flows",
        summary="Save a flow as a new version",
        about="The body is a flow file, as JSON or YAML, with script and mapping in it. An equal one makes no new version. "
        "With If-Match it is saved only if that is the newest version still.",
        role="admin",
        headers=_MATCH_HEADER,
        body=_FLOW,
        answer=shapes.FlowLine,
        refusals=(412, 422),
    ),
    Endpoint(
        name="check_flow",
        handler=handlers_flows.check_flow,
        method="POST",
        path="/api/lint",
        tag="flows",
        summary="Say what is wrong with a flow; nothing is saved",
        role="operator",
        body=_DRAFT,
        answer=shapes.Checked,
    ),
    Endpoint(
        name="enable_flow",
        handler=handlers_flows.enable_flow,
        method="POST",
        path="/api/flows/{flow}/enable",
        params=inputs.FlowPath,
        tag="flows",
        summary="Enable a flow",
        role="admin",
        answer=shapes.FlowLine,
        refusals=(404,),
    ),
    Endpoint(
        name="disable_flow",
        handler=handlers_flows.disable_flow,
        method="POST",
        path="/api/flows/{flow}/disable",
        params=inputs.FlowPath,
        tag="flows",
        summary="Disable a flow: it is not scheduled and takes no posts",
        role="admin",
        answer=shapes.FlowLine,
        refusals=(404,),
    ),
    Endpoint(
        name="delete_flow",
        handler=handlers_flows.delete_flow,
        method="DELETE",
        path="/api/flows/{flow}",
        params=inputs.FlowPath,
        tag="flows",
        summary="Delete a flow: it fires no more and takes no posts",
        about="Its versions and runs stay until retention takes them. Refused while runs of it go on, or a flow runs after it.",
        role="admin",
        status=204,
        refusals=(404, 409),
    ),
    Endpoint(
        name="roll_back_flow",
        handler=handlers_flows.roll_back_flow,
        method="POST",
        path="/api/flows/{flow}/rollback",
        params=inputs.FlowPath,
        tag="flows",
        summary="Save an earlier version of a flow once more, as its newest",
        role="admin",
        body=Body(inputs.RollBack),
        answer=shapes.FlowLine,
        refusals=(404, 422),
    ),
    Endpoint(
        name="compare_versions",
        handler=handlers_flows.compare_versions,
        method="GET",
        path="/api/flows/{flow}/diff",
        params=inputs.FlowPath,
        tag="flows",
        summary="Compare two versions of a flow",
        query=inputs.DiffQuery,
        answer=shapes.Difference,
        refusals=(404,),
    ),
    Endpoint(
        name="show_input",
        handler=handlers_flows.show_input,
        method="GET",
        path="/api/flows/{flow}/input",
        params=inputs.FlowPath,
        tag="flows",
        summary="Show an answer of the ERP to try the flow with",
        query=inputs.InputQuery,
        answer=shapes.InputShown,
        refusals=(404,),
    ),
    Endpoint(
        name="try_flow",
        handler=handlers_flows.try_flow,
        method="POST",
        path="/api/flows/{flow}/try",
        params=inputs.FlowPath,
        tag="flows",
        summary="Try an answer with the flow, or with another script and mapping",
        about="Script and mapping run in the sandbox; nothing is asked and nothing is written.",
        role="operator",
        body=Body(inputs.Try, limit=MAX_FLOW_BYTES),
        answer=shapes.TriedShown,
        refusals=(404, 422),
    ),
    Endpoint(
        name="try_write",
        handler=handlers_flows.try_write,
        method="POST",
        path="/api/try/write",
        tag="flows",
        summary="Try an answer, and show the requests that would be sent for its rows",
        about="By the ledger: what is on Omnitron already would not be sent. Nothing is asked and nothing is written.",
        role="operator",
        body=Body(inputs.TryWrite, limit=MAX_FLOW_BYTES),
        answer=shapes.TriedWrites,
        refusals=(404, 422),
    ),
    Endpoint(
        name="compare_flow",
        handler=handlers_flows.compare_flow,
        method="POST",
        path="/api/flows/{flow}/compare",
        params=inputs.FlowPath,
        tag="flows",
        summary="Compare a draft of a flow with its version in force, over its last kept pages",
        about="At most a minute: the answer holds what was compared by then. Nothing is asked and nothing is written.",
        role="operator",
        body=Body(inputs.Compare, limit=MAX_FLOW_BYTES, required=False),
        answer=shapes.ComparedShown,
        refusals=(404, 422),
    ),
    Endpoint(
        name="ask_erp",
        handler=handlers_flows.ask_erp,
        method="POST",
        path="/api/flows/{flow}/ask",
        params=inputs.FlowPath,
        tag="flows",
        summary="Ask a flow's ERP for a page now",
        about="With the flow's own login, as its first run asks; without secrets. Nothing is stored but an entry in the audit log.",
        role="operator",
        body=Body(inputs.Ask, required=False),
        answer=shapes.InputShown,
        refusals=(404, 409),
    ),
    Endpoint(
        name="list_versions",
        handler=handlers_flows.list_versions,
        method="GET",
        path="/api/flows/{flow}/versions",
        params=inputs.FlowPath,
        tag="flows",
        summary="List the versions of a flow, newest first",
        query=inputs.Paged,
        answer=Page[shapes.VersionLine],
        refusals=(404,),
    ),
    Endpoint(
        name="show_version",
        handler=handlers_flows.show_version,
        method="GET",
        path="/api/flows/{flow}/versions/{version}",
        params=inputs.VersionPath,
        tag="flows",
        summary="Show a version of a flow",
        answer=shapes.VersionShown,
        refusals=(404,),
    ),
    Endpoint(
        name="export_flow",
        handler=handlers_flows.export_flow,
        method="GET",
        path="/api/flows/{flow}/export",
        params=inputs.FlowPath,
        tag="flows",
        summary="Give a flow as a flow file",
        query=inputs.VersionQuery,
        answer=str,
        media=YAML,
        refusals=(404,),
    ),
    Endpoint(
        name="show_flow_schema",
        handler=handlers_flows.show_flow_schema,
        method="GET",
        path="/api/flow-schema",
        tag="flows",
        summary="Give the JSON Schema of flow files",
        answer=dict[str, Any],
    ),
    Endpoint(
        name="show_watermark",
        handler=handlers_flows.show_watermark,
        method="GET",
        path="/api/flows/{flow}/watermark",
        params=inputs.FlowPath,
        tag="flows",
        summary="Show the watermark of an inbound flow",
        answer=shapes.Watermark,
        refusals=(404, 409),
    ),
    Endpoint(
        name="set_watermark",
        handler=handlers_flows.set_watermark,
        method="PUT",
        path="/api/flows/{flow}/watermark",
        params=inputs.FlowPath,
        tag="flows",
        summary="Set or clear the watermark of an inbound flow, backwards too",
        role="operator",
        body=Body(inputs.Since),
        answer=shapes.Watermark,
        refusals=(404, 409, 422),
    ),
    # runs
    Endpoint(
        name="list_runs",
        handler=handlers_runs.list_runs,
        method="GET",
        path="/api/runs",
        tag="runs",
        summary="List runs, newest first",
        query=inputs.RunQuery,
        answer=Page[shapes.RunShown],
    ),
    Endpoint(
        name="start_run",
        handler=handlers_runs.start_run,
        method="POST",
        path="/api/flows/{flow}/runs",
        params=inputs.FlowPath,
        tag="runs",
        summary="Run an inbound flow now, or for some identifiers only",
        about="It begins once the flow's active run has ended. A run by identifiers or of a window does not move the watermark.",
        role="operator",
        body=Body(inputs.Start, required=False, limit=MAX_IDENTIFIERS_BYTES),
        answer=shapes.RunShown,
        status=202,
        refusals=(404, 409, 422),
    ),
    Endpoint(
        name="fetch_missing",
        handler=handlers_runs.fetch_missing,
        method="POST",
        path="/api/flows/{flow}/fetch-missing",
        params=inputs.FlowPath,
        tag="runs",
        summary="Run an inbound flow for the products that have no images on Omnitron",
        role="operator",
        answer=shapes.MissingRuns,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="show_run",
        handler=handlers_runs.show_run,
        method="GET",
        path="/api/runs/{run}",
        params=inputs.RunPath,
        tag="runs",
        summary="Show a run with its course: steps, holds, what became of its pages, and when it is done",
        answer=shapes_now.RunDetail,
        refusals=(404,),
    ),
    Endpoint(
        name="show_log",
        handler=handlers_runs.show_log,
        method="GET",
        path="/api/runs/{run}/log",
        params=inputs.RunPath,
        tag="runs",
        summary="Tell a run: who asked for it, what was read, printed and failed, and how it ended",
        query=inputs.Paged,
        answer=Page[shapes.LogEntry],
        refusals=(404,),
    ),
    Endpoint(
        name="retry_run",
        handler=handlers_runs.retry_run,
        method="POST",
        path="/api/runs/{run}/retry",
        params=inputs.RunPath,
        tag="runs",
        summary="Put failed and cancelled rows through again: all of a run, one row, or one error group",
        about="Rows that failed before they were written go through the newest version of the flow, from their stored page.",
        role="operator",
        body=Body(inputs.Retry, required=False),
        answer=shapes.Retried,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="retry_flow",
        handler=handlers_runs.retry_flow,
        method="POST",
        path="/api/flows/{flow}/retry",
        params=inputs.FlowPath,
        tag="runs",
        summary="Put the rows of a flow whose failure is open through again, over all of its runs",
        role="operator",
        body=Body(inputs.RetryFlow, required=False),
        answer=shapes.FlowRetried,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="cancel_run",
        handler=handlers_runs.cancel_run,
        method="POST",
        path="/api/runs/{run}/cancel",
        params=inputs.RunPath,
        tag="runs",
        summary="End a run: nothing more is read or sent",
        about="What is in flight is settled; the other rows end as `cancelled`, and a retry takes them up.",
        role="operator",
        answer=shapes.RunShown,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="rewrite_run",
        handler=handlers_runs.rewrite_run,
        method="POST",
        path="/api/runs/{run}/rewrite",
        params=inputs.RunPath,
        tag="runs",
        summary="Ask the ERP again for what a run wrote by a version that was rolled back",
        about="A new run, by the version in force: of these products, or of what changed since; see `stale` of the run.",
        role="operator",
        answer=shapes.RunShown,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="resume_run",
        handler=handlers_runs.resume_run,
        method="POST",
        path="/api/runs/{run}/resume",
        params=inputs.RunPath,
        tag="runs",
        summary="Publish anew what a run waits for, after the queues were lost; harmless if they were not",
        role="operator",
        answer=shapes.Resumed,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="show_page",
        handler=handlers_runs.show_page,
        method="GET",
        path="/api/runs/{run}/pages/{page}",
        params=inputs.PagePath,
        tag="runs",
        summary="Give a page as the ERP answered or posted it",
        role="operator",
        answer=msgspec.Raw,
        refusals=(404,),
    ),
    # rows
    Endpoint(
        name="list_errors",
        handler=handlers_runs.list_errors,
        method="GET",
        path="/api/runs/{run}/errors",
        params=inputs.RunPath,
        tag="rows",
        summary="List the failed rows of a run by cause, the largest groups first",
        query=inputs.LimitQuery,
        answer=Page[ErrorGroup],
        refusals=(404,),
    ),
    Endpoint(
        name="list_open_errors",
        handler=handlers_runs.list_open_errors,
        method="GET",
        path="/api/flows/{flow}/errors",
        params=inputs.FlowPath,
        tag="rows",
        summary="List the causes for which rows of a flow have failed and are open, over all of its runs",
        answer=Page[shapes.CauseShown],
        refusals=(404,),
    ),
    Endpoint(
        name="list_causes",
        handler=handlers_errors.list_causes,
        method="GET",
        path="/api/errors",
        tag="rows",
        summary="List the causes for which rows failed, over all runs of all flows",
        about="Open ones with the most rows first, or those that have closed, the last first.",
        query=inputs.CauseQuery,
        answer=Page[shapes.CauseShown],
        refusals=(404,),
    ),
    Endpoint(
        name="list_cause_rows",
        handler=handlers_errors.list_cause_rows,
        method="GET",
        path="/api/errors/{cause}/rows",
        params=inputs.CausePath,
        tag="rows",
        summary="List the rows of a cause that are open, over all runs, newest first",
        query=inputs.OpenRowQuery,
        answer=Page[shapes.RowShown],
        refusals=(404,),
    ),
    Endpoint(
        name="retry_cause",
        handler=handlers_errors.retry_cause,
        method="POST",
        path="/api/errors/{cause}/retry",
        params=inputs.CausePath,
        tag="rows",
        summary="Put all open rows of a cause through again, over all runs of all flows, or of one",
        role="operator",
        body=Body(inputs.RetryCause, required=False),
        answer=shapes.CauseRetried,
        status=202,
        refusals=(404, 409),
    ),
    Endpoint(
        name="list_rows",
        handler=handlers_runs.list_rows,
        method="GET",
        path="/api/runs/{run}/rows",
        params=inputs.RunPath,
        tag="rows",
        summary="List the rows of a run by number",
        query=inputs.RowQuery,
        answer=Page[shapes.RowShown],
        refusals=(404,),
    ),
    Endpoint(
        name="show_row",
        handler=handlers_runs.show_row,
        method="GET",
        path="/api/runs/{run}/rows/{row}",
        params=inputs.RowPath,
        tag="rows",
        summary="Show a row with what failed",
        answer=shapes.RowDetail,
        refusals=(404,),
    ),
    Endpoint(
        name="list_product_rows",
        handler=handlers_runs.list_product_rows,
        method="GET",
        path="/api/rows",
        tag="rows",
        summary="List a product's rows over all runs, newest first",
        query=inputs.TraceQuery,
        answer=Page[shapes.RowShown],
    ),
    Endpoint(
        name="trace_product",
        handler=handlers_runs.trace_product,
        method="GET",
        path="/api/trace",
        tag="rows",
        summary="Tell everything that happened to a product, from the ERP's row to Omnitron's answers",
        about="Script and mapping are tried on the pages that its rows are of; nothing is written.",
        role="operator",
        query=inputs.StoryQuery,
        answer=shapes.ProductHistory,
        refusals=(404,),
    ),
    # outbound
    Endpoint(
        name="post_rows",
        method="POST",
        path="/api/outbound/{flow}",
        params=inputs.FlowPath,
        tag="outbound",
        summary="Post rows to an outbound flow",
        about="Accepted (202) only when they are durable. A key of the flow opens it as well as a user's token.",
        role="operator",
        headers=_KEY_HEADER,
        body=_ROWS,
        answer=shapes.Accepted,
        status=202,
        refusals=(404, 422, 429),
    ),
    # alarms
    Endpoint(
        name="list_alarms",
        handler=handlers_ops.list_alarms,
        method="GET",
        path="/api/alarms",
        tag="alarms",
        summary="List alarms, newest first",
        query=inputs.AlarmQuery,
        answer=Page[shapes.AlarmShown],
    ),
    Endpoint(
        name="show_system",
        handler=handlers_ops.show_system,
        method="GET",
        path="/api/system",
        tag="system",
        summary="Show services, queues, holds, how many runs go on, and how long what is in flight takes",
        answer=shapes.SystemShown,
    ),
    Endpoint(
        name="show_now",
        handler=handlers_ops.show_now,
        method="GET",
        path="/api/now",
        tag="system",
        summary="Show what needs somebody, with the most waiting rows first, and how each flow is",
        answer=shapes_now.NowShown,
    ),
    Endpoint(
        name="show_marks",
        handler=handlers_ops.show_marks,
        method="GET",
        path="/api/marks",
        tag="system",
        summary="Tell when writers held back from domains, and which versions of flows were saved",
        about="Since a day ago, unless `since` says otherwise; the newest 500 of each.",
        query=inputs.SinceQuery,
        answer=shapes_now.MarksShown,
    ),
    Endpoint(
        name="search_all",
        handler=handlers_ops.search_all,
        method="GET",
        path="/api/search",
        tag="system",
        summary="Find products, flows, runs and open causes by what a person types",
        about="Products and runs by the beginning of their names, flows and causes by what is in theirs.",
        query=inputs.SearchQuery,
        answer=Page[Hit],
    ),
    Endpoint(
        name="list_series",
        handler=handlers_ops.list_series,
        method="GET",
        path="/api/flows/{flow}/series",
        params=inputs.FlowPath,
        tag="system",
        summary="Tell how many rows of a flow settled over time, by state",
        about="A point for each step of five minutes, an hour or a day (UTC), also where nothing settled; 30 days are kept.",
        query=inputs.SeriesQuery,
        answer=Page[shapes.PointShown],
        refusals=(404, 422),
    ),
    Endpoint(
        name="list_holds",
        handler=handlers_ops.list_holds,
        method="GET",
        path="/api/holds",
        tag="alarms",
        summary="List the Omnitron domains that writers hold",
        answer=Page[shapes.Hold],
    ),
    # parked messages
    Endpoint(
        name="list_parked",
        handler=handlers_ops.list_parked,
        method="GET",
        path="/api/parked",
        tag="parked",
        summary="List messages that could not be used, with the reason, the oldest first",
        query=inputs.LimitQuery,
        answer=Page[Parked],
    ),
    Endpoint(
        name="show_parked",
        handler=handlers_ops.show_parked,
        method="GET",
        path="/api/parked/{message}",
        params=inputs.MessagePath,
        tag="parked",
        summary="Show a parked message whole",
        role="operator",
        answer=shapes.ParkedShown,
        refusals=(404,),
    ),
    Endpoint(
        name="replay_parked",
        handler=handlers_ops.replay_parked,
        method="POST",
        path="/api/parked/{message}/replay",
        params=inputs.MessagePath,
        tag="parked",
        summary="Send a parked message back to the queue it came from",
        role="operator",
        status=204,
        refusals=(404, 409),
    ),
    Endpoint(
        name="drop_parked",
        handler=handlers_ops.drop_parked,
        method="DELETE",
        path="/api/parked/{message}",
        params=inputs.MessagePath,
        tag="parked",
        summary="Throw a parked message away",
        role="operator",
        status=204,
        refusals=(404,),
    ),
    # users
    Endpoint(
        name="list_users",
        handler=handlers_users.list_users,
        method="GET",
        path="/api/users",
        tag="users",
        summary="List the users, by name",
        role="admin",
        query=inputs.Paged,
        answer=Page[shapes.Me],
    ),
    Endpoint(
        name="save_user",
        handler=handlers_users.save_user,
        method="PUT",
        path="/api/users/{user}",
        params=inputs.UserPath,
        tag="users",
        summary="Add a user, or change their password and role",
        about="Another password ends their tokens.",
        role="admin",
        body=Body(inputs.NewUser),
        answer=shapes.Me,
        refusals=(409, 422),
    ),
    Endpoint(
        name="change_role",
        handler=handlers_users.change_role,
        method="PATCH",
        path="/api/users/{user}",
        params=inputs.UserPath,
        tag="users",
        summary="Change a user's role",
        role="admin",
        body=Body(inputs.NewRole),
        answer=shapes.Me,
        refusals=(404, 409),
    ),
    Endpoint(
        name="remove_user",
        handler=handlers_users.remove_user,
        method="DELETE",
        path="/api/users/{user}",
        params=inputs.UserPath,
        tag="users",
        summary="Remove a user and their tokens",
        role="admin",
        status=204,
        refusals=(404, 409),
    ),
    # keys
    Endpoint(
        name="list_keys",
        handler=handlers_users.list_keys,
        method="GET",
        path="/api/flows/{flow}/keys",
        params=inputs.FlowPath,
        tag="keys",
        summary="List the keys of a flow, also those that have expired",
        role="admin",
        query=inputs.Paged,
        answer=Page[shapes.KeyShown],
        refusals=(404,),
    ),
    Endpoint(
        name="add_key",
        handler=handlers_users.add_key,
        method="POST",
        path="/api/flows/{flow}/keys",
        params=inputs.FlowPath,
        tag="keys",
        summary="Make a key that opens the outbound door of the flow",
        about="The answer is the only place that ever shows it.",
        role="admin",
        body=Body(inputs.NewKey),
        answer=shapes.KeyMade,
        status=201,
        refusals=(404, 422),
    ),
    Endpoint(
        name="revoke_key",
        handler=handlers_users.revoke_key,
        method="DELETE",
        path="/api/keys/{key}",
        params=inputs.KeyPath,
        tag="keys",
        summary="Revoke a key",
        role="admin",
        status=204,
        refusals=(404,),
    ),
    # audit log
    Endpoint(
        name="list_changes",
        handler=handlers_ops.list_changes,
        method="GET",
        path="/api/audit",
        tag="audit",
        summary="List who changed what, newest first",
        role="admin",
        query=inputs.AuditQuery,
        answer=Page[shapes.Change],
    ),
    # events
    Endpoint(
        name="watch_events",
        method="GET",
        path="/api/events",
        tag="events",
        summary="Watch what changes",
        about=(
            "A stream of server-sent events, open until the client closes it: each event's data is the topic that changed, and "
            "nothing else. A comment every 15 seconds; `event: bye` when the gateway stops. A session of the console opens it too."
        ),
        query=inputs.EventQuery,
        refusals=(429,),
        media=EVENT_STREAM,
    ),
)
