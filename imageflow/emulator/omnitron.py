"""A fake Omnitron: logins, the image endpoint with its replacing semantics, products and their images.

It keeps what clients wrote and how: which images each product has, how often and in which order they were written,
and how many requests were in hand at once, over all and for one product.

    POST /api/v1/auth/login/            or /api/i1/auth/login/
    POST /api/v1/downloadable-image/    or /api/i1/downloadable_image/
    GET  /api/v1/products/              also /api/v1/channel/{id}/products/
    GET  /api/v1/product_image/?product={pk}
    GET  /_emulator/state?sku=A,B       state, counters (all products without `sku`)
    POST /_emulator/faults              replace the fault script, see faults.py
    POST /_emulator/products            {"products": […], "replace": true} or {"generate": N}
    POST /_emulator/expire              every token that was given is void
    POST /_emulator/reset
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import orjson
from aiohttp import web

from imageflow.emulator.catalog import base_code_of, sku_of
from imageflow.emulator.faults import CLEAN
from imageflow.emulator.server import (
    REQUIRED,
    AnyFault,
    Canned,
    Emulator,
    Shortcut,
    credentials_in,
    json_answer,
)
from imageflow.model.imageset import IMAGE_TYPES, Image

LOGIN_PATHS = frozenset(("/api/v1/auth/login/", "/api/i1/auth/login/"))
IMAGES_PATHS = frozenset(("/api/v1/downloadable-image/", "/api/i1/downloadable_image/"))
DEFAULT_LIMIT = 10
MAX_LIMIT = 1000

_CREATED = Canned(201)
_OK = Canned(200)
_INVALID_TOKEN = {"detail": "Invalid token."}


class ImageWrite(msgspec.Struct, frozen=True):
    """The body of a write, as a well-formed client sends it."""

    product_sku: str
    images: list[Image]


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product of Omnitron's catalogue."""

    pk: int
    sku: str
    name: str = ""
    base_code: str = ""
    is_active: bool = True
    attributes: dict[str, Any] = {}
    productization_date: str | None = None


class Written(msgspec.Struct, frozen=True):
    """One accepted write: `seq` orders the writes of all products."""

    seq: int
    images: tuple[Image, ...]


_decode = msgspec.json.Decoder(ImageWrite).decode
_URL = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE).fullmatch


class FakeOmnitron(Emulator):
    """A fake Omnitron.

    `products` is the catalogue: a number of generated ones, or objects with at least `sku`. `strict` refuses images
    for a product that is not in it, with `strict_status` (400 or 404). `inline_images` shows `productimage_set` in
    products. `keep_history` keeps every accepted write and watches for writes of one product that overlap; without it
    the emulator does as little per request as it can.

    Attributes to look at: `images` (SKU to its images), `writes` (accepted writes per SKU), `history`, `logins`,
    `refused`, `unchanged` (writes that changed nothing), `max_in_flight`, `max_in_flight_per_product`. A request whose
    client has gone away no longer counts as being in hand for its product; its images are still taken over.
    """

    def __init__(
        self,
        *,
        username: str = "demo",
        password: str = "demo",
        products: int | Iterable[Mapping[str, Any]] = 0,
        strict: bool = False,
        strict_status: int = 400,
        inline_images: bool = False,
        keep_history: bool = True,
        faults: Iterable[AnyFault] = (),
    ) -> None:
        super().__init__(faults=faults)
        self._credentials = (username, password)
        self._strict = strict
        self._strict_status = strict_status
        self._inline_images = inline_images
        self._keep_history = keep_history
        self._first_products = generated_products(products) if isinstance(products, int) else [*products]
        self._first_faults = self.faults
        self._clear()

    def _clear(self) -> None:
        self.images: dict[str, tuple[Image, ...]] = {}
        self.writes: Counter[str] = Counter()
        self.history: dict[str, list[Written]] = {}
        self.products: dict[str, Product] = {}
        self.written = 0
        self.unchanged = 0
        self.logins = 0
        self.refused_logins = 0
        self.unauthorised = 0
        self.invalid = 0
        self.faulted = 0
        self.max_in_flight_per_product = 0
        self.overlapped: Counter[str] = Counter()
        self._tokens: dict[str, int] = {}
        self._in_hand: dict[str, list[asyncio.BaseTransport | None]] = {}
        self.add_products(self._first_products)

    @property
    def refused(self) -> int:
        """Answers other than success, faults included."""
        return self.unauthorised + self.invalid + self.faulted + self.refused_logins

    def reset(self) -> None:
        """Reset: no images, no tokens, the initial products and faults."""
        self.restart(self._first_faults)
        self._clear()

    def expire_tokens(self) -> None:
        """From now on, all tokens given so far get a 401."""
        self._tokens.clear()

    def add_products(self, products: Iterable[Mapping[str, Any]], *, replace: bool = False) -> None:
        """Add products, or change those with the same SKU; `replace`: these are all there are. Raises ValueError."""
        known = {} if replace else dict(self.products)
        last = max((product.pk for product in known.values()), default=0)
        for fields in products:
            if not isinstance(fields, Mapping) or not isinstance(fields.get("sku"), str):
                raise ValueError(  # noqa: TRY004 - the caller's data are wrong, not the call
                    f"a product is an object with a sku, not {fields!r}"
                )
            old = known.get(fields["sku"])
            merged = {**({"pk": last + 1} if old is None else msgspec.structs.asdict(old)), **fields}
            known[fields["sku"]] = product = msgspec.convert(merged, Product)
            last = max(last, product.pk)
        self.products = known

    def expire_or_count(self, authorization: str | None) -> bool:
        """Whether the header holds a valid token; counts its use."""
        uses = self._tokens.get(authorization or "")
        if uses is None or authorization is None:
            return False
        limit = self._script.token_uses
        if limit is not None and uses >= limit:
            del self._tokens[authorization]
            return False
        self._tokens[authorization] = uses + 1
        return True

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path in IMAGES_PATHS:
            return await self._write(request, path)
        login = path in LOGIN_PATHS
        verdict = self._script.judge(path, (), self.in_flight, login=login)
        if verdict is not CLEAN and (refusal := await self.meet(verdict)) is not None:
            self.faulted += 1
            return refusal
        response = await self._login(request) if login else self._read(request, path)
        return self.unless_lost(verdict, response)

    @property
    def shortcut(self) -> Shortcut | None:
        return None if self._keep_history or self._strict else self._quickly

    def _quickly(self, path: str, authorization: str, body: bytes) -> bytes | None:
        """Accept a well-formed write that no fault can meet."""
        if path not in IMAGES_PATHS or not self._script.quiet or authorization not in self._tokens:
            return None
        write = decoded(body)
        if write is None or not acceptable(write) or not self.expire_or_count(authorization):
            return None
        self.requests += 1
        return (_CREATED if self._replace(write.product_sku, tuple(write.images)) else _OK).data

    # -- login ---------------------------------------------------------------------------------------------------

    async def _login(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            return self._wrong_method(request)
        authorization = request.headers.get("Authorization")
        if authorization is not None and authorization not in self._tokens:
            self.refused_logins += 1
            return json_answer(401, _INVALID_TOKEN)
        problems, given = credentials_in(await request.read())
        if not problems and given != self._credentials:
            problems = {"non_field_errors": ["Unable to log in with provided credentials."]}
        if problems:
            self.refused_logins += 1
            return json_answer(400, problems)
        key = secrets.token_hex(20)
        self._tokens[f"Token {key}"] = 0
        self.logins += 1
        return json_answer(200, {"key": key})

    # -- images --------------------------------------------------------------------------------------------------

    async def _write(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        body = await request.read()
        write = decoded(body)
        script = self._script
        if script.quiet and not self._keep_history:
            return self._accept(request, body, write)
        sku = sku_in(body) if write is None else write.product_sku
        self._take_in_hand(sku, request.transport)
        try:
            verdict = script.judge(path, (sku,), self.in_flight)
            refusal = await self.meet(verdict)
            if refusal is not None:
                self.faulted += 1
                return refusal
            response = self._accept(request, body, write)
            return self.unless_lost(verdict, response)
        finally:
            self._put_down(sku, request.transport)

    def _accept(self, request: web.BaseRequest, body: bytes, write: ImageWrite | None) -> web.StreamResponse:
        if not self.expire_or_count(request.headers.get("Authorization")):
            self.unauthorised += 1
            return json_answer(401, _INVALID_TOKEN)
        if request.method != "POST":
            return self._wrong_method(request)
        if write is None or not acceptable(write):
            write, problems = corrected(body)
            if write is None:
                self.invalid += 1
                return json_answer(400, problems)
        if self._strict and write.product_sku not in self.products:
            self.invalid += 1
            return self._unknown_product(write.product_sku)
        created = self._replace(write.product_sku, tuple(write.images))
        if request.keep_alive:
            return _CREATED if created else _OK
        return web.Response(status=201 if created else 200)

    def _replace(self, sku: str, images: tuple[Image, ...]) -> bool:
        """The product has exactly these images from now on. True when it had none before."""
        old = self.images.get(sku)
        self.images[sku] = images
        self.writes[sku] += 1
        self.written += 1
        if old is not None and set(old) == set(images):
            self.unchanged += 1
        if self._keep_history:
            self.history.setdefault(sku, []).append(Written(self.written, images))
        return old is None

    def _unknown_product(self, sku: str) -> web.Response:
        if self._strict_status == 404:
            return json_answer(404, {"detail": "Not found."})
        return json_answer(self._strict_status, {"product_sku": [f"Object with sku={sku} does not exist."]})

    def _take_in_hand(self, sku: str, transport: asyncio.BaseTransport | None) -> None:
        """Note a write of a product as begun; of those before it, only clients that still listen count."""
        here: list[asyncio.BaseTransport | None] = [
            other for other in self._in_hand.get(sku, ()) if other is not None and not other.is_closing()
        ]
        if here:
            self.overlapped[sku] += 1
        here.append(transport)
        self._in_hand[sku] = here
        self.max_in_flight_per_product = max(self.max_in_flight_per_product, len(here))

    def _put_down(self, sku: str, transport: asyncio.BaseTransport | None) -> None:
        here = self._in_hand.get(sku, [])
        if transport in here:
            here.remove(transport)
        if not here:
            self._in_hand.pop(sku, None)

    # -- catalogue -----------------------------------------------------------------------------------------------

    def _read(self, request: web.BaseRequest, path: str) -> web.Response:
        if not self.expire_or_count(request.headers.get("Authorization")):
            self.unauthorised += 1
            return json_answer(401, _INVALID_TOKEN)
        if request.method != "GET":
            return self._wrong_method(request)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "v1"] and parts[-1] == "products" and (len(parts) == 3 or parts[2] == "channel"):
            found: Sequence[Any] = [one for one in self._candidates(request.query) if selected(one, request.query)]
            return self._listed(request, path, found, self._shown)
        if parts == ["api", "v1", "product_image"]:
            return self._listed(request, path, self._product_images(request.query.get("product")), dict)
        return json_answer(404, {"detail": "Not found."})

    def _candidates(self, query: Mapping[str, str]) -> Iterable[Product]:
        if "sku" not in query:
            return self.products.values()
        product = self.products.get(query["sku"])
        return () if product is None else (product,)

    def _listed(self, request: web.BaseRequest, path: str, found: Sequence[Any], shown: Any) -> web.Response:
        query = request.query
        try:
            page, limit = int(query.get("page", 1)), min(int(query.get("limit", DEFAULT_LIMIT)), MAX_LIMIT)
        except ValueError:
            page, limit = 0, 1
        limit = limit if limit > 0 else DEFAULT_LIMIT
        if page < 1 or (page > 1 and (page - 1) * limit >= len(found)):
            return json_answer(404, {"detail": "Invalid page."})
        origin = f"http://{request.host}{path}"

        def link(number: int) -> str:
            return f"{origin}?{urlencode({**query, 'page': number})}"

        results = [shown(one) for one in found[(page - 1) * limit : page * limit]]
        following = link(page + 1) if page * limit < len(found) else None
        previous = link(page - 1) if page > 1 else None
        return json_answer(200, {"count": len(found), "next": following, "previous": previous, "results": results})

    def _shown(self, product: Product) -> dict[str, Any]:
        fields = msgspec.structs.asdict(product)
        return {**fields, "productimage_set": self._image_rows(product)} if self._inline_images else fields

    def _product_images(self, pk: str | None) -> list[dict[str, Any]]:
        if pk is None:
            return [row for product in self.products.values() for row in self._image_rows(product)]
        found = next((product for product in self.products.values() if str(product.pk) == pk), None)
        return [] if found is None else self._image_rows(found)

    def _image_rows(self, product: Product) -> list[dict[str, Any]]:
        ordered = sorted(self.images.get(product.sku, ()), key=lambda image: image.order)
        return [
            {
                "pk": product.pk * 1000 + number,
                "product": product.pk,
                "image": f"https://cdn.omnitron.example/{product.sku}/{number}.jpg",
                "order": image.order,
                "source": image.url,
                "modified_date": "2025-01-01T00:00:00.000000Z",
                "created_date": "2025-01-01T00:00:00.000000Z",
            }
            for number, image in enumerate(ordered, 1)
        ]

    def _wrong_method(self, request: web.BaseRequest) -> web.Response:
        return json_answer(405, {"detail": f'Method "{request.method}" not allowed.'})

    # -- control -------------------------------------------------------------------------------------------------

    async def control(self, request: web.BaseRequest, action: str) -> web.StreamResponse:
        if request.method == "POST" and action == "products":
            self._change_products(orjson.loads(await request.read()))
            return json_answer(200, {"products": len(self.products)})
        if request.method == "POST" and action == "expire":
            self.expire_tokens()
            return json_answer(200, {})
        return await super().control(request, action)

    def _change_products(self, body: Any) -> None:
        listed = body if isinstance(body, list) else body.get("products", [])
        generate = 0 if isinstance(body, list) else int(body.get("generate", 0))
        replace = isinstance(body, dict) and bool(body.get("replace"))
        self.add_products([*generated_products(generate), *listed], replace=replace)

    def state(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Products with their images, writes per product, history (where it is kept) and counters."""
        wanted = list(self.images) if "sku" not in query else query["sku"].split(",")
        skus = [sku for sku in wanted if sku in self.images]
        history = {sku: msgspec.to_builtins(self.history[sku]) for sku in skus if sku in self.history}
        return {
            "products": {sku: self.images_of(sku) for sku in skus},
            "writes": {sku: self.writes[sku] for sku in skus},
            "history": history,
            "counters": self.counters(),
        }

    def counters(self) -> dict[str, Any]:
        return {
            **super().counters(),
            "logins": self.logins,
            "refused": self.refused,
            "refused_logins": self.refused_logins,
            "unauthorised": self.unauthorised,
            "invalid": self.invalid,
            "faulted": self.faulted,
            "written": self.written,
            "unchanged": self.unchanged,
            "products_with_images": len(self.images),
            "max_in_flight_per_product": self.max_in_flight_per_product,
            "overlapped": dict(self.overlapped),
        }

    def images_of(self, sku: str) -> list[dict[str, Any]]:
        """The images of a product in their order, as `FakeErp.expected_images` gives them; empty where it has none."""
        ordered = sorted(self.images.get(sku, ()), key=lambda image: (image.order, image.url))
        return [msgspec.to_builtins(image) for image in ordered]


def generated_products(count: int) -> list[dict[str, Any]]:
    """Products of the shared catalogue; the first was productized today, each further one an hour earlier."""
    now = datetime.now(UTC)
    return [
        {
            "pk": index,
            "sku": sku_of(index),
            "name": f"Product {index}",
            "base_code": base_code_of(index),
            "attributes": {"erp_code": f"ERP-{index}"},
            "productization_date": (now - timedelta(hours=index - 1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        for index in range(1, count + 1)
    ]


def selected(product: Product, query: Mapping[str, str]) -> bool:
    """Whether a product passes the filters of a list request; filters that Omnitron does not know pass all."""
    if query.get("base_code", product.base_code) != product.base_code:
        return False
    if "is_active" in query and (query["is_active"].lower() in ("true", "1")) != product.is_active:
        return False
    since = query.get("productization_date__gte")
    return since is None or (product.productization_date or "") >= since


def decoded(body: bytes) -> ImageWrite | None:
    """A well-formed write; None for anything that needs a closer look."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def acceptable(write: ImageWrite) -> bool:
    """Whether a well-formed write needs no closer look: a product, only URLs, none twice."""
    images = write.images
    for image in images:
        if not _URL(image.url):
            return False
    return bool(write.product_sku) and (len(images) < 2 or len({image.url for image in images}) == len(images))


def sku_in(body: bytes) -> str:
    """The product that a malformed write names, if it does."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    sku = fields.get("product_sku") if isinstance(fields, dict) else None
    return sku if isinstance(sku, str) else ""


def corrected(body: bytes) -> tuple[ImageWrite | None, dict[str, Any]]:
    """The write as a forgiving serializer reads it (numbers as text, null for a default), or what is wrong with it."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return None, {"detail": f"JSON parse error - {error}"}
    if not isinstance(fields, dict):
        return None, {"non_field_errors": ["Invalid data. Expected a dictionary, but got something else."]}
    problems: dict[str, Any] = {}
    sku = fields.get("product_sku")
    if isinstance(sku, bool) or not isinstance(sku, (str, int)) or sku == "":
        problems["product_sku"] = REQUIRED if sku is None else ["Not a valid string."]
    listed = fields.get("images")
    if not isinstance(listed, list):
        return None, {**problems, "images": REQUIRED if listed is None else ["Expected a list of items."]}
    wrong = [image_problems(image) for image in listed]
    if any(wrong):
        problems["images"] = wrong
    elif len({image["url"] for image in listed}) < len(listed):
        problems["images"] = ["The same url appears more than once."]
    if problems:
        return None, problems
    return ImageWrite(str(sku), [Image(i["url"], int(i.get("order") or 0), _type_of(i)) for i in listed]), {}


def image_problems(image: Any) -> dict[str, list[str]]:
    """What is wrong with one image, by field; empty when nothing is."""
    if not isinstance(image, dict):
        return {"non_field_errors": ["Invalid data. Expected a dictionary."]}
    problems = {}
    url = image.get("url")
    if url in (None, ""):
        problems["url"] = REQUIRED
    elif not isinstance(url, str) or not _URL(url):
        problems["url"] = ["Enter a valid URL."]
    if not _is_integer(image.get("order", 0)):
        problems["order"] = ["A valid integer is required."]
    if image.get("image_type", "default") not in IMAGE_TYPES:
        problems["image_type"] = [f'"{image["image_type"]}" is not a valid choice.']
    return problems


def _is_integer(value: Any) -> bool:
    if isinstance(value, str):
        return value.lstrip("-").isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _type_of(image: Mapping[str, Any]) -> Any:
    return image.get("image_type", "default")
