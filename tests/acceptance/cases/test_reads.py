"""Reads: how an ERP pages, what it says of the end, and what it says beside the rows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.acceptance.cases.site import Ended, Pictures, Site, Stage, document, page


def catalogue(count: int) -> Pictures:
    """The products S0000, S0001, … with their picture."""
    return {f"S{n:04}": [f"https://cdn.example.com/a/S{n:04}_0.jpg"] for n in range(count)}


def complete(stage: Stage, ended: Ended, count: int) -> None:
    """All `count` products are written, exit status 0."""
    assert (ended.status, ended.exit, ended.shown["error"]) == ("success", 0, None)
    assert stage.pictures == catalogue(count)
    assert ended.rows == {"total": count, "written": count}


def incomplete(ended: Ended, *evidence: str) -> None:
    """The run ends `partial`, names one piece of the evidence, and the watermark has not moved."""
    assert (ended.status, ended.exit, ended.shown["watermark"]) == ("partial", 1, None)
    assert any(text in ended.says for text in evidence), ended.says


def test_laravel_short_page(site: Site):
    """airbytehq/airbyte#34883: a short page in the middle loses no row, or the run says what the answer says of more."""
    with site.stage("laravel_short_page") as stage:
        ended = stage.run()
        if ended.status == "success":
            complete(stage, ended, 33)
            assert ended.shown["watermark"] is not None
        else:
            incomplete(ended, "meta.total", "meta.last_page", "links.next")
            assert stage.pictures == catalogue(len(stage.pictures))


def test_none_but_more_pages(site: Site):
    """airbytehq/airbyte#34883, syedhussim/php-sapb1#4: with pagination none, a next link and a total beside 10 rows are heard."""
    with site.stage("none_but_more_pages") as stage:
        ended = stage.run()
        incomplete(ended, "links.next", "meta.total")
        assert stage.pictures == catalogue(10)
        assert len(stage.erp.asked) == 1


def test_odata_server_cap_silent(site: Site):
    """RESOStandards/reso-tools#27, microsoft/AL#6858: a server that caps pages and says so by @odata.nextLink."""
    with site.stage("odata_server_cap_silent") as stage:
        ended = stage.run()
        if ended.status == "success":
            complete(stage, ended, 5)
        else:
            incomplete(ended, "@odata.nextLink")


def test_seek_offset_stamps(site: Site):
    """airbytehq/airbyte#14732, teambtcmap/btcmap.org#1189: stamps that rows share are no markers; it is said, and + arrives as +."""
    with site.stage("seek_offset_stamps") as stage:
        ended = stage.run()
        incomplete(ended, "at")
        assert re.search(r"passed over|more than one row|share", ended.says), ended.says
        after = [asked.of("after") for asked in stage.erp.asked]
        assert after[0] is None
        assert set(after[1:]) <= {f"2026-01-31T10:0{minute}:00+03:00" for minute in (0, 1, 2)}
        assert not stage.erp.unplanned


@pytest.mark.parametrize("file", ["flow.yaml", "flow2.yaml"])
def test_cursor_zero_text(site: Site, file: str):
    """bear/python-twitter#661: a cursor of 0 ends a read, as a number and as a text."""
    with site.stage("cursor_zero_text") as stage:
        complete(stage, stage.run(file), 4)
        assert stage.erp.queries == [[], ["cursor=77"]]


def test_graphql_endcursor_on_last_page(site: Site):
    """withcoral/coral#576, Azure/data-api-builder#2121: hasNextPage false ends a read, whatever endCursor says."""
    with site.stage("graphql_endcursor_on_last_page") as stage:
        ended = stage.run(erp__modified_date_key="since")
        complete(stage, ended, 8)
        assert ended.shown["watermark"] is not None
        assert not stage.erp.unplanned


@pytest.mark.parametrize(
    "file",
    ["flow.yaml", "flow2.yaml"],
)
def test_last_page_again(site: Site, file: str):
    """magento/magento2#3787, airbytehq/airbyte#28226: past the end the last page comes again; the total says that all came."""
    with site.stage("last_page_again") as stage:
        ended = stage.run(file)
        complete(stage, ended, 20)
        assert ended.shown["watermark"] is not None


def test_success_false_script_raises(site: Site):
    """mvanhorn/cli-printing-press#3956: a page that the script refuses is not read; the next run asks since the same instant."""
    with site.stage("success_false_script_raises") as stage:
        name = stage.flow()
        said = json.loads(page("success_false_script_raises", 1))["Message"]
        first, second, third = (stage.again(name) for _ in range(3))
        assert [first.status, second.status, third.status] == ["success", "failed", "success"]
        assert second.shown["watermark"] == first.shown["watermark"]
        assert third.shown["watermark"] > first.shown["watermark"]
        assert said in (second.says + "".join(second.failed.values()))
        since = [asked.of("since") for asked in stage.erp.asked]
        assert since[0] is None
        assert since[1] == since[2] is not None
        assert stage.pictures == catalogue(4)


def test_next_link_wrong_origin(site: Site):
    """paperless-ngx/paperless-ngx#3130, baserow/baserow#2286: a next link with an inner host is refused; both hosts are named."""
    with site.stage("next_link_wrong_origin") as stage:
        ended = stage.run()
        assert (ended.status, ended.exit, ended.shown["watermark"]) == ("failed", 1, None)
        assert stage.erp.host in ended.says
        assert stage.erp.inner in ended.says
        assert {asked.host for asked in stage.erp.asked} == {stage.erp.host}


def test_next_link_wrong_origin_allowed(site: Site):
    """What the error advises leads on: with allow_hosts the login does not go to the other host, and that is said."""
    with site.stage("next_link_wrong_origin") as stage:
        ended = stage.run("flow2.yaml")
        sent = [asked.headers.get("X-Api-Key") for asked in stage.erp.asked if asked.host == stage.erp.inner]
        assert sent in ([], [None])
        if ended.status == "success":
            complete(stage, ended, 4)
        else:
            assert stage.erp.inner in ended.says
            assert re.search(r"login.*(not sent|does not go|never goes)", ended.says), ended.says


def test_post_body_nested_cursor(site: Site):
    """dlt-hub/dlt#2360, ethyca/fides#8270: a parameter's name with dots nests in the body."""
    with site.stage("post_body_nested_cursor") as stage:
        complete(stage, stage.run(), 4)
        assert [asked.body for asked in stage.erp.asked] == [
            {"query": "q", "variables": {"first": 2}},
            {"query": "q", "variables": {"first": 2, "after": "c1"}},
        ]


def test_b1_session_cookie(site: Site):
    """NangoHQ/nango#6638: a session from a login's body goes into a cookie; when it ends, the flow logs in again."""
    with site.stage("b1_session_cookie") as stage:
        complete(stage, stage.run(), 4)
        assert [(asked.method, asked.path) for asked in stage.erp.asked] == [
            ("POST", "/login"),
            ("GET", "/b1s/v1/images/"),
            ("GET", "/b1s/v1/images/images/"),
            ("POST", "/login"),
            ("GET", "/b1s/v1/images/images/"),
        ]
        cookies = [asked.headers.get("Cookie") for asked in stage.erp.asked if asked.method == "GET"]
        assert cookies == [f"B1SESSION={token}; ROUTEID=.node1" for token in ("t-1", "t-1", "t-2")]
        logins = [asked.body for asked in stage.erp.asked if asked.method == "POST"]
        assert logins == [{"CompanyDB": "TR", "UserName": "m", "Password": "erp-password"}] * 2


def test_link_header_forms(site: Site):
    """thlorenz/parse-link-header#6, PowerShell/PowerShell#5257: next is found in every form of a Link header; nextish is none."""
    with site.stage("link_header_forms") as stage:
        complete(stage, stage.run(), 4)
        assert stage.erp.queries == [[], ["filters=a,b,c", "page=1"], ["page=2"], ["page=3"]]


def test_odata_filter_watermark(site: Site):
    """microsoft/AL#6858: the watermark stands inside the filter, in both runs, and nowhere else."""
    with site.stage("odata_filter_watermark") as stage:
        name = stage.flow()
        stage.erp._answers[0].request = "any"  # the date of the second run is not known beforehand
        first, second = stage.again(name), stage.again(name)
        assert [first.status, second.status] == ["success", "success"]
        dates = [
            re.fullmatch(r"lastModifiedDateTime ge (\S+Z)", asked.of("$filter") or "") for asked in stage.erp.asked
        ]
        assert dates[0] and dates[0][1] == "2026-01-31T00:00:00Z"
        assert dates[1] and dates[1][1] > dates[0][1]
        assert [len(asked.query) for asked in stage.erp.asked] == [1, 1]


def test_odata_nextlink_relative(site: Site):
    """SAP/olingo-jpa-processor-v4#48, OData/odata.net#531: a relative next link with blanks and letters is encoded once."""
    with site.stage("odata_nextlink_relative") as stage:
        complete(stage, stage.run(), 5)
        assert stage.erp.queries == [
            ["$filter=UpdateDate ge '2024-01-01'"],
            ["$filter=UpdateDate ge '2024-01-01' and U_Marka eq 'Çağdaş Giyim'", "$skip=2"],
            ["$skip=4"],
        ]


def test_token_plus_equals(site: Site):
    """ElsevierDev/elsapy#47, microsoft/CromwellOnAzure#46: a token with signs of its own arrives unchanged."""
    with site.stage("token_plus_equals") as stage:
        complete(stage, stage.run(), 6)
        tokens = [asked.of("pageToken") for asked in stage.erp.asked]
        assert tokens == [None, "+RID:~k3AJ/AA+BB==#RT:1#TRC:10", "a%2Bb c&d=é%"]


def test_retry_after_decimal(site: Site):
    """Shopify/shopify-app-python#18, urllib3/urllib3#2861: a Retry-After of 2.0 is two seconds, of the ERP and of Omnitron."""
    throttled = {"status": 429, "retry_after": "2.0", "first": 1, "path": "/api/v1/downloadable-image/"}
    with site.stage("retry_after_decimal", faults=[throttled]) as stage:
        ended = stage.run()
        complete(stage, ended, 1)
        assert len(stage.erp.asked) == 2
        assert ended.took >= 4


# what is a page ----------------------------------------------------------------------------------------------------------


def agreed(site: Site, case: str, file: str, **changes: Any) -> tuple[Ended, Pictures]:
    """What a run of a case comes to; `try` shows the same products."""
    with site.stage(case) as stage:
        ended = stage.run(file, **changes)
        made = document(case, file)
        for path, value in changes.items():
            parent, name = path.split("__")
            made[parent][name] = value
        tried = site.tried(made, page(case))
        shown = {row.product: [image.url for image in row.images] for row in tried.rows if row.state == "ready"}
        assert tried.ok == (ended.exit == 0)
        assert shown == stage.pictures
        return ended, stage.pictures


@pytest.mark.parametrize("file", ["flow.yaml", "flow2.yaml"])
def test_json_in_string(site: Site, file: str):
    """encosia.com on ASP.NET's `.d`: with a script, JSON in a text is a page."""
    ended, pictures = agreed(site, "json_in_string", file)
    assert (ended.status, pictures) == ("success", catalogue(2))


@pytest.mark.parametrize("file", ["flow.yaml", "flow2.yaml"])
def test_object_keyed_by_sku(site: Site, file: str):
    """api-platform/core#2066, YOURLS/YOURLS#1448: with a mapping of the whole answer, or a script, an object is a page."""
    ended, pictures = agreed(site, "object_keyed_by_sku", file)
    assert ended.status == "success"
    assert pictures == {"A-1": ["https://cdn.example.com/1.jpg"], "A-2": ["https://cdn.example.com/2.jpg"]}


@pytest.mark.parametrize("file", ["flow.yaml", "flow2.yaml"])
def test_single_object(site: Site, file: str):
    """uwaterloo/OpenData#2, open-horizon/exchange-api#480: with a script, one result that is no list is a page."""
    ended, pictures = agreed(site, "single_object", file)
    assert (ended.status, pictures) == ("success", catalogue(1))


@pytest.mark.parametrize(
    ("file", "changes"), [("flow.yaml", {"erp__no_rows": {"null_list": True}}), ("flow2.yaml", {})]
)
def test_go_null_list(site: Site, file: str, changes: dict[str, Any]):
    """flatcar/nebraska#1453, wantedly/apig#44: Go's null for an empty list is no rows, where the flow says so or its script."""
    ended, pictures = agreed(site, "go_null_list", file, **changes)
    assert (ended.status, ended.exit, ended.rows, pictures) == ("empty", 0, {}, {})
