"""What each service's account can and cannot do, tried on real servers: PostgreSQL's roles, RabbitMQ's users."""

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager

import aiormq
import asyncpg
import pytest
from aiormq.exceptions import ChannelAccessRefused, DeliveryError

from imageflow.actions import service_accounts
from imageflow.broker import Outgoing
from imageflow.broker.rabbitmq import RabbitBroker
from imageflow.broker.rabbitmq_accounts import RIGHTS as BROKER_RIGHTS
from imageflow.clock import SystemClock
from imageflow.errors import BrokerError, SettingsError, StoreError
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE, READ_QUEUE, transform_queue, write_queue
from imageflow.model.row import Row
from imageflow.secret import Secret
from imageflow.store import HeldRow, LedgerEntry, Wanted
from imageflow.store.connect import connect, open_store
from imageflow.store.service_roles import REVISION_TABLE, RIGHTS, SERVICES
from imageflow.store.tables import metadata
from tests import service_accounts as made
from tests.contract.test_store import DOMAIN, IMAGES, FakeClock, failure, flow_document, log, new_run
from tests.integration.test_doctor import management  # noqa: F401 - a fixture

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
UNUSED_BROKER = "amqp://guest:guest@127.0.0.1:1/"

DENIED = {
    "transformer": [
        "SELECT * FROM users",
        "SELECT * FROM tokens",
        "SELECT * FROM api_keys",
        "SELECT * FROM audit_log",
        "SELECT * FROM logins",
        "UPDATE ledger SET digest = 'x'",
        "INSERT INTO ledger SELECT * FROM ledger",
        "INSERT INTO users VALUES ('eve', 'x', 'admin')",
        "INSERT INTO flow_versions SELECT * FROM flow_versions",
        "UPDATE flow_versions SET document = '{}'",
        "UPDATE flows SET version = 1",
        "DELETE FROM runs",
        "DELETE FROM rows",
    ],
    "reader": [
        "SELECT * FROM users",
        "SELECT * FROM rows",
        "UPDATE flow_versions SET document = '{}'",
        "DELETE FROM pages",
        "UPDATE pages SET body = ''",
    ],
    "writer": ["SELECT * FROM users", "SELECT * FROM pages", "UPDATE flows SET version = 1", "DELETE FROM ledger"],
    "scheduler": [
        "SELECT * FROM users",
        "SELECT user_name FROM tokens",
        "UPDATE tokens SET digest = 'x'",
        "INSERT INTO tokens VALUES ('x', 'admin', now())",
        "UPDATE flow_versions SET document = '{}'",
        "UPDATE flows SET name = 'x'",
        "DELETE FROM ledger",
    ],
    "gateway": [
        "UPDATE audit_log SET who = 'nobody'",
        "DELETE FROM audit_log",
        "UPDATE alembic_version SET version_num = '0'",
    ],
}
NOBODY = [
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "ALTER TABLE runs ADD COLUMN mine int",
    "DROP TABLE rows",
    "TRUNCATE rows",
    "CREATE ROLE eve LOGIN",
    "ALTER TABLE users OWNER TO CURRENT_USER",
    "COPY rows TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/hostname')",
]


@pytest.fixture
def roles(postgres, tmp_path):
    """A folder with the services' URLs; the roles are made."""
    url = postgres.new_database()
    folder = made.urls(tmp_path / "urls", url, UNUSED_BROKER)

    async def work():
        async with open_store(made.owner(url, UNUSED_BROKER)):
            return await service_accounts.roles(made.owner(url, UNUSED_BROKER), folder)

    granted = asyncio.run(work())
    assert granted.keys() == set(SERVICES)
    try:
        yield folder
    finally:
        made.drop(postgres, folder, url.rpartition("/")[2])


def store_url(folder, service):
    return Secret((folder / f"store_url_{service}").read_text())


@asynccontextmanager
async def as_role(folder, service):
    connection = await asyncpg.connect(store_url(folder, service).reveal())
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_role_has_the_rights_of_its_service_and_no_others(roles, service):
    """For each table and privilege, what the server says is what service_roles says; nobody is more than a user."""
    async with as_role(roles, service) as connection:
        found = {}
        for table in (*metadata.tables, REVISION_TABLE):
            held = [p for p in PRIVILEGES if await connection.fetchval("SELECT has_table_privilege($1, $2)", table, p)]
            if held:
                found[table] = ", ".join(held)
        whole = {table: rights for table, rights in RIGHTS[service].items() if "(" not in rights}
        partly = {
            table: re.sub(r"\w+ \([^)]*\),? ?", "", RIGHTS[service][table]).strip(", ")
            for table in RIGHTS[service].keys() - whole
        }
        assert found == whole | {table: rest for table, rest in partly.items() if rest}
        great = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        assert await connection.fetchval(great) is False


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_not_granted_is_refused(roles, service):
    """Reading users, changing flows, the schema, other roles, the server's files: refused, in so many words."""
    async with as_role(roles, service) as connection:
        for statement in [*DENIED[service], *NOBODY]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_a_store_says_that_a_role_may_not(roles):
    """What a role may not do is an error of the database with a way out, in methods and in an upgrade."""
    async with connect(store_url(roles, "transformer"), SystemClock()) as store:
        await store.upgrade()  # there is nothing to do
        assert await store.flows() == []
        with pytest.raises(
            StoreError, match="the database refuses: permission denied for table users; `imageflow db upgrade`"
        ):
            await store.users()


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_empties_the_outbox(roles, service):
    """What was left behind is seen and, once published, deleted: by whichever service comes first."""
    async with connect(store_url(roles, service), SystemClock()) as store:
        await store.ping()
        assert await store.unsent(0.0) == []
        await store.sent([1, 2])


async def test_each_step_of_a_run_is_the_right_of_its_service(postgres, roles):
    """Read, transformed, held back, joined, written, taken over, retried, cancelled, forgotten: nobody is refused."""
    clock = FakeClock()
    owned = postgres.url.rpartition("/")[0] + "/" + store_url(roles, "reader").reveal().rpartition("/")[2]
    async with AsyncExitStack() as stack:
        opened = {name: await stack.enter_async_context(connect(store_url(roles, name), clock)) for name in SERVICES}
        scheduler, reader, transformer, writer, gateway = (opened[name] for name in SERVICES)
        await gateway.save_flow(flow_document())
        run = new_run(clock)
        assert await scheduler.create_run(run, fire_time=clock.now())
        assert len(await scheduler.release_runs()) == 1
        await reader.start_reading(run.run_id, None, clock.now())
        await reader.warn(run.run_id, "a warning")
        saved = await reader.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
        await reader.sent([one.id for one in saved.outbox])
        assert (await transformer.page(run.run_id, 1)).seq == saved.seq
        await transformer.keep_prints(run.run_id, 1, "hello")
        held = [HeldRow("a", "sku", 7, IMAGES)]
        await transformer.register_page(run.run_id, 1, 4, [failure(run.run_id, 3)], held=held)
        await transformer.hold_more(run.run_id, held)
        assert len(await transformer.held_rows(run.run_id, None, 10)) == 2
        await transformer.rows_beside(run.run_id, 0)
        await transformer.end_join(run.run_id)
        await transformer.settle("", [failure(run.run_id, 3)])
        await _write(writer, clock, run.run_id)
        await scheduler.write_again()
        taken = await gateway.reopen(run.run_id)
        await gateway.sent([one.id for one in taken.outbox])
        await gateway.cancel_run(run.run_id)
        await gateway.cancel_rows(run.run_id, after=0, limit=100)
        await _housekeeping(scheduler, clock)
        clock.move(400 * 86_400)
        while await scheduler.forget_run(run.run_id, clock.now()):
            pass
        await scheduler.forget_rest(clock.now())
    left = await asyncpg.connect(owned)
    assert await left.fetchval("SELECT count(*) FROM runs WHERE run_id = $1", run.run_id) == 0
    await left.close()


async def _write(writer, clock, run_id):
    """A row is skipped or claimed, sent and settled; another claim is left, and taken over."""
    await writer.alive("me", 5.0)
    await writer.hold("me", {DOMAIN: "away"}, 5.0)
    await writer.skip(DOMAIN, run_id, [Row(1, 1, "sku-1", IMAGES)])
    [claim] = await writer.claim(DOMAIN, "me", "me/1", [Wanted("sku-1", 1)])
    assert claim.mine
    await writer.settle("me/1", [log(run_id, 1)], written=[LedgerEntry(DOMAIN, "sku-1", 1, "digest", run_id, 1)])
    await writer.claim(DOMAIN, "me", "me/2", [Wanted("sku-2", 2)])
    await writer.in_flight(run_id, [2])
    await writer.cancelled([run_id])
    clock.move(60)
    await writer.alive("other", 5.0)
    await writer.claim(DOMAIN, "other", "other/1", [Wanted("sku-2", 2)])
    await writer.settle("other/1", [log(run_id, 2)], written=[LedgerEntry(DOMAIN, "sku-2", 2, None, run_id, 2)])
    await writer.to_write_again(DOMAIN, run_id, ["sku-1"])
    await writer.gone("me")


async def _housekeeping(scheduler, clock):
    assert await scheduler.lease("test", "me", 5.0)
    await scheduler.sound("winter", {"silence": "nothing came"}, notify=True)
    for notice in await scheduler.due_notices():
        await scheduler.notice_sent(notice.id, "200")
    await scheduler.holds()
    await scheduler.watermark("winter")
    await scheduler.note_fire("winter", clock.now())
    more = [new_run(clock)]
    await scheduler.create_missing_runs("winter", clock.now(), more, domain=DOMAIN, without_images=["sku-1"])


async def test_setting_up_again_changes_nothing_and_mends_rights(postgres, roles):
    """Roles keep working, rights that somebody gave away are taken back, a new password is taken; who may not is told."""
    owned = postgres.url.rpartition("/")[0] + "/" + store_url(roles, "reader").reveal().rpartition("/")[2]
    settings = made.owner(owned, UNUSED_BROKER)
    connection = await asyncpg.connect(owned)
    user, _, _ = store_url(roles, "transformer").reveal().partition("//")[2].partition(":")
    await connection.execute(f"GRANT ALL ON users TO {user}")
    await connection.execute("GRANT SELECT ON users TO PUBLIC")
    await connection.close()
    changed = store_url(roles, "writer").reveal().replace(":", ":new-", 2).replace("new-//", "//", 1)
    (roles / "store_url_writer").write_text(changed)
    assert (await service_accounts.roles(settings, roles)).keys() == set(SERVICES)
    async with as_role(roles, "writer") as connection:
        assert await connection.fetch("SELECT * FROM ledger") == []
    async with as_role(roles, "transformer") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT * FROM users")
    with pytest.raises(StoreError, match="permission denied"):
        await service_accounts.roles(
            made.owner(changed, UNUSED_BROKER), made.urls(roles / "other", owned, UNUSED_BROKER)
        )
    assert await service_accounts.roles(made.owner(changed, UNUSED_BROKER), None) == {}


async def test_the_owner_is_no_service(postgres, tmp_path):
    """A service that has the owner's account would have all rights: refused."""
    url = postgres.new_database()
    folder = made.urls(tmp_path / "urls", url, UNUSED_BROKER)
    (folder / "store_url_reader").write_text(url)
    settings = made.owner(url, UNUSED_BROKER)
    async with open_store(settings):
        with pytest.raises(SettingsError, match="cannot be a service's"):
            await service_accounts.roles(settings, folder)
    left = await asyncpg.connect(url)
    assert await left.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'transformer%'") == 0
    await left.close()


async def test_roles_of_the_usual_names_get_their_rights_with_the_schema(postgres):
    """Where somebody else made the roles, `db upgrade` by the owner grants: to those that exist."""
    url = postgres.new_database()
    settings = made.owner(url, UNUSED_BROKER)
    postgres.execute("CREATE ROLE imageflow_reader LOGIN PASSWORD 'x'")
    try:
        async with open_store(settings):
            assert await service_accounts.roles(settings, None) == {"reader": "imageflow_reader"}
    finally:
        postgres.execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')
        postgres.execute("DROP ROLE imageflow_reader")


# RabbitMQ -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def users(rabbitmq, tmp_path_factory):
    """A folder with the services' URLs; the users are there, in a virtual host of these tests."""
    url, store = rabbitmq.new_vhost(), "postgresql://x:y@127.0.0.1:1/x"
    folder = made.urls(tmp_path_factory.mktemp("accounts") / "urls", store, url)
    made.import_accounts(rabbitmq, made.owner(store, url), folder)
    return folder


def broker_url(folder, account):
    return (folder / f"broker_url_{account}").read_text()


async def _ignore(_message):
    """A delivery that nobody settles: it goes back into its queue."""


@asynccontextmanager
async def channel(url):
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


OWN = {
    "reader": READ_QUEUE,
    "transformer": transform_queue("posts"),
    "writer": write_queue("posts"),
    "gateway": OUTBOUND_QUEUE,
}
QUEUES = (*OWN.values(), PARKED_QUEUE, "imageflow.delay.5")
READABLE = {account: {OWN[account]} if account in OWN else set() for account in BROKER_RIGHTS if account != "monitor"}
READABLE["gateway"] |= {PARKED_QUEUE}


@pytest.fixture(scope="module")
def queues(users):
    """All queues are there: the services whose they are have made them."""

    async def work():
        for service, queue in OWN.items():
            async with RabbitBroker(Secret(broker_url(users, service))) as broker, broker.consume(queue, prefetch=1):
                while not broker.consuming(queue):
                    await asyncio.sleep(0.02)
                assert broker.healthy is None

    asyncio.run(work())
    return users


@pytest.mark.parametrize("account", made.ACCOUNTS)
async def test_an_account_consumes_its_own_queues_alone(queues, account):
    """Each queue, by each account: reading, emptying and deleting it."""
    readable = set()
    for queue in QUEUES:
        async with channel(broker_url(queues, account)) as one:
            try:
                await one.basic_consume(queue, _ignore)
                readable.add(queue)
            except ChannelAccessRefused:
                pass
        for attempt in ("queue_purge", "queue_delete"):
            if queue in READABLE[account]:
                continue
            async with channel(broker_url(queues, account)) as one:
                with pytest.raises(ChannelAccessRefused):
                    await getattr(one, attempt)(queue)
    assert readable == READABLE[account]


@pytest.mark.parametrize("account", made.ACCOUNTS)
async def test_an_account_publishes_where_it_may(queues, account):
    """Services publish by ImageFlow's exchange, ERPs by that of the outbound queue; nobody by the default exchange."""
    may = dict.fromkeys(("imageflow", "imageflow.delay.5"), account != "erp")
    may |= {OUTBOUND_QUEUE: account in ("erp", "gateway"), "": False, "amq.fanout": False}
    for exchange, allowed in may.items():
        connection = await aiormq.connect(broker_url(queues, account))
        one = await connection.channel()
        try:
            await one.basic_publish(b"{}", exchange=exchange, routing_key=PARKED_QUEUE)
            assert allowed, exchange
        except (ChannelAccessRefused, DeliveryError):
            assert not allowed, exchange
        finally:
            await connection.close()


@pytest.mark.parametrize("account", made.ACCOUNTS)
async def test_an_account_makes_nothing_of_others(queues, account):
    """No queue, no exchange, no binding that would lead messages of others to it."""
    attempts = [
        lambda one: one.queue_declare("mine", durable=True),
        lambda one: one.queue_declare("imageflow.mine", durable=True),
        lambda one: one.exchange_declare("imageflow.mine", exchange_type="fanout"),
        lambda one: one.exchange_delete("imageflow"),
        lambda one: one.queue_bind(PARKED_QUEUE, "imageflow", routing_key=write_queue("posts")),
        lambda one: one.queue_declare("", exclusive=True),
    ]
    for attempt in attempts:
        async with channel(broker_url(queues, account)) as one:
            with pytest.raises(ChannelAccessRefused):
                await attempt(one)


async def test_services_hand_on_to_queues_that_others_make(users):
    """A publisher waits for a queue that its account may not make, and uses it once its own service has made it."""
    queue = write_queue("late")
    async with RabbitBroker(Secret(broker_url(users, "transformer")), publish_seconds=2) as transformer:
        with pytest.raises(BrokerError, match="is not there yet, and this account may not make it"):
            await transformer.publish(Outgoing(queue, b"{}"))
        async with (
            RabbitBroker(Secret(broker_url(users, "writer"))) as writer,
            writer.consume(queue, prefetch=1) as deliveries,
        ):
            while not writer.consuming(queue):
                await asyncio.sleep(0.02)
            await transformer.publish(Outgoing(queue, b"1"), Outgoing(queue, b"2", delay=1))
            for expected in (b"1", b"2"):
                delivery = await anext(deliveries)
                assert delivery.body == expected
                await delivery.ack()
            assert transformer.healthy is None


async def test_accounts_are_imported_by_the_management_api(management, rabbitmq_vhost, tmp_path):  # noqa: F811
    """`broker accounts --apply`: the users are there, with passwords and rights; with a service's URL it is refused."""
    folder = made.urls(tmp_path / "urls", "postgresql://x:y@127.0.0.1:1/x", rabbitmq_vhost)
    (folder / "rabbitmq_management_url").write_text("http://watcher:secret-of-the-watcher@127.0.0.1:1/%2f")
    found = service_accounts.accounts(folder)
    assert [account.service for account in found] == [*SERVICES, "erp", "monitor"]
    await service_accounts.import_accounts(made.owner("postgresql://x:y@h/x", rabbitmq_vhost), found, management.url)
    async with channel(broker_url(folder, "erp")) as one:
        await one.basic_publish(b"{}", exchange=OUTBOUND_QUEUE)
    with pytest.raises(SettingsError, match="the user of a service"):
        await service_accounts.import_accounts(
            made.owner("postgresql://x:y@h/x", broker_url(folder, "erp")), found, management.url
        )
    others = rabbitmq_vhost.replace("imageflow:", "imageflow:wrong", 1)
    with pytest.raises(BrokerError, match="answers 401: the user of BROKER_URL is no administrator"):
        await service_accounts.import_accounts(made.owner("postgresql://x:y@h/x", others), found, management.url)


def test_two_services_with_one_account_are_refused(tmp_path):
    """Rights of two would add up, or the last one's would win."""
    folder = made.urls(tmp_path / "urls", "postgresql://x:y@h/x", "amqp://x:y@h/")
    (folder / "broker_url_erp").write_text(broker_url(folder, "reader"))
    with pytest.raises(SettingsError, match="the same user"):
        service_accounts.accounts(folder)
    (folder / "broker_url_writer").unlink()
    with pytest.raises(SettingsError, match="broker_url_writer"):
        service_accounts.accounts(folder)
