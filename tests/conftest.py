"""Fixtures that all tests may use; the servers start when a test first asks for them."""

pytest_plugins = ["tests.rabbitmq_server", "tests.postgres_server"]
