"""Twenty mistakes that people make in mappings, and what they are told: docs/mapping.md has the table.

`lint`: refused, or warned of, by `flow lint`. `page`: the error of the page. `explain`: a line of `try --explain`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

ROWS = [
    {
        "code": "A1",
        "url": "http://x/1.jpg",
        "pics": [{"u": "http://x/1.jpg", "rank": 1}, {"u": "http://x/2.jpg", "rank": 2}],
    }
]


class Mistake(NamedTuple):
    what: str
    chain: list[dict[str, Any]]
    lint: str = ""
    page: str = ""
    explain: str = ""
    rows: Any = ROWS


def _one(operation: str, spec: Any, what: str, **said: Any) -> Mistake:
    return Mistake(what, [{"operation": operation, "spec": spec}], **said)


MISTAKES = [
    _one("shfit", {}, "the operation is misspelt", lint="there is no operation 'shfit'; did you mean shift?"),
    Mistake("the operation has no `spec`", [{"operation": "shift"}], lint="shift needs a `spec` that is an object"),
    _one(
        "modify-overwrite", {"*": {"code": "=trimm(@(1,code))"}}, "the function is misspelt", lint="did you mean trim?"
    ),
    _one(
        "modify-overwrite",
        {"*": {"code": "=trim(@(1,code)"}},
        "a parenthesis is open",
        lint="the parentheses do not match",
    ),
    _one("modify-overwrite", {"*": {"a": "=concat('x,@(1,code))"}}, "a quote is open", lint="a quote is not closed"),
    _one(
        "modify-overwrite",
        {"*": {"a": "=toUpper(=trim(@(1,code)))"}},
        "a call in a call",
        lint="a call cannot be an argument; compute it in a line before",
    ),
    _one(
        "modify-overwrite",
        {"*": {"a": "=split('[',@(1,code))"}},
        "a regular expression that is none",
        lint="the regular expression '[' is none, or uses what only Java knows",
    ),
    _one("shift", {"*": {"code": "[&1.sku"}}, "a bracket is open", lint="has too many brackets, or too few"),
    _one("shift", {"*": {"code": "x.*"}}, "a `*` on the right", lint="a path can have neither * nor $"),
    _one("cardinality", {"*": {"pics": "many"}}, "the wrong word in cardinality", lint="must be ONE or MANY"),
    _one(
        "shift",
        {"*": {"code": "[&5].sku"}},
        "a level above the root",
        lint="&5 goes 5 levels up, and here are only 4, the root included",
        page="at input [0].code: &5 goes 5 levels up",
    ),
    _one(
        "shift",
        {"*": {"pics": {"*": {"u": "[&2].images[&1].url"}}}},
        "the wrong level: a name where an index is needed",
        lint='&2 is "pics", not a number; nothing is ever written',
        explain='dropped 2 times: &2 is "pics", not a number; a list index is at &3, &1',
    ),
    _one(
        "shift",
        {"*": {"code": "[].sku", "url": "[].images[]"}},
        "`[].a` beside `[].b`: each makes a row of its own",
        lint="lines that belong together need the same index: [&1]",
    ),
    Mistake(
        "a default on a list without `[]`",
        [
            {"operation": "shift", "spec": {"*": {"pics": {"*": {"u": "[&3].images[&1].url"}}}}},
            {"operation": "default", "spec": {"*": {"images": {"*": {"order": 0}}}}},
        ],
        lint='a shift before makes a list of it; in a default that is "images[]"',
        explain="0x  *.images.*.order   NEVER MATCHED",
    ),
    _one(
        "shift",
        {"*": {"kode": "[&1].sku"}},
        "a misspelt key",
        explain="NEVER MATCHED; there was code, url, pics (did you mean code?)",
    ),
    _one(
        "shift",
        {"code": "sku"},
        "the spec asks for an object, and the page is a list",
        explain="0x  code -> sku   NEVER MATCHED; there was a list of 1",
    ),
    _one(
        "remove",
        {"*": {"picz": ""}},
        "a misspelt key in remove",
        explain="0x  *.picz   NEVER MATCHED; there was code, url, pics",
    ),
    _one(
        "shift",
        {"*": {"code": "[&1].sku", "url": "[&1].sku.images"}},
        "a value and an object in one place",
        explain="dropped 1 times: something of another kind is there already",
    ),
    _one(
        "modify-overwrite",
        {"*": {"order": "=toInteger(@(1,rank))"}},
        "a function that has no value to work on",
        explain="dropped 1 times: it gave no value (first at [0].order)",
    ),
    _one(
        "shift",
        {"*": {"pics": {"*": {"u": "[&3].images[@(1,order)]"}}}},
        "an index by a field that is not there",
        explain="an index in [&3].images[@(1,order)] is not a number (first at [0].pics[0].u)",
    ),
]
