"""How the body of a published message is packed and written, as AMQP clients say it. Pure.

HTTP's Content-Encoding is a compression. AMQP's `content_encoding` is what each client makes of it:

    kombu (Celery)    utf-8, binary: the charset; a compression is in a header of its own, `compression`
    Spring AMQP       UTF-8, gzip, and `gzip:UTF-8` or `gzip,UTF-8` for both
    pika, amqplib     nothing, or what their user writes

So each name is a compression or a charset. Without one there, the charset of the content type counts, else UTF-8.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import NamedTuple

from imageflow.errors import PostError

PLAIN = frozenset(("", "identity", "binary", "8bit", "7bit"))
GZIP = frozenset(("gzip", "x-gzip", "application/gzip", "application/x-gzip"))
NO_CHARSETS = frozenset(("unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined"))
"""Python's codecs that turn text into other text."""


class Encoding(NamedTuple):
    """`charset`: None for UTF-8, which is left as it is."""

    gzip: bool
    charset: str | None


def encoding_of(headers: Mapping[str, str]) -> Encoding:
    """What the headers (in lower case, with hyphens) say of a body. Raises PostError for what is not understood."""
    said = [headers.get("compression", ""), *re.split("[:,]", headers.get("content-encoding", ""))]
    names = [name.strip().lower() for name in said]
    charset = _charset(headers.get("content-type", ""))
    for name in names:
        if name in PLAIN or name in GZIP:
            continue
        charset = _codec(name)
        if charset is None:
            raise PostError(
                f"content_encoding {name[:40]!r} is neither a compression that is understood (gzip) nor a charset",
                "encoding",
            )
    return Encoding(any(name in GZIP for name in names), None if charset == "utf-8" else charset)


def as_utf8(body: bytes, charset: str | None) -> bytes:
    """The body in UTF-8. Raises PostError where it is not in its charset."""
    if charset is None:
        return body
    try:
        return body.decode(charset).encode()
    except UnicodeError as error:
        raise PostError(f"the body is not {charset} text, though content_encoding or content_type says so") from error


def _charset(content_type: str) -> str | None:
    found = re.search(r";\s*charset\s*=\s*\"?([\w.:-]+)", content_type, re.IGNORECASE)
    return _codec(found[1]) if found else None


def _codec(name: str) -> str | None:
    """The codec of a charset; None where there is none."""
    try:
        " ".encode(name)
        codec = codecs.lookup(name).name.replace("_", "-")
    except (LookupError, ValueError):
        return None
    return None if codec in NO_CHARSETS else codec
