"""What a post holds: JSON or NDJSON, within bounds, in steps.

The body is a stranger's. How many values it holds is counted before anything is decoded, because ten megabytes of brackets
become a gigabyte of objects. A large body is then decoded in steps of about STEP_BYTES, so that the event loop can turn to
others between them: the outermost lists and objects are split into the texts of their elements first, and those are
decoded one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from imageflow import pointer
from imageflow.errors import PostError
from imageflow.model.flow import Definition

STEP_BYTES = 64 * 1024
VALUE_BYTES = 32
"""What a value counts beside its text: a step of nothing but short ones would take long."""
LIGHT_BYTES = 384 * 1024
"""A text that is not more than this, its values counted, is decoded in one step of about a millisecond: to split it takes longer
than that."""
MAX_VALUES = 600_000
MAX_CONTAINERS = 300_000
"""Values, and objects and lists, that a body of 10 MiB may hold: more than image sets of that size have, and fewer than a
page can number rows."""
MAX_LINES = 300_000
SMALL_BYTES = 16 * 1024
SMALL_ROWS = 10
"""A post of up to that size may share a page with others."""
MAX_SPLITS = 16
"""Lists and objects larger than a step that lie within each other."""
_BOM = b"\xef\xbb\xbf"
_NAMES_PRODUCT = re.compile(r"\s*\{(sku|base_code)\}\s*")

_decode_lines = msgspec.json.Decoder().decode_lines

T = TypeVar("T")
_Placed = tuple[str, bytes]
"""A JSON text, and a word for where it stands."""
Steps = Generator[None, None, T]
"""A computation that pauses between its steps, and returns its result."""


class Post(NamedTuple):
    """A post that is accepted: its JSON text (an object or a list) and how many rows it holds. `sets`: the texts of its image
    sets, separated by commas, where a page may hold them beside those of other posts, and the same becomes of them.
    """

    text: bytes
    rows: int
    sets: bytes | None = None


class _Decoded(NamedTuple):
    """A value, and its JSON written anew."""

    value: Any
    text: bytes


def parse(body: bytes, definition: Definition, *, ndjson: bool = False) -> Post:
    """As `steps`, without a pause."""
    return finished(steps(body, definition, ndjson=ndjson))


def finished(computation: Steps[T]) -> T:
    """Run all steps; returns the result."""
    while True:
        try:
            next(computation)
        except StopIteration as done:
            result: T = done.value
            return result


def steps(body: bytes, definition: Definition, *, ndjson: bool = False) -> Steps[Post]:
    """What a post holds: one object, a list, or NDJSON (which becomes a list).

    The text is written anew from what was understood, so that whatever reads it later understands the same: of repeated
    keys the last counts. Raises PostError that says what is wrong and where.
    """
    body = body.removeprefix(_BOM)
    if not body.strip():
        raise PostError("the body is empty; post a JSON object, a list of objects, or NDJSON")
    _check_bounds(body)
    decoded = yield from _document(body, ndjson)
    return Post(decoded.text, _count(decoded.value, definition), _image_sets(decoded, definition))


def is_light(text: bytes) -> bool:
    """Whether a text is decoded in one step."""
    return len(text) <= STEP_BYTES or len(text) + VALUE_BYTES * text.count(b",") <= LIGHT_BYTES


def _check_bounds(body: bytes) -> None:
    """Counts what may be in texts too, so it may only count too much. A body of fewer bytes than any limit needs no counting."""
    if len(body) <= min(MAX_VALUES, MAX_CONTAINERS, MAX_LINES):
        return
    if (values := body.count(b",") + 1) > MAX_VALUES:
        raise _too_large(f"about {values:,} values", MAX_VALUES)
    if (containers := body.count(b"{") + body.count(b"[")) > MAX_CONTAINERS:
        raise _too_large(f"about {containers:,} objects and lists", MAX_CONTAINERS)
    if (lines := body.count(b"\n") + 1) > MAX_LINES:
        raise _too_large(f"{lines:,} lines", MAX_LINES)


def _too_large(holds: str, limit: int) -> PostError:
    return PostError(f"the body holds {holds}; one post takes {limit:,}: post it in parts", "too large")


# decoding ---------------------------------------------------------------------------------------------------------------


def _document(body: bytes, ndjson: bool) -> Steps[_Decoded]:
    if ndjson:
        return (yield from _lines(body))
    try:
        return (yield from _value(body.strip(b" \t\r\n"), "the body"))
    except PostError:
        if not _is_ndjson(body):
            raise
    return (yield from _lines(body))


def _is_ndjson(body: bytes) -> bool:
    """Whether there are several lines and the first is JSON by itself: then what is wrong is wrong with a line."""
    first, _, others = body.strip().partition(b"\n")
    try:
        msgspec.json.decode(first, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return bool(others)


def _lines(body: bytes) -> Steps[_Decoded]:
    lines = ((number, line.strip(b" \t\r\x1e")) for number, line in enumerate(body.split(b"\n"), 1))
    return (yield from _list(((f"line {number}", line) for number, line in lines if line), 0))


def _value(text: bytes, where: str, splits: int = 0) -> Steps[_Decoded]:
    """One value; a large list or object element by element."""
    kind = text[:1]
    if is_light(text) or kind not in (b"[", b"{"):
        value = _json(text, where, Any)
        return _Decoded(value, msgspec.json.encode(value))
    if splits >= MAX_SPLITS:
        raise PostError(f"{where} is nested too deeply")
    if kind == b"[":
        elements = _json(text, where, list[msgspec.Raw])
        yield
        return (yield from _list(((where, bytes(element)) for element in elements), splits + 1))
    members = _json(text, where, dict[str, msgspec.Raw])
    yield
    items = []
    done = 0
    for member in members.values():
        items.append((yield from _value(bytes(member), where, splits + 1)))
        done += len(member) + VALUE_BYTES
        if done > STEP_BYTES:
            yield
            done = 0
    yield
    return _object(list(members), items)


def _list(elements: Iterable[_Placed], splits: int) -> Steps[_Decoded]:
    """A list of texts: those of a step are decoded together, a larger one by itself."""
    values: list[Any] = []
    texts: list[bytes] = []
    for step in _in_steps(elements):
        where, first = step[0]
        if len(first) > STEP_BYTES:
            one = yield from _value(first, where, splits)
            values.append(one.value)
            texts.append(one.text)
        else:
            found = _together(step)
            values += found
            texts.append(msgspec.json.encode(found)[1:-1])
        yield
    return _Decoded(values, b"[" + b",".join(texts) + b"]")


def _in_steps(elements: Iterable[_Placed]) -> Iterator[list[_Placed]]:
    step: list[_Placed] = []
    size = 0
    for element in elements:
        cost = len(element[1]) + VALUE_BYTES
        if step and size + cost > STEP_BYTES:
            yield step
            step, size = [], 0
        step.append(element)
        size += cost
    if step:
        yield step


def _together(step: Sequence[_Placed]) -> list[Any]:
    """The values of several texts. One by one where one of them is wrong: the error says which."""
    try:
        values: list[Any] = _decode_lines(b"\n".join([text for _, text in step]))
    except (ValueError, RecursionError):
        values = []
    if len(values) == len(step):
        return values
    return [_json(text, where, Any) for where, text in step]


def _object(names: Sequence[str], items: Sequence[_Decoded]) -> _Decoded:
    members = zip(names, items, strict=True)
    text = b",".join([msgspec.json.encode(name) + b":" + item.text for name, item in members])
    return _Decoded(dict(zip(names, (item.value for item in items), strict=True)), b"{" + text + b"}")


def _json(text: bytes, where: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except UnicodeDecodeError as error:
        raise PostError(f"{where} is not UTF-8 text") from error
    except RecursionError as error:
        raise PostError(f"{where} is nested too deeply") from error
    except msgspec.MsgspecError as error:
        raise PostError(f"{where} is not JSON: {error}") from error


# rows -------------------------------------------------------------------------------------------------------------------


def _count(value: Any, definition: Definition) -> int:
    """How many rows there are before script and mapping. A flow that has either may take elements of any kind."""
    if not isinstance(value, dict | list):
        raise PostError(
            f"the body is {pointer.describe(value, fields=False)}; post a JSON object, a list of objects, or NDJSON"
        )
    elements = value if isinstance(value, list) else _at(value, definition)
    if elements is None:
        return 1
    if not elements:
        raise PostError("the body holds no rows: the list is empty")
    if definition.script is None and definition.mapping is None:
        _check_elements(elements, strings=not _NAMES_PRODUCT.fullmatch(definition.filename_template))
    return len(elements)


def _at(value: dict[str, Any], definition: Definition) -> list[Any] | None:
    """The list at the flow's rows_path; None where the object itself is the row, or a script will make rows of it."""
    path = definition.rows_path
    if not path:
        return None
    found = pointer.find(value, path)
    if isinstance(found, list):
        return found
    if definition.script is not None:
        return None
    raise PostError(f"the body has no list at {path!r}, where this flow's rows are (rows_path)")


def _image_sets(decoded: _Decoded, definition: Definition) -> bytes | None:
    """The texts of a small post's image sets. None where a script, a mapping or a join looks at the page as a whole: rows with one
    image each are joined with others of their page.
    """
    alone = definition.script is not None or definition.mapping is not None or definition.holds_back != "nothing"
    if len(decoded.text) > SMALL_BYTES or alone or not _NAMES_PRODUCT.fullmatch(definition.filename_template):
        return None
    found = decoded.value if isinstance(decoded.value, list) else _at(decoded.value, definition)
    elements = [decoded.value] if found is None else found
    if len(elements) > SMALL_ROWS or not all(_is_image_set(element) for element in elements):
        return None
    return msgspec.json.encode(elements)[1:-1]


def _is_image_set(element: Any) -> bool:
    return isinstance(element, dict) and isinstance(element.get("images"), list)


def _check_elements(elements: list[Any], *, strings: bool) -> None:
    if set(map(type, elements)) == {dict}:
        return
    for number, element in enumerate(elements, 1):
        if not isinstance(element, dict) and not (strings and isinstance(element, str)):
            wanted = "an object or an image's URL" if strings else "an object"
            raise PostError(f"element {number} of the list is {pointer.describe(element, fields=False)}, not {wanted}")
