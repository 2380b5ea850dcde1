"""The right side of modify: what is refused, and how arguments are read."""

from __future__ import annotations

import pytest

from imageflow.jolt.calls import Call, Constant, Context, expression
from imageflow.jolt.elements import Lookup
from imageflow.jolt.errors import SpecError
from imageflow.jolt.functions import FUNCTIONS

NAMES = frozenset(FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("=trimm(a)", "there is no function 'trimm' (=trimm(a)); did you mean trim?"),
        ("=xyz", "there are: abs, avg"),
        ("=trim(a", "the call does not end with a )"),
        ("=trim((a)", "the parentheses do not match"),
        ("=trim('a)", "a quote is not closed"),
        ("=trim(=trim(a))", "a call cannot be an argument"),
        ("=split('[',a)", "the regular expression '[' is none"),
        (r"=replaceAll(a,'\p{L}',b)", "or uses what only Java knows"),
        ("^a[0]", "only names can stand here"),
        ("@(1,a[])", "can have neither * nor []"),
        ("@(1,@(1,a))", "looks up within a look-up"),
    ],
)
def test_refused(text: str, words: str) -> None:
    """What would do nothing, without a word, is refused with the reason."""
    with pytest.raises(SpecError) as caught:
        expression(text, NAMES)
    assert words in str(caught.value)


def test_arguments() -> None:
    """Texts in quotes, numbers, booleans, look-ups, the context; nothing between commas is null."""
    call = expression("=concat('a, b',1, 1.5f,true,null,,@(1,x),^o.p,99999999999999999999,a(b,c))", NAMES)
    assert call == Call(
        "concat",
        (
            *(Constant("a, b"), Constant(1), Constant(1.5), Constant(True), Constant("null"), Constant(None)),
            expression("@(1,x)", NAMES),
            Context(("o", "p")),
            *(Constant(1e20), Constant("a(b,c)")),
        ),
    )


def test_what_is_no_call() -> None:
    """A text is a constant, `@` is the value that is there, `^` the whole context."""
    assert expression("plain", NAMES) == Constant("plain")
    assert expression("@", NAMES) == Lookup(0, ())
    assert expression("^", NAMES) == Context(())
    assert expression("=trim", NAMES) == Call("trim", None)
    assert expression({"a": 1}, NAMES) == Constant({"a": 1})
