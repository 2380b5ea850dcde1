"""Files of identifiers: what is understood, and what is refused in words."""

from __future__ import annotations

import codecs

import pytest

from imageflow.model.identifiers import distinct, first_column, with_separator

TWO = ("A-1", "A-2")


@pytest.mark.parametrize(
    "text",
    [
        "A-1\nA-2\n",
        "A-1\r\nA-2",
        "A-1\rA-2\r",
        "A-1,red\nA-2,blue\n",
        "A-1;Yeşil;3\r\nA-2;Mavi;4\r\n",
        "A-1\tred\nA-2\tblue\n",
        '"A-1";"x;y"\n"A-2";"z"\n',
        '"A-1","a, b","c"\n"A-2","","d"\n',
        "A-1;a, b\nA-2;c, d\n",
        "A-1,x;y\nA-2,z\n",
        "A-1;3,50\nA-2;4,90\n",
        '"A-1"\r\n"A-2"\r\n',
        "\n A-1 \n\n\nA-2\t\n A-1\n",
        ";\nA-1;x\n;y\nA-2;\n",
        "sep=;\nA-1;x,1\nA-2;y,2\n",
        "SEP=|\r\nA-1|x\r\nA-2|y\r\n",
        '="A-1"\n="A-2"\n',
        '"=""A-1""",x\n"=""A-2""",y\n',
        '"A-1","first\nsecond"\n"A-2","third"\n',
        "A-1,\nA-2,\n",
        "A-1\u00a0\nA-2\n",
    ],
)
def test_what_spreadsheets_save(text: str) -> None:
    """The first column, whatever parts the columns and ends the lines."""
    assert first_column(text.encode()) == TWO


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(encoding: str) -> None:
    """UTF-8 with and without a byte order mark; UTF-16 and UTF-32 by theirs."""
    assert first_column("ŞIK-1;x\r\nA,2;y\r\n".encode(encoding)) == ("ŞIK-1", "A,2")


def test_big_endian() -> None:
    """UTF-16 of the other byte order is known by its mark, too."""
    assert first_column(codecs.BOM_UTF16_BE + "A-1\nA-2".encode("utf-16-be")) == TWO


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('A-1\n"BL,18"\n', ("A-1", "BL,18")),
        ("BL,18;red\nA-2;blue\n", ("BL,18", "A-2")),
        ("000123\n1E5\n", ("000123", "1E5")),
        ('O\'Neill "X"\n16" Monitor\n', ('O\'Neill "X"', '16" Monitor')),
        ('"16"" Monitor"\n', ('16" Monitor',)),
        ("", ()),
        ("\n\n;\n", ()),
        ("sku\nA-1\n", ("sku", "A-1")),
        ("sep=x", ()),
    ],
)
def test_identifiers_as_they_are(text: str, found: tuple[str, ...]) -> None:
    """Commas in quotes, zeros in front and quotes inside a name stay; a heading is an identifier like any other."""
    assert first_column(text.encode()) == found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"A-1\n\xdeIK-1\r\n", "is not UTF-8: line 2 has the byte 0xDE.*windows-1254.*CSV UTF-8"),
        ("A-1\n".encode("utf-16-le"), "looks like UTF-16 without a byte order mark"),
        (codecs.BOM_UTF16_LE + b"A\x00-", "is not the UTF-16 that its beginning says"),
        (codecs.BOM_UTF8 + b"\xde", "is not the UTF-8 that its beginning says"),
        (b"PK\x03\x04\x14\x00", "is an Excel workbook, not CSV"),
        (b"\xd0\xcf\x11\xe0\xa1", "is an old Excel workbook"),
        (b"%PDF-1.7", "is a PDF"),
        (b'A-1\n"A-2\nA-3\n', "line 3 cannot be read as CSV"),
        (b'"A-1"x\n', "line 1 cannot be read as CSV"),
        (b'sep=;\n"A-1\n', "line 2 cannot be read as CSV"),
        (b'A-0\n"A\n1"\n', "line 3: .*line break"),
        (b"A-1\nBL,18\n", "line 2 has a comma and line 1 has none: put identifiers that hold a comma in quotes"),
        (b"A-1\n8.68E+12\n", r"line 2 is 8\.68E\+12: Excel has rounded a long number"),
        (b"8,68E+12;x\nA-1;y\n", r"line 1 is 8,68E\+12"),
    ],
)
def test_refused(data: bytes, words: str) -> None:
    """What would ask for wrong identifiers says what it is, in which line, and what to do."""
    with pytest.raises(ValueError, match=f"(?s){words}"):
        first_column(data)


def test_distinct() -> None:
    """The order stays, blanks and repetitions go."""
    assert distinct([" A", "B ", "", "A", " "]) == ("A", "B")


def test_with_separator() -> None:
    """Identifiers with a comma cannot travel joined by commas."""
    assert with_separator(["A", "BL,18", ",", "B;1"]) == ["BL,18", ","]
