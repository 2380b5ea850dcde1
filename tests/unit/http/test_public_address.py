"""Which addresses are public, and which hosts may be asked all the same."""

import pytest

from imageflow.http.public_address import Allowed, is_literal, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.255.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("::7f00:1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("127.1", False),
        ("not an address", False),
    ],
)
def test_public_addresses(address, public):
    """Loopback, private, link-local, shared, multicast and reserved ones are not, in whatever they are wrapped."""
    assert is_public(address) is public
    assert Allowed(["*"]).permits("any", [address])


def test_allowed_hosts():
    """By name, in any case; one private address among public ones is too many."""
    allowed = Allowed(["Images.Intern", "[::1]"])
    assert allowed.permits("images.intern", ["10.0.0.1"])
    assert allowed.permits("::1", ["::1"])
    assert not allowed.permits("other.intern", ["10.0.0.1"])
    assert not allowed.permits("both.example", ["93.184.216.34", "10.0.0.1"])
    assert not allowed.permits("none.example", [])


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("2130706433", True),
        ("::1", True),
        ("erp.example.com", False),
        ("1e100.net", False),
    ],
)
def test_literals(host, literal):
    """Numbers, with dots or not, and whatever has a colon."""
    assert is_literal(host) is literal
