"""The rows of the fake ERP in the shapes that ERPs give them: names, envelopes, ways to page, formats.

    next      Django REST Framework: `results`, and the URL of the next page in `next`
    odata     SAP, Business Central, Dynamics: `value`, `@odata.nextLink`, $filter
    spring    Spring Data: `content`, `totalElements`, pages from 0
    graphql   POST of a query with variables; edges, `pageInfo.endCursor`
    nested    POST of a body with objects in it: filter and paging
    flat      a table: one row for each image, in pages that cut products in two
    csv       the same table as a file, with semicolons, in windows-1254

Each reads what a request asks for, and writes a page. `erp.py` serves them under /shapes/NAME/.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import orjson

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
GRAPHQL_QUERY = "products("


class WrongRequest(Exception):
    """The request is not one of the shape's: an answer with `status`, or a 200 with `body`."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


class Asked(NamedTuple):
    """What a request asks for: rows from `start` on, changed `since`, of these SKUs."""

    start: int = 0
    limit: int = DEFAULT_LIMIT
    since: str | None = None
    skus: str | None = None


class Part(NamedTuple):
    """A page to write: its rows, where they are among all that were asked for, and the request's URL and parameters."""

    rows: Sequence[Mapping[str, Any]]
    asked: Asked
    total: int
    url: str
    params: Mapping[str, Any]

    @property
    def end(self) -> int:
        return self.asked.start + len(self.rows)

    @property
    def more(self) -> bool:
        return self.end < self.total


class Written(NamedTuple):
    """An answer's body and headers."""

    body: bytes
    headers: Mapping[str, str] = {"Content-Type": "application/json"}


class Shape(NamedTuple):
    """How a shape is asked, and how it answers. `flat`: a row is an image."""

    method: str
    asked: Callable[[Mapping[str, Any]], Asked]
    written: Callable[[Part], Written]
    flat: bool = False


def _json(document: Any) -> Written:
    return Written(orjson.dumps(document))


def _number(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if not str(value).isdecimal():
        raise WrongRequest(400, {"detail": f"{name}: not a whole number: {value!r}"})
    return int(value)


def _limit(params: Mapping[str, Any], name: str) -> int:
    return min(max(1, _number(params, name, DEFAULT_LIMIT)), MAX_LIMIT)


def _text(params: Mapping[str, Any], name: str) -> str | None:
    value = params.get(name)
    return None if value in (None, "") else str(value)


def _object(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = params.get(name, {})
    if not isinstance(value, dict):
        raise WrongRequest(400, {"detail": f"{name}: not an object"})
    return value


def _urls(row: Mapping[str, Any]) -> list[str]:
    return [image["url"] for image in row["images"]]


# next ----------------------------------------------------------------------------------------------------------------


def _next_asked(params: Mapping[str, Any]) -> Asked:
    start = _number(params, "offset", 0)
    return Asked(start, _limit(params, "page_size"), _text(params, "modified_date__gt"), _text(params, "code"))


def _next_written(part: Part) -> Written:
    url = part.url.partition("?")[0]
    kept = {name: value for name, value in part.params.items() if name != "offset"}
    following = f"{url}?{urlencode({**kept, 'offset': part.end})}" if part.more else None
    rows = [{"code": row["sku"], "modified_date": row["modified_date"], "pictures": _urls(row)} for row in part.rows]
    return _json({"count": part.total, "next": following, "previous": None, "results": rows})


# odata ---------------------------------------------------------------------------------------------------------------

_FILTER = re.compile(r"ModifiedAt (?:ge|gt) (\S+)")


def _odata_asked(params: Mapping[str, Any]) -> Asked:
    since = _text(params, "$filter")
    if since is not None and (found := _FILTER.fullmatch(since)) is None:
        raise WrongRequest(400, {"error": {"code": "BadRequest", "message": f"$filter: cannot read {since!r}"}})
    start = _number(params, "$skiptoken", _number(params, "$skip", 0))
    return Asked(start, min(_limit(params, "$top"), DEFAULT_LIMIT), found[1].rstrip("Z") if since and found else None)


def _odata_written(part: Part) -> Written:
    rows = [
        {
            "ItemNo": row["sku"],
            "ModifiedAt": row["modified_date"][:19] + "Z",
            "Pictures": [{"Url": image["url"], "Position": image["order"]} for image in row["images"]],
        }
        for row in part.rows
    ]
    url = part.url.partition("?")[0]
    document: dict[str, Any] = {"@odata.context": f"{url.rpartition('/')[0]}/$metadata#Items", "value": rows}
    if part.more and "$top" not in part.params:
        kept = {name: value for name, value in part.params.items() if name not in ("$skip", "$skiptoken")}
        query = urlencode({**kept, "$skiptoken": part.end}, safe="$", quote_via=quote)
        document["@odata.nextLink"] = f"{url}?{query}"
    return _json(document)


# spring --------------------------------------------------------------------------------------------------------------


def _spring_asked(params: Mapping[str, Any]) -> Asked:
    limit = _limit(params, "size")
    return Asked(_number(params, "page", 0) * limit, limit, _text(params, "modifiedAfter"), _text(params, "codes"))


def _spring_written(part: Part) -> Written:
    rows = [
        {
            "productCode": row["sku"],
            "lastModifiedDate": row["modified_date"],
            "media": [{"href": image["url"], "position": image["order"]} for image in row["images"]],
        }
        for row in part.rows
    ]
    limit = part.asked.limit
    return _json(
        {
            "content": rows,
            "totalElements": part.total,
            "totalPages": -(-part.total // limit),
            "number": part.asked.start // limit,
            "size": limit,
            "last": not part.more,
        }
    )


# graphql -------------------------------------------------------------------------------------------------------------


def _graphql_asked(params: Mapping[str, Any]) -> Asked:
    if GRAPHQL_QUERY not in str(params.get("query", "")):
        message = "Syntax Error: a query of products is wanted"
        raise WrongRequest(200, {"data": None, "errors": [{"message": message}]})
    variables = _object(params, "variables")
    after = _text(variables, "after") or "cursor-0"
    if not re.fullmatch(r"cursor-\d+", after):
        raise WrongRequest(200, {"data": None, "errors": [{"message": f"after: no such cursor: {after}"}]})
    start = int(after.partition("-")[2])
    return Asked(start, _limit(variables, "first"), _text(variables, "since"), _text(variables, "skus"))


def _graphql_written(part: Part) -> Written:
    edges = [{"node": {"sku": row["sku"], "images": [{"src": url} for url in _urls(row)]}} for row in part.rows]
    page_info = {"hasNextPage": part.more, "endCursor": f"cursor-{part.end}" if edges else None}
    return _json({"data": {"products": {"edges": edges, "pageInfo": page_info}}})


# nested --------------------------------------------------------------------------------------------------------------


def _nested_asked(params: Mapping[str, Any]) -> Asked:
    chosen, paging = _object(params, "filter"), _object(params, "paging")
    limit = _limit(paging, "pageSize")
    start = (max(1, _number(paging, "pageNo", 1)) - 1) * limit
    return Asked(start, limit, _text(chosen, "modifiedSince"), _text(chosen, "codes"))


def _nested_written(part: Part) -> Written:
    items = [{"code": row["sku"], "images": _urls(row)} for row in part.rows]
    result = {"items": items, "totalCount": part.total}
    return _json({"success": True, "errorMessage": None, "data": {"result": result}})


# flat and csv --------------------------------------------------------------------------------------------------------


def _flat_asked(params: Mapping[str, Any]) -> Asked:
    limit = _limit(params, "limit")
    start = (max(1, _number(params, "page", 1)) - 1) * limit
    return Asked(start, limit, _text(params, "degisiklikTarihi"), _text(params, "stokKodu"))


def _table(part: Part) -> list[dict[str, Any]]:
    return [{"StokKodu": row["sku"], "ResimUrl": row["url"], "Sira": row["order"]} for row in part.rows]


def _flat_written(part: Part) -> Written:
    return _json({"Data": _table(part), "ToplamKayit": part.total})


def _csv_asked(params: Mapping[str, Any]) -> Asked:
    return Asked(0, 1 << 30, _text(params, "changed_since"), _text(params, "sku"))


def _csv_written(part: Part) -> Written:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";")
    writer.writerow(("Ürün", "Görsel", "No"))
    writer.writerows(row.values() for row in _table(part))
    headers = {"Content-Type": "text/csv; charset=windows-1254", "X-Total-Count": str(part.total)}
    return Written(text.getvalue().encode("cp1254"), headers)


SHAPES: dict[str, Shape] = {
    "next": Shape("GET", _next_asked, _next_written),
    "odata": Shape("GET", _odata_asked, _odata_written),
    "spring": Shape("GET", _spring_asked, _spring_written),
    "graphql": Shape("POST", _graphql_asked, _graphql_written),
    "nested": Shape("POST", _nested_asked, _nested_written),
    "flat": Shape("GET", _flat_asked, _flat_written, flat=True),
    "csv": Shape("GET", _csv_asked, _csv_written, flat=True),
}


def images_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table: one for each image."""
    return [{"sku": row["sku"], **image} for row in rows for image in row["images"]]
