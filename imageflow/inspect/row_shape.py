"""Where the product and its images are in the rows of an ERP, told from the rows themselves. Pure.

Names alone prove little, so values count first: an image is what is written like the address of one, in every row that has
any. What cannot be told is a question; it is never guessed in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from imageflow.inspect.row_words import DATE, is_order, picture_rank, product_rank, shown, stem
from imageflow.model.filename_template import file_name
from imageflow.pointer import MISSING

MAX_DEPTH = 4
MOST_ROWS = 200
"""Rows that are looked at."""
UNNAMED = 6
SURE = 2
"""Products of a rank below this need no question."""
SEPARATORS = (";", "|", "\n", "\t", ",", " ")

Way = tuple[str, ...]
"""Names of fields that lead to a value, one inside the other."""
Form = Literal["list", "text", "single", "numbered", "keyed"]

_URL = re.compile(r"https?://[^\s/]\S*", re.IGNORECASE)
_FILE = re.compile(r"[^\s,;|]+\.(jpe?g|png|gif|webp|bmp|tiff?|avif)([?#]\S*)?", re.IGNORECASE)


class Order(NamedTuple):
    """The field that says an image's place. `text`: in texts, as in a table."""

    way: Way
    text: bool = False


class Pictures(NamedTuple):
    """How a row holds its images.

    `list`: at `way` a list of URLs, or of objects with the URL at `url` and perhaps the `order`; `text`: URLs with a `separator`
    between them; `single`: one URL; `numbered`: one in each of the fields `names` of what is at `way`; `keyed`: an object
    whose values are URLs. `absolute`: they are URLs, not file names or paths. `always`: every row has some. `alone`: where
    there is one only, it stands without a list. `holes`: some elements of the list are none.
    """

    form: Form
    way: Way
    url: Way = ()
    order: Order | None = None
    separator: str = ""
    names: tuple[str, ...] = ()
    absolute: bool = True
    always: bool = True
    alone: bool = False
    holes: bool = False


class Shape(NamedTuple):
    """What rows are made of. `product` is the way to the SKU, () where it is the row's name in an object (`keyed`), None where it
    was not found; `order` is that of rows with one image each; `template`: a filename_template that says what the rows do not.
    """

    product: Way | None
    pictures: Pictures | None
    order: Order | None = None
    template: str | None = None
    keyed: bool = False
    questions: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether a row is one image, and rows of a product are to be joined."""
        return self.pictures is not None and self.pictures.form == "single"


def shape_of(rows: Sequence[Any], *, keyed: bool = False) -> Shape:
    """The shape of rows. `keyed`: they stood in an object, under the names of their products."""
    looked = [row for row in rows[:MOST_ROWS] if isinstance(row, dict)]
    if not looked or len(looked) < len(rows[:MOST_ROWS]):
        return _no_objects(rows[:MOST_ROWS], keyed=keyed)
    pictures, doubts = _chosen(list(_pictures(looked)))
    if pictures is None:
        return Shape(None, None, questions=(*doubts, f"where are a product's images? A row has {_fields(looked)}"))
    if keyed:
        return Shape((), pictures, keyed=True, questions=tuple(doubts))
    order = _order(looked, ()) if pictures.form == "single" else None
    product, unsure = _product(looked, pictures, order)
    if product is None and pictures.form == "single" and (template := _template(looked, pictures.way)):
        asked = f"do the names of the image files say the SKU? Taken so: {template}"
        return Shape(None, pictures, template=template, questions=(*doubts, asked))
    return Shape(product, pictures, order, questions=(*doubts, *unsure, *_repeated(looked, product, pictures)))


def at(row: Any, way: Way) -> Any:
    """What is at the end of a way, or MISSING."""
    for name in way:
        if not isinstance(row, dict) or name not in row:
            return MISSING
        row = row[name]
    return row


def _no_objects(rows: Sequence[Any], *, keyed: bool) -> Shape:
    """Rows that are lists of URLs (of an object with a list for each product), URLs, or something else."""
    if keyed and all(isinstance(row, list) for row in rows):
        found = _list((), rows)
        return Shape((), found, keyed=True) if found else Shape(None, None, questions=("where are the images?",))
    if rows and all(isinstance(row, str) and _is_picture(row) for row in rows):
        template = _template(rows, ())
        asked = "the rows are URLs alone: how does a file's name say the SKU? See filename_template"
        if template:
            asked = f"do the names of the image files say the SKU? Taken so: {template}"
        return Shape(None, Pictures("single", ()), template=template, questions=(asked,))
    return Shape(None, None, questions=("rows are no objects: what do they hold?",))


# images ---------------------------------------------------------------------------------------------------------------


def _is_picture(value: Any) -> bool:
    """Whether a value is written like the one address of an image."""
    if not isinstance(value, str):
        return False
    text = value.strip()
    return (bool(_URL.fullmatch(text)) and text.lower().count("://") == 1) or bool(_FILE.fullmatch(text))


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and bool(_URL.match(value.strip()))


def _nothing(value: Any) -> bool:
    return value is MISSING or value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _ways(rows: Iterable[Any], way: Way = ()) -> dict[Way, None]:
    """All ways to values that are no objects, in their order."""
    found: dict[Way, None] = {}
    for row in rows:
        for name, value in row.items():
            here = (*way, name)
            if isinstance(value, dict) and len(here) < MAX_DEPTH:
                found |= _ways([value], here)
            else:
                found[here] = None
    return found


def _pictures(rows: Sequence[dict[str, Any]]) -> Iterator[Pictures]:
    """All that may be the images of a row."""
    single: dict[Way, list[Pictures]] = {}
    for way in _ways(rows):
        values = [at(row, way) for row in rows]
        given = [value for value in values if not _nothing(value)]
        if not given:
            continue
        if any(isinstance(value, list) for value in given):
            found = _list(way, values)
            if found is not None:
                yield found
        elif all(_is_picture(value) for value in given):
            one = Pictures("single", way, absolute=all(map(_is_url, given)), always=len(given) == len(rows))
            single.setdefault(way[:-1], []).append(one)
        elif (separator := _separator(given)) is not None:
            parts = [part for value in given for part in _parts(value, separator)]
            yield Pictures(
                "text", way, separator=separator, absolute=all(map(_is_url, parts)), always=len(given) == len(rows)
            )
    for parent, ones in single.items():
        yield from _together(parent, ones, rows)


def _list(way: Way, values: Sequence[Any]) -> Pictures | None:
    """A list of URLs or of objects with one, perhaps a single one without its list."""
    alone = any(isinstance(value, dict | str) and not _nothing(value) for value in values)
    lists = [value if isinstance(value, list) else [value] for value in values if not _nothing(value)]
    items = [item for each in lists for item in each]
    real = [item for item in items if not _nothing(item)]
    always, holes = len(lists) == len(values), len(real) < len(items)
    if real and all(_is_picture(item) for item in real):
        return Pictures("list", way, absolute=all(map(_is_url, real)), always=always, alone=alone, holes=holes)
    if not real or not all(isinstance(item, dict) for item in real):
        return None
    urls = [
        one
        for one in _ways(real)
        if all(_is_picture(at(item, one)) for item in real if not _nothing(at(item, one)))
        and any(not _nothing(at(item, one)) for item in real)
    ]
    if not urls:
        return None
    url = min(urls, key=lambda one: (picture_rank(one), len(one)))
    found = [at(item, url) for item in real]
    holes = holes or any(map(_nothing, found))
    absolute = all(_is_url(one) for one in found if not _nothing(one))
    order = _order(real, url)
    return Pictures("list", way, url, order, absolute=absolute, always=always, alone=alone, holes=holes)


def _order(items: Sequence[dict[str, Any]], url: Way) -> Order | None:
    """What says an image's place: a whole number in each, under a name that says so."""
    for way in _ways(items):
        values = [at(item, way) for item in items]
        if way != url and is_order(way) and all(map(_is_number, values)) and any(value is not None for value in values):
            return Order(way, all(isinstance(value, str) for value in values))
    return None


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip() or re.fullmatch(r"\d{1,6}", value.strip()) is not None
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _separator(given: Sequence[Any]) -> str | None:
    """What stands between the URLs of texts; None where they are none, or none has several."""
    if not all(isinstance(value, str) for value in given):
        return None
    for separator in SEPARATORS:
        parts = [_parts(value, separator) for value in given]
        if max(map(len, parts)) > 1 and all(_is_picture(part) for each in parts for part in each):
            return separator
    return None


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _together(parent: Way, ones: Sequence[Pictures], rows: Sequence[dict[str, Any]]) -> Iterator[Pictures]:
    """Single URLs beside each other: numbered fields, an object of URLs, or each for itself."""
    if (
        parent
        and len(ones) > 1
        and all(
            isinstance(inner := at(row, parent), dict) and all(map(_is_picture, inner.values()))
            for row in rows
            if not _nothing(at(row, parent))
        )
    ):
        always = all(not _nothing(at(row, parent)) for row in rows)
        yield Pictures("keyed", parent, absolute=all(one.absolute for one in ones), always=always)
        return
    stems: dict[str, list[Pictures]] = {}
    for one in ones:
        stems.setdefault(stem(one.way[-1]), []).append(one)
    for each in stems.values():
        if len(each) == 1:
            yield each[0]
            continue
        names = tuple(one.way[-1] for one in sorted(each, key=lambda one: _number(one.way[-1])))
        always = all(any(not _nothing(at(row, one.way)) for one in each) for row in rows)
        yield Pictures("numbered", parent, names=names, absolute=all(one.absolute for one in each), always=always)


def _number(name: str) -> int:
    """What a numbered field is counted by: `image` before `image2` before `image10`."""
    found = re.findall(r"\d+", name)
    return int(found[-1][:9]) if found else 0


def _chosen(found: Sequence[Pictures]) -> tuple[Pictures | None, list[str]]:
    """The likeliest, and a question where another is as likely or nothing but its form speaks for it."""
    if not found:
        return None, []
    ranked = sorted(found, key=lambda one: (picture_rank(_named(one)), one.form == "single", not one.always))
    best = ranked[0]
    questions = []
    others = [shown(_named(one)) for one in ranked[1:]]
    if others:
        questions.append(f"are the images in {shown(_named(best))}? URLs are also in {', '.join(others[:5])}")
    elif picture_rank(_named(best)) > 1:
        questions.append(f"is {shown(_named(best))} the URL of an image? Nothing in its name says so")
    if not best.absolute:
        questions.append(
            f"what {shown(_named(best))} holds are no whole URLs: with what do they begin? Put it into BASE, in the script"
        )
    return best, questions


def _named(pictures: Pictures) -> Way:
    """The way whose names say what the images are."""
    if pictures.form == "numbered":
        return (*pictures.way, pictures.names[0])
    return (*pictures.way, *pictures.url)


# the product ----------------------------------------------------------------------------------------------------------


class _Name(NamedTuple):
    """A field that may name the product; the least is the likeliest. `unseen`: its value is not in the images' addresses."""

    rank: int
    unseen: bool
    depth: int
    place: int
    way: Way


def _product(rows: Sequence[dict[str, Any]], pictures: Pictures, order: Order | None) -> tuple[Way | None, list[str]]:
    """The field with the SKU, and a question where that is not sure."""
    ranked = sorted(
        _Name(rank, not _in_urls(rows, way, pictures), len(way), place, way)
        for place, way in enumerate(_ways(rows))
        if (order is None or way != order.way) and (rank := _rank(rows, way)) is not None
    )
    if not ranked:
        return None, ["which field is the product's SKU? None was found that every row has"]
    first, best = ranked[0], ranked[0].way
    others = [shown(one.way) for one in ranked[1:] if one.rank <= max(first.rank, 4) and one.unseen <= first.unseen]
    if first.rank < SURE or (first.rank < 5 and not others and not first.unseen):
        return best, []
    also = f" It may also be {', '.join(others[:5])}" if others else ""
    return best, [f"is {shown(best)} the SKU that Omnitron knows?{also}"]


def _rank(rows: Sequence[dict[str, Any]], way: Way) -> int | None:
    """How likely a field names the product; None if not at all. Texts that differ may do so under any name."""
    values = [at(row, way) for row in rows]
    if not all(_names_product(value) for value in values):
        return None
    rank = product_rank(way)
    if rank is None and len(set(map(str, values))) > 1 and all(isinstance(value, str) for value in values):
        return UNNAMED
    return rank


def _names_product(value: Any) -> bool:
    """Whether a value can name a product: a short text or a whole number, no date and no address."""
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    if not isinstance(value, str) or not value.strip() or len(value) > 80:
        return False
    return not (_is_picture(value) or DATE.fullmatch(value) or _is_url(value))


def _in_urls(rows: Sequence[dict[str, Any]], way: Way, pictures: Pictures) -> bool:
    """Whether the values stand in the addresses of the row's images."""
    return all(
        str(at(row, way)) in text for row in rows[:20] if (text := _text_of(at(row, pictures.way), pictures.names))
    )


def _text_of(value: Any, names: Sequence[str]) -> str:
    if isinstance(value, dict):
        return " ".join(_text_of(value.get(name), ()) for name in names or value)
    if isinstance(value, list):
        return " ".join(_text_of(item, ()) for item in value)
    return value if isinstance(value, str) else ""


def _repeated(rows: Sequence[dict[str, Any]], product: Way | None, pictures: Pictures) -> list[str]:
    """A question where rows with image sets repeat a product, or rows of one image never do."""
    if product is None:
        return []
    names = [str(at(row, product)) for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is None and pictures.form == "single" and len(names) > 1:
        return [
            "does each product have one image, as in the rows seen? Then `group: run` only makes it wait: leave it out"
        ]
    if twice is not None and pictures.form != "single":
        return [f"{twice} is in more than one row, and the last one's images count: is {shown(product)} the SKU?"]
    return []


def _template(rows: Sequence[Any], way: Way) -> str | None:
    """A filename_template that all files' names fit: the SKU, a separator and a number; None where there is none."""
    names = [file_name(str(at(row, way)).strip()) for row in rows]
    for separator in ("_", "-", "."):
        found = [re.fullmatch(rf"(.+){re.escape(separator)}(\d{{1,3}})(\.\w{{1,5}})", name) for name in names]
        endings = {match[3].lower() for match in found if match is not None}
        if names and all(found) and len(endings) == 1:
            return "{sku}" + separator + "{image_order}" + endings.pop()
    return None


def _fields(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(shown(way) for way in list(_ways(rows))[:12])
