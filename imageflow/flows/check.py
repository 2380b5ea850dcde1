"""What is wrong with a flow file's document: every problem, each with the dotted path of its field. Pure.

Three passes, none of which stops at the first problem: `shape` (with `meaning` for single fields), then `sense`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import chain, islice

from imageflow.errors import Problem
from imageflow.flows import sense, shape, words
from imageflow.flows.shape import MAX_PROBLEMS

MAX_DEPTH = 100
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def problems(document: object, *, is_part: bool = False) -> list[Problem]:
    """Everything that is wrong with a document, at most MAX_PROBLEMS; empty: `flow.Definition` takes it. `is_part`: of a part,
    whose fields may depend on others that it lacks.
    """
    if not isinstance(document, dict):
        return [Problem("", f"a flow file must be an object with the fields of a flow, not {words.kind(document)}")]
    foreign = list(islice(_foreign(document, "", 0), MAX_PROBLEMS))
    if any(problem.message == _TOO_DEEP for problem in foreign):
        return foreign
    found = chain(foreign, shape.problems(document), () if is_part else sense.problems(document))
    return list(dict.fromkeys(islice(found, MAX_PROBLEMS)))


def _foreign(value: object, path: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(path[: words.SHOWN_CHARS], _TOO_DEEP)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or _unstorable(key):
                yield Problem(path, "has a field whose name is no text that can be stored")
            yield from _foreign(item, words.join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _foreign(item, f"{path}[{index}]", depth + 1)
    elif message := _foreign_scalar(value):
        yield Problem(path, message)


def _foreign_scalar(value: object) -> str | None:
    if isinstance(value, str):
        return "holds characters that cannot be stored (NUL or half a surrogate pair)" if _unstorable(value) else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else "is a number too large for 64 bits; write it as a text"
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    return f"must be JSON, not {type(value).__name__}"


def _unstorable(text: str) -> bool:
    return re.search("[\x00\ud800-\udfff]", text) is not None
