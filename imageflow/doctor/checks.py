"""What is wrong, and the exact command that mends it. Pure.

wrong       it does not work, or something can be lost: exit status 1
warning     it works, and may not for long
unseen      could not be looked at from here, and how it could
ok          was looked at and is well
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from imageflow.broker.foreign_queue import only_arguments_differ
from imageflow.doctor.facts import Database, Embedded, Facts, FlowFacts, Queue, Rabbit
from imageflow.model import messages
from imageflow.store.checkup import Checkup

Level = Literal["wrong", "warning", "unseen", "ok"]

OLDEST_RABBITMQ = (3, 10)
OLDEST_POSTGRESQL = (14,)
STORE_AWAY = "echo $IMAGEFLOW_STORE_URL  # is it the right one, and does the server run?"
NO_DATA = "export IMAGEFLOW_DATA_DIR=FOLDER  # or, to begin in this one: imageflow up --flows DIR"
NEEDED_FEATURES = ("quorum_queue", "stream_queue")
"""Feature flags: without stream_queue at-least-once dead-lettering silently becomes at-most-once."""
SKEW_WRONG_SECONDS = 5.0
SKEW_WARNING_SECONDS = 2.0
DATE_SECONDS = 1.5
"""How exact a clock is that is read from an HTTP Date header."""
FREE_BYTES = 1 << 30
PYTHON_PATCHES = {(3, 11): 15, (3, 12): 13, (3, 13): 12, (3, 14): 3}
"""By line of CPython, the patch level below which security fixes are missing, as known when this version of ImageFlow was made.
A later line has no entry. The sandbox leans on the kernel first, and on the interpreter for depth.
"""
OURS_WIN = ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow")
"""Where an argument is given, a policy of that key changes nothing (an operator policy neither, of these)."""
SMALLER_WINS = ("max-length", "max-length-bytes", "message-ttl", "delivery-limit", "expires")
"""Of argument and policy the smaller counts; where there is no argument, the policy."""
HARM = {
    "max-length": "the queue is full sooner: what is read and posted waits",
    "max-length-bytes": "the queue may be full long before its limit of messages",
    "message-ttl": "messages expire before their time",
    "delivery-limit": "messages that come back often end in imageflow.parked",
    "expires": "RabbitMQ deletes an unused queue with all that is in it",
    "dead-letter-exchange": "messages leave for elsewhere",
    "dead-letter-routing-key": "messages leave for elsewhere",
    "dead-letter-strategy": "a dead-lettered message may be lost",
    "overflow": "a full queue throws messages away",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    level: Level
    about: str
    text: str
    mend: str | None = None


def ok(findings: list[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(finding.level != "wrong" for finding in findings)


def findings(facts: Facts) -> list[Finding]:
    """All findings, the worst first within each subject."""
    found = [*_broker(facts), *_database(facts.database), *_flows(facts), *_sandbox(facts), *_machine(facts)]
    subjects = list(dict.fromkeys(finding.about for finding in found))
    levels: tuple[Level, ...] = ("wrong", "warning", "unseen", "ok")
    return sorted(found, key=lambda finding: (subjects.index(finding.about), levels.index(finding.level)))


def _broker(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.broker, Embedded):
        yield from _embedded(facts.broker, facts)
    else:
        yield from _rabbit(facts.broker, facts)


def _embedded(broker: Embedded, facts: Facts) -> Iterator[Finding]:
    if broker.error is not None:
        yield Finding("wrong", "broker", f"the embedded queue cannot be used: {broker.error}", f"ls -l {broker.path}")
        return
    waiting = sum(count for queue, count in broker.messages.items() if queue != messages.PARKED_QUEUE)
    if not broker.running and (waiting or any(flow.enabled for flow in facts.flows)):
        text = f"no process runs on this folder; messages that wait: {waiting}"
        yield Finding("warning", "broker", text, "imageflow up")
    elif broker.missing:
        yield Finding("unseen", "broker", f"embedded; there is no {broker.path} yet")
    else:
        yield Finding("ok", "broker", f"embedded, in {broker.path}; messages that wait: {waiting}")
    if parked := broker.messages.get(messages.PARKED_QUEUE, 0):
        yield Finding("warning", "broker", f"{_parked(parked)}: no service could handle them", "imageflow parked list")


def _parked(count: int) -> str:
    return "1 message is parked" if count == 1 else f"{count:,} messages are parked"


# RabbitMQ ----------------------------------------------------------------------------------------------------------------


def _rabbit(rabbit: Rabbit, facts: Facts) -> Iterator[Finding]:
    if rabbit.error is not None:
        mend = "rabbitmq-diagnostics check_running; echo $IMAGEFLOW_BROKER_URL"
        yield Finding("wrong", "broker", f"{rabbit.where} cannot be used: {rabbit.error}", mend)
        return
    yield from _version(rabbit)
    yield from _server(rabbit)
    known = {queue.name: queue for queue in rabbit.queues}
    well = 0
    for name, arguments in facts.wanted.items():
        found = [
            *_consumers(known.get(name) or Queue(name, exists=False), facts),
            *(_queue(known[name], arguments, rabbit) if name in known and known[name].exists else ()),
        ]
        well += name in known and known[name].exists and not found
        yield from found
    if well:
        yield Finding("ok", "queues", f"{well} queues are as they should be")
    if (parked := known.get(messages.PARKED_QUEUE)) is not None and parked.messages:
        text = f"{_parked(parked.messages)}: no service could handle them; the headers say why"
        look = f"rabbitmqadmin -V {shlex.quote(rabbit.vhost)} get queue={messages.PARKED_QUEUE} count=10"
        yield Finding("warning", "queues", text, look)


def _version(rabbit: Rabbit) -> Iterator[Finding]:
    version = ".".join(map(str, rabbit.version))
    if rabbit.version and rabbit.version < OLDEST_RABBITMQ:
        text = f"{rabbit.product} {version} is too old: at-least-once dead-lettering came with 3.10"
        yield Finding("wrong", "broker", text, "apt-get install --only-upgrade rabbitmq-server")
    else:
        yield Finding("ok", "broker", f"{rabbit.where}: {rabbit.product} {version}")


def _server(rabbit: Rabbit) -> Iterator[Finding]:
    yield from _faults(rabbit)
    for name, value in rabbit.limits.items():
        text = f"the virtual host {rabbit.vhost} has a limit: {name} {value}"
        yield Finding("warning", "broker", text, f"rabbitmqctl clear_vhost_limits -p {shlex.quote(rabbit.vhost)}")
    if rabbit.skew is not None:
        yield from _skew("RabbitMQ", rabbit.skew, DATE_SECONDS)
    if rabbit.unseen is not None:
        text = rabbit.unseen
        if rabbit.skew is None:
            text = f"alarms, policies, limits and RabbitMQ's clock: {text}"
        yield Finding("unseen", "broker", text, _management_command(rabbit))
    if rabbit.skew is not None and not rabbit.alarms:
        yield Finding("ok", "broker", "no alarms")


def _faults(rabbit: Rabbit) -> Iterator[Finding]:
    """What is wrong with the server as a whole."""
    if rabbit.blocked:
        yield Finding(
            "wrong", "broker", "RabbitMQ takes no messages: it is short of memory or disk", _alarm_command("")
        )
    for alarm in rabbit.alarms:
        yield Finding("wrong", "broker", f"alarm: {alarm}; RabbitMQ takes no messages", _alarm_command(alarm))
    for partition in rabbit.partitions:
        text = f"the cluster is partitioned: {partition}"
        yield Finding("wrong", "broker", text, "rabbitmqctl cluster_status")
    for feature in rabbit.features_off:
        text = f"the feature flag {feature} is off: dead-lettered messages may be lost"
        yield Finding("wrong", "broker", text, f"rabbitmqctl enable_feature_flag {feature}")


def _alarm_command(alarm: str) -> str:
    if "disk" in alarm:
        return "df -h /var/lib/rabbitmq; rabbitmq-diagnostics check_local_alarms"
    if "memory" in alarm:
        return "rabbitmq-diagnostics memory_breakdown; rabbitmqctl set_vm_memory_high_watermark 0.6"
    return "rabbitmq-diagnostics check_local_alarms"


def _management_command(rabbit: Rabbit) -> str:
    if rabbit.unseen is not None and ("401" in rabbit.unseen or "403" in rabbit.unseen):
        tag = "monitoring" if rabbit.skew is None else "administrator"
        return f"rabbitmqctl set_user_tags {shlex.quote(rabbit.user)} {tag}"
    return "rabbitmq-plugins enable rabbitmq_management, then imageflow doctor --management http://HOST:15672"


def _consumers(queue: Queue, facts: Facts) -> Iterator[Finding]:
    """Findings about a queue that a service should consume."""
    service = service_of(queue.name)
    if service is None or queue.consumers:
        return
    flow = messages.flow_of(queue.name)
    needed = any(item.enabled for item in facts.flows if flow in ("", item.name))
    if queue.name == messages.OUTBOUND_QUEUE or not needed:
        if queue.messages:
            text = f"{queue.name}: {queue.messages} messages wait, and it has no consumer"
            yield Finding("wrong", "queues", text, f"imageflow {service}")
    elif not queue.exists:
        text = f"{queue.name} does not exist: no {service} has ever run here"
        yield Finding("wrong", "queues", text, f"imageflow {service}")
    else:
        text = f"{queue.name}: it has no consumer; {queue.messages} messages wait"
        yield Finding("wrong", "queues", text, f"imageflow {service}")


def service_of(queue: str) -> str | None:
    """The service that consumes a queue; None for queues without one."""
    stage = queue.removeprefix("imageflow.").partition(".")[0]
    return {"read": "reader", "transform": "transformer", "write": "writer", "outbound": "gateway"}.get(stage)


def _queue(queue: Queue, wanted: dict[str, Any], rabbit: Rabbit) -> Iterator[Finding]:
    delete = f"rabbitmqctl delete_queue -p {shlex.quote(rabbit.vhost)} {queue.name} --if-empty"
    again = f"{delete}  # once it is empty; the services declare it again when they start"
    usable = (
        queue.name == messages.OUTBOUND_QUEUE and queue.durable is not False
    )  # an ERP's program may have made it first
    level: Level = "warning" if usable else "wrong"
    if queue.kind is not None and queue.kind != "quorum":
        text = f"{queue.name} is a {queue.kind} queue: it must be a quorum queue, or messages are lost with its node"
        yield Finding(level, "queues", text, again)
        return
    if queue.durable is False:
        yield Finding("wrong", "queues", f"{queue.name} is not durable: a restart of RabbitMQ deletes it", again)
    if queue.refused is not None:
        text = f"{queue.name} was declared with other settings than it needs: {queue.refused}"
        yield Finding(level if only_arguments_differ(queue.refused) else "wrong", "queues", text, again)
    elif queue.arguments is not None:
        for key, value in wanted.items():
            if key != "x-queue-type" and queue.arguments.get(key) != value:
                has = queue.arguments.get(key, "nothing")
                text = f"{queue.name} was declared with {key} = {has}, it must be {value}"
                yield Finding("wrong", "queues", text, again)
    yield from _policies(queue, wanted, rabbit)


def _policies(queue: Queue, wanted: dict[str, Any], rabbit: Rabbit) -> Iterator[Finding]:
    clear = "; ".join(
        f"rabbitmqctl clear_operator_policy -p {shlex.quote(rabbit.vhost)} {shlex.quote(name.removeprefix('operator:'))}"
        if name.startswith("operator:")
        else f"rabbitmqctl clear_policy -p {shlex.quote(rabbit.vhost)} {shlex.quote(name)}"
        for name in queue.policies
    )
    for key, value in queue.policy.items():
        ours = wanted.get(f"x-{key}")
        if not shadows(key, value, ours):
            continue
        instead = f" instead of {ours}" if ours is not None else ""
        names = ", ".join(queue.policies) or "a policy"
        level: Level = "warning" if key == "max-length-bytes" else "wrong"
        text = f"{queue.name}: {names} sets {key} = {value}{instead}: {HARM[key]}"
        yield Finding(level, "policies", text, clear or None)


def shadows(key: str, value: Any, ours: Any) -> bool:
    """Whether a policy's value has an effect that our arguments do not allow."""
    if key in OURS_WIN:
        return ours is None
    if key in SMALLER_WINS:
        return ours is None or (isinstance(value, (int, float)) and isinstance(ours, (int, float)) and value < ours)
    return False


# the rest ----------------------------------------------------------------------------------------------------------------


def _skew(whose: str, seconds: float, error: float) -> Iterator[Finding]:
    off = max(0.0, abs(seconds) - error)
    direction = "ahead of" if seconds > 0 else "behind"
    mend = "timedatectl set-ntp true  # on both machines"
    if off > SKEW_WARNING_SECONDS:
        level: Level = "wrong" if off > SKEW_WRONG_SECONDS else "warning"
        text = f"the clock of {whose} is {abs(seconds):.1f} s {direction} this machine's: leases and watermarks rely on both"
        yield Finding(level, "clocks", text, mend)
    else:
        yield Finding("ok", "clocks", f"{whose} and this machine agree within {max(error, abs(seconds)):.1f} s")


def _database(database: Database) -> Iterator[Finding]:
    seen = database.checkup
    if database.missing is not None:
        yield Finding("warning", "database", database.missing, NO_DATA)
        return
    if seen is None:
        error = database.error or "unknown"
        text = error if database.where in error else f"{database.where} cannot be used: {error}"
        yield Finding("wrong", "database", text, STORE_AWAY)
        return
    yield _database_version(database.where, seen)
    yield _schema(seen)
    for name in seen.unsafe:
        text = f"{name} is off: what is confirmed may be lost when the server crashes"
        yield Finding("wrong", "database", text, f'psql -c "ALTER SYSTEM SET {name} = on" -c "SELECT pg_reload_conf()"')
    if seen.product == "PostgreSQL":
        yield from _skew("the database", seen.skew, seen.skew_error)


def _database_version(where: str, seen: Checkup) -> Finding:
    version = ".".join(map(str, seen.version))
    if seen.product == "PostgreSQL" and seen.version < OLDEST_POSTGRESQL:
        return Finding("wrong", "database", f"PostgreSQL {version} is too old: it must be 14 or newer", "pg_upgrade")
    return Finding("ok", "database", f"{where}, version {version}")


def _schema(seen: Checkup) -> Finding:
    if seen.revision is None:
        return Finding("wrong", "database", "there is no schema yet", "imageflow db upgrade")
    if seen.revision < seen.newest:
        text = f"the schema is at revision {seen.revision}, this ImageFlow wants {seen.newest}"
        return Finding("wrong", "database", text, "imageflow db upgrade")
    if seen.revision > seen.newest:
        text = f"the schema is at revision {seen.revision}, newer than this ImageFlow, which knows {seen.newest}"
        return Finding("warning", "database", text, "pip install --upgrade imageflow")
    return Finding("ok", "database", f"the schema is up to date (revision {seen.revision})")


def _flows(facts: Facts) -> Iterator[Finding]:
    if facts.database.missing is not None:
        return
    if facts.flows_error is not None:
        mend = "imageflow db upgrade" if facts.database.error is None else STORE_AWAY
        yield Finding("unseen", "flows", f"flows and their secrets: {facts.flows_error}", mend)
        return
    missing = [finding for flow in facts.flows for finding in _secrets(flow)]
    yield from missing
    if not facts.flows:
        yield Finding("warning", "flows", "there are no flows yet", "imageflow flow apply FILE")
    elif not missing:
        yield Finding("ok", "flows", f"this process can read the secrets of all flows ({len(facts.flows)})")


MOUNTED = "/run/secrets/flows/"
"""Where containers have the flows' secrets, from the host's deploy/secrets/flows or Kubernetes' secret."""


def _secrets(flow: FlowFacts) -> Iterator[Finding]:
    for where, why in flow.missing:
        kind, _, name = where.rpartition(" ")
        mend = f"export {name}=…  # where the services start"
        if kind == "file":
            there = "No such file" not in why
            file = shlex.quote(name)
            mend = f"chmod a+r {file}" if there else f"install -m 600 /dev/stdin {file}  # type it, then Ctrl-D"
            if name.startswith(MOUNTED):  # where a container has it, nobody can write
                file = f"deploy/secrets/flows/{shlex.quote(name.removeprefix(MOUNTED))}"
                do = f"chmod 444 {file}" if there else f"install -m 444 /dev/stdin {file}"
                mend = f"{do}  # on the host of Compose; in Kubernetes a key of the secret imageflow-flows"
        state = "" if flow.enabled else " (it is disabled)"
        yield Finding("wrong" if flow.enabled else "warning", "flows", f"{flow.name}{state}: {why}", mend)


def _sandbox(facts: Facts) -> Iterator[Finding]:
    mend = "scripts and mappings run on Linux (x86-64 or ARM64) in a container that leaves seccomp, or on the machine itself"
    if facts.sandbox_error is not None:
        yield Finding("wrong", "sandbox", f"scripts cannot be run: {facts.sandbox_error}", mend)
        return
    for layer, why in facts.layers.items():
        if why is not None:
            level: Level = "wrong" if layer == "seccomp" else "warning"
            yield Finding(
                level, "sandbox", f"the layer {layer} does not hold: {why}", mend if level == "wrong" else None
            )
    holding = [layer for layer, why in facts.layers.items() if why is None]
    if holding:
        yield Finding("ok", "sandbox", f"layers that hold: {', '.join(holding)}")


def _python(python: tuple[int, int, int]) -> Finding:
    version = ".".join(map(str, python))
    wanted = PYTHON_PATCHES.get(python[:2], 0)
    if python[2] >= wanted:
        return Finding("ok", "machine", f"Python {version}")
    text = (
        f"Python {version} lacks security fixes of {python[0]}.{python[1]}.{wanted}, "
        "unless your distribution has put them into it"
    )
    mend = "the distribution's updates; with Compose: sh deploy/pin-images.sh, then build and up"
    return Finding("warning", "machine", text, mend)


def _machine(facts: Facts) -> Iterator[Finding]:
    if facts.python is not None:
        yield _python(facts.python)
    if facts.free_bytes is not None and facts.free_bytes < FREE_BYTES:
        text = f"{facts.free_bytes >> 20} MB are left where {facts.data_dir} is"
        yield Finding("warning", "machine", text, f"df -h {shlex.quote(facts.data_dir)}")
    if not facts.secret_key_set and isinstance(facts.broker, Rabbit):
        text = (
            "IMAGEFLOW_SECRET_KEY is not set for this command. Is it for the gateways? Without it each makes its own, and tokens of one "
            "are not good at another"
        )
        mend = 'export IMAGEFLOW_SECRET_KEY="$(openssl rand -base64 32)"  # the same for every gateway'
        yield Finding("warning", "machine", text, mend)
