"""Line plots as SVG text: the few lines of it that the benchmarks need. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 860, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 70
COLOURS = ("#1b6ac9", "#d1495b", "#2e933c", "#8e5ea2", "#8c6d1f")


class Line(NamedTuple):
    """A named row of points; `dots` marks each point, `dashed` draws it as a line to compare with."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    dashed: bool = False


class Band(NamedTuple):
    """A stretch of the x axis with a text."""

    start: float
    end: float
    text: str


def plot(title: str, x: str, y: str, lines: Sequence[Line], bands: Sequence[Band] = ()) -> str:
    """An SVG document. Both axes begin at 0; `x` and `y` say what they are."""
    points = [point for line in lines for point in line.points]
    right = max([1e-9, *(px for px, _ in points), *(band.end for band in bands)])
    ticks_x, ticks_y = ticks(right), ticks(max([1e-9, *(py for _, py in points)]))
    top = ticks_y[-1]

    def at(px: float, py: float) -> tuple[float, float]:
        return (
            round(LEFT + px / right * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - py / top * (HEIGHT - TOP - BOTTOM), 1),
        )

    floor = HEIGHT - BOTTOM
    parts = [_text(WIDTH / 2, 20, title, "middle", 'font-size="14" font-weight="bold"')]
    for band in bands:
        a, b = at(band.start, 0)[0], at(band.end, 0)[0]
        parts.append(f'<rect x="{a}" y="{TOP}" width="{round(b - a, 1)}" height="{floor - TOP}" fill="#f1ead8"/>')
        parts.append(_text((a + b) / 2, TOP + 12, band.text, "middle", 'fill="#7a6a3a"'))
    for tick in ticks_y:
        height = at(0, tick)[1]
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, height + 4, f"{tick:,g}", "end"))
    for tick in ticks_x:
        if tick <= right:
            parts.append(f'<path d="M{at(tick, 0)[0]} {floor}v4" stroke="#333"/>')
            parts.append(_text(at(tick, 0)[0], floor + 17, f"{tick:,g}", "middle"))
    parts.append(f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>')
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, floor + 34, x, "middle"))
    parts.append(_text(LEFT - 60, TOP - 10, y, "start"))
    for n, line in enumerate(lines):
        colour = COLOURS[n % len(COLOURS)]
        placed = [at(px, max(0.0, py)) for px, py in line.points]
        path = " ".join(f"{px},{py}" for px, py in placed)
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        if line.dots:
            parts += [f'<circle cx="{px}" cy="{py}" r="3.5" fill="{colour}"/>' for px, py in placed]
        legend = LEFT + n * 200
        parts.append(f'<path d="M{legend} {HEIGHT - 14}h24" stroke="{colour}" stroke-width="3"{dash}/>')
        parts.append(_text(legend + 30, HEIGHT - 10, line.name, "start"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-family="sans-serif" font-size="11">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def thinned(points: Sequence[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    """At most so many of the points: of each stretch the highest."""
    many = max(1, -(-len(points) // most))
    return [max(points[at : at + many], key=lambda point: point[1]) for at in range(0, len(points), many)]


def ticks(highest: float) -> list[float]:
    """About five round numbers from 0 on; the last is not below `highest`."""
    raw = highest / 5
    power = 10.0 ** _exponent(raw)
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= raw * (1 - 1e-9))
    count = 1
    while step * count < highest * (1 - 1e-9):
        count += 1
    return [float(f"{step * n:.10g}") for n in range(count + 1)]


def _exponent(value: float) -> int:
    """Of the power of ten that is not above `value`."""
    return int(f"{value:e}".partition("e")[2])


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
