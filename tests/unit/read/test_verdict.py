"""Which answers with status 200 are errors: what a good one says of itself, and what a bad one does."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.read import verdict
from tests.unit.read.flows import flow


def check(document: dict[str, Any], **erp: Any) -> None:
    """The verdict on an answer with its rows at `Data`."""
    made = flow(rows_path="Data", **erp).erp
    assert made is not None
    place = pointer.find(document, "Data")
    verdict.check(made, document, place, place)


def error_of(document: dict[str, Any], **erp: Any) -> str:
    """What is said of an answer that is an error."""
    with pytest.raises(ReadError) as caught:
        check(document, **erp)
    return str(caught.value)


@pytest.mark.parametrize(
    "beside",
    [
        {"Success": False, "Message": "Oturum zaman asimina ugradi"},
        {"success": "false"},
        {"isSuccess": False},
        {"IsSuccessful": False},
        {"ok": False},
        {"succeeded": False},
        {"Basarili": False, "Mesaj": "hata"},
        {"status": "error"},
        {"status": "FAILED"},
        {"result": "nok"},
        {"error": "deadlock victim"},
        {"error": True},
        {"error": {"code": 500, "message": "x"}},
        {"errors": ["invalid token"]},
        {"errors": [{"message": "Cannot query field"}]},
        {"errorMessage": "timeout"},
        {"error_description": "expired"},
        {"hasError": True},
        {"errorCode": 17},
        {"errorCode": "E-01"},
        {"Exception": {"Type": "SqlException"}},
        {"HataMesaji": "Yetkisiz"},
        {"meta": {"success": False}},
        {"header": {"status": {"error": "x"}}},
    ],
)
def test_an_error_in_a_200(beside: dict[str, Any]):
    """An empty list beside a success flag that is false, or an error that is not empty, is an error; beside rows it is none."""
    assert "the answer has no rows and says that something went wrong" in error_of({**beside, "Data": []})
    check({**beside, "Data": [1]})


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"message": "No records found"},
        {"Success": True, "Message": "kayit yok"},
        {"success": None},
        {"success": 200},
        {"status": "ok"},
        {"status": 200},
        {"status": "empty"},
        {"error": None},
        {"error": ""},
        {"error": False},
        {"error": 0},
        {"error": "none"},
        {"error": "No error"},
        {"error": {"code": 0, "message": ""}},
        {"error": {"code": None, "message": "OK"}},
        {"errors": []},
        {"errors": {}},
        {"errors": None},
        {"errorCode": 0},
        {"errorCode": "0"},
        {"errorCode": "SUCCESS"},
        {"hasError": False},
        {"warnings": ["slow"]},
        {"error_count": 0, "errors_url": "https://x"},
    ],
)
def test_an_empty_list_that_is_none(beside: dict[str, Any]):
    """What is empty, says that all is well, or is only a message, is no error."""
    check({**beside, "Data": []})


@pytest.mark.parametrize(
    ("ignore", "silent"),
    [
        (["meta.success"], True),
        (["META.Success"], True),
        (["/meta/success"], True),
        (["meta"], True),
        (["success"], False),
        (["meta.succ"], False),
    ],
)
def test_a_flag_that_means_something_else(ignore: list[str], silent: bool):
    """`pagination.ignore` silences a field, or all below one; the error says which entry does so."""
    document = {"meta": {"success": False}, "Data": []}
    pagination = {"type": "none", "ignore": ignore}
    if silent:
        check(document, pagination=pagination)
    else:
        assert error_of(document, pagination=pagination).endswith("pagination.ignore: [meta.success]")


def test_a_flag_that_is_silent_hides_no_other():
    """What stands beside it still counts."""
    document = {"success": False, "error": "expired", "Data": []}
    assert "error is" in error_of(document, pagination={"type": "none", "ignore": ["success"]})


@pytest.mark.parametrize(
    ("success", "good", "bad"),
    [
        ({"path": "Success"}, {"Success": True}, {"Success": False}),
        ({"path": "Success"}, {"Success": True}, {"Success": "true"}),
        ({"path": "Success"}, {"Success": True}, {"Success": 1}),
        ({"path": "Success"}, {"Success": True}, {}),
        ({"path": "meta.code", "value": 0}, {"meta": {"code": 0}}, {"meta": {"code": 4}}),
        ({"path": "meta.code", "value": 0}, {"meta": {"code": 0.0}}, {"meta": {"code": False}}),
        ({"path": "status", "value": "OK"}, {"status": "OK"}, {"status": "ERROR", "message": "no"}),
        ({"path": "error", "value": None}, {"error": None}, {"error": "x"}),
    ],
)
def test_what_a_good_answer_says(success: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]):
    """With `erp.success` anything else is an error, whatever rows came; and nothing else makes it one."""
    check({**good, "Data": [], "ok": False}, success=success)
    assert f"at {success['path']!r}" in error_of({**bad, "Data": [1]}, success=success)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, ""),
        ([{"message": "x"}], ""),
        ({"message": ""}, ""),
        ({"error": True, "detail": "expired"}, '; detail: "expired"'),
        ({"Message": "x", "errorText": "y"}, '; errorText: "y"'),
        ({"Mesaj": "oturum\nkapandi"}, '; Mesaj: "oturum\\nkapandi"'),
        ({"meta": {"message": "x"}}, ""),
        ({"message": "x" * 500}, '; message: "' + "x" * 199 + "…"),
    ],
)
def test_what_an_answer_tells_people(document: Any, said: str):
    """Its error, or else its message, from its top alone; long ones are cut."""
    assert verdict.said(document) == said


def test_what_an_error_tells():
    """The answer's own words are in the text, without the field that was complained of: once is enough."""
    assert 'Success is false; Message: "Oturum' in error_of({"Success": False, "Message": "Oturum", "Data": []})
    assert error_of({"error": "expired", "Data": []}).count("expired") == 1
    assert "has nothing at 'code'" in error_of({"Message": "x", "Data": []}, success={"path": "code", "value": 0})
    told = error_of({"Success": False, "Message": "Oturum " + "x" * 900, "Data": []})
    assert len(told) < 600
