"""Which status an error becomes."""

import pytest

from imageflow import errors
from imageflow.actions.dead_letters import NotReplayable
from imageflow.actions.runs import NotRunnable
from imageflow.actions.users import OwnUserError, UserError
from imageflow.errors import FlowFileError, PostError, Problem, ThrottledError
from imageflow.gateway.access import AuthenticationError, PermissionDenied
from imageflow.gateway.outbound import KeyReused
from imageflow.gateway.problem_details import POST_STATUSES, Refusal, refusal


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationError("who?"), 401),
        (PermissionDenied("no"), 403),
        (errors.NotFoundError("none"), 404),
        (NotRunnable("outbound"), 409),
        (OwnUserError("oneself"), 409),
        (NotReplayable("whence?"), 409),
        (UserError("name"), 422),
        (errors.RequestError("since"), 422),
        (KeyReused("r1"), 422),
        (PostError("not JSON"), 400),
        (ThrottledError("slowly", 3), 429),
        (ThrottledError("all", 1, overload=True), 503),
        (Refusal(418, "tea"), 418),
    ],
)
def test_the_askers_errors(error, status):
    """An error of the asker has its status, and says what it says."""
    assert refusal(error).status == status
    assert str(refusal(error)) == str(error)


@pytest.mark.parametrize(
    ("error", "status"), [(errors.StoreError("postgres at 10.0.0.1"), 503), (errors.SettingsError("port"), 500)]
)
def test_errors_of_our_inside_stay_inside(error, status):
    """An error that passes by itself is 503 with Retry-After, any other 500; neither says what it was."""
    why = refusal(error)
    assert why.status == status
    assert str(error) not in str(why)
    assert ("Retry-After" in why.headers) == (status == 503)


def test_every_kind_of_post_error_has_a_status():
    """No kind of PostError is forgotten in the table."""
    assert set(POST_STATUSES) == set(errors.PostKind.__args__)


def test_the_problems_of_a_flow_are_listed():
    """The body of a flow's refusal has each problem, the detail counts them and says the first."""
    why = refusal(FlowFileError([Problem("erp", "is missing"), Problem("name", "is empty")]))
    assert why.status == 422
    assert str(why) == "the flow has 2 problems; the first: erp: is missing"
    assert [one.path for one in why.body.problems] == ["erp", "name"]
    assert str(refusal(FlowFileError([Problem("erp", "is missing")]))) == "the flow has 1 problem: erp: is missing"


def test_headers():
    """Retry-After is a whole number of seconds, at least one; a 401 says how to come in."""
    assert Refusal(503, "later", retry_after=1.2).headers == {"Retry-After": "2"}
    assert Refusal(503, "later", retry_after=0.0).headers == {"Retry-After": "1"}
    assert Refusal(401, "who?").headers == {"WWW-Authenticate": "Bearer"}
    assert Refusal(400, "no").headers == {}
