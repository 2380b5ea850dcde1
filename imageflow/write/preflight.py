"""Whether Omnitron will take an image, by its answer and its first bytes. Pure: `image_probe.py` fetches them.

Omnitron takes PNG and JPEG of at most 2000x2000 pixels from addresses that it can reach. If one image of a product is wrong,
Omnitron saves none of them. An image whose size is not found (in a JPEG it may stand far from the beginning) has no fault.

    image_unreachable            no answer, 408, 425, 429, 5xx: it may be there later
    image_not_found              404, 410
    image_refused                401, 403 and other 4xx
    image_bad_redirect           redirected in a circle, to nowhere, or to something that is not http(s)
    image_login_page             a login page instead of the image
    image_wrong_type             neither PNG nor JPEG, by its first bytes
    image_damaged                begins like a PNG or JPEG and is not one, or is empty
    image_too_large_dimensions   more than 2000 pixels wide or high
    image_too_big                more than 20 MiB
    image_private_address        its host is in a private network: Omnitron cannot reach it, and we do not ask it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from imageflow.model.imageset import Image

MAX_PIXELS = 2000
MAX_IMAGE_BYTES = 20 * 1024 * 1024
HEAD_BYTES = 64 * 1024
"""How much of an image is read; of a JPEG with long metadata, up to MORE_BYTES."""
MORE_BYTES = 1024 * 1024
MAX_REASON_CHARS = 500
MAX_URL_CHARS = 120

Code = Literal[
    "image_unreachable",
    "image_not_found",
    "image_refused",
    "image_bad_redirect",
    "image_login_page",
    "image_wrong_type",
    "image_damaged",
    "image_too_large_dimensions",
    "image_too_big",
    "image_private_address",
]

_LOGIN_PATH = re.compile(r"/[^?]*\b(log-?in|sign-?in|log-?on|auth|sso|saml|oauth2?|account)\b", re.IGNORECASE)
_LOGIN_FORM = re.compile(rb"type\s*=\s*[\"']?password|name\s*=\s*[\"']?(password|passwd)\b", re.IGNORECASE)
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"GIF8[79]a"), "a GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "an AVIF"),
    (re.compile(rb"....ftyp(hei[cxms]|mif1)", re.DOTALL), "a HEIC"),
    (re.compile(rb"BM....\0\0\0\0", re.DOTALL), "a BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF"),
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg\b", re.DOTALL), "an SVG"),
    (re.compile(rb"\s*<\?xml"), "XML"),
    (re.compile(rb"\s*[{\[]"), "JSON"),
)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


class Finding(msgspec.Struct, frozen=True):
    """A fault of an image. `text` continues a sentence that begins with its URL."""

    code: Code
    text: str

    @property
    def transient(self) -> bool:
        """Whether it may be gone the next time."""
        return self.code == "image_unreachable"


class Look(msgspec.Struct, frozen=True):
    """An answer of an image server. `url` is the last one if there were redirects (`redirected`). `head` is the beginning of
    the body, or all of it (`whole`). `size` is that of the whole body in bytes, where the server says so.
    """

    url: str
    status: int
    head: bytes = b""
    size: int | None = None
    whole: bool = False
    redirected: bool = False


class Found(NamedTuple):
    """The fault of the image at `place` in an image set."""

    place: int
    image: Image
    finding: Finding


# one image ---------------------------------------------------------------------------------------------------------------


def judge(look: Look) -> Finding | None:
    """The fault of an image, or None."""
    if not 200 <= look.status < 300:
        return _refused(look)
    if look.size is not None and look.size > MAX_IMAGE_BYTES:
        return Finding("image_too_big", f"has {look.size:,} bytes, at most {MAX_IMAGE_BYTES:,} are taken")
    if not look.head:
        return Finding("image_damaged", "is empty")
    measured = measure(look.head)
    if isinstance(measured, Size):
        return _too_large(measured)
    if isinstance(measured, Damaged) or (isinstance(measured, Further) and look.whole):
        return Finding("image_damaged", measured.why if isinstance(measured, Damaged) else "breaks off")
    return None if isinstance(measured, Further) else _other(look)


def _refused(look: Look) -> Finding:
    status = look.status
    if look.redirected and _LOGIN_PATH.search(look.url) and status != 404:
        return Finding("image_login_page", f"leads to a login page, which answers {status}")
    if status in (404, 410):
        return Finding("image_not_found", f"answers {status}")
    if status in (408, 425, 429) or status >= 500:
        return Finding("image_unreachable", f"answers {status}")
    if 300 <= status < 400:
        return Finding("image_bad_redirect", f"redirects ({status}), and not to an image")
    return Finding("image_refused", f"answers {status}")


def _other(look: Look) -> Finding:
    """The fault of what is neither PNG nor JPEG."""
    head = look.head
    if _HTML.match(head):
        if (look.redirected and _LOGIN_PATH.search(look.url)) or _LOGIN_FORM.search(head):
            return Finding("image_login_page", "is a login page")
        return Finding("image_wrong_type", "is an HTML page, not a PNG or JPEG")
    what = next((name for pattern, name in _OTHERS if pattern.match(head)), "something else")
    return Finding("image_wrong_type", f"is {what}, not a PNG or JPEG")


def _too_large(size: Size) -> Finding | None:
    if size.width <= MAX_PIXELS and size.height <= MAX_PIXELS:
        return None
    text = f"is {size.width}x{size.height} pixels, at most {MAX_PIXELS}x{MAX_PIXELS} are taken"
    return Finding("image_too_large_dimensions", text)


# bytes -------------------------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """The size of a PNG or JPEG in pixels."""

    width: int
    height: int


class Further(NamedTuple):
    """A PNG or JPEG whose size stands beyond the bytes at hand: at least `needed` bytes are needed."""

    needed: int


class Damaged(NamedTuple):
    """Begins like a PNG or JPEG, and is not one."""

    why: str


def measure(head: bytes) -> Size | Further | Damaged | None:
    """The size of an image by its first bytes; None if it is neither PNG nor JPEG."""
    if head.startswith(_PNG):
        return _png(head)
    if head.startswith(_JPEG):
        return _jpeg(head)
    return Further(len(_PNG)) if head and (_PNG.startswith(head) or _JPEG.startswith(head)) else None


def _png(head: bytes) -> Size | Further | Damaged:
    if len(head) < 24:
        return Further(24)
    size = Size(int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
    if head[12:16] != b"IHDR" or not size.width or not size.height:
        return Damaged("is a damaged PNG: its header is wrong")
    return size


def _jpeg(head: bytes) -> Size | Further | Damaged:
    """Segment by segment: FF, a marker, two bytes of length, content; the size stands in the frame header (C0 to CF)."""
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return Damaged("is a damaged JPEG: its segments do not follow one another")
        marker = head[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without content
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            return Damaged("is a damaged JPEG: it has no frame header")
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if length < 2:
            return Damaged("is a damaged JPEG: a segment has no length")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _frame(head[at + 5 : at + 9])
        at += 2 + length
    return Further(at + 9)


def _frame(content: bytes) -> Size | Damaged:
    """A height of 0 means that it stands behind the picture. No encoder does that, so it counts as damage."""
    size = Size(int.from_bytes(content[2:4], "big"), int.from_bytes(content[:2], "big"))
    return size if size.width and size.height else Damaged("is a damaged JPEG: it has no size")


# an image set ------------------------------------------------------------------------------------------------------------


def explain(found: Sequence[Found]) -> str:
    """The reason in a row's log, on one line: the faults of its images, grouped by code."""
    by_code: dict[str, list[Found]] = {}
    for one in found:
        by_code.setdefault(one.finding.code, []).append(one)
    parts = [f"{code}: {_listed(listed)}" for code, listed in by_code.items()]
    text = "; ".join(parts)
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"


def _listed(found: Sequence[Found]) -> str:
    shown = ", ".join(f"images[{one.place}] {_plain(one.image.url)} {one.finding.text}" for one in found[:3])
    return shown + (f", and {len(found) - 3} more" if len(found) > 3 else "")


def _plain(url: str) -> str:
    """A URL without its query, which may be a signature."""
    text = re.split(r"[?#]", url, maxsplit=1)[0]
    return text if len(text) <= MAX_URL_CHARS else text[: MAX_URL_CHARS - 1] + "…"


def warning(code: str) -> str:
    """The warning that a run gets once, however many of its rows have the fault."""
    return f"preflight: there are images with {code}; they were written all the same, and their rows' reasons name them"
