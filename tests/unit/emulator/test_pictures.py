"""The pictures that the emulated ERP serves."""

import struct
import zlib

from imageflow.emulator.pictures import SIZE, picture
from imageflow.write.preflight import MAX_PIXELS


def pixels(png):
    """The lines of a PNG of ours, whole."""
    chunks, at = {}, 8
    while at < len(png):
        length = struct.unpack(">I", png[at : at + 4])[0]
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + length
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (SIZE, SIZE)
    return zlib.decompress(chunks[b"IDAT"])


def test_a_picture_is_a_png():
    """Whole, with right sums, of the size that its header says, and no larger than Omnitron takes."""
    png = picture("SKU-000001", 1)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(pixels(png)) == SIZE * (1 + 3 * SIZE)
    assert SIZE <= MAX_PIXELS


def test_products_and_numbers_look_different():
    """The same product and number look the same each time."""
    assert picture("SKU-000001", 1) == picture("SKU-000001", 1)
    assert len({picture("SKU-000001", number) for number in (1, 2, 3)}) == 3
    assert len({picture(f"SKU-{n:06}", 1) for n in range(40)}) > 15
