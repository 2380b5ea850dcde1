"""What to do with a row, given what the ledger says of its SKUs."""

import pytest

from imageflow.store import Claim
from imageflow.write.claim_decision import combine, decide


def claim(*, mine=True, busy=False, version=-1, digest=None):
    return Claim("p", mine, busy, version, digest)


@pytest.mark.parametrize(
    ("entry", "decision"),
    [
        (claim(), "send"),
        (claim(version=4, digest="other"), "send"),
        (claim(version=4, digest="same"), "unchanged"),
        (claim(version=5, digest="same"), "repeated"),
        (claim(version=6, digest="other", mine=False), "superseded"),
        (claim(version=6, digest="same", mine=False), "superseded"),
        (claim(mine=False, busy=True), "busy"),
        (claim(mine=False, busy=True, version=4, digest="same"), "busy"),
        (claim(mine=False, busy=True, version=6), "superseded"),
        (claim(mine=False), "busy"),
        # the ledger has this row's version, without a digest or with another one: it is not known to be written
        (claim(version=5), "send"),
        (claim(version=5, digest="other"), "send"),
        (claim(version=5, mine=False, busy=True), "busy"),
        (claim(version=4), "send"),
        (claim(version=6), "superseded"),
    ],
)
def test_decide(entry, decision):
    """Newer rows win, the same set is not sent again, and nothing is decided on what is in flight."""
    assert decide(entry, 5, "same", skip_unchanged=True) == decision


def test_without_skip_unchanged_everything_is_sent():
    """`skip_unchanged: false` sends the same set again, but never a row twice."""
    assert decide(claim(version=4, digest="same"), 5, "same", skip_unchanged=False) == "send"
    assert decide(claim(version=5, digest="same"), 5, "same", skip_unchanged=False) == "repeated"


@pytest.mark.parametrize(
    ("decisions", "whole"),
    [
        (["send", "busy"], "busy"),
        (["unchanged", "send", "superseded"], "send"),
        (["unchanged", "unchanged"], "unchanged"),
        (["superseded", "unchanged"], "unchanged"),
        (["superseded", "repeated"], "repeated"),
        (["superseded"], "superseded"),
        (["unchanged", "repeated"], "repeated"),
        (["repeated", "send"], "send"),
        (["superseded", "busy"], "busy"),
    ],
)
def test_combine(decisions, whole):
    """A row of several SKUs waits while one is busy and is sent while one wants it."""
    assert combine(decisions) == whole
