"""Users: who can be added, and what a user may not do to themselves."""

import pytest

from imageflow.actions import users
from imageflow.actions.actor import Actor
from imageflow.actions.credentials import verify
from imageflow.actions.users import OwnUserError
from imageflow.errors import ImageFlowError
from imageflow.store import User

ADA = Actor("ada", "127.0.0.1", "admin")
SHELL = Actor("ada", "command line")


class Users:
    """The store's users, in memory, and the audit entries that came with them."""

    def __init__(self):
        self.users = {}
        self.entries = []

    async def save_user(self, user, *, audit):
        self.users[user.name] = user
        self.entries.append(audit)

    async def set_role(self, name, role, *, audit):
        self.users[name] = User(name, "", role)
        self.entries.append(audit)

    async def remove_user(self, name, *, audit):
        del self.users[name]
        self.entries.append(audit)


@pytest.fixture
def store():
    return Users()


async def test_a_user_is_saved_with_an_audit_entry(store):
    """A saved user has a hash that only the password opens; the entry says who did it, and nothing of the password."""
    await users.save(store, "erp@brand.com", "correct horse", "operator", ADA)
    assert verify(store.users["erp@brand.com"].password_hash, "correct horse")
    (entry,) = store.entries
    assert (entry.who, entry.what, entry.object, entry.detail) == (
        "ada",
        "user.save",
        "user erp@brand.com",
        {"role": "operator"},
    )


@pytest.mark.parametrize(
    ("name", "password", "role"),
    [
        ("", "long enough", "viewer"),
        ("a b", "long enough", "viewer"),
        ("a\n", "long enough", "viewer"),
        ("x" * 151, "long enough", "viewer"),
        ("a", "short77", "viewer"),
        ("a", "x" * 1025, "viewer"),
        ("a", "long enough", "root"),
        ("a", "long enough", ""),
        ("a", "football", "viewer"),
        ("a", "Password2026!", "viewer"),
        ("a", "QWERTYUIOP", "viewer"),
        ("a", "1qaz2wsx", "viewer"),
        ("a", "ImageFlow-1", "viewer"),
        ("erp-winter@brand.com", "erp-winter1", "viewer"),
    ],
)
async def test_users_that_cannot_be(store, name, password, role):
    """A user with a wrong name, password or role is refused as wrong usage, without the password in the text."""
    with pytest.raises(ImageFlowError) as error:
        await users.save(store, name, password, role, ADA)
    assert error.value.exit_status == 2
    assert password not in str(error.value)
    assert not store.users


async def test_nobody_removes_themselves_or_changes_their_own_role(store):
    """A user of the gateway may change their own password, and neither their role nor that they are a user."""
    await users.save(store, "ada", "correct horse", "admin", ADA)
    for change in (
        users.save(store, "ada", "correct horse", "viewer", ADA),
        users.set_role(store, "ada", "operator", ADA),
        users.remove(store, "ada", ADA),
    ):
        with pytest.raises(OwnUserError):
            await change
    assert store.users["ada"].role == "admin"
    await users.set_role(store, "ada", "admin", ADA)


async def test_the_command_line_is_no_user(store):
    """A person at the machine whose name is that of a user may change the user."""
    await users.save(store, "ada", "correct horse", "viewer", SHELL)
    await users.remove(store, "ada", SHELL)
    assert not store.users
