"""Settings from the environment."""

import pytest

from imageflow.errors import SettingsError
from imageflow.settings import load


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("", ()),
        ("0", ()),
        ("false", ()),
        ("true", ("*",)),
        ("1", ("*",)),
        ("*", ("*",)),
        ("Images.intern, 10.0.0.1,[::1]", ("images.intern", "10.0.0.1", "[::1]")),
    ],
)
def test_hosts_of_private_images(value, hosts):
    """None, all, or those that are named."""
    assert load({"IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE": value}).preflight_allow_private == hosts


def test_what_is_no_host_is_refused():
    """A URL, or a network, is not a host name: the variable is named."""
    for wrong in ("http://a", "10.0.0.0/8", "a b"):
        with pytest.raises(SettingsError, match="PREFLIGHT_ALLOW_PRIVATE"):
            load({"IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE": wrong})


def test_the_jail_is_strict_unless_told_otherwise() -> None:
    """Best effort is what an operator has to ask for, by its name."""
    assert load({}).jail == "strict"
    assert load({"IMAGEFLOW_JAIL": "best-effort"}).jail == "best-effort"
    with pytest.raises(SettingsError, match="IMAGEFLOW_JAIL: must be strict or best-effort, not 'off'"):
        load({"IMAGEFLOW_JAIL": "off"})
