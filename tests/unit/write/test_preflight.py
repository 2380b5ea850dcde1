"""What is wrong with an image, by its first bytes and its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.model.imageset import Image
from imageflow.model.row import RowLog, fingerprint
from imageflow.write.preflight import (
    MAX_IMAGE_BYTES,
    MAX_REASON_CHARS,
    Damaged,
    Finding,
    Found,
    Further,
    Look,
    Size,
    explain,
    judge,
    measure,
)
from tests.integration.image_server import jpeg, png


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (png(1, 2000), Size(1, 2000)),
        (png(2001, 7)[:24], Size(2001, 7)),
        (jpeg(640, 480), Size(640, 480)),
        (jpeg(640, 480, marker=0xC2), Size(640, 480)),
        (jpeg(640, 480, metadata=200_000), Size(640, 480)),
        (b"\xff\xd8\xff\xff\xff" + jpeg(3, 4)[3:], Size(3, 4)),
        (png()[:7], Further(8)),
        (png()[:23], Further(24)),
        (jpeg(640, 480, metadata=70_000)[:1000], Further(65_015)),
        (b"\xff\xd8\xff", Further(11)),
        (png()[:12] + b"CgBI" + png()[16:], Damaged("is a damaged PNG: its header is wrong")),
        (png(0, 5), Damaged("is a damaged PNG: its header is wrong")),
        (jpeg(0, 5), Damaged("is a damaged JPEG: it has no size")),
        (b"\xff\xd8\xff\xda" + b"\0" * 20, Damaged("is a damaged JPEG: it has no frame header")),
        (b"\xff\xd8\xff\xe1\0\4ab<html>...", Damaged("is a damaged JPEG: its segments do not follow one another")),
        (b"\xff\xd8\xff\xe1\0\0ab<html>...", Damaged("is a damaged JPEG: a segment has no length")),
        (b"", None),
        (b"GIF89a", None),
    ],
)
def test_size_by_the_first_bytes(head, size):
    """PNG and JPEG say how large they are, say that it stands further behind, or are damaged; others are neither."""
    assert measure(head) == size


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0"]))
def test_any_bytes_are_judged(data, beginning):
    """Nothing raises, and what needs more bytes needs more than there are."""
    measured = measure(beginning + data)
    if isinstance(measured, Further):
        assert measured.needed > len(beginning + data)
    judge(Look("https://a.example/x.png", 200, beginning + data, whole=True))


def code(**fields) -> str | None:
    finding = judge(Look(**{"url": "https://a.example/x.png", "status": 200, "head": png(), **fields}))
    return finding.code if finding is not None else None


def test_judging_answers():
    """What the tests over HTTP do not reach: sizes, kinds of files, login pages by their path."""
    assert code() is None
    assert code(size=MAX_IMAGE_BYTES) is None
    assert code(size=MAX_IMAGE_BYTES + 1) == "image_too_big"
    for head in (
        b"BM1234\0\0\0\0",
        b"II*\0x",
        b"%PDF-1.7",
        b"<?xml?><svg/>",
        b"{}",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x18ftypheic",
    ):
        assert code(head=head) == "image_wrong_type"
    login = "https://a.example/accounts/login?next=/x.png"
    html = b"<!doctype html><html></html>"
    assert code(url=login, head=html, redirected=True) == "image_login_page"
    assert code(url=login, head=html) == "image_wrong_type"
    assert code(url=login, status=403, head=b"", redirected=True) == "image_login_page"
    assert code(url=login, status=404, head=b"", redirected=True) == "image_not_found"
    assert code(url=login, redirected=True) is None
    assert code(url="https://a.example/catalog/authors.png", head=html, redirected=True) == "image_wrong_type"
    for status in (408, 425, 429, 500, 503, 599):
        finding = judge(Look("https://a.example", status))
        assert finding is not None
        assert (finding.code, finding.transient) == ("image_unreachable", True)
    assert code(status=400) == code(status=405) == "image_refused"
    assert code(status=204, head=b"") == "image_damaged"
    assert code(head=jpeg(9, 9, metadata=9_000)[:500], whole=True) == "image_damaged"
    assert code(head=jpeg(9, 9, metadata=9_000)[:500]) is None


@pytest.mark.parametrize(
    ("width", "height", "fits"),
    [(2000, 2000, True), (2001, 2000, False), (2000, 2001, False), (1, 2001, False), (2001, 1, False)],
)
def test_both_sides_must_fit(width, height, fits):
    """One side of more than 2000 pixels is one too many, however short the other is."""
    assert (code(head=png(width, height)) is None) == fits
    assert (code(head=jpeg(width, height)) is None) == fits


def test_reasons():
    """Codes with their images, without queries, bounded; rows with the same fault are one group."""
    missing, wrong = (
        Finding("image_not_found", "answers 404"),
        Finding("image_wrong_type", "is a GIF, not a PNG or JPEG"),
    )
    image = Image("https://c.example/a.png?signature=SECRET#x")
    assert explain([Found(0, image, missing)]) == "image_not_found: images[0] https://c.example/a.png answers 404"
    many = [Found(place, Image(f"https://c.example/{place}.png"), missing) for place in range(9)]
    text = explain([*many[:2], Found(2, image, wrong)])
    assert text.startswith("image_not_found: images[0] https://c.example/0.png answers 404, images[1] ")
    assert text.endswith("; image_wrong_type: images[2] https://c.example/a.png is a GIF, not a PNG or JPEG")
    assert explain(many).endswith(", and 6 more")
    long = Image("https://c.example/" + "x" * 4000)
    assert len(explain([Found(0, long, missing)] * 9)) <= MAX_REASON_CHARS

    def group(product: str, place: int) -> str:
        reason = explain([Found(place, Image(f"https://c.example/{product}.png"), missing)])
        return fingerprint(RowLog(run_id="r", row=1, product=product, state="failed", reason=reason))

    assert group("A-1", 0) == group("B", 7)
