"""What people are told: which line matched, wrote and dropped, what nobody read, and warnings before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.jolt import Chain, compile_chain
from imageflow.jolt.explain_text import lines_of

SHIFT = [
    {
        "operation": "shift",
        "spec": {
            "*": {"kode": "[&1].sku", "pics": {"*": {"rank": "[&3].images[&1].order", "u": "[&2].images[&1].url"}}}
        },
    },
    {"operation": "modify-overwrite", "spec": {"*": {"images": {"*": {"url": "=toUpper(@(1,u))"}}}}},
]
ROWS = [
    {"code": "A1", "name": "x", "pics": [{"u": "a", "rank": 1}, {"u": "b", "rank": 2}]},
    {"code": "A2", "name": "y", "pics": [{"u": "c", "rank": 1}]},
]


def explained(spec: Any, document: Any, **expected: Any) -> list[str]:
    chain = compile_chain(spec, counting=True)
    assert isinstance(chain, Chain), chain
    return lines_of(chain.trace(document, **expected))


def test_tells_what_each_line_did() -> None:
    """Matches, writes and drops of each line, the nearest key of one that never matched, and what no line read."""
    assert explained(SHIFT, ROWS, expected=[{"sku": "A1"}]) == [
        "mapping[0] shift: given a list of 2, gave a list of 2",
        "    2x  *",
        "    0x  *.kode -> [&1].sku   NEVER MATCHED; there was code, name, pics (did you mean code?)",
        "    2x  *.pics",
        "    3x  *.pics.*",
        "    3x  *.pics.*.rank -> [&3].images[&1].order   3 written",
        "    3x  *.pics.*.u -> [&2].images[&1].url   0 written, 3 dropped",
        '         dropped 3 times: &2 is "pics", not a number; a list index is at &3, &1 (first at [0].pics[0].u)',
        "  read by no line: [*].code (2 times), [*].name (2 times)",
        "mapping[1] modify-overwrite-beta: given a list of 2, gave a list of 2",
        "    2x  *",
        "    2x  *.images",
        "    3x  *.images.*",
        "    3x  *.images.*.url -> =toUpper(@(1,u))   0 written, 3 dropped",
        "         dropped 3 times: it gave no value (first at [0].images[0].url)",
        'first difference to expected: [0].sku is nothing, expected "A1"  <- mapping[0]',
    ]


def test_outputs_of_each_operation_are_kept() -> None:
    """A step's output is what it gave, whatever later operations change."""
    chain = compile_chain(
        [{"operation": "shift", "spec": {"a": "x"}}, {"operation": "modify-overwrite", "spec": {"x": {"b": 2}}}],
        counting=True,
    )
    assert isinstance(chain, Chain)
    explanation = chain.trace({"a": {"b": 1}}, expected={"x": {"b": 2}})
    assert [step.output for step in explanation.steps] == [{"x": {"b": 1}}, {"x": {"b": 2}}]
    assert explanation.difference is None


@pytest.mark.parametrize(
    ("operation", "spec", "document", "words"),
    [
        ("shift", {"a": "x[@(1,n)]"}, {"a": 1, "n": "q"}, "an index in x[@(1,n)] is not a number"),
        ("shift", {"a": "x.@(1,n)"}, {"a": 1}, "a part of x.@(1,n) has no value to go by"),
        ("shift", {"a": "x[].y[@(1,n)]"}, {"a": 1, "n": "q"}, "an index in x[].y[@(1,n)] is not a number"),
        ("shift", {"a": "x", "b": "x.y"}, {"a": 1, "b": 2}, "something of another kind is there already"),
        ("shift", {"a": "&9"}, {"a": 1}, "failed: [0] (shift): spec.a -> &9 at input a: &9 goes 9 levels up"),
        ("shift", {"a": {"$": "x", "@": "y", "#z": "z"}}, {"a": {"b": 1}}, "1x  a.$ -> x   1 written"),
        ("shift", {"a": {"@(1,b)": {"c": "x"}}}, {"a": 1, "b": {"c": 2}}, "1x  a.@(1,b).c -> x   1 written"),
        ("shift", {"*": {"sku": "x"}}, {"sku": 1}, "0x  *.sku -> x   NEVER MATCHED; there was 1"),
        ("shift", {"a": {"b": {"c": "x"}}}, {"q": 1}, "a.b.c -> x   NEVER MATCHED; nothing came this far"),
        ("shift", {"sku": "x"}, [{"sku": 1}], "NEVER MATCHED; there was a list of 1"),
        ("default", {"a": 1, "b": 2}, {"a": 5}, "1x  b   1 written"),
        ("remove", {"imagez": "", "b": {"c": ""}}, {"images": 1, "b": {"c": 1}}, "(did you mean images?)"),
        ("cardinality", {"a": {"b": "ONE", "@": "MANY"}, "q": "ONE"}, {"a": {"b": 1}}, "0x  q -> ONE   NEVER MATCHED"),
        ("modify-default", {"a": "x", "b": ["=size", "z"]}, {"a": 1}, "1x  a -> x"),
        ("modify-overwrite", {"*": {"*": "=size"}}, [[1, [2]]], "1 written, 1 dropped"),
        ("sort", None, {"b": 1}, "sort: given an object with b, gave an object with b"),
    ],
)
def test_words(operation: str, spec: Any, document: Any, words: str) -> None:
    """What happened is said in words, for each operation."""
    assert words in "\n".join(explained([{"operation": operation, "spec": spec}], document))


def test_what_looked_up_values_are_for() -> None:
    """A value that only a look-up reads is read; so is all below a value that is written whole."""
    spec = [{"operation": "shift", "spec": {"*": {"u": "x[@(1,rank)]", "meta": "m", "q": {"@": "w"}}}}]
    text = "\n".join(explained(spec, [{"u": "a", "rank": 0, "meta": {"deep": 1}, "q": {"r": 1}, "lost": 2}]))
    assert "read by no line: [*].lost (1 times)" in text


@pytest.mark.parametrize(
    ("value", "expected", "words"),
    [
        ({"a": 1}, {"a": 2}, "a is 1, expected 2"),
        ({"a": 1}, {}, "a is 1, expected nothing"),
        ([1], [1, 2], "[1] is nothing, expected 2"),
        (1, "1", 'the whole is 1, expected "1"'),
        ({"a": [{"b": True}]}, {"a": [{"b": 1}]}, "a[0].b is true, expected 1"),
    ],
)
def test_first_difference(value: Any, expected: Any, words: str) -> None:
    """The first place that is not as expected, and what is there."""
    assert words in explained([{"operation": "sort"}], value, expected=expected)[-1]


def test_a_difference_names_the_operation_that_made_it() -> None:
    """It is the one that last changed the place."""
    spec = [
        {"operation": "shift", "spec": {"a": "x"}},
        {"operation": "modify-overwrite", "spec": {"x": "=toUpper"}},
        {"operation": "sort"},
    ]
    assert explained(spec, {"a": "q"}, expected={"x": "q"})[-1].endswith("<- mapping[1]")


@pytest.mark.parametrize(
    ("spec", "where", "words"),
    [
        ({"a": {"b": "c.&9"}}, "[0].spec.a.b", "&9 goes 9 levels up"),
        ({"*": {"pics": {"*": "[&1].x"}}}, "[0].spec.*.pics.*", '&1 is "pics", not a number'),
        ({"*": {"a": "[].a", "b": "[].b"}}, "[0].spec.*.b", "each [] makes an entry of its own"),
        ({"$9": "x"}, "[0].spec.$9", "$9 goes 9 levels up"),
        ({"&9": "x"}, "[0].spec.&9", "&9 goes 9 levels up"),
        ({"*": "x.&(0,1)"}, "[0].spec.*", "the key there has 0 stars with a text"),
    ],
)
def test_warnings_of_a_shift(spec: Any, where: str, words: str) -> None:
    """What is allowed and hardly meant is said before anything runs."""
    chain = compile_chain([{"operation": "shift", "spec": spec}])
    assert isinstance(chain, Chain)
    (warning,) = chain.warnings
    assert warning.where == where
    assert words in warning.text


def test_warnings_of_the_other_operations() -> None:
    """A default on a list, marks without meaning, references out of the document."""
    chain = compile_chain(
        [
            {"operation": "shift", "spec": {"pics": {"*": {"u": "images[&1].url"}}}},
            {"operation": "default", "spec": {"images": {"*": {"order": 1}}, "images[]": {"*": {"x": 1}}}},
            {"operation": "remove", "spec": {"a": {"$b": ""}}},
            {"operation": "cardinality", "spec": {"a|b": "ONE"}},
            {"operation": "modify-default", "spec": {"a": "@(9,b)"}},
        ]
    )
    assert isinstance(chain, Chain)
    assert [str(warning) for warning in chain.warnings] == [
        "[4].spec.a: @(9,…) goes 9 levels up, and here are only 3, the root included; it never has a value",
        '[1].spec.images: a shift before makes a list of it; in a default that is "images[]"',
        "[2].spec.a.$b: $ has no meaning in remove: only a key of just this name would match",
        "[3].spec.a|b: | has no meaning in cardinality: only a key of just this name would match",
    ]
