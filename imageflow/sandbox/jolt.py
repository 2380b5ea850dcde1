"""The mapping: the Jolt engine (`imageflow.jolt`) as the sandbox uses it.

`problems` looks at a spec's outline and is safe anywhere. The functions that compile or apply a spec run in a worker only:
a hostile spec or row may take all memory or never end. `check.check_mapping` starts a worker for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from imageflow import jolt
from imageflow.errors import Problem
from imageflow.jolt import patterns
from imageflow.jolt.functions import FUNCTIONS
from imageflow.jolt.names import JAVA_NAMES, OPERATIONS

__all__ = [
    "JAVA_NAMES",
    "OPERATIONS",
    "apply",
    "compile_chain",
    "explain",
    "keep_time",
    "preload",
    "problems",
    "result_of",
    "warnings",
]


def problems(spec: Any, *, strict: bool = False) -> list[Problem]:
    """What is wrong with the outline of a spec: no list, an unknown operation, an operation without its spec. `strict`: or an
    operation that only jolt-community calls so.
    """
    return [_problem(found) for found in jolt.problems(spec, strict=strict)]


def _problem(found: jolt.Problem) -> Problem:
    return Problem(f"mapping{found.where}", found.text)


def preload() -> None:
    """Load all that a mapping needs while files can still be opened: use every operation and every function once.

    Much is loaded only when it is used first, a codec for example; later it would not be found.
    """
    calls = {name: f"={name}(@(1,value),2)" for name in FUNCTIONS}
    dates = {"day": "=formatDate('2021-01-31','EEEE dd MMM yyyy h a X')", "month": "=dateAdd('2021-01-31',1,'MONTHS')"}
    specs: dict[str, Any] = {
        "shift": {"*": "&", "*-*-*": "x[@(1,value)]"},
        "default": {"*": 1},
        "remove": {"*-x": ""},
        "cardinality": {"list": "MANY"},
    }
    modify = {**calls, **dates, "sorted": "=sort", "now": "=now('yyyy')", "words": "=split('[é,]',@(1,value))"}
    chain = [{"operation": name, "spec": specs.get(name, modify)} for name in OPERATIONS]
    document = {"value": "é", "list": ["b", "é", "a"], "sorted": ["b", "é", "a"], "b-x": 1.5, "b-x-y": 1}
    for counting in (False, True):
        compiled = jolt.compile_chain(chain, counting=counting)
        assert isinstance(compiled, jolt.Chain), compiled
        if counting:
            compiled.trace(document, {})
        else:
            compiled.apply(document, {})


def keep_time(limit: Any) -> None:
    """Regular expressions run under `limit`, which gives a context manager that raises PatternTimeout after some seconds."""
    patterns.watch.limit = limit


def compile_chain(
    spec: Any, *, strict: bool = False, counting: bool = False
) -> tuple[jolt.Chain | None, list[Problem]]:
    """The chain of a spec, or what is wrong with it, by line. In a worker only."""
    compiled = jolt.compile_chain(spec, strict=strict, counting=counting)
    if isinstance(compiled, jolt.Chain):
        return compiled, []
    return None, [_problem(found) for found in compiled]


def warnings(chain: jolt.Chain) -> list[Problem]:
    """What a spec says that is allowed, and hardly what is meant."""
    return [_problem(found) for found in chain.warnings]


def apply(chain: jolt.Chain, value: Any, context: Mapping[str, Any] | None = None) -> Any:
    """The result of the chain, which may hold parts of `value`; `value` may change. In a worker only.

    Raises ValueError for what the mapping cannot do with the value; memory and recursion errors pass.
    """
    try:
        return chain.apply(value, context)
    except jolt.JoltError as error:
        raise ValueError(f"mapping{error}") from error


def explain(chain: jolt.Chain, value: Any, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What each line of a chain that was compiled with `counting` does, as data. In a worker only."""
    return asdict(chain.trace(value, context))


def result_of(explanation: dict[str, Any]) -> Any:
    """The result of a chain, from its explanation. Raises ValueError for what the mapping could not do."""
    last = explanation["steps"][-1]
    if last["error"]:
        raise ValueError(f"mapping{last['error']}")
    return last["output"]
