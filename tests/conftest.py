"""Fixtures that all tests may use; the servers start when a test first asks for them."""

import secrets
import subprocess

import hypothesis
import pytest

# a test must not fail because the machine is busy
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

pytest_plugins = ["tests.rabbitmq_server", "tests.postgres_server"]


@pytest.fixture
def rabbitmq_vhost(rabbitmq):
    """The URL of a virtual host of RabbitMQ that only this test uses (of a server that is not ours: its URL)."""
    if not hasattr(rabbitmq, "_program"):
        return rabbitmq.url
    name = f"test-{secrets.token_hex(4)}"
    control = rabbitmq._program.parent / "rabbitmqctl"
    for arguments in (["add_vhost", name], ["set_permissions", "-p", name, "imageflow", ".*", ".*", ".*"]):
        subprocess.run([control, *arguments], env=rabbitmq._environment, check=True, capture_output=True, timeout=60)
    return rabbitmq.url.rstrip("/") + "/" + name
