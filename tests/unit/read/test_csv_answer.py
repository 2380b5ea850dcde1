"""CSV: tables are taken whole, or refused with the line and what to do."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import ReadError
from imageflow.model.answer_format import CsvFormat
from imageflow.read import csv_answer

PLAIN = CsvFormat()
SEMICOLON = CsvFormat(delimiter=";")


def test_a_table():
    """The first line names the columns; cells stay texts; blank lines are none; line ends and quotes as anybody writes them."""
    text = 'sku,url,note\r\n0012,https://a/1.jpg,"a ""b"", c\r\nd"\r\n\r\n , \n'.replace(" , \n", "")
    assert csv_answer.rows(text, PLAIN) == [{"sku": "0012", "url": "https://a/1.jpg", "note": 'a "b", c\r\nd'}]
    assert csv_answer.rows("sku;url", SEMICOLON) == []
    assert csv_answer.rows("a\tb\n1\t2", CsvFormat(delimiter="tab")) == [{"a": "1", "b": "2"}]
    assert csv_answer.rows("sep=;\nsku;url\nA;u", SEMICOLON) == [{"sku": "A", "url": "u"}]
    assert csv_answer.rows('a;b\n"x;y', CsvFormat(delimiter=";", quote="")) == [{"a": '"x', "b": "y"}]


def test_columns_of_its_own():
    """Without a header the flow names the columns; lines at the beginning are left out."""
    form = CsvFormat(columns=("sku", "url"), skip_lines=2)
    assert csv_answer.rows("Export of 1.1.\nKod,Kod\nA,u\n", form) == [{"sku": "A", "url": "u"}]
    assert csv_answer.rows("", CsvFormat(columns=("sku",))) == []
    assert csv_answer.rows("Export\n\nsku,url\nA,u\n", CsvFormat(skip_lines=1)) == [{"sku": "A", "url": "u"}]


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("sku;url;order\nA;u;1\n", PLAIN, "seems that ';' divides the cells.*delimiter: \";\""),
        ("sku\turl\nA\tu\n", PLAIN, "delimiter: tab"),
        ("A;u\n", CsvFormat(columns=("sku", "url")), 'line 1 is a single cell.*delimiter: ";"'),
        ("sep=;\nsku;url\n", PLAIN, "says that ';' divides"),
        ("sku,url,sku\n", PLAIN, "names 'sku' twice, as column 1 and as column 3.*columns"),
        ("sku,,url\n", PLAIN, "column 2 of the header has no name"),
        (
            "sku,url\nA,u\nB,u,x\n",
            PLAIN,
            r"line 3 of the answer has 3 cells where the header has 2: a cell that holds ','",
        ),
        ("sku,url\nA,u\nB", PLAIN, "line 3 of the answer has 1 cells where the header has 2: .*truncated"),
        ('sku,url\nA,"u\nB,u\n', PLAIN, "line 2 of the answer opens a quote that is never closed"),
        ('sku,url\nA,"u" x\n', PLAIN, "line 2 of the answer has more text after the closing quote"),
        ("sku,url\nA," + "u" * 200_000, PLAIN, "line 2 of the answer has a cell of more than 131,072"),
        (
            "Error: the session has expired",
            PLAIN,
            "a single line without a delimiter, ⟦'Error: the session has expired'⟧",
        ),
        ("\n \n", PLAIN, "no line with something in it"),
        (",".join(map(str, range(1001))), PLAIN, "1,001 columns"),
    ],
)
def test_wrong_tables(text: str, form: CsvFormat, said: str):
    """What is not as the flow says is an error in a sentence, with the line."""
    with pytest.raises(ReadError, match=said) as caught:
        csv_answer.rows(text, form)
    assert len(str(caught.value)) < 600


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch):
    """Rows and cells have a limit, which names a way out."""
    monkeypatch.setattr(csv_answer, "MAX_CELLS", 6)
    assert len(csv_answer.rows("a,b\n" + "1,2\n" * 3, PLAIN)) == 3
    with pytest.raises(ReadError, match="more than 3 rows of 2 columns: use pagination"):
        csv_answer.rows("a,b\n" + "1,2\n" * 4, PLAIN)


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8), st.sampled_from([",", ";", "\t", "|"]))
def test_what_is_written_is_read(table: list[list[str]], delimiter: str):
    """What a CSV writer wrote comes back, row by row and letter by letter."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *table])
    found = csv_answer.rows(text.getvalue(), CsvFormat(delimiter=delimiter))
    assert found == [{"a": one, "b": other} for one, other in table]


@given(st.text(max_size=200))
def test_any_text_is_rows_or_refused(text: str):
    """No text leads to another error than ReadError, and rows all have the same columns."""
    try:
        found = csv_answer.rows(text, SEMICOLON)
    except ReadError:
        return
    assert len({tuple(row) for row in found}) <= 1
