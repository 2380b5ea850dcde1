"""Whose address a request has, behind proxies."""

from ipaddress import ip_network

import pytest

from imageflow.gateway.client_address import client_address, client_scheme

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("192.168.1.1"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("1.2.3.4", [], "1.2.3.4"),
        ("1.2.3.4", ["5.6.7.8"], "1.2.3.4"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["5.6.7.8"], "5.6.7.8"),
        ("10.0.0.1", ["9.9.9.9, 5.6.7.8"], "5.6.7.8"),
        ("10.0.0.1", ["9.9.9.9, 5.6.7.8, 10.0.0.2"], "5.6.7.8"),
        ("10.0.0.1", ["9.9.9.9", "5.6.7.8", "192.168.1.1"], "5.6.7.8"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["5.6.7.8, rubbish"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", [" 5.6.7.8 "], "5.6.7.8"),
        (None, ["5.6.7.8"], ""),
        ("/tmp/socket", ["5.6.7.8"], "/tmp/socket"),
    ],
)
def test_client_address(peer, forwarded, address):
    """What a trusted proxy wrote last counts; what the client wrote itself, or anybody else, does not."""
    assert client_address(peer, forwarded, TRUSTED) == address


def test_nobody_is_trusted_by_default():
    """Without trusted proxies the header says nothing."""
    assert client_address("10.0.0.1", ["5.6.7.8"], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "forwarded", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", " HTTP ", "http"),
        ("10.0.0.1", "ftp", None),
        ("10.0.0.1", "https, http", None),
        ("10.0.0.1", "", None),
        ("5.6.7.8", "https", None),
        (None, "https", None),
    ],
)
def test_client_scheme(peer, forwarded, scheme):
    """A trusted proxy says how the client came; nobody else does."""
    assert client_scheme(peer, forwarded, TRUSTED) == scheme
