"""How the parts of a process are put together, where that is decided without them."""

import pytest

from imageflow import settings
from imageflow.bootstrap import SERVICES, listen_host


@pytest.mark.parametrize(
    ("environ", "names", "host"),
    [
        ({}, SERVICES, "127.0.0.1"),
        ({}, ("gateway",), "0.0.0.0"),
        ({}, ("reader", "writer"), "0.0.0.0"),
        ({"IMAGEFLOW_LISTEN": "10.0.0.1"}, SERVICES, "10.0.0.1"),
        ({"IMAGEFLOW_LISTEN": "127.0.0.1"}, ("gateway",), "127.0.0.1"),
    ],
)
def test_where_a_process_listens(environ, names, host):
    """All services in one process are for this machine; a service of its own is reached from outside; the setting decides."""
    assert listen_host(settings.load(environ), names) == host
