"""What a post may hold, decided without I/O."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import PostError
from imageflow.gateway import post_body
from imageflow.gateway.outbound import check_key
from imageflow.gateway.post_body import LIGHT_BYTES, STEP_BYTES, is_light, parse, steps
from imageflow.gateway.problem_details import refusal
from imageflow.model.flow import Definition, decode_custom


def definition(**fields):
    document = {
        "name": "posts",
        "direction": "outbound",
        "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "P"}},
        **fields,
    }
    return msgspec.convert(document, Definition, dec_hook=decode_custom)


PLAIN = definition()
NESTED = definition(erp={"rows_path": "data.items"})
POINTER = definition(erp={"rows_path": "/data/items"})
SCRIPTED = definition(erp={"rows_path": "data.items"}, script="def process(response):\n    return response\n")
BY_FILE_NAME = definition(filename_template="{sku}_{image_order}.jpg")


@pytest.mark.parametrize(
    ("body", "flow", "rows", "text"),
    [
        (b'{"sku": "A"}', PLAIN, 1, {"sku": "A"}),
        (b'  {"sku": "A"}\r\n', PLAIN, 1, {"sku": "A"}),
        (b'\xef\xbb\xbf{"sku": "A"}', PLAIN, 1, {"sku": "A"}),
        (b'[{"sku": "A"}]', PLAIN, 1, [{"sku": "A"}]),
        (b'[{"sku": "A"},\n {"sku": "B"}]\n', PLAIN, 2, [{"sku": "A"}, {"sku": "B"}]),
        (b'{"sku": "A"}\n{"sku": "B"}', PLAIN, 2, [{"sku": "A"}, {"sku": "B"}]),
        (b'{"sku": "A"}\r\n\r\n  {"sku": "B"}\r\n', PLAIN, 2, [{"sku": "A"}, {"sku": "B"}]),
        (b'\n\n{"sku": "A"}\n{"sku": "B"}\n', PLAIN, 2, [{"sku": "A"}, {"sku": "B"}]),
        (b'{\n "sku": "A",\n "images": []\n}', PLAIN, 1, {"sku": "A", "images": []}),
        (b'{"data": {"items": [{}, {}]}}', NESTED, 2, {"data": {"items": [{}, {}]}}),
        (b'{"data": {"items": [{}, {}]}}', POINTER, 2, {"data": {"items": [{}, {}]}}),
        (b'[{"sku": "A"}, {"sku": "B"}]', NESTED, 2, [{"sku": "A"}, {"sku": "B"}]),
        (b'{"other": 1}', SCRIPTED, 1, {"other": 1}),
        (b"[1, [2]]", SCRIPTED, 2, [1, [2]]),
        (b'["https://e.com/A_1.jpg", {"url": "https://e.com/A_2.jpg"}]', BY_FILE_NAME, 2, None),
        (b'{"sku": "A", "sku": "B"}', PLAIN, 1, {"sku": "B"}),
        (b'{"sku": "\xc5\x9e\xc4\xb1k"}', PLAIN, 1, {"sku": "\u015e\u0131k"}),
    ],
)
def test_accepted(body, flow, rows, text):
    """Objects, lists and NDJSON are accepted, their rows counted where the flow has them, and kept as one JSON text."""
    post = parse(body, flow)
    assert post.rows == rows
    assert json.loads(post.text) == (json.loads(body) if text is None else text)


def test_ndjson_by_content_type_is_a_list():
    """A body that calls itself NDJSON becomes a list even if it has one line."""
    assert parse(b'{"sku": "A"}', PLAIN, ndjson=True) == (b'[{"sku":"A"}]', 1, None)


SET = {"sku": "A", "images": ["https://e.com/1.jpg"]}


@pytest.mark.parametrize(
    ("body", "flow", "sets"),
    [
        (SET, PLAIN, [SET]),
        ([SET, {"images": []}], PLAIN, [SET, {"images": []}]),
        ({"data": {"items": [SET, SET]}}, NESTED, [SET, SET]),
        ([SET] * post_body.SMALL_ROWS, definition(filename_template=" {base_code} "), [SET] * post_body.SMALL_ROWS),
        ([SET] * (post_body.SMALL_ROWS + 1), PLAIN, None),
        ({**SET, "x": "y" * post_body.SMALL_BYTES}, PLAIN, None),
        ({"sku": "A", "url": "https://e.com/1.jpg"}, PLAIN, None),
        ([SET, {"sku": "A", "url": "https://e.com/1.jpg"}], PLAIN, None),
        (SET, SCRIPTED, None),
        (SET, definition(script="def process_row(row):\n    return row\n"), None),
        (SET, definition(mapping=[{"operation": "shift", "spec": {"*": "[&0]"}}]), None),
        (SET, definition(group="run"), None),
        ([SET], BY_FILE_NAME, None),
    ],
)
def test_what_may_stand_beside_others(body, flow, sets):
    """A small post of image sets may share a page; not where anything looks at the page as a whole."""
    post = parse(json.dumps(body).encode(), flow)
    assert (None if post.sets is None else json.loads(b"[" + post.sets + b"]")) == sets


@pytest.mark.parametrize("lines", [b'{"a": 1}, {"a": 2}\n{"a": 3}', b'{"a":\n1}', b'{"a": 1} {"a": 2}\n{}'])
def test_a_line_is_one_value(lines):
    """Lines that are decoded together are one value each, as they are by themselves."""
    with pytest.raises(PostError, match="line 1 is not JSON"):
        parse(lines, PLAIN, ndjson=True)


@pytest.mark.parametrize(
    ("body", "flow", "says"),
    [
        (b"", PLAIN, "empty"),
        (b" \r\n", PLAIN, "empty"),
        (b"\xef\xbb\xbf", PLAIN, "empty"),
        (b"sku=A", PLAIN, "not JSON"),
        (b"<rows/>", PLAIN, "not JSON"),
        (b'{"sku": "A"', PLAIN, "not JSON"),
        (b'{\n"sku": "A"\n', PLAIN, "the body is not JSON"),
        (b'[{"sku": NaN}]', PLAIN, "not JSON"),
        (b'[{"sku": Infinity}]', PLAIN, "not JSON"),
        (b'[{"price": 1e999}]', PLAIN, "not JSON"),
        (b'[{"sku": "\\ud800"}]', PLAIN, "not JSON"),
        (b'{"sku": "A"} {"sku": "B"}', PLAIN, "not JSON"),
        (b'{"sku": "A"}\n{"sku": ', PLAIN, "line 2 is not JSON"),
        (b'{"sku": "A"}\n\n{"sku": "B"}\noops', PLAIN, "line 4 is not JSON"),
        (b'{"sku": "A"}\n[{"sku": "B"}]', PLAIN, "element 2 of the list is a list of 1"),
        (b'{"sku": "\xff"}', PLAIN, "not UTF-8"),
        ('{"sku": "A"}'.encode("utf-16"), PLAIN, ""),
        (b"[" * 50_000 + b"]" * 50_000, PLAIN, "nested too deeply"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, PLAIN, "nested too deeply"),
        (b"null", PLAIN, "the body is null"),
        (b"true", PLAIN, "the body is a boolean"),
        (b"12", PLAIN, "the body is a number"),
        (b'"text"', PLAIN, "the body is a text"),
        (b"[]", PLAIN, "no rows"),
        (b'{"data": {"items": []}}', NESTED, "no rows"),
        (b'{"items": []}', NESTED, "no list at 'data.items'"),
        (b'{"data": {"items": {}}}', NESTED, "no list at 'data.items'"),
        (b'{"data": {"items": [null]}}', NESTED, "element 1 of the list is null"),
        (b"[1]", PLAIN, "element 1 of the list is a number"),
        (b'[{"sku": "A"}, "B"]', PLAIN, "element 2 of the list is a text"),
        (b'[{"sku": "A"}, false]', BY_FILE_NAME, "element 2 of the list is a boolean"),
    ],
)
def test_refused(body, flow, says):
    """What is not JSON, or cannot be rows, is refused with 400 and a text that says what and where."""
    with pytest.raises(PostError) as error:
        parse(body, flow)
    assert refusal(error.value).status == 400
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}\n" * 3_400_000, "3,400,000 objects and lists"),
        (b"1\n" * 5_000_000, "5,000,001 lines"),
        (b"\n" * 9_000_000 + b"{}", "9,000,001 lines"),
        (b"[" + b"[]," * 3_000_000 + b"[]]", "3,000,001 values"),
        (b"[" + b"1," * 5_000_000 + b"1]", "5,000,001 values"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(700_000)) + b"}", "700,000 values"),
        (b"[" * 300_001, "300,001 objects and lists"),
    ],
)
def test_too_much(body, says):
    """What would become too many objects is refused before it is decoded, whatever its form."""
    for ndjson in (False, True):
        with pytest.raises(PostError) as error:
            parse(body, PLAIN, ndjson=ndjson)
        assert refusal(error.value).status == 413
        assert says in str(error.value)


ROW = {
    "sku": "SKU-1",
    "images": ["https://e.com/%C3%A7.jpg"],
    "note": 'a "quoted" \u015e, [text]',
    "n": [1.5, None, {}],
}
LARGE_TEXT = "x" * (LIGHT_BYTES + 1)


@pytest.mark.parametrize(
    "value",
    [
        [ROW] * 2_000,
        {"data": {"items": [ROW] * 2_000}, "meta": {"count": 2_000}},
        {str(n): ROW for n in range(2_000)},
        [LARGE_TEXT, ROW, [LARGE_TEXT]],
        {"a": {"b": {"c": [LARGE_TEXT]}}, LARGE_TEXT: 1},
    ],
)
def test_a_large_body_is_the_same_in_steps(value):
    """A body that is decoded in steps gives the text that decoding it at once gives."""
    for body in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        assert parse(body, SCRIPTED).text == msgspec.json.encode(value)


@pytest.mark.parametrize(
    ("body", "light"),
    [
        (b"[]", True),
        (b'["' + b"x" * 200_000 + b'"]', True),
        (b'["' + b"x" * LIGHT_BYTES + b'"]', False),
        (b"[" + b"1," * 30_000 + b"1]", True),
        (b"[" + b"1," * 40_000 + b"1]", False),
        (json.dumps([{"sku": "A-1", "images": ["https://e.com/1.jpg"] * 3}] * 1_000).encode(), True),
    ],
)
def test_what_is_decoded_at_once(body, light):
    """A page of usual rows is; as many bytes of nothing but short values take several times as long."""
    assert is_light(body) is light


def test_steps_are_small():
    """Between two pauses no more than about two steps of a body are decoded."""
    body = json.dumps([ROW] * 10_000).encode()
    pauses = sum(1 for _ in steps(body, PLAIN))
    assert pauses >= len(body) / STEP_BYTES / 2
    lines = b"\n".join([json.dumps(ROW).encode()] * 10_000)
    assert sum(1 for _ in steps(lines, PLAIN)) >= len(lines) / STEP_BYTES / 2


def test_repeated_names_in_a_large_object():
    """Of repeated keys the last counts, in a large object too."""
    body = b'{"sku": "A", "x": "' + LARGE_TEXT.encode() + b'", "sku": "B"}'
    assert json.loads(parse(body, PLAIN).text) == {"sku": "B", "x": LARGE_TEXT}


def test_deep_and_large():
    """Large lists within each other are refused at a depth, because each level is read again."""
    deep = b"[" * (post_body.MAX_SPLITS + 2) + b'"' + LARGE_TEXT.encode() + b'"' + b"]" * (post_body.MAX_SPLITS + 2)
    with pytest.raises(PostError, match="nested too deeply"):
        parse(deep, SCRIPTED)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'[{"a": "' + b"x" * LIGHT_BYTES + b'"}, {"b": nul}]', "the body is not JSON"),
        (b'[{"a": "' + b"x" * LIGHT_BYTES + b'"}', "the body is not JSON"),
        (b'{"a": "' + b"x" * LIGHT_BYTES + b'"}\n{"b": nul}', "line 2 is not JSON"),
        (b'{"a": "' + b"x" * LIGHT_BYTES + b'"}\n{"b": 1}\n{"b": nul}', "line 3 is not JSON"),
        (b'[{"a": "' + b"x" * LIGHT_BYTES + b'"}, {"b": "\xff"}]', "not UTF-8"),
    ],
)
def test_mistakes_in_large_bodies(body, says):
    """A mistake in a large body is found and named like one in a small body."""
    with pytest.raises(PostError, match=says):
        parse(body, PLAIN)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_objects = st.lists(st.dictionaries(st.text(), _json, max_size=3), min_size=1, max_size=5)


@pytest.mark.slow
@given(_objects)
def test_list_and_ndjson_are_the_same(objects):
    """The same rows as a list and as NDJSON give the same post, whatever is in them."""
    lines = b"\n".join(json.dumps(item).encode() for item in objects)
    assert parse(json.dumps(objects).encode(), PLAIN) == parse(lines, PLAIN, ndjson=True)
    assert json.loads(parse(lines, PLAIN, ndjson=True).text) == objects


@given(st.binary(max_size=60))
def test_any_bytes(body):
    """Whatever is posted is accepted as JSON or refused with 400: nothing else happens."""
    try:
        post = parse(body, PLAIN)
    except PostError as error:
        assert error.kind == "malformed"
    else:
        assert isinstance(json.loads(post.text), dict | list)


@pytest.mark.parametrize("values", [[""], [" "], ["a b"], ["x" * 256], ["\u00e9"], ["a", "b"], ["a\x7f"]])
def test_unusable_keys(values):
    """An Idempotency-Key is one header of 1 to 255 visible ASCII characters."""
    with pytest.raises(PostError) as error:
        check_key(values)
    assert refusal(error.value).status == 400


def test_usable_keys():
    """No key is no key; a usable one is taken as it is."""
    assert check_key([]) is None
    assert check_key(["k"]) == "k"
    assert check_key(["~" * 255]) == "~" * 255
