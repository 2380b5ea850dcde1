"""The rights of the accounts on RabbitMQ, and what it imports."""

import base64
import hashlib
import re

import pytest

from imageflow import bootstrap
from imageflow.broker.rabbitmq_accounts import RIGHTS, Account, definitions, password_hash
from imageflow.broker.rabbitmq_topology import delay_name
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE, READ_QUEUE, transform_queue, write_queue

OWN = {
    "scheduler": set(),
    "reader": {READ_QUEUE},
    "transformer": {transform_queue("a-b"), transform_queue("c_d.e")},
    "writer": {write_queue("a-b"), write_queue("c_d.e")},
    "gateway": {OUTBOUND_QUEUE},
    "erp": set(),
    "monitor": set(),
}
DELAYS = {delay_name(seconds) for seconds in retry_ladder.LADDER}
NAMES = {PARKED_QUEUE, "imageflow", "", "amq.default", "imageflow.other", "ximageflow.read", *DELAYS}.union(
    *OWN.values()
)


def matching(pattern: str) -> set[str]:
    return {name for name in NAMES if re.search(pattern, name)} - {""}


def test_there_is_an_account_for_each_service():
    """And two that are nobody's service."""
    assert RIGHTS.keys() == {*bootstrap.SERVICES, "erp", "monitor"}


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_reads_and_declares_its_own_queues_alone(account):
    """Beside them a consumer reads from the exchange, to bind its queues; the gateway shows people what is parked."""
    rights, own = RIGHTS[account], OWN[account]
    assert matching(rights.configure) == own
    assert matching(rights.read) == own | ({"imageflow"} if own else set()) | (
        {PARKED_QUEUE} if account == "gateway" else set()
    )


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_publishes_by_imageflows_exchanges_alone(account):
    """Never by the default exchange, which leads to every queue."""
    may = {"erp": {OUTBOUND_QUEUE}, "monitor": set()}
    assert matching(RIGHTS[account].write) == may.get(account, {"imageflow", *DELAYS} | OWN[account])


def test_definitions_hold_accounts_and_what_they_share():
    """No password; the queues that no service's account declares for all; monitoring is a tag."""
    found = definitions("place", [Account("reader", "imageflow_reader", "secret"), Account("monitor", "m", "secret")])
    assert "'secret'" not in repr(found)
    assert [user["tags"] for user in found["users"]] == ["", "monitoring"]
    assert found["permissions"][0]["configure"] == r"^(imageflow\.read)$"
    assert {queue["name"] for queue in found["queues"]} == {READ_QUEUE, OUTBOUND_QUEUE, PARKED_QUEUE, *DELAYS}
    assert {exchange["name"] for exchange in found["exchanges"]} == {"imageflow", OUTBOUND_QUEUE, *DELAYS}
    bound = {(binding["source"], binding["destination"]) for binding in found["bindings"]}
    assert {("imageflow", PARKED_QUEUE), (OUTBOUND_QUEUE, OUTBOUND_QUEUE), *((name, name) for name in DELAYS)} <= bound
    assert {item["vhost"] for kind in ("queues", "exchanges", "bindings", "permissions") for item in found[kind]} == {
        "place"
    }


def test_a_password_is_kept_as_rabbitmq_keeps_it():
    """Four bytes of salt, and the hash of salt and password; another salt each time."""
    raw = base64.b64decode(password_hash("test12", b"\x90\x8d\xc6\x0a"))
    assert raw == b"\x90\x8d\xc6\x0a" + hashlib.sha256(b"\x90\x8d\xc6\x0atest12").digest()
    assert password_hash("a") != password_hash("a")
