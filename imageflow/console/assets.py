"""The static files: compressed once, each at an address that holds its digest and therefore never changes."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import NamedTuple

ROOT = "/static"
_TYPES = {".woff2": "font/woff2", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_DIGEST_CHARS = 12
_PACKED = frozenset({".woff2", ".png"})
"""These are compressed already."""


class Asset(NamedTuple):
    """A file as it is served. `packed`: the same in gzip, where that is smaller."""

    url: str
    body: bytes
    packed: bytes | None
    type: str


class Assets:
    """All static files. `contents`: what is in them, by name."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._by_name = dict(_made(contents))
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """The address of a file. Raises KeyError where there is none."""
        return self._by_name[name].url

    def served(self, path: str) -> Asset | None:
        """The file at an address."""
        return self._by_url.get(path)

    def names(self) -> Mapping[str, Asset]:
        """All files by name."""
        return self._by_name


def _made(contents: Mapping[str, bytes]) -> Iterator[tuple[str, Asset]]:
    """Style sheets name other files by `url(name)`: these get their addresses."""
    addresses = {name: _url(name, body) for name, body in contents.items()}
    for name, body in contents.items():
        if name.endswith(".css"):
            text = re.sub(r"url\(([\w./-]+)\)", lambda found: f"url({addresses[found[1]]})", body.decode())
            body = text.encode()  # noqa: PLW2901 - what is served
            addresses[name] = _url(name, body)
        suffix = PurePath(name).suffix
        packed = None if suffix in _PACKED else gzip.compress(body, 9, mtime=0)
        kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        yield name, Asset(addresses[name], body, packed, kind)


def _url(name: str, body: bytes) -> str:
    return f"{ROOT}/{hashlib.sha256(body).hexdigest()[:_DIGEST_CHARS]}/{name}"
