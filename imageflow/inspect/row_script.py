"""The part of a flow file that makes rows of what an ERP answers: a script, a filename_template, or nothing where none is needed.
Pure.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from imageflow.inspect.row_shape import Order, Pictures, Shape, Way

CANONICAL = {"sku", "product_sku"}
"""Names of the product's field that need no script."""


class RowPart(NamedTuple):
    """Fields of a flow file, in their order, and what is left to ask about them. `fields` is empty where rows can be taken as they
    are, None where nothing was found that makes rows.
    """

    fields: dict[str, Any] | None
    questions: tuple[str, ...] = ()


def row_part(shape: Shape, rows_path: str = "") -> RowPart:
    """What makes rows of such a shape."""
    if shape.pictures is None or (shape.product is None and shape.template is None):
        return RowPart(None, shape.questions)
    fields: dict[str, Any] = {}
    if shape.template is not None:
        fields["filename_template"] = shape.template
    if shape.flat and shape.product is not None:
        fields["group"] = "run"
    script = _script(shape, rows_path)
    if script is not None:
        fields["script"] = script
    return RowPart(fields, shape.questions)


def _script(shape: Shape, rows_path: str) -> str | None:
    pictures = shape.pictures
    if pictures is None or as_it_is(shape):
        return None
    base = [] if pictures.absolute else ['BASE = ""', ""]
    body = _keyed(pictures, rows_path) if shape.keyed else _row(shape, pictures)
    return "\n".join([*base, *body]) + "\n"


def as_it_is(shape: Shape) -> bool:
    """Whether rows of this shape need no script: they have the names that ImageFlow has, and all that it wants."""
    pictures = shape.pictures
    if pictures is None or not pictures.always or not pictures.absolute or pictures.alone or pictures.holes:
        return False
    if shape.template is not None:
        return pictures.way in ((), ("url",))
    if shape.keyed or shape.product is None or len(shape.product) != 1 or shape.product[0] not in CANONICAL:
        return False
    if pictures.form == "single":
        return pictures.way == ("url",) and _is_order(shape.order)
    return pictures.way == ("images",) and pictures.form == "list" and _known(pictures)


def _known(pictures: Pictures) -> bool:
    """Whether the elements of a list of images are URLs, or objects with the names that ImageFlow has."""
    return pictures.url in ((), ("url",)) and _is_order(pictures.order)


def _is_order(order: Order | None) -> bool:
    return order is None or (order.way == ("order",) and not order.text)


# scripts --------------------------------------------------------------------------------------------------------------


def _row(shape: Shape, pictures: Pictures) -> list[str]:
    """`process_row`. A row without images is passed over: the shop keeps the ones that it has."""
    lines = ["def process_row(row):"]
    if pictures.form == "single":
        if not pictures.always:
            lines += [f"    if not {_maybe('row', pictures.way)}:", "        return None  # no image"]
        return [*lines, *_flat(shape, pictures)]
    images, before = _images("row", pictures)
    lines += before
    if not pictures.always:
        lines += [f"    images = {images}", "    if not images:"]
        lines += ["        return None  # no images: the shop keeps those that it has"]
        images = "images"
    assert shape.product is not None
    return [*lines, *_returned(f'"sku": {_at("row", shape.product)}', f'"images": {images}')]


def _flat(shape: Shape, pictures: Pictures) -> list[str]:
    parts = [] if shape.product is None else [f'"sku": {_at("row", shape.product)}']
    parts.append(f'"url": {_whole(_at("row", pictures.way) if pictures.way else "row", pictures)}')
    if shape.order:
        parts.append(f'"order": {_ordered("row", shape.order)}')
    return _returned(*parts)


def _keyed(pictures: Pictures, rows_path: str) -> list[str]:
    """`process`, for an object that holds rows under the names of their products."""
    held = _at("response", tuple(rows_path.split("."))) if rows_path else "response"
    images, before = _images("row", pictures)
    lines = ["def process(response):", "    rows = []", f"    for sku, row in {held}.items():"]
    lines += [f"    {line}" for line in before]
    if not pictures.always:
        lines += [f"        images = {images}", "        if not images:"]
        lines += ["            continue  # no images: the shop keeps those that it has"]
        images = "images"
    return [*lines, f'        rows.append({{"sku": sku, "images": {images}}})', "    return rows"]


def _images(root: str, pictures: Pictures) -> tuple[str, list[str]]:
    """An expression for the images of a row, and the lines that stand before it."""
    found = (_at if pictures.always else _maybe)(root, pictures.way)
    if pictures.form == "text":
        split = f'({found} or "").split({_text(pictures.separator)})'
        return f"[{_whole('url.strip()', pictures)} for url in {split} if url.strip()]", []
    if pictures.form == "numbered":
        held = _at(root, pictures.way) if pictures.way else root
        names = ", ".join(map(_text, pictures.names))
        return f"[{_whole(f'{held}[name]', pictures)} for name in names if {held}.get(name)]", [
            f"    names = ({names})"
        ]
    if pictures.form == "keyed":
        return f"[{_whole('url', pictures)} for url in ({found} or {{}}).values() if url]", []
    before: list[str] = []
    if pictures.alone:
        before = [
            f"    listed = {found}",
            "    if not isinstance(listed, list):",
            "        listed = [listed] if listed else []",
        ]
        found = "listed"
    return _listed(found, pictures), before


def _listed(found: str, pictures: Pictures) -> str:
    """The images of a list: as they are, if the names are ImageFlow's."""
    if pictures.absolute and not pictures.holes and _known(pictures):
        return found
    items = found if pictures.always or pictures.alone else f"{found} or []"
    if not pictures.url:
        return f"[{_whole('url', pictures)} for url in {items}{' if url' if pictures.holes else ''}]"
    has = f" if one and {_maybe('one', pictures.url)}" if pictures.holes else ""
    url = _whole(_at("one", pictures.url), pictures)
    if not pictures.order:
        return f"[{url} for one in {items}{has}]"
    return f'[{{"url": {url}, "order": {_ordered("one", pictures.order)}}} for one in {items}{has}]'


def _ordered(root: str, order: Order) -> str:
    """An image's place; a text may be empty."""
    return _at(root, order.way) + (" or None" if order.text else "")


def _whole(url: str, pictures: Pictures) -> str:
    return url if pictures.absolute else f"BASE + {url}"


def _at(root: str, way: Way) -> str:
    return root + "".join(f"[{_text(name)}]" for name in way)


def _maybe(root: str, way: Way) -> str:
    """As `_at`, for what may be missing on the way."""
    for name in way[:-1]:
        root = f"({root}.get({_text(name)}) or {{}})"
    return f"{root}.get({_text(way[-1])})" if way else root


def _text(text: str) -> str:
    """A text as Python has it: JSON's way is one of them."""
    return msgspec.json.encode(text).decode()


def _returned(*parts: str) -> list[str]:
    """`return` of an object, over several lines where it is long."""
    line = f"    return {{{', '.join(parts)}}}"
    if len(line) <= 110:
        return [line]
    return ["    return {", *(f"        {part}," for part in parts), "    }"]
