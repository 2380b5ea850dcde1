"""What the doctor makes of what it sees: for each illness its finding and the command that mends it."""

from __future__ import annotations

import msgspec
import pytest

from imageflow.doctor import checks, rabbit
from imageflow.doctor.checks import Finding, findings, ok
from imageflow.doctor.facts import Database, Embedded, Facts, FlowFacts, Queue, Rabbit
from imageflow.doctor.visit import queues
from imageflow.store.checkup import Checkup

WANTED = queues(["winter"])
HEALTHY_QUEUES = tuple(
    Queue(
        name,
        consumers=1 if checks.service_of(name) else 0,
        kind="quorum",
        durable=True,
        arguments=arguments,
    )
    for name, arguments in WANTED.items()
)
RABBIT = Rabbit(
    "RabbitMQ at broker:5672", vhost="images", user="flow", version=(3, 13, 7), queues=HEALTHY_QUEUES, skew=0.2
)
CHECKUP = Checkup("PostgreSQL", (15, 4), "0002", "0002", 0.05, 0.01)
HEALTHY = Facts(
    broker=RABBIT,
    database=Database("PostgreSQL at db:5432/imageflow", checkup=CHECKUP),
    flows=(FlowFacts("winter", enabled=True),),
    layers={"landlock": None, "seccomp": None},
    wanted=WANTED,
)


def with_rabbit(**changes) -> Facts:
    return msgspec.structs.replace(HEALTHY, broker=msgspec.structs.replace(RABBIT, **changes))


def with_queue(name: str, **changes) -> Facts:
    changed = tuple(msgspec.structs.replace(q, **changes) if q.name == name else q for q in HEALTHY_QUEUES)
    return with_rabbit(queues=changed)


def with_checkup(**changes) -> Facts:
    return msgspec.structs.replace(HEALTHY, database=Database("PostgreSQL", checkup=CHECKUP._replace(**changes)))


def only(facts: Facts) -> Finding:
    """The one finding that is not well."""
    found = [finding for finding in findings(facts) if finding.level != "ok"]
    assert len(found) == 1, found
    return found[0]


def test_all_is_well():
    """Nothing but findings that say so, one of each subject that was looked at."""
    found = findings(HEALTHY)
    assert {finding.level for finding in found} == {"ok"}
    assert ok(found)
    assert {finding.about for finding in found} == {"broker", "clocks", "queues", "database", "flows", "sandbox"}


ILLNESSES = {
    "RabbitMQ is too old": (with_rabbit(version=(3, 9, 29)), "wrong", "too old", "apt-get install"),
    "memory alarm": (with_rabbit(alarms=("memory on a",)), "wrong", "memory", "set_vm_memory_high_watermark"),
    "disk alarm": (with_rabbit(alarms=("disk on a",)), "wrong", "disk", "df -h"),
    "blocked": (with_rabbit(blocked=True), "wrong", "takes no messages", "check_local_alarms"),
    "feature flag": (
        with_rabbit(features_off=("stream_queue",)),
        "wrong",
        "stream_queue is off",
        "rabbitmqctl enable_feature_flag stream_queue",
    ),
    "limit": (with_rabbit(limits={"max-queues": 5}), "warning", "max-queues 5", "clear_vhost_limits -p images"),
    "cluster": (with_rabbit(partitions=("a does not see b",)), "wrong", "partitioned", "cluster_status"),
    "clock of the broker": (with_rabbit(skew=-9.0), "wrong", "9.0 s behind", "timedatectl"),
    "classic queue": (
        with_queue("imageflow.write.winter", kind="classic"),
        "wrong",
        "classic",
        "rabbitmqctl delete_queue -p images imageflow.write.winter --if-empty",
    ),
    "at-most-once": (
        with_queue("imageflow.read", arguments={**WANTED["imageflow.read"], "x-dead-letter-strategy": "at-most-once"}),
        "wrong",
        "x-dead-letter-strategy = at-most-once",
        "delete_queue",
    ),
    "refused declaration": (
        with_queue("imageflow.read", refused="inequivalent arg"),
        "wrong",
        "inequivalent",
        "delete",
    ),
    "dead consumer": (
        with_queue("imageflow.transform.winter", consumers=0, messages=12),
        "wrong",
        "it has no consumer; 12 messages",
        "imageflow transformer",
    ),
    "never started": (
        with_queue("imageflow.write.winter", exists=False, consumers=0),
        "wrong",
        "no writer has ever run",
        "imageflow writer",
    ),
    "parked": (with_queue("imageflow.parked", messages=3), "warning", "3 messages are parked", "rabbitmqadmin"),
    "smaller limit": (
        with_queue("imageflow.read", policy={"max-length": 10}, policies=("short",)),
        "wrong",
        "short sets max-length = 10 instead of 20000",
        "rabbitmqctl clear_policy -p images short",
    ),
    "operator policy": (
        with_queue("imageflow.read", policy={"expires": 1000}, policies=("operator:gone",)),
        "wrong",
        "deletes an unused queue",
        "rabbitmqctl clear_operator_policy -p images gone",
    ),
    "queue that a restart deletes": (
        with_queue("imageflow.read", durable=False),
        "wrong",
        "imageflow.read is not durable",
        "delete_queue",
    ),
    "posts without a gateway": (
        with_queue("imageflow.outbound", consumers=0, messages=4),
        "wrong",
        "imageflow.outbound: 4 messages wait",
        "imageflow gateway",
    ),
    "policy that does no harm": (
        with_queue("imageflow.read", policy={"max-length": 90_000, "max-length-bytes": 5}, policies=("large",)),
        "warning",
        "large sets max-length-bytes = 5",
        "clear_policy",
    ),
    "embedded queue cannot be used": (
        msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", error="malformed")),
        "wrong",
        "cannot be used: malformed",
        "ls -l b.db",
    ),
    "embedded queue with parked messages": (
        msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", running=True, messages={"imageflow.parked": 2})),
        "warning",
        "2 messages are parked",
        "",
    ),
    "embedded queue with one parked message": (
        msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", running=True, messages={"imageflow.parked": 1})),
        "warning",
        "1 message is parked: no",
        "",
    ),
    "no data": (
        msgspec.structs.replace(HEALTHY, database=Database("SQLite in s.db", missing="no data in /here yet"), flows=()),
        "warning",
        "no data in /here yet",
        "IMAGEFLOW_DATA_DIR",
    ),
    "no queue yet": (
        msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", running=True, missing=True)),
        "unseen",
        "embedded; there is no b.db yet",
        "",
    ),
    "flows cannot be read": (
        msgspec.structs.replace(HEALTHY, flows_error="no table", flows=()),
        "unseen",
        "no table",
        "imageflow db upgrade",
    ),
    "no flows": (msgspec.structs.replace(HEALTHY, flows=()), "warning", "there are no flows yet", "flow apply"),
    "old PostgreSQL": (with_checkup(version=(13, 9)), "wrong", "13.9 is too old", "pg_upgrade"),
    "no schema": (with_checkup(revision=None), "wrong", "no schema", "imageflow db upgrade"),
    "old schema": (with_checkup(revision="0001"), "wrong", "0001", "imageflow db upgrade"),
    "new schema": (with_checkup(revision="0009"), "warning", "newer", "pip install --upgrade"),
    "fsync": (with_checkup(unsafe=("fsync",)), "wrong", "fsync is off", "ALTER SYSTEM SET fsync = on"),
    "clock of the database": (with_checkup(skew=3.0), "warning", "3.0 s ahead", "timedatectl"),
    "database away": (
        msgspec.structs.replace(HEALTHY, database=Database("PostgreSQL", error="refused")),
        "wrong",
        "cannot be used: refused",
        "IMAGEFLOW_STORE_URL",
    ),
    "broker away": (with_rabbit(error="refused"), "wrong", "cannot be used: refused", "check_running"),
    "secret": (
        msgspec.structs.replace(
            HEALTHY, flows=(FlowFacts("winter", True, (("environment variable PASS", "PASS is not set"),)),)
        ),
        "wrong",
        "winter: PASS is not set",
        "export PASS=",
    ),
    "secret of a disabled flow": (
        msgspec.structs.replace(
            HEALTHY,
            flows=(FlowFacts("winter", True), FlowFacts("old", False, (("file /run/s", "denied"),))),
        ),
        "warning",
        "old (it is disabled)",
        "chmod a+r /run/s",
    ),
    "secret whose file is missing": (
        msgspec.structs.replace(
            HEALTHY, flows=(FlowFacts("winter", True, (("file /run/s", "cannot be read: No such file or directory"),)),)
        ),
        "wrong",
        "No such file",
        "install -m 600 /dev/stdin /run/s",
    ),
    "secret whose file is missing in a container": (
        msgspec.structs.replace(
            HEALTHY,
            flows=(
                FlowFacts(
                    "winter", True, (("file /run/secrets/flows/pw", "cannot be read: No such file or directory"),)
                ),
            ),
        ),
        "wrong",
        "No such file",
        "install -m 444 /dev/stdin deploy/secrets/flows/pw  # on the host",
    ),
    "secret that a container may not read": (
        msgspec.structs.replace(
            HEALTHY, flows=(FlowFacts("winter", True, (("file /run/secrets/flows/pw", "denied"),)),)
        ),
        "wrong",
        "denied",
        "chmod 444 deploy/secrets/flows/pw  # on the host",
    ),
    "seccomp": (msgspec.structs.replace(HEALTHY, layers={"seccomp": "no"}), "wrong", "seccomp", "container"),
    "landlock": (
        msgspec.structs.replace(HEALTHY, layers={"landlock": "no", "seccomp": None}),
        "warning",
        "landlock",
        "",
    ),
    "no sandbox": (msgspec.structs.replace(HEALTHY, sandbox_error="none"), "wrong", "cannot be run", "container"),
    "an old Python": (
        msgspec.structs.replace(HEALTHY, python=(3, 11, 7)),
        "warning",
        "Python 3.11.7 lacks security fixes of 3.11.15",
        "sh deploy/pin-images.sh",
    ),
    "disk": (msgspec.structs.replace(HEALTHY, free_bytes=5 << 20, data_dir="/data"), "warning", "5 MB", "df -h /data"),
    "secret key": (msgspec.structs.replace(HEALTHY, secret_key_set=False), "warning", "SECRET_KEY", "openssl"),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_an_illness_is_found_with_its_remedy(illness):
    """One finding of that level, in these words, with that command; only what is wrong decides the exit status."""
    facts, level, words, mend = ILLNESSES[illness]
    finding = only(facts)
    assert (finding.level, words in finding.text, mend in (finding.mend or "")) == (level, True, True), finding
    assert ok(findings(facts)) == (level != "wrong")


def test_flows_of_a_database_that_is_away():
    """What cannot be reached is not upgraded."""
    away = Database("PostgreSQL", error="refused")
    facts = msgspec.structs.replace(HEALTHY, database=away, flows=(), flows_error="the database cannot be used")
    found = [finding for finding in findings(facts) if finding.about in ("database", "flows")]
    assert [finding.level for finding in found] == ["wrong", "unseen"]
    assert all("IMAGEFLOW_STORE_URL" in (finding.mend or "") for finding in found)


def test_a_database_is_named_once():
    """Where its error says which one it is, and where it is well."""
    error = "the database cannot be reached: refused (PostgreSQL at db:5432/x)"
    facts = msgspec.structs.replace(HEALTHY, database=Database("PostgreSQL at db:5432/x", error=error))
    assert only(facts).text == error
    assert "PostgreSQL at db:5432/imageflow, version 15.4" in [one.text for one in findings(HEALTHY)]


def test_what_cannot_be_seen_is_said():
    """Without the management API the doctor says what it did not see and how it would."""
    unseen = only(with_rabbit(unseen="no answer", skew=None))
    assert unseen.level == "unseen"
    assert "alarms, policies, limits" in unseen.text
    assert "rabbitmq-plugins enable rabbitmq_management" in (unseen.mend or "")
    refused = only(with_rabbit(unseen="answers 401", skew=None))
    assert refused.mend == "rabbitmqctl set_user_tags flow monitoring"


@pytest.mark.parametrize(
    ("key", "value", "ours", "expected"),
    [
        ("overflow", "drop-head", "reject-publish", False),
        ("overflow", "drop-head", None, True),
        ("max-length", 100_000, 20_000, False),
        ("max-length", 100, 20_000, True),
        ("message-ttl", 1000, None, True),
        ("delivery-limit", 20, 50, True),
        ("ha-mode", "all", None, False),
    ],
)
def test_which_policies_do_harm(key, value, ours, expected):
    """Arguments win over policies but for limits, of which the smaller counts."""
    assert checks.shadows(key, value, ours) is expected


@pytest.mark.parametrize("python", [(3, 11, 15), (3, 11, 99), (3, 99, 0)])
def test_a_patched_python_is_well(python):
    """A patch level that is known to be good, and a line that is newer than what is known."""
    [found] = [
        one for one in findings(msgspec.structs.replace(HEALTHY, python=python)) if one.text.startswith("Python ")
    ]
    assert (found.level, found.about) == ("ok", "machine")


def test_the_embedded_broker():
    """Messages that wait while no process runs are a warning."""
    facts = msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", messages={"imageflow.read": 2}))
    finding = only(facts)
    assert (finding.level, finding.mend) == ("warning", "imageflow up")
    running = msgspec.structs.replace(HEALTHY, broker=Embedded("b.db", running=True))
    assert all(finding.level == "ok" for finding in findings(running))


def test_what_the_management_api_says():
    """Its answers as RabbitMQ 3.10 gives them, with their empty lists for empty objects."""
    details = {
        "name": "q",
        "type": "quorum",
        "durable": True,
        "arguments": {"x-queue-type": "quorum"},
        "policy": "p",
        "operator_policy": None,
        "effective_policy_definition": {"max-length": 5},
    }
    queue = rabbit.with_details(Queue("q"), details)
    assert (queue.kind, queue.policy, queue.policies) == ("quorum", {"max-length": 5}, ("p",))
    empty = rabbit.with_details(Queue("q"), {**details, "policy": None, "effective_policy_definition": []})
    assert (empty.policy, empty.policies) == ({}, ())
    nodes = [{"name": "a", "running": True, "mem_alarm": True, "mem_used": 9, "mem_limit": 8, "disk_free_alarm": True}]
    assert [alarm.split()[0] for alarm in rabbit.alarms([*nodes, {"name": "b", "running": False}])] == [
        "node",
        "memory",
        "disk",
    ]
    flags = [{"name": "stream_queue", "state": "disabled"}, {"name": "quorum_queue", "state": "enabled"}]
    assert rabbit.features_off(flags) == ["stream_queue"]


@pytest.mark.parametrize(("text", "numbers"), [("3.10.8", (3, 10, 8)), ("4.1.0-rc.1", (4, 1, 0)), ("", ())])
def test_versions(text, numbers):
    """What is no number ends them."""
    assert rabbit.version(text)[:3] == numbers
