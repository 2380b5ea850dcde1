"""What jolt-community adds: names, functions, dates."""

from __future__ import annotations

import re
from typing import Any

import pytest

from imageflow.jolt import Chain, compile_chain
from imageflow.jolt.functions.date_patterns import read, written
from imageflow.jolt.names import JAVA_NAMES, operation_of

NONE = object()


def value_of(call: str, document: Any = None) -> Any:
    chain = compile_chain([{"operation": "modify-overwrite", "spec": {"out": call}}])
    assert isinstance(chain, Chain), chain
    return chain.apply(document or {}).get("out", NONE)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        # as in jolt-community's documentation
        ("=replace('hello','l','L')", "heLlo"),
        ("=replaceAll('hello','l','L')", "heLLo"),
        ("=multiply(5,3)", 15.0),
        ("=multiplyAndRound(5.7,3,0)", 17.0),
        ("=join('-','a','b','c')", "a-b-c"),
        ("=leftPad('5',3,'0')", "005"),
        ("=fromEpochMilli(1609459200000)", "2021-01-01T00:00:00Z"),
        ("=toEpochMilli('2021-01-01')", 1609459200000),
        # corners
        ("=replace('a',1,'b')", NONE),
        ("=replaceAll('http://x/http://y','^http:','https:')", "https://x/http://y"),
        ("=replaceAll('a1b22','([0-9]+)','<$1>')", "a<1>b<22>"),
        (r"=replaceAll('a.b','\.','\$')", "a$b"),
        ("=replaceAll('ab','a','$9')", NONE),
        ("=replaceAll('ab',1,'x')", NONE),
        (r"=replaceAll('ab','b','c\\d')", r"ac\d"),
        ("=multiply(2)", NONE),
        ("=multiply(2,'x')", NONE),
        ("=multiplyAndRound(1,5.75,3)", 17.3),
        ("=multiplyAndRound(1,'FLOOR',5.75,3)", 17.2),
        ("=multiplyAndRound()", NONE),
        ("=multiplyAndRound(x,2,3)", NONE),
        ("=divideAndRound(2,'FLOOR',20,3)", 6.66),
        ("=divideAndRound(2,'HALF_EVEN',1,8)", 0.12),
        ("=divideAndRound(2,1,8)", 0.13),
        ("=divideAndRound(2000,1,8)", NONE),
        ("=formatDate('2021-01-31','dd.MM.yyyy')", "31.01.2021"),
        ("=formatDate('31.01.21','dd.MM.yy','yyyy-MM-dd')", "2021-01-31"),
        ("=formatDate(1609459200000,'HH:mm')", "00:00"),
        ("=formatDate('2021-01-31','QQ')", NONE),
        ("=formatDate('x','yyyy')", NONE),
        ("=formatDate('2021-01-31')", NONE),
        ("=formatDate(true,'yyyy')", NONE),
        ("=fromEpochMilli(0,'dd/MM/yyyy')", "01/01/1970"),
        ("=fromEpochMilli(x)", NONE),
        ("=fromEpochMilli(1500)", "1970-01-01T00:00:01.500Z"),
        ("=toEpochMilli('31.01.1970','dd.MM.yyyy')", 2592000000),
        ("=toEpochMilli()", NONE),
        ("=dateAdd('2021-01-31',1,'MONTHS')", "2021-02-28"),
        ("=dateAdd('2020-02-29',1,'years')", "2021-02-28"),
        ("=dateAdd('2021-01-31T10:00:00',90,'MINUTES')", "2021-01-31T11:30:00"),
        ("=dateAdd('2021-01-31T10:00:00Z',1,'WEEKS')", "2021-02-07T10:00:00Z"),
        ("=dateAdd('31.01.2021',1,'DAYS','dd.MM.yyyy')", "01.02.2021"),
        ("=dateAdd(0,1,'SECONDS')", 1000),
        ("=dateAdd('2021-01-31',1,'MOONS')", NONE),
        ("=dateAdd('2021-01-31',9999999999,'DAYS')", NONE),
        ("=dateAdd('2021-01-31',1)", NONE),
        ("=dateAdd('x',1,'DAYS')", NONE),
        ("=dateSubstract('2021-01-01',1,'DAYS')", "2020-12-31"),
        ("=toEpochMilli('99999')", NONE),
    ],
)
def test_functions(call: str, result: Any) -> None:
    """A function of jolt-community gives the value of its documentation, or none."""
    assert value_of(call) == result


@pytest.mark.parametrize("call", ["=uuid", "=uuid()"])
def test_identifiers_are_new_each_time(call: str) -> None:
    """An identifier needs no value to work on, with parentheses or without."""
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", value_of(call))
    assert value_of(call) != value_of(call)


def test_now() -> None:
    """The present is a text of ISO 8601, a text in a pattern, or milliseconds."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", value_of("=now()"))
    assert re.fullmatch(r"\d{4}", value_of("=now('yyyy')"))
    assert value_of("=nowEpochMillis") > 1_700_000_000_000


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2021-03-04T15:06:07.123+03:00"),
        ("yyyy-MM-dd HH:mm:ssx", "2021-03-04 15:06:07+03"),
        ("d/M/uu h:mm a", "4/3/21 3:06 PM"),
        ("EEE, dd MMM yyyy HH:mm:ss Z", "Thu, 04 Mar 2021 15:06:07 +0300"),
        ("EEEE dd MMMM yyyy 'o''clock'", "Thursday 04 March 2021 o'clock"),
        ("h a''mm", "3 PM'06"),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2021-03-04T15:06:07-0530"),
    ],
)
def test_date_patterns(pattern: str, text: str) -> None:
    """A date that is read in a pattern is written in it as the same text."""
    when = read(text, pattern)
    assert when is not None
    assert written(when, pattern) == text


@pytest.mark.parametrize(("text", "pattern"), [("2021-02-30", "yyyy-MM-dd"), ("x", "yyyy"), ("1", "G"), ("1", "'")])
def test_texts_that_are_no_date(text: str, pattern: str) -> None:
    """A date that does not exist, or a pattern that cannot be understood, is none."""
    assert read(text, pattern) is None


def test_names() -> None:
    """Operations have their names, those of jolt-community, and the names of both packages' classes."""
    assert operation_of("modify-define") == "modify-define-beta"
    assert JAVA_NAMES["com.bazaarvoice.jolt.Shiftr"] == "shift"
    assert JAVA_NAMES["io.joltcommunity.jolt.Modifier$Overwritr"] == "modify-overwrite-beta"
    assert JAVA_NAMES["io.joltcommunity.jolt.removr.Removr"] == "remove"
    assert operation_of("spread") is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"operation": "modify-overwrite", "spec": {}}, "Jolt 0.1.8 has modify-overwrite-beta"),
        ({"operation": "io.joltcommunity.jolt.shiftr.Shiftr", "spec": {}}, "Jolt 0.1.8 has shift"),
        ({"operation": "modify-default-beta", "spec": {"a": "=replace(@0,'a','b')"}}, "replace is a function of"),
        ({"operation": "modify-define-beta", "spec": {"a": "=now"}}, "now is a function of jolt-community"),
        ({"operation": "modify-define-beta", "spec": {"a": "=replce(@0,'a','b')"}}, "there is no function 'replce'"),
    ],
)
def test_strict_chains_have_what_jolt_0_1_8_has(entry: dict[str, Any], words: str) -> None:
    """What only jolt-community knows is refused, by its name."""
    (problem,) = compile_chain([entry], strict=True)  # type: ignore[misc]
    assert words in problem.text


def test_strict_chains_give_the_same() -> None:
    """What Jolt 0.1.8 knows works alike in both."""
    spec = [
        {"operation": "com.bazaarvoice.jolt.Shiftr", "spec": {"a": "b"}},
        {"operation": "modify-overwrite-beta", "spec": {"b": "=toUpper"}},
    ]
    for strict in (False, True):
        chain = compile_chain(spec, strict=strict)
        assert isinstance(chain, Chain)
        assert chain.apply({"a": "x"}) == {"b": "X"}
