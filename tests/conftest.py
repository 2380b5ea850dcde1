"""Fixtures that all tests may use; the servers start when a test first asks for them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import uvloop

from imageflow.text import masking

# a test must not fail because the machine is busy
PROFILE = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("all", **PROFILE)
hypothesis.settings.register_profile("few", **PROFILE, max_examples=15)  # `make unit`
hypothesis.settings.load_profile("all")

pytest_plugins = ["tests.rabbitmq_server", "tests.postgres_server"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that a test runs on, each time as a test of its own.

    Services run on uvloop, and so do the tests. On asyncio's loop as well run the contract suites of what talks to a
    server, and tests that name their loops: `pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])`.
    """
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    marker = item.get_closest_marker("asyncio")
    named = marker is not None and "loop_factories" in marker.kwargs
    return LOOPS if named or folder == "contract" else {"uvloop": LOOPS["uvloop"]}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the contract suites of embedded adapters on asyncio's loop: they work in threads, not on the loop."""
    left_out = [item for item in items if _is_embedded_on_asyncio(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_embedded_on_asyncio(item)]


def _is_embedded_on_asyncio(item: pytest.Item) -> bool:
    parameters = (
        item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    )
    in_contract = "contract" in item.path.relative_to(Path(__file__).parent).parts
    return in_contract and "sqlite" in parameters and LOOPS["asyncio"] in parameters


@pytest.fixture(autouse=True)
def _nothing_is_hidden():
    """What one test keeps secret may be a word in another one's texts."""
    yield
    masking.forget()


@pytest.fixture
def rabbitmq_vhost(rabbitmq):
    """The URL of a virtual host of RabbitMQ that only this test uses (of a server that is not ours: its URL)."""
    return rabbitmq.new_vhost()
