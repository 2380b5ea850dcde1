"""The filename template: what an image is assigned by.

`{sku}` and `{base_code}` say which field of a row names the product. A longer template, `{sku}_{image_order}.jpg`, is
read out of each image URL's file name. It is read from the end, without backtracking: the last separator counts, so that
a SKU may hold it, and no file name takes long.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote

Key = Literal["sku", "base_code"]
ORDER = "image_order"


class Named(NamedTuple):
    """What a file name says."""

    product: str
    order: int | None


class Template(NamedTuple):
    """A template, taken apart: literals[0], fields[0], literals[1], fields[1], …, literals[-1]."""

    text: str
    key: Key
    literals: tuple[str, ...]
    fields: tuple[str, ...]

    @property
    def by_field(self) -> bool:
        """Whether a field of the row names the product, not the image's file."""
        return self.literals == ("", "")

    def read(self, url: str) -> Named | None:
        """Product and order out of a URL's file name; None where it does not fit, or is not UTF-8."""
        try:
            values = self._values(unquote(_last_part(url), errors="strict"))
        except UnicodeDecodeError:
            return None
        if values is None or not all(values.values()):
            return None
        order = values.get(ORDER)
        if order is not None and not re.fullmatch(r"[0-9]{1,9}", order):
            return None
        return Named(values[self.key], None if order is None else int(order))

    def _values(self, name: str) -> dict[str, str] | None:
        first, last = self.literals[0], self.literals[-1]
        if len(name) < len(first) + len(last) or not _same(name[: len(first)], first):
            return None
        if not _same(name[len(name) - len(last) :], last):
            return None
        rest = name[len(first) : len(name) - len(last)]
        values: dict[str, str] = {}
        for field, literal in zip(self.fields[:0:-1], self.literals[-2:0:-1], strict=True):
            rest, found, values[field] = rest.rpartition(literal)
            if not found:
                return None
        return {**values, self.fields[0]: rest}


def _same(one: str, other: str) -> bool:
    """An extension in upper case means the same."""
    return one.lower() == other.lower()


def file_name(url: str) -> str:
    """The last part of a URL's path, without query and fragment, percent-decoded."""
    return unquote(_last_part(url))


def _last_part(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2]


@lru_cache(maxsize=256)
def parse(text: str) -> Template:
    """Raises ValueError that says what is wrong with the template."""
    parts = re.split(r"\{([a-z_]+)\}", text.strip())
    literals, fields = tuple(parts[::2]), tuple(parts[1::2])
    if any("{" in literal or "}" in literal or "/" in literal for literal in literals):
        raise ValueError(f"the filename template {text!r} must be a file name with fields like {{sku}} in it")
    if len(set(fields)) < len(fields) or not {"sku", "base_code"} & set(fields):
        raise ValueError(f"the filename template {text!r} must hold {{sku}} or {{base_code}}, and each field once")
    if not all(literals[1:-1]):
        raise ValueError(f"the filename template {text!r} needs a separator between its fields")
    return Template(text.strip(), "sku" if "sku" in fields else "base_code", literals, fields)
