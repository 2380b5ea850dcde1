"""The API against its own OpenAPI document: schemathesis makes requests of it, wrong ones too.

Of every operation the same few cases each time. No answer is a server's error, and each has a status, content type and
body that the document names.
"""

import asyncio
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from imageflow.gateway import events, openapi
from imageflow.gateway.access import add_token
from imageflow.gateway.app import MAX_LINE_BYTES
from imageflow.gateway.endpoints import ENDPOINTS
from imageflow.store import AuditEntry
from tests.integration.test_api import CLOCK, KEY, failed_run, furniture, opened  # noqa: F401 - a fixture

EXAMPLES = 10
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context, value):
    """How schemathesis writes NDJSON."""
    items = value if isinstance(value, list) else [value]
    return b"\n".join(json.dumps(item).encode() for item in items)


schema = schemathesis.openapi.from_dict(openapi.document(ENDPOINTS))
schema.config.generation.modes = list(schemathesis.GenerationMode)
KNOWN = {"flow": "polled", "run": "20260101-000000-0000000001", "row": 1, "page": 1, "version": 1}
"""What is there: half of the requests are about it, so that they come further than 404."""


@contextmanager
def in_thread(serving):
    """Keep an async context open in a thread of its own, since schemathesis blocks; gives what it gave."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    opened_as = []

    async def main():
        async with serving as value:
            opened_as.append(value)
            ready.set()
            await stop.wait()

    def run():
        try:
            loop.run_until_complete(main())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait(60)
        yield opened_as[0], loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory, furniture):  # noqa: F811
    """A running gateway with something of everything: its URL, and a session of an admin."""
    with (
        in_thread(opened(tmp_path_factory.mktemp("served"), furniture)) as (api, loop),
        requests.Session() as session,
    ):

        def do(work):
            return asyncio.run_coroutine_threadsafe(work, loop).result(60)

        do(failed_run(api.store))
        do(api.store.sound("posts", {"silence": "nothing for a day"}, notify=False))
        do(api.store.hold("w1", {"http://127.0.0.1:9": "503"}, 3600))
        do(api.store.record(AuditEntry("ada", "flow.save", "flow posts", "test")))

        def token(*, fresh):
            return do(add_token(api.store, KEY, "admin", CLOCK, 600)) if fresh else api.tokens["admin"]

        yield api.url, session, token


@schema.exclude(path=events.PATH).parametrize()  # a stream, which does not end
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
def test_every_answer_is_documented(case, served):
    """Whatever is sent, no answer is a 5xx, nor of a status, type or shape that the document does not have."""
    url, session, token = served
    headers = {"Authorization": f"Bearer {token(fresh=case.path == '/api/logout')}"}
    # what is no HTTP, and what is too long a line of it, is the HTTP server's to refuse
    assume(len(urlencode(case.query or {}, doseq=True)) < MAX_LINE_BYTES - 1000)
    for name in [name for name in case.headers or () if name.lower() in ("transfer-encoding", "content-length")]:
        del case.headers[name]
    case.call_and_validate(url, session=session, headers=headers, checks=[*CHECKS, checks.negative_data_rejection])
    if known := KNOWN.keys() & case.path_parameters.keys():
        case.path_parameters |= {name: KNOWN[name] for name in known}
        if case.path.startswith("/api/outbound/"):
            case.path_parameters["flow"] = "posts"
        case.call_and_validate(url, session=session, headers=headers, checks=CHECKS)


def test_what_is_served_is_what_is_tested(served):
    """The document that the gateway serves is the one made from the table."""
    url, session, _ = served
    assert session.get(f"{url}/api/openapi.json").json() == openapi.document(ENDPOINTS)
