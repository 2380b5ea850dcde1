"""What a flow that comes over the API may name: secrets where the settings allow them, and hosts that are public or allowed.

This is checked when the flow is saved. The address that a host's name leads to is checked at each connection
(`http/guard.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import file
from imageflow.http.origin import exact_origin
from imageflow.http.public_address import Allowed, is_literal
from imageflow.model.flow import Definition, OAuth2Login, TokenLogin
from imageflow.secret import Bounds


class Reach(NamedTuple):
    """What the settings allow."""

    secrets: Bounds
    hosts: Allowed


def check(definition: Definition, reach: Reach) -> None:
    """Raises FlowFileError with all that the flow must not name."""
    problems = [
        Problem(path, message)
        for path, ref in file.secrets(definition)
        if (message := reach.secrets.refusal(ref)) is not None
    ]
    problems += [
        Problem(
            path, f"{host} is in a private network; the setting IMAGEFLOW_ALLOW_PRIVATE names those that may be asked"
        )
        for path, host in _hosts(definition)
        if is_literal(host) and not reach.hosts.permits(host, [host])
    ]
    if problems:
        raise FlowFileError(problems)


def _hosts(definition: Definition) -> Iterator[tuple[str, str]]:
    for path, url in _urls(definition):
        if isinstance(url, str):
            yield path, exact_origin(url).host.strip("[]")


def _urls(definition: Definition) -> Iterator[tuple[str, object]]:
    yield "omnitron.domain_url", definition.omnitron.domain_url
    yield "alarms.webhook_url", definition.alarms.webhook_url
    if definition.erp is not None:
        yield "erp.endpoint_url", definition.erp.endpoint_url
        if isinstance(definition.erp.login, TokenLogin):
            yield "erp.login.url", definition.erp.login.url
        if isinstance(definition.erp.login, OAuth2Login):
            yield "erp.login.token_url", definition.erp.login.token_url
