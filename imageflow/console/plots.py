"""Plots as SVG, one path for each colour: pure functions from numbers to markup, without an inline style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

SVG = Markup('<svg class="{}" viewBox="0 0 {} {}" {}role="img" aria-label="{}">{}</svg>')
PATH = Markup('<path class="{}" d="{}"/>')


class Bar(NamedTuple):
    """A step of a strip: rows that were written, stayed as they were, failed; `held`: writers held back."""

    written: int = 0
    unchanged: int = 0
    failed: int = 0
    held: bool = False


def strip(bars: Sequence[Bar], label: str, *, width: int = 288, height: int = 40) -> Markup:
    """Rows over time: what came well stands on the line, what failed hangs below it; heights are shares of the highest."""
    if not bars:
        return Markup("")
    step, line = width / len(bars), height * 0.7
    highest = max((bar.written + bar.unchanged for bar in bars), default=0) or 1
    lowest = max((bar.failed for bar in bars), default=0) or 1
    paths: dict[str, list[str]] = {"held": [], "still": [], "up": [], "down": []}
    for place, bar in enumerate(bars):
        x = place * step
        if bar.held:
            paths["held"].append(_box(x, 4, step, line - 4))
        whole, up = (_scaled(rows, highest, line - 1) for rows in (bar.written + bar.unchanged, bar.written))
        if bar.unchanged:
            paths["still"].append(_box(x, line - whole, step - 1.4, whole - up))
        if bar.written:
            paths["up"].append(_box(x, line - up, step - 1.4, up))
        if bar.failed:
            paths["down"].append(_box(x, line + 1, step - 1.4, _scaled(bar.failed, lowest, height - line - 1)))
    axis = PATH.format("axis", f"M0 {_n(line)}H{width}")
    return _svg("strip", width, height, label, axis + _joined(paths), fixed=True)


def days(counts: Sequence[int], label: str, *, width: int = 84, height: int = 36) -> Markup:
    """Failures by day, hanging below a line."""
    step, highest = width / max(1, len(counts)), max(counts, default=0) or 1
    boxes = [
        _box(place * step, 1, step - 1.2, _scaled(count, highest, height - 2))
        for place, count in enumerate(counts)
        if count
    ]
    return _svg(
        "strip", width, height, label, PATH.format("axis", f"M0 .5H{width}") + _joined({"down": boxes}), fixed=True
    )


def balance(parts: Sequence[tuple[str, int]], label: str) -> Markup:
    """Parts of one whole, side by side: each at least visible."""
    total = sum(count for _, count in parts) or 1
    x, shown = 0.0, {}
    for name, count in parts:
        width = count / total * 1000
        if count:
            shown[f"b-{name}"] = [_box(x, 0, max(width - 1.5, 2), 14)]
        x += width
    body = _joined(shown) or PATH.format("b-none", _box(0, 0, 1000, 14))
    return Markup('<div class="balance">{}</div>').format(_svg("", 1000, 14, label, body, stretched=True))


def squares(classes: Sequence[str], label: str, *, columns: int = 100) -> Markup:
    """A square for each page, in the order read, coloured by its class; failed ones carry a diamond too.

    Of more than 2,000 pages each square stands for several, and is as bad as the worst of them.
    """
    many = max(1, -(-len(classes) // 2000))
    worst = [_worst(classes[at : at + many]) for at in range(0, len(classes), many)]
    columns = min(columns, max(25, len(worst)))
    wide = 1250 / columns
    paths: dict[str, list[str]] = {}
    holes = []
    for place, name in enumerate(worst):
        x, y = place % columns * wide, place // columns * 10
        paths.setdefault(name, []).append(_box(x, y, wide - 1.5, 8.5))
        if name == "f":
            holes.append(f"M{_n(x + wide / 2 - 0.75)} {_n(y + 1.6)}l2.7 2.7-2.7 2.7-2.7-2.7z")
    body = _joined(paths) + (PATH.format("hole", "".join(holes)) if holes else Markup(""))
    return _svg("pages", 1250, -(-len(worst) // columns) * 10, label, body)


def _worst(names: Iterable[str]) -> str:
    order = {"f": 0, "x": 1, "w": 2, "w2": 3, "u": 4, "n": 5}
    return min(names, key=lambda name: order.get(name, 9))


class Span(NamedTuple):
    """When a step of a run was at work, in seconds since the run began; `until` None: it still is."""

    name: str
    since: float
    until: float
    kind: str = "done"


def timeline(spans: Sequence[Span], names: Sequence[str], marks: Sequence[tuple[float, str]], label: str) -> Markup:
    """A lane for each step with its bars; `marks` are instants with a text."""
    last = max([span.until for span in spans] + [at for at, _ in marks] + [1.0])
    left, width = 96.0, 1250.0 - 96

    def place(seconds: float) -> float:
        return left + width * min(1.0, max(0.0, seconds / last))

    lanes = []
    for row, name in enumerate(names):
        y = row * 22 + 8
        lanes.append(Markup('<text x="0" y="{}">{}</text>').format(y + 11, name))
        lanes.append(PATH.format("lane", _box(left, y, width, 14)))
        lanes += [
            PATH.format(span.kind, _box(place(span.since), y, max(3, place(span.until) - place(span.since)), 14))
            for span in spans
            if span.name == name
        ]
    bottom = len(names) * 22 + 10
    lanes.append(PATH.format("axis", f"M{_n(left)} {bottom}H1250"))
    for at, text in marks:
        anchor = "end" if place(at) > 1150 else "start"
        lanes.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_n(place(at)), bottom + 16, anchor, text)
        )
    return _svg("time", 1250, bottom + 22, label, Markup("").join(lanes))


class LaneRun(NamedTuple):
    """A run in a lane: from and until when, as shares of the time that is shown; its rows as a share of the most."""

    since: float
    until: float
    size: float
    status: str
    run_id: str


class Lane(NamedTuple):
    """The runs of a flow."""

    name: str
    runs: tuple[LaneRun, ...]


def lane(runs: Sequence[LaneRun], label: str, *, width: int = 1000, height: int = 30) -> Markup:
    """Runs over time: length is time, height is rows; what failed is marked below the line too."""
    line = height - 6.0
    drawn = [PATH.format("lane", _box(0, 0, width, line))]
    for run in runs:
        x, wide = run.since * width, max(3.0, (run.until - run.since) * width)
        high = max(4.0, run.size * (line - 2))
        bar = PATH.format(f"s-{run.status}", _box(min(x, width - wide), line - high, wide, high))
        if run.status in ("failed", "partial"):
            bar += PATH.format("s-failed", _box(min(x, width - wide), line + 1, wide, 4))
        drawn.append(bar)
    return _svg("lanes", width, height, label, Markup("").join(drawn), stretched=True)


class Link(NamedTuple):
    """How a picture went from one place to another; None: it was not there, or is not any more."""

    before: int | None
    after: int | None
    kind: str


def links(was: Sequence[str], now: Sequence[str]) -> list[Link]:
    """What became of each picture: by its URL, in the order of the places. Kinds: empty (stays), moved, new, gone."""
    places: dict[str, list[int]] = {}
    for place, url in enumerate(was):
        places.setdefault(url, []).append(place)
    found = []
    for place, url in enumerate(now):
        before = places[url].pop(0) if places.get(url) else None
        found.append(Link(before, place, "new" if before is None else "" if before == place else "moved"))
    gone = sorted(place for left in places.values() for place in left)
    return found + [Link(place, None, "gone") for place in gone]


def joined(found: Sequence[Link], *, pitch: int = 118, first: int = 52) -> Markup:
    """Lines between two rows of pictures."""
    paths: dict[str, list[str]] = {}
    for link in found:
        a, b = (None if place is None else first + place * pitch for place in (link.before, link.after))
        if b is None:
            drawn = f"M{a} 4V26"
        elif a is None:
            drawn = f"M{b} 20V44"
        else:
            drawn = f"M{a} 2C{a} 26 {b} 20 {b} 44"
        paths.setdefault(link.kind, []).append(drawn)
    most = max([0, *(place for link in found for place in (link.before, link.after) if place is not None)])
    return Markup(
        '<svg class="links" viewBox="0 0 {0} 46" width="{0}" height="46" aria-hidden="true">{1}</svg>'
    ).format((most + 1) * pitch, _joined(paths))


def _joined(paths: Mapping[str, Sequence[str]]) -> Markup:
    return Markup("").join(PATH.format(name, "".join(boxes)) for name, boxes in paths.items() if boxes)


def _svg(
    name: str, width: int, height: float, label: str, body: Markup, *, fixed: bool = False, stretched: bool = False
) -> Markup:
    attributes = Markup('width="{}" height="{}" ').format(width, _n(height)) if fixed else Markup("")
    if stretched:
        attributes = Markup('preserveAspectRatio="none" ')
    return SVG.format(name, width, _n(height), attributes, label, body)


def _scaled(value: int, highest: int, room: float) -> float:
    """A height: something that is there is visible."""
    return max(1.0, value / highest * room) if value else 0.0


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h{_n(-width)}z"


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
