"""What is too much ends as an error of the document, soon, and says which line asked for it."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from contextlib import contextmanager
from typing import Any

import pytest

from imageflow.jolt import Chain, JoltError, chain, compile_chain, patterns
from imageflow.jolt.errors import PatternTimeout

DOUBLE = {"operation": "shift", "spec": {"a": ["a.l", "a.r"]}}
CONCAT = {"operation": "modify-overwrite-beta", "spec": {"a": "=concat(@(1,a),@(1,a))"}}
COPY = {"operation": "modify-overwrite-beta", "spec": {"a": "=toList(@(1,a),@(1,a))"}}

HAZARDS: dict[str, tuple[list[Any], Any, str]] = {
    "an index in the spec": (
        [{"operation": "shift", "spec": {"a": "x[400000000]"}}],
        {"a": 1},
        "spec.a -> x[400000000]",
    ),
    "an index in the input": (
        [{"operation": "shift", "spec": {"a": "x[@(1,n)]"}}],
        {"a": 1, "n": 400_000_000},
        "the index 400000000 is above 100,000",
    ),
    "an index in a key": ([{"operation": "shift", "spec": {"*": "x[&]"}}], {"99999999": 1}, "at input 99999999"),
    "an index of a default": ([{"operation": "default", "spec": {"x[]": {"400000000": 1}}}], {}, "above 100,000"),
    "an index of a modify": ([{"operation": "modify-default-beta", "spec": {"[4000000]": 1}}], [], "above 100,000"),
    "values that double": ([DOUBLE] * 40, {"a": {"b": 1}}, "more than 1,000,000 values"),
    "copies that double": ([COPY] * 40, {"a": {"b": 1}}, "more than 300,000 values are copied"),
    "texts that double": ([CONCAT] * 40, {"a": "aaaaaaaa"}, "a text of 4,194,304 characters"),
    "a wide pad": (
        [{"operation": "modify-overwrite-beta", "spec": {"a": "=leftPad(@(1,a),600000000,'x')"}}],
        {"a": "b"},
        "a text of 600,000,000 characters",
    ),
    "an index in each row": (
        [{"operation": "shift", "spec": {"*": "x[&].y[99999].z"}}],
        [1] * 2000,
        "spec.* -> x[&].y[99999].z at input [10]: lists with more than 1,000,000 empty places",
    ),
    "an index of a default in each row": (
        [{"operation": "default", "spec": {"*": {"x[]": {"99999": 1}}}}],
        {str(row): {} for row in range(300)},
        "more than 1,000,000 empty places",
    ),
    "an index of a modify in each row": (
        [{"operation": "modify-default", "spec": {"*": {"[99999]": 1}}}],
        {str(row): [] for row in range(300)},
        "more than 1,000,000 empty places",
    ),
    "a wide pad in each row": (
        [{"operation": "modify-overwrite", "spec": {"*": "=leftPad(@0,3000000,'x')"}}],
        ["a"] * 1000,
        "texts with more than 40,000,000 characters in all",
    ),
    "a large text again in each row": (
        [{"operation": "modify-overwrite", "spec": {"rows": {"*": {"a": "=toLower(@(3,text))"}}}}],
        {"text": "ABCD" * 500_000, "rows": [{} for _ in range(1000)]},
        "more than 40,000,000 characters in all",
    ),
    "a large text split in each row": (
        [{"operation": "modify-overwrite", "spec": {"rows": {"*": {"a": "=split(',',@(3,text))"}}}}],
        {"text": ("A" * 1000 + ",") * 2000, "rows": [{} for _ in range(1000)]},
        "more than 40,000,000 characters in all",
    ),
    "a text split to letters": (
        [{"operation": "modify-overwrite", "spec": {"a": "=split('',@0)"}}],
        {"a": "ab" * 1_000_000},
        "is split into more than 300,000 parts",
    ),
    "a slow pattern on many texts": (
        [{"operation": "modify-overwrite", "spec": {"*": "=split('(x+x+)+y',@0)"}}],
        ["x" * 17] * 2000,
        "takes too long on so many texts",
    ),
    "a list in itself": ([{"operation": "shift", "spec": {"a": ["x", "x"]}}], {"a": [1]}, "written into itself"),
    "an output that holds itself": (
        [{"operation": "shift", "spec": {"a": {"@": "x", "b": {"@(1)": "x.c"}}}}],
        {"a": {"b": {}}},
        "the output holds itself",
    ),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_hazards_end_soon(name: str) -> None:
    """Each ends with an error, within a second of work and 100 MB."""
    spec, document, words = HAZARDS[name]
    made = compile_chain(spec)
    assert isinstance(made, Chain)
    copy = json.loads(json.dumps(document))
    most = 3 if sys.gettrace() is None else 15  # coverage makes a loop take several times as long
    began = time.process_time()
    failure = _failure(made, document)
    seconds = time.process_time() - began
    tracemalloc.start()
    _failure(made, copy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in failure
    assert seconds < most  # less than one on a machine that does nothing else
    assert peak < 100 << 20


def _failure(made: Chain, document: Any) -> str:
    with pytest.raises(JoltError) as caught:
        made.apply(document)
    return str(caught.value)


def test_nesting_is_bounded_in_the_spec() -> None:
    """A spec that is nested too deeply does not compile, whatever the operation."""
    leaves = {"shift": "x", "default": 1, "remove": "", "cardinality": "ONE", "modify-default": 1}
    for operation, leaf in leaves.items():
        deep: Any = leaf
        for _ in range(120):
            deep = {"a": deep}
        (problem,) = compile_chain([{"operation": operation, "spec": deep}])  # type: ignore[misc]
        assert "nested too deeply" in problem.text


@pytest.mark.parametrize("operation", ["shift", "default", "modify-overwrite"])
@pytest.mark.parametrize("depth", [5, 13, 60, 95])
def test_deep_specs_work(operation: str, depth: int) -> None:
    """Python nests 20 loops; deeper specs are spread over functions."""
    leaf: Any = "out[&1].&2" if operation == "shift" else 7
    spec: Any = {"*": leaf}
    document: Any = [0] if operation == "shift" else {"k": None}
    for _ in range(depth):
        spec, document = {"*": spec}, [document] if operation == "shift" else {"k": document}
    made = compile_chain([{"operation": operation, "spec": spec}])
    assert isinstance(made, Chain)
    result = made.apply(document)
    if operation == "shift":
        assert result == {"out": [{"0": 0}]}
    else:
        assert json.dumps(result) == '{"k": ' * (depth + 1) + "7" + "}" * (depth + 1)


@pytest.mark.parametrize("operation", ["shift", "default", "modify-overwrite"])
def test_code_grows_as_the_spec(operation: str) -> None:
    """A spec of twice the lines, or of twice the depth, makes about twice the code."""
    right = {"shift": "x[&1].y"}.get(operation, "z")
    wide = [_size(operation, {f"k{number}": {"*": {"a": right}} for number in range(lines)}) for lines in (50, 100)]
    deep = [_size(operation, _nested(right, depth)) / depth for depth in (12, 24, 48, 96)]
    assert wide[1] < 2.2 * wide[0]
    assert max(deep) < 12 * min(deep)  # deeper lines are indented, and deeper functions have more parameters


def _nested(right: str, depth: int) -> Any:
    spec: Any = {"*": right}
    for _ in range(depth):
        spec = {"*": spec}
    return spec


def _size(operation: str, spec: Any) -> int:
    made = compile_chain([{"operation": operation, "spec": spec}])
    assert isinstance(made, Chain)
    return len(made.operations[0].code)


def test_a_spec_that_is_too_large_does_not_compile() -> None:
    """It would take the memory of all others to make code of it."""
    (problem,) = compile_chain([{"operation": "shift", "spec": {f"k{line}": f"x.y{line}" for line in range(5000)}}])  # type: ignore[misc]
    assert "the spec is too large" in problem.text


def test_what_is_used_up_is_counted_for_each_document() -> None:
    """The next document begins anew."""
    made = compile_chain([{"operation": "modify-overwrite", "spec": {"*": "=leftPad(@0,3000000,'x')"}}])
    assert isinstance(made, Chain)
    for _ in range(3):
        assert len(made.apply(["a"] * 8)) == 8


def test_copies_are_counted_for_each_document() -> None:
    """The next document begins anew with what a modify operation may copy."""
    made = compile_chain([{"operation": "modify-overwrite", "spec": {"copy": "@(1,given)"}}])
    assert isinstance(made, Chain)
    for _ in range(3):
        assert len(made.apply({"given": [0] * 200_000})["copy"]) == 200_000


def test_regular_expressions_run_on_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody keeps the clock, a pattern that takes too long ends with an error that names it."""

    @contextmanager
    def at_once(_seconds: float) -> Any:
        raise PatternTimeout
        yield

    monkeypatch.setattr(patterns.watch, "limit", at_once)
    for call in ("=split('(a*)*b',@(1,a))", "=replaceAll(@(1,a),'(a*)*b','c')"):
        made = compile_chain([{"operation": "modify-overwrite", "spec": {"x": call}}])
        assert isinstance(made, Chain)
        with pytest.raises(JoltError, match=r"the regular expression .* takes too long on a text of 64"):
            made.apply({"a": "a" * 64})


def test_memory_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no fault of a line."""

    def full(_values: tuple[Any, ...]) -> Any:
        raise MemoryError

    made = compile_chain([{"operation": "modify-overwrite", "spec": {"x": "=trim(a)"}}], names={"trim": full})
    assert isinstance(made, Chain)
    with pytest.raises(MemoryError):
        made.apply({})


def test_faults_of_the_engine_are_errors_with_a_place() -> None:
    """An exception that nobody thought of still names the line."""

    def broken(_values: tuple[Any, ...]) -> Any:
        raise KeyError("q")

    made = compile_chain([{"operation": "modify-overwrite", "spec": {"*": {"x": "=trim(a)"}}}], names={"trim": broken})
    assert isinstance(made, Chain)
    with pytest.raises(JoltError, match=r"spec\.\*\.x -> =trim\(a\) at input \[1\]\.x: KeyError: 'q'"):
        made.apply([5, {}])


def test_sizes_are_checked_where_values_spread() -> None:
    """A value that is written to several places is counted each time."""
    made = compile_chain([DOUBLE])
    assert isinstance(made, Chain)
    assert chain.values.size_of(made.apply({"a": [1, 2]}), 100) == 8


def test_entries_that_vanish_meanwhile() -> None:
    """A function that takes nulls away does not disturb the loop that called it."""
    made = compile_chain([{"operation": "modify-overwrite-beta", "spec": {"*": ["=squashNulls(@1)", "x"]}}])
    assert isinstance(made, Chain)
    assert made.apply({"c": 1.5, "b": None}) == {"c": {"c": 1.5}, "b": {"c": {"c": 1.5}}}


@pytest.mark.parametrize(
    ("operation", "spec", "document", "result"),
    [
        ("modify-overwrite", {"[1]": [{"b": 1}], "*?": "x"}, [1], ["x", "x"]),
        ("modify-overwrite", {"[1]": "=noop", "*?": "x"}, [1], ["x", None]),
        ("modify-default", {"_out": {"*": {"[0]": 3}, "[1]": "=noop"}}, {}, {"out": [[3], None]}),
        ("modify-define", {"+id": {"+[1]": "=noop", "*": 1}}, {}, {"id": [1, 1]}),
        ("modify-overwrite", {"a": "=max(-5000000000,-6000000000)"}, {}, {"a": -2147483648}),
        ("modify-overwrite", {"a": "=min(1e10,2e10)"}, {}, {"a": 2147483647}),
        ("modify-overwrite", {"a": "=sort(5000000000,2)"}, {}, {}),
    ],
)
def test_corners_that_chance_found(operation: str, spec: Any, document: Any, result: Any) -> None:
    """Differences that random programs showed, each as its rule."""
    made = compile_chain([{"operation": operation, "spec": spec}])
    assert isinstance(made, Chain)
    assert made.apply(document) == result
