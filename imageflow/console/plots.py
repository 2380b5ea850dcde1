"""Plots as SVG, one path for each colour: pure functions from numbers to markup, without an inline style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

SVG = Markup('<svg class="{}" viewBox="0 0 {} {}" {}role="{}" aria-label="{}">{}</svg>')
PATH = Markup('<path class="{}" d="{}"/>')
LINK = Markup('<a href="{}" aria-label="{}">{}</a>')


class Bar(NamedTuple):
    """A step of a strip: rows that were written, stayed as they were, failed; `held`: writers held back."""

    written: int = 0
    unchanged: int = 0
    failed: int = 0
    held: bool = False


class Flag(NamedTuple):
    """Something that happened: when, as a fraction of the shown period, and its name."""

    at: float
    text: str


def strip(bars: Sequence[Bar], label: str, *, width: int = 288, height: int = 40, flags: Sequence[Flag] = ()) -> Markup:
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
    return _svg("strip", width, height, label, axis + _joined(paths) + _flagged(flags, width, height), fixed=True)


def days(counts: Sequence[int], label: str, *, width: int = 84, height: int = 36, flags: Sequence[Flag] = ()) -> Markup:
    """Failures by day, hanging below a line."""
    step, highest = width / max(1, len(counts)), max(counts, default=0) or 1
    boxes = [
        _box(place * step, 1, step - 1.2, _scaled(count, highest, height - 2))
        for place, count in enumerate(counts)
        if count
    ]
    body = PATH.format("axis", f"M0 .5H{width}") + _joined({"down": boxes}) + _flagged(flags, width, height)
    return _svg("strip days", width, height, label, body, fixed=True)


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


CLASSES = {"f": "f", "c": "c", "w": "w", "p": "w2", "u": "u", "?": "s", "x": "x", "n": "n", ".": "n"}
"""What the letters of a map (model/page_map.py) look like, the worst first."""
SQUARES = 2000
LINKED = 200


def pages_of_square(letters: str) -> int:
    """For so many pages a square of the map stands."""
    return max(1, -(-len(letters) // SQUARES))


def squares(letters: str, label: str, url: str, name: str, *, columns: int = 100, picked: int | None = None) -> Markup:
    """A square for each page, in the order read, by its letter; failed ones carry a diamond too, and are links: in `url` and `name`
    `{}` stands for the page. `picked` is the page that is chosen.

    Of more than SQUARES pages each square stands for several, and is as bad as the worst of them.
    """
    many = pages_of_square(letters)
    groups = [letters[at : at + many] for at in range(0, len(letters), many)]
    columns = min(columns, max(25, len(groups)))
    wide = 1250 / columns
    paths: dict[str, list[str]] = {}
    linked: list[Markup] = []
    for place, group in enumerate(groups):
        x, y = place % columns * wide, place // columns * 10
        worst = min(group, key=list(CLASSES).index)
        square = _box(x, y, wide - 1.5, 8.5)
        if worst != "f":
            paths.setdefault(CLASSES[worst], []).append(square)
            continue
        hole = f"M{_n(x + wide / 2 - 0.75)} {_n(y + 1.6)}l2.7 2.7-2.7 2.7-2.7-2.7z"
        if len(linked) < LINKED:
            page = place * many + group.index("f") + 1
            drawn = PATH.format("f", square) + PATH.format("hole", hole)
            linked.append(LINK.format(url.replace("{}", str(page)), name.replace("{}", str(page)), drawn))
        else:
            paths.setdefault("f", []).append(square)
            paths.setdefault("hole", []).append(hole)
    body = _joined(paths) + Markup("").join(linked)
    if picked is not None and 0 < picked <= len(letters):
        place = (picked - 1) // many
        body += PATH.format("pick", _box(place % columns * wide - 1.2, place // columns * 10 - 1.2, wide + 0.9, 10.9))
    role = "group" if linked else "img"
    return _svg("pages", 1250, -(-len(groups) // columns) * 10, label, body, role=role)


def cells(kinds: Sequence[str], label: str, *, most: int = 1000, high: int = 8) -> Markup:
    """Cells in columns from the left, one for each row or for several in a row: as bad as the worst of them. Each kind has a colour
    of its own, and what is broken carries a diamond too.
    """
    many = max(1, -(-len(kinds) // most))
    order = {"broken": 0, "renamed": 1, "untried": 1, "different": 2, "fixed": 3}
    worst = [min(kinds[at : at + many], key=lambda kind: order.get(kind, 9)) for at in range(0, len(kinds), many)]
    high = min(high, len(worst)) or 1
    columns = max(125, -(-len(worst) // high))
    wide = 1250 / columns
    paths: dict[str, list[str]] = {"same": []}
    for place, kind in enumerate(worst):
        x, y = place // high * wide, place % high * 6
        paths.setdefault(kind, []).append(_box(x, y, wide * 0.86, 4.8))
        if kind == "broken":
            paths.setdefault("hole", []).append(f"M{_n(x + wide * 0.43)} {_n(y + 0.6)}l1.8 1.8-1.8 1.8-1.8-1.8z")
    return _svg("cells", 1250, high * 6, label, _joined({**paths, "hole": paths.pop("hole", [])}))


class Span(NamedTuple):
    """When a step of a run was at work, in seconds since the run began. Kinds: done, go (it still is), wait (it was held)."""

    name: str
    since: float
    until: float
    kind: str = "done"


class Mark(NamedTuple):
    """An instant of a timeline, in seconds since it began, with its text."""

    at: float
    text: str


MARK_ROOM = 110.0
"""The width of one text, of the timeline's width. A mark that is nearer to an earlier one of the list gets no text."""


def timeline(
    spans: Sequence[Span],
    names: Sequence[tuple[str, str]],
    marks: Sequence[Mark],
    label: str,
    *,
    flags: Sequence[Mark] = (),
    narrow: bool = False,
) -> Markup:
    """A lane for each step (its key, and what it is called) with its bars; below, marks, those that matter most first. `narrow`: for a
    phone, where the same letters have less room.
    """
    whole = 340.0 if narrow else 1250.0
    last = max([span.until for span in spans] + [mark.at for mark in marks] + [1.0])
    left, width = 96.0, whole - 96

    def place(seconds: float) -> float:
        return left + width * min(1.0, max(0.0, seconds / last))

    lanes = []
    for row, (key, name) in enumerate(names):
        y = row * 22 + 8
        lanes.append(Markup('<text x="0" y="{}">{}</text>').format(y + 11, name))
        lanes.append(PATH.format("lane", _box(left, y, width, 14)))
        lanes += [
            PATH.format(span.kind, _box(place(span.since), y, max(3, place(span.until) - place(span.since)), 14))
            for span in spans
            if span.name == key
        ]
    bottom = len(names) * 22 + 10
    lanes.append(PATH.format("axis", f"M{_n(left)} {bottom}H{_n(whole)}"))
    lanes += [_text_at(place(mark.at), bottom + 16, mark.text, whole) for mark in _apart(marks, place)]
    flagged = _flagged([Flag(place(flag.at) / whole, flag.text) for flag in flags], whole, bottom)
    return _svg("time narrow" if narrow else "time", int(whole), bottom + 22, label, Markup("").join(lanes) + flagged)


def _apart(marks: Sequence[Mark], place: Callable[[float], float]) -> list[Mark]:
    """The marks whose texts have room."""
    shown: list[Mark] = []
    for mark in marks:
        if all(abs(place(mark.at) - place(other.at)) >= MARK_ROOM for other in shown):
            shown.append(mark)
    return shown


def _text_at(x: float, y: float, text: str, whole: float) -> Markup:
    anchor = "end" if x > whole - MARK_ROOM else "start"
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_n(x), _n(y), anchor, text)


class LaneRun(NamedTuple):
    """A run in a lane: its start and end as fractions of the shown period; its rows as a fraction of the largest run's."""

    since: float
    until: float
    size: float
    status: str
    run_id: str


class Lane(NamedTuple):
    """The runs of a flow; when writers held its domain back, as fractions of the shown period; and what happened to it."""

    name: str
    runs: tuple[LaneRun, ...]
    held: tuple[tuple[float, float], ...] = ()
    flags: tuple[Flag, ...] = ()


def lane(
    runs: Sequence[LaneRun],
    label: str,
    *,
    held: Sequence[tuple[float, float]] = (),
    flags: Sequence[Flag] = (),
    width: int = 1000,
    height: int = 30,
) -> Markup:
    """Runs over time: length is time, height is rows; what failed is marked below the line too. `held`: start and end of each time
    in which writers held back, as fractions of the shown period.
    """
    line = height - 6.0
    drawn = [PATH.format("lane", _box(0, 0, width, line))]
    hatched = "".join(_box(since * width, 0, max(3.0, (until - since) * width), line) for since, until in held)
    drawn += [PATH.format("held", hatched)] if hatched else []
    for run in runs:
        x, wide = run.since * width, max(3.0, (run.until - run.since) * width)
        high = max(4.0, run.size * (line - 2))
        bar = PATH.format(f"s-{run.status}", _box(min(x, width - wide), line - high, wide, high))
        if run.status in ("failed", "partial"):
            bar += PATH.format("s-failed", _box(min(x, width - wide), line + 1, wide, 4))
        drawn.append(bar)
    body = Markup("").join(drawn) + _flagged(flags, width, height)
    return _svg("lanes", width, height, label, body, stretched=True)


class Link(NamedTuple):
    """The move of a picture from one place to another. None: it was not there before, or is gone."""

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


FLAG = Markup('<path class="flag" d="{}"><title>{}</title></path>')
MOST_FLAGS = 40


def _flagged(flags: Sequence[Flag], width: float, height: float) -> Markup:
    """Small flags that tell what they are when one points at them."""
    poles = [(min(max(flag.at, 0.0), 1.0) * (width - 6), flag.text) for flag in flags[-MOST_FLAGS:]]
    return Markup("").join(
        FLAG.format(f"M{_n(x)} 0h6l-2 2.5 2 2.5h-4.8v{_n(height - 5)}h-1.2z", text) for x, text in poles
    )


def _svg(
    name: str,
    width: int,
    height: float,
    label: str,
    body: Markup,
    *,
    fixed: bool = False,
    stretched: bool = False,
    role: str = "img",
) -> Markup:
    attributes = Markup('width="{}" height="{}" ').format(width, _n(height)) if fixed else Markup("")
    if stretched:
        attributes = Markup('preserveAspectRatio="none" ')
    return SVG.format(name, width, _n(height), attributes, role, label, body)


def _scaled(value: int, highest: int, room: float) -> float:
    """A height: something that is there is visible."""
    return max(1.0, value / highest * room) if value else 0.0


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h{_n(-width)}z"


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
