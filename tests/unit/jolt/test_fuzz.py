"""Programs by chance: the same as jolt-py makes of them, but for differences that are known."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import warnings
from collections import Counter
from typing import Any

from pyjolt import Chainr

from imageflow.jolt import Chain, JoltError, compile_chain
from tests.unit.jolt.programs import Programs

CONTEXT = {"ctx": 5, "o": {"p": "P"}}

KNOWN = {
    "squash": "squashNulls of several values: with a null among them Java gives no value, jolt-py the rest",
    "itself": "a list that is written into itself: an error here, a loop in jolt-py (Java's JSON overflows)",
    "limit": "an index of millions: an error here",
    "late": "jolt-py works for seconds",
}
"""What may differ, with the reason."""

_SQUASH_OF_SEVERAL = re.compile(r"quashNulls\((?:[^()]|\([^)]*\))*,")


class _LateError(BaseException):
    pass


def _ring(*_: object) -> None:
    raise _LateError


def compare(seed: int, programs: int, documents: int = 3) -> tuple[Counter[str], list[str]]:
    """How many runs agree or differ for a known reason, and the other differences."""
    made, counts, differences = Programs(seed), Counter[str](), []
    signal.signal(signal.SIGALRM, _ring)
    for _ in range(programs):
        spec = made.chain()
        ours, theirs = compile_chain(spec), _theirs(spec)
        counts["programs"] += 1
        if isinstance(ours, Chain) != (theirs is not None):
            differences.append(f"{json.dumps(spec)} is refused by one: {ours}")
        if not isinstance(ours, Chain) or theirs is None:
            counts["refused"] += 1
            continue
        for document in [made.document() for _ in range(documents)]:
            reason = _difference(spec, ours, theirs, document)
            counts[reason if reason in KNOWN else "runs"] += 1
            if reason and reason not in KNOWN:
                differences.append(reason)
    return counts, differences


def _theirs(spec: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Chainr.from_spec(spec)
    except Exception:
        return None


def _difference(spec: Any, ours: Chain, theirs: Any, document: Any) -> str:
    mine, other = _of_ours(ours, copy.deepcopy(document)), _of_theirs(theirs, document)
    if mine == other:
        return ""
    if mine in ("itself", "limit"):
        return mine
    if other == "late":
        return "late"
    if _SQUASH_OF_SEVERAL.search(json.dumps(spec)):
        return "squash"
    return f"{json.dumps(spec)} of {json.dumps(document)} is {mine}, not {other}"


def _of_ours(chain: Chain, document: Any) -> str:
    try:
        return json.dumps(chain.apply(document, CONTEXT))
    except JoltError as error:
        return "itself" if "itself" in error.text else "limit" if "is above" in error.text else "fails"


def _of_theirs(chain: Any, document: Any) -> str:
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        return json.dumps(chain.apply(document, CONTEXT))
    except _LateError:
        return "late"
    except Exception:
        return "fails"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_agrees_with_another_engine() -> None:
    """Of chains and documents by chance the two engines make the same, to the order of keys. JOLT_SEED chooses others."""
    seed = int(os.environ.get("JOLT_SEED") or 20261128)
    counts, differences = compare(seed, int(os.environ.get("JOLT_PROGRAMS") or 400))
    assert differences == [], f"JOLT_SEED={seed}"
    assert counts["runs"] > counts["programs"]


def test_explaining_changes_nothing() -> None:
    """The compilation that counts gives the same results, and counts no more writes than it has matches."""
    made = Programs(7)
    for _ in range(150):
        spec, document = made.chain(), made.document()
        plain, counting = compile_chain(spec), compile_chain(spec, counting=True)
        if not isinstance(plain, Chain) or not isinstance(counting, Chain):
            assert plain == counting
            continue
        explanation = counting.trace(copy.deepcopy(document), CONTEXT)
        last = explanation.steps[-1]
        expected = _of_ours(plain, copy.deepcopy(document))
        assert (expected in ("itself", "limit", "fails")) if last.error else json.dumps(last.output) == expected, spec
