"""Product pictures, drawn: each SKU and number has a shape and colours of its own. PNG by the standard library alone."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator, Sequence

SIZE = 160
SAMPLES = 4
"""Lines per pixel that edges are computed on."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
Polygon = Sequence[Point]

COLOURS: Sequence[tuple[Colour, Colour]] = (
    ((181, 82, 59), (140, 58, 40)),
    ((47, 59, 87), (31, 40, 61)),
    ((107, 122, 75), (79, 91, 54)),
    ((205, 180, 139), (171, 145, 104)),
    ((208, 138, 148), (176, 104, 115)),
    ((214, 209, 198), (170, 164, 150)),
    ((58, 58, 60), (35, 35, 37)),
    ((127, 163, 196), (94, 131, 166)),
    ((216, 164, 49), (178, 130, 32)),
)
GROUNDS: Sequence[Colour] = ((241, 239, 233), (233, 236, 239), (243, 236, 232), (236, 239, 230))
WHITE: Colour = (251, 250, 247)

# on a square of 100 by 100; `main` has the product's colour, `dark` its darker one, `white` is a sole or a label
SHAPES: dict[str, Sequence[tuple[str, Polygon]]] = {
    "tee": (
        ("main", ((34, 26), (18, 36), (26, 52), (34, 48), (34, 88), (66, 88), (66, 48), (74, 52), (82, 36), (66, 26), (58, 33), (42, 33))),
        ("dark", ((34, 26), (40, 35), (50, 38), (60, 35), (66, 26), (61, 24), (56, 31), (50, 32), (44, 31), (39, 24))),
    ),
    "sneaker": (
        ("main", ((12, 70), (12, 60), (17, 38), (31, 36), (37, 44), (45, 47), (67, 55), (82, 59), (88, 66), (88, 70))),
        ("dark", ((17, 38), (21, 47), (23, 62), (12, 62), (14, 48))),
        ("white", ((12, 70), (88, 70), (88, 77), (85, 81), (16, 81), (12, 77))),
        ("dark", ((38, 46), (50, 50), (49, 52), (37, 48))),
        ("dark", ((43, 43), (57, 53), (56, 55), (42, 45))),
    ),
    "dress": (
        ("main", ((40, 16), (44, 16), (50, 26), (56, 16), (60, 16), (62, 34), (58, 46), (74, 88), (26, 88), (42, 46), (38, 34))),
        ("dark", ((41, 46), (59, 46), (61, 51), (39, 51))),
    ),
    "bag": (
        ("dark", ((34, 44), (34, 32), (40, 22), (50, 19), (60, 22), (66, 32), (66, 44), (62, 44), (62, 33), (57, 25), (50, 23), (43, 25), (38, 33), (38, 44))),
        ("main", ((22, 40), (78, 40), (84, 86), (16, 86))),
        ("dark", ((22, 40), (78, 40), (79.5, 49), (20.5, 49))),
    ),
    "jacket": (
        ("main", ((36, 18), (20, 28), (14, 78), (26, 81), (30, 53), (30, 88), (70, 88), (70, 53), (74, 81), (86, 78), (80, 28), (64, 18), (50, 26))),
        ("dark", ((36, 18), (50, 30), (64, 18), (60, 16), (50, 22), (40, 16))),
        ("dark", ((49, 30), (51, 30), (51, 88), (49, 88))),
        ("dark", ((35, 62), (44, 62), (44, 65), (35, 65))),
        ("dark", ((56, 62), (65, 62), (65, 65), (56, 65))),
    ),
    "hat": (
        ("main", ((28, 58), (30, 42), (36, 32), (50, 28), (64, 32), (70, 42), (72, 58))),
        ("dark", ((26, 56), (74, 56), (74, 64), (26, 64))),
        ("main", ((8, 66), (26, 62), (74, 62), (92, 66), (84, 72), (50, 75), (16, 72))),
    ),
    "label": (
        ("main", ((0, 0), (100, 0), (100, 100), (0, 100))),
        ("white", ((24, 36), (76, 36), (76, 64), (24, 64))),
        ("dark", ((32, 45), (68, 45), (68, 48), (32, 48))),
        ("dark", ((32, 53), (56, 53), (56, 56), (32, 56))),
    ),
}  # fmt: skip
_MAIN = ("tee", "sneaker", "dress", "bag", "jacket", "hat")


def picture(sku: str, number: int) -> bytes:
    """The PNG of a product's picture: the first from the front, then mirrored and nearer, then its label, then again."""
    seed = zlib.crc32(sku.encode())
    view = (number - 1) % 3 if number > 0 else 0
    shape = "label" if view == 2 else _MAIN[seed % len(_MAIN)]
    return _drawn(shape, seed // 7 % len(COLOURS), seed // 3 % len(GROUNDS), view == 1)


@functools.cache
def _drawn(shape: str, colour: int, ground: int, near: bool) -> bytes:
    main, dark = COLOURS[colour]
    paints = {"main": main, "dark": dark, "white": WHITE}
    rows = [bytearray(bytes(GROUNDS[ground]) * SIZE) for _ in range(SIZE)]
    for paint, polygon in SHAPES[shape]:
        points = [_placed(point, near=near) for point in polygon]
        for y, row in enumerate(rows):
            _paint(row, list(_covered(points, y)), paints[paint])
    return _png(rows)


def _placed(point: Point, *, near: bool) -> Point:
    x, y = point
    if near:
        x, y = (100 - x - 14) * 100 / 72, (y - 14) * 100 / 72
    return x * SIZE / 100, y * SIZE / 100


def _covered(points: Sequence[Point], y: int) -> Iterator[tuple[int, float]]:
    """The pixels of a line that a polygon covers, and how much of each."""
    found: dict[int, float] = {}
    for sample in range(SAMPLES):
        at = y + (sample + 0.5) / SAMPLES
        ends = sorted(
            x1 + (at - y1) * (x2 - x1) / (y2 - y1)
            for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)
            if (y1 <= at) != (y2 <= at)
        )
        for left, right in zip(ends[::2], ends[1::2], strict=False):
            first, last = max(0.0, left), min(float(SIZE), right)
            for x in range(int(first), min(SIZE, int(last) + 1)):
                share = min(last, x + 1) - max(first, x)
                if share > 0:
                    found[x] = found.get(x, 0.0) + share / SAMPLES
    yield from found.items()


def _paint(row: bytearray, covered: Sequence[tuple[int, float]], colour: Colour) -> None:
    for x, share in covered:
        whole = min(1.0, share)
        for channel in range(3):
            at = 3 * x + channel
            row[at] = round(row[at] * (1 - whole) + colour[channel] * whole)


def _png(rows: Sequence[bytearray]) -> bytes:
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
