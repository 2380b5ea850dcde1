"""What answers say of themselves: the envelopes of many products, complete and incomplete, and what is no signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from imageflow import pointer
from imageflow.model import envelope
from imageflow.model.envelope import Came, Signal

ROWS = [{"sku": f"S{number}", "total": 99, "next": "/x", "hasMore": True} for number in range(10)]
"""Ten rows that look like envelopes themselves: nobody looks into rows."""


def found(
    document: Any, rows_path: str, headers: Mapping[str, str] | None = None, ignore: tuple[str, ...] = ()
) -> tuple[Signal, ...]:
    return envelope.signals(document, pointer.find(document, rows_path), rows_path, headers, ignore)


def owed(document: Any, rows_path: str, *, rows: int = 10, pages: int = 1, **more: Any) -> list[str]:
    """The paths of what speaks of more, after so many rows and pages; ten rows on this page."""
    signals = found(document, rows_path, more.get("headers"), more.get("ignore", ()))
    totals = envelope.smallest(more.get("totals", {}), signals)
    return [signal.path for signal in envelope.owed(signals, Came(rows, pages, 10, totals))]


def ended(document: Any, rows_path: str, *, rows: int = 10, pages: int = 1, **more: Any) -> bool:
    signals = found(document, rows_path, more.get("headers"))
    return envelope.ended(signals, Came(rows, pages, 10, envelope.smallest({}, signals)))


def around(rows_path: str, **beside: Any) -> dict[str, Any]:
    """An object with the rows at a dotted path and fields beside them, by dotted names (`__` for a dot)."""
    document: dict[str, Any] = {}
    for path, value in {**{name.replace("__", "."): value for name, value in beside.items()}, rows_path: ROWS}.items():
        *outer, last = path.split(".")
        inner = document
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return document


INCOMPLETE: dict[str, tuple[Any, str, list[str]]] = {
    "DRF": (around("results", count=33, next="http://e/?page=2", previous=None), "results", ["count", "next"]),
    "Spring Data": (
        around("content", totalElements=33, totalPages=4, last=False, number=0, size=10, first=True, numberOfElements=10),
        "content",
        ["totalElements", "totalPages", "last"],
    ),
    "Spring Data REST": (
        around("_embedded.products", page={"size": 10, "totalElements": 33, "totalPages": 4, "number": 0}),
        "_embedded.products",
        ["page.totalElements", "page.totalPages"],
    ),
    "HAL": (around("_embedded.items", _links__next={"href": "/i?page=2"}), "_embedded.items", ["_links.next.href"]),
    "OData v4": ({"@odata.count": 33, "value": ROWS, "@odata.nextLink": "http://e/?$skip=10"}, "value", ["@odata.count", "@odata.nextLink"]),
    "OData v3": ({"odata.count": "33", "value": ROWS, "odata.nextLink": "x?$skip=10"}, "value", ["odata.count", "odata.nextLink"]),
    "OData v2": ({"d": {"results": ROWS, "__count": "33", "__next": "http://e/?$skip=10"}}, "d.results", ["d.__count", "d.__next"]),
    "Laravel resource": (
        around("data", links={"first": "x", "last": "y", "next": "http://e/?page=2"}, meta={"current_page": 1, "last_page": 4, "per_page": 10, "total": 33, "links": [{"url": None, "label": "next"}]}),
        "data",
        ["links.next", "meta.last_page", "meta.total"],
    ),
    "Laravel simple": (around("data", next_page_url="http://e/?page=2", current_page=1, per_page=10), "data", ["next_page_url"]),
    "JSON:API": (around("data", links__next={"href": "/a?page[number]=2"}, meta__totalPages=4), "data", ["links.next.href", "meta.totalPages"]),
    "JSON:API text": (around("data", links={"self": "/a", "next": "/a?page[number]=2"}), "data", ["links.next"]),
    "Relay": (around("data.products.nodes", data__products__pageInfo={"hasNextPage": True, "endCursor": "c"}), "data.products.nodes", ["data.products.pageInfo.hasNextPage"]),
    "Relay edges": (around("data.products.edges", data__products__totalCount=33, data__products__pageInfo={"hasNextPage": True}), "data.products.edges", ["data.products.totalCount", "data.products.pageInfo.hasNextPage"]),
    "Magento": (around("items", search_criteria={"page_size": 10, "current_page": 1}, total_count=33), "items", ["total_count"]),
    "Odoo web_search_read": (around("result.records", result__length=33, jsonrpc="2.0", id=None), "result.records", ["result.length"]),
    "Odoo REST": (around("results", count=33, prev=None, next=2, total=33), "results", ["count", "next", "total"]),
    "Shopify GraphQL": (around("data.products.edges", data__products__pageInfo__hasNextPage=True, extensions__cost={"requestedQueryCost": 12}), "data.products.edges", ["data.products.pageInfo.hasNextPage"]),
    "Elasticsearch": (around("hits.hits", took=3, _shards={"total": 50}, hits__total={"value": 33, "relation": "eq"}), "hits.hits", ["hits.total.value"]),
    "Elasticsearch 6": (around("hits.hits", hits__total=33, _shards={"total": 50}), "hits.hits", ["hits.total"]),
    "Solr": (around("response.docs", response__numFound=33, response__start=0, responseHeader={"status": 0}), "response.docs", ["response.numFound"]),
    "Algolia": (around("hits", nbHits=33, page=0, nbPages=4, hitsPerPage=10), "hits", ["nbHits", "nbPages"]),
    "Salesforce": (around("records", totalSize=33, done=False, nextRecordsUrl="/q/01g-2000"), "records", ["totalSize", "done", "nextRecordsUrl"]),
    "NetSuite": (around("items", hasMore=True, count=10, offset=0, totalResults=33), "items", ["hasMore", "totalResults"]),
    "Oracle REST": (around("items", hasMore=True, limit=10, links=[{"rel": "self", "href": "x"}, {"rel": "next", "href": "http://e/?offset=10"}]), "items", ["hasMore", "links.1.href"]),
    "FHIR": (around("entry", total=33, link=[{"relation": "next", "url": "http://e/2"}]), "entry", ["total", "link.0.url"]),
    "SCIM": (around("Resources", totalResults=33, itemsPerPage=10, startIndex=1), "Resources", ["totalResults"]),
    "Jira": (around("values", startAt=0, maxResults=10, total=33, isLast=False), "values", ["total", "isLast"]),
    "Bitbucket": (around("values", isLastPage=False, nextPageStart=10, size=10), "values", ["isLastPage", "nextPageStart"]),
    "Stripe": (around("data", has_more=True, url="/v1/products"), "data", ["has_more"]),
    "Slack": (around("members", ok=True, response_metadata__next_cursor="dXNlcjpX"), "members", ["response_metadata.next_cursor"]),
    "HubSpot": (around("results", paging__next={"after": "NTI1", "link": "?after=NTI1"}), "results", ["paging.next.link"]),
    "Facebook": (around("data", paging={"cursors": {"after": "x"}, "next": "https://g/?after=x"}), "data", ["paging.next"]),
    "Google": (around("items", nextPageToken="CAoQAA"), "items", ["nextPageToken"]),
    "Azure": (around("value", nextLink="https://m/?skip=10"), "value", ["nextLink"]),
    "AWS": (around("Products", IsTruncated=True, NextToken="t"), "Products", ["IsTruncated", "NextToken"]),
    "Twilio": (around("items", next_page_uri="/2010?Page=1", page=0, page_size=10), "items", ["next_page_uri"]),
    "Strapi": (around("data", meta__pagination={"page": 1, "pageSize": 10, "pageCount": 4, "total": 33}), "data", ["meta.pagination.pageCount", "meta.pagination.total"]),
    "BigCommerce": (around("data", meta__pagination={"total": 33, "count": 10, "per_page": 10, "current_page": 1, "total_pages": 4}), "data", ["meta.pagination.total", "meta.pagination.total_pages"]),
    "Kaminari": (around("products", meta={"current_page": 1, "next_page": 2, "total_pages": 4, "total_count": 33}), "products", ["meta.next_page", "meta.total_pages", "meta.total_count"]),
    "API Platform": ({"hydra:member": ROWS, "hydra:totalItems": 33, "hydra:view": {"hydra:next": "/a?page=2"}}, "hydra:member", ["hydra:totalItems", "hydra:view.hydra:next"]),
    "Trendyol": (around("content", totalElements=33, totalPages=4, page=0, size=10), "content", ["totalElements", "totalPages"]),
    "N11": (around("products", pagingData={"currentPage": 0, "pageCount": 4, "pageSize": 10, "totalCount": 33}), "products", ["pagingData.pageCount", "pagingData.totalCount"]),
    "ABP": (around("result.items", result__totalCount=33, success=True, error=None), "result.items", ["result.totalCount"]),
    "PagedList": (around("Items", PageNumber=1, PageCount=4, TotalItemCount=33, HasNextPage=True, IsLastPage=False), "Items", ["PageCount", "TotalItemCount", "HasNextPage", "IsLastPage"]),
    "mongoose": (around("docs", totalDocs=33, totalPages=4, page=1, hasNextPage=True, nextPage=2), "docs", ["totalDocs", "totalPages", "hasNextPage", "nextPage"]),
    "DataTables": (around("data", draw=1, recordsTotal=5000, recordsFiltered=33), "data", ["recordsFiltered"]),
    "contentful": (around("items", total=33, skip=0, limit=10), "items", ["total"]),
    "Kubernetes": (around("items", metadata={"continue": "x", "remainingItemCount": 23}), "items", ["metadata.remainingItemCount"]),
    "kebab": ({"rows": ROWS, "page-info": {"total-count": 33, "has-more": "true"}}, "rows", ["page-info.total-count", "page-info.has-more"]),
    "Turkish": (around("Veri.Liste", Veri__ToplamKayitSayisi=33, Veri__DevamVar=True), "Veri.Liste", ["Veri.ToplamKayitSayisi", "Veri.DevamVar"]),
    "in a list": ([{"items": ROWS, "total": 33}], "0.items", ["0.total"]),
    "deep": (around("a.b.c.d.list", a__b__paging__more__info__totalCount=33), "a.b.c.d.list", ["a.b.paging.more.info.totalCount"]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(INCOMPLETE))
def test_envelopes_that_speak_of_more(name: str):
    """The first ten of 33 rows: everything that says so is found, and nothing else."""
    document, rows_path, paths = INCOMPLETE[name]
    assert sorted(owed(document, rows_path)) == sorted(paths)
    assert not ended(document, rows_path)


COMPLETE: dict[str, tuple[Any, str]] = {
    "DRF": (around("results", count=33, next=None, previous="http://e/?page=3"), "results"),
    "Spring Data": (around("content", totalElements=33, totalPages=4, last=True, number=3, size=10), "content"),
    "OData v4": ({"@odata.count": 33, "value": ROWS}, "value"),
    "OData v2": ({"d": {"results": ROWS, "__count": "33"}}, "d.results"),
    "Laravel": (around("data", links__next=None, meta={"current_page": 4, "last_page": 4, "total": 33}), "data"),
    "Relay": (around("data.p.nodes", data__p__pageInfo={"hasNextPage": False, "endCursor": "c"}), "data.p.nodes"),
    "Magento": (around("items", total_count=33, search_criteria={"page_size": 10, "current_page": 4}), "items"),
    "Odoo": (around("result.records", result__length=33), "result.records"),
    "Elasticsearch": (around("hits.hits", hits__total={"value": 33}, _shards={"total": 50}), "hits.hits"),
    "Algolia": (around("hits", nbHits=33, page=3, nbPages=4), "hits"),
    "Salesforce": (around("records", totalSize=33, done=True), "records"),
    "Jira": (around("values", total=33, isLast=True), "values"),
    "Stripe": (around("data", has_more=False), "data"),
    "Slack": (around("members", response_metadata__next_cursor=""), "members"),
    "Twitter": (around("users", next_cursor=0, next_cursor_str="0"), "users"),
    "always a link": (around("data", total=33, next="http://e/?page=5"), "data"),
    "flag outweighs a link": (around("data", hasMore=False, next="http://e/?page=5"), "data"),
    "last page outweighs a link": (around("data", page=4, totalPages=4, next="http://e/?page=5"), "data"),
    "null as a text": (around("data", next="null"), "data"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(COMPLETE))
def test_envelopes_that_say_that_all_came(name: str):
    """The last page of 33 rows over four pages: nothing speaks of more, and the answer itself says that this is the end."""
    document, rows_path = COMPLETE[name]
    assert owed(document, rows_path, rows=33, pages=4) == []
    assert ended(document, rows_path, rows=33, pages=4)


HEADERS: dict[str, tuple[dict[str, str], list[str]]] = {
    "WooCommerce": ({"x-wp-total": "33", "x-wp-totalpages": "4"}, ["X-Wp-Total", "X-Wp-Totalpages"]),
    "Link": ({"link": '<http://e/?page=2>; rel="next"'}, ["Link"]),
    "GitLab": ({"x-total": "33", "x-total-pages": "4", "x-page": "1", "x-next-page": "2"}, ["X-Total", "X-Total-Pages", "X-Next-Page"]),
    "JSON Server": ({"x-total-count": "33"}, ["X-Total-Count"]),
    "will_paginate": ({"total-count": "33", "total-pages": "4"}, ["Total-Count", "Total-Pages"]),
    "ASP.NET": ({"x-pagination": '{"TotalCount":33,"PageSize":10,"TotalPages":4,"HasNext":true}'}, ["X-Pagination.TotalCount", "X-Pagination.TotalPages", "X-Pagination.HasNext"]),
    "Content-Range": ({"content-range": "items 0-9/33"}, ["Content-Range"]),
    "Drupal": ({"x-pagination-total-count": "33"}, ["X-Pagination-Total-Count"]),
    "a last page of GitLab": ({"x-total": "10", "x-total-pages": "1", "x-page": "1", "x-next-page": ""}, []),
    "other headers": ({"x-count": "10", "x-ratelimit-limit": "1000", "content-length": "9999", "x-pagination": "}", "age": "60", "page": "2"}, []),
    "Content-Range without a total": ({"content-range": "items 0-9/*"}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HEADERS))
def test_headers(name: str):
    """Headers speak of more, too, beside a list as well as beside an object; `ignore` names them as they are shown."""
    headers, paths = HEADERS[name]
    assert owed(ROWS, "", headers=headers) == paths
    assert owed(ROWS, "", headers=headers, ignore=tuple(path.lower() for path in paths)) == []


FALSE_ALARMS: dict[str, tuple[Any, str]] = {
    "a sum of money": (around("data", cart={"total": 1299, "count": 40}), "data"),
    "a sum beside a currency": (around("data", total=1299, currency="TRY"), "data"),
    "a sum with a fraction": (around("data", total=1299.9), "data"),
    "a round sum as a float": (around("data", summary={"total": 1300.0}), "data"),
    "named sums": (around("data", total_price=1300, totalAmount=5000, grandTotal=99, total_weight=77), "data"),
    "the page's own count": (around("data", count=10, size=10), "data"),
    "a total of nothing": (around("data", total=0), "data"),
    "the size of a page": (around("data", per_page=100, pageSize=100, limit=500, max_results=1000), "data"),
    "a count per page": (around("data", totalPerPage=100, countPerPage=50), "data"),
    "documentation": (around("data", next="see the docs for how to page", docs={"next": "http://docs/page2"}), "data"),
    "an object under next": (around("data", next={"description": "ask with ?page=2", "method": "GET"}), "data"),
    "facets": (around("data", facets={"brand": {"count": 50, "total": 90}}, aggregations={"total": 77}), "data"),
    "lists beside the rows": (around("data", categories=[{"count": 50, "total": 500, "next": "x"}]), "data"),
    "another list's envelope": (around("data.products.nodes", data__categories={"nodes": [{"id": 1}], "totalCount": 77, "pageInfo": {"hasNextPage": True}}), "data.products.nodes"),
    "shards": (around("hits.hits", _shards={"total": 50, "successful": 50}), "hits.hits"),
    "quotas": (around("data", rateLimit={"limit": 1000, "remaining": 990, "total": 1000}, usage={"count": 400}), "data"),
    "stock": (around("data", stock={"total": 5000}), "data"),
    "bytes": (around("data", file={"size": 90000, "length": 90000}), "data"),
    "what was asked": (around("data", request={"page": 1, "total": 100, "next": "x"}, query={"count": 100}), "data"),
    "the next event": (around("data", nextUpdate="2026-01-01T00:00:00", next_run_at="tomorrow", nextSteps="call"), "data"),
    "texts under flags": (around("data", links={"last": "http://e/?page=4", "first": "x"}, more="http://help", done="ok"), "data"),
    "cursors that are always there": (around("data", cursors={"after": "x", "before": "y"}, endCursor="z", scroll_id="q"), "data"),
    "flags that are not set": (around("data", hasMore=0, has_next="no", truncated=False, hasMoreItems="false"), "data"),
    "nothing comes next": (around("data", next=False, next_page=None, nextToken="", next_cursor="none", nextOffset=-1), "data"),
    "a large object": (around("data", byId={f"id{number}": {"total": 99} for number in range(300)}), "data"),
    "no numbers": (around("data", total="many", totalCount=None, totalPages={}, count=True), "data"),
    "negative": (around("data", total=-1, totalPages=-1), "data"),
    "texts": ("[]", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FALSE_ALARMS))
def test_what_is_no_signal(name: str):
    """Numbers, texts and flags that mean something else speak of nothing."""
    document, rows_path = FALSE_ALARMS[name]
    assert owed(document, rows_path) == []


@pytest.mark.parametrize("ignore", ["meta.total", "/meta/total", "META.TOTAL", "meta"])
def test_ignored(ignore: str):
    """A path, dotted or as a JSON Pointer, silences what stands there and below."""
    document = around("data", meta={"total": 33})
    assert owed(document, "data") == ["meta.total"]
    assert owed(document, "data", ignore=(ignore,)) == []
    assert owed(document, "data", ignore=("meta.tot",)) == ["meta.total"]


@pytest.mark.parametrize(
    ("document", "rows", "pages", "says"),
    [
        (around("data", count=10), 10, 1, False),
        (around("data", total=10), 10, 1, True),
        (around("data", count=30), 30, 3, True),
        (around("data", total=10, next="http://e/?page=2"), 10, 1, False),
        (around("data", total=33, hasMore=False), 10, 1, False),
        (around("data", totalPages=1), 10, 1, False),
        (around("data"), 10, 1, False),
    ],
)
def test_what_proves_the_end(document: Any, rows: int, pages: int, says: bool):
    """A count that may be the page's own proves nothing, nor does anything beside what speaks of more."""
    assert ended(document, "data", rows=rows, pages=pages) is says


def test_rows_that_move_or_cannot_be_counted():
    """Where rows move between pages, their number proves no end; where they cannot be counted, a total says nothing."""
    signals = found(around("data", total=33, next="x"), "data")
    assert [signal.path for signal in envelope.owed(signals, Came(33, 4, 10, {}, moved=True))] == ["next"]
    assert [signal.path for signal in envelope.owed(signals, Came(None, 1, 1))] == ["next"]


def test_the_smallest_total_counts():
    """Rows that are added while others are read belong to the next run."""
    totals = envelope.smallest({"total": 33}, found(around("data", total=35, meta__total=4), "data"))
    assert totals == {"total": 33, "meta.total": 4}
    assert owed(around("data", total=35), "data", rows=33, pages=4, totals={"total": 33}) == []


def test_what_a_type_judges_itself():
    """Its own paths are left to it."""
    signals = found(around("data", total=33, next="x"), "data")
    assert envelope.owed(signals, Came(10, 1, 10), frozenset(("total", "next"))) == ()


def test_a_signal_in_words():
    """Path and value, cut where it is long."""
    (short,) = found(around("data", total=33), "data")
    (long,) = found(around("data", next="http://e/" + "x" * 900), "data")
    assert str(short) == "total is 33"
    assert str(long).startswith('next is "http://e/xxx')
    assert len(str(long)) < 150


@pytest.mark.parametrize(
    ("beside", "paths"),
    [
        ({"totalElements": 10, "totalPages": 1, "last": True, "number": 0, "size": 100}, []),
        ({"last": True, "number": 0, "size": 100}, []),
        ({"page__size": 100, "page__totalElements": 10, "page__totalPages": 1, "page__number": 0}, []),
        ({"total": 10, "size": 100}, []),
        ({"total": 10, "count": 100}, ["count"]),
        ({"totalElements": 12, "size": 100}, ["totalElements"]),
        ({"size": 12}, ["size"]),
        ({"count": 12, "hasMore": False}, ["count"]),
        ({"meta__count": 12, "total": 10}, ["meta.count"]),
    ],
)
def test_the_size_of_a_page_is_no_total(beside: dict[str, Any], paths: list[str]):
    """A last page holds fewer rows than pages may have: what says how many that are is no total, beside one or beside a page's
    number; alone it may be one.
    """
    assert owed(around("content", **beside), "content") == paths


def test_bounds():
    """Envelopes are searched to a bounded depth and size."""
    document: Any = {"total": 33}
    for _ in range(20):
        document = {"a": document}
    assert found(document | {"data": []}, "data") == ()
    wide = {"data": [], **{f"f{number}": number for number in range(6000)}, "total": 33}
    assert found(wide, "data") == ()


@pytest.mark.parametrize("name", ["totalCount", "data", "pageInfo", "meta", "next"])
def test_names_of_envelopes(name: str):
    """Names that no SKU has."""
    assert envelope.is_field(name)
    assert not envelope.is_field("A-1")
