"""The services that all cases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.cases.site import Site, services


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with services(tmp_path_factory.mktemp("cases")) as found:
        yield found
