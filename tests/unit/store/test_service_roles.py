"""The rights of the services' roles: who sees users, who changes flows, and what is left to the owner."""

import base64
import hashlib
import hmac
import re
from pathlib import Path

import pytest

from imageflow import bootstrap
from imageflow.store import service_roles
from imageflow.store.tables import metadata

TABLES = sorted({*metadata.tables, service_roles.REVISION_TABLE})
PEOPLE = ("users", "tokens", "api_keys", "logins", "audit_log")


def granted(service: str) -> str:
    return "\n".join(service_roles.granting(service, f"of_{service}", "db", "public", TABLES))


def test_each_service_has_rights_on_tables_that_there_are():
    """The roles are those of the services; a right names a table of the schema."""
    assert service_roles.SERVICES == bootstrap.SERVICES
    assert service_roles.RIGHTS.keys() == set(bootstrap.SERVICES)
    assert {table for rights in service_roles.RIGHTS.values() for table in rights} == set(TABLES)


@pytest.mark.parametrize("service", ["reader", "transformer", "writer"])
def test_who_handles_rows_sees_no_people_and_changes_no_flow(service):
    """Strangers' answers and scripts come through these: they only read flows, and nothing of users, tokens and keys."""
    rights = service_roles.RIGHTS[service]
    assert not rights.keys() & set(PEOPLE)
    assert {rights["flows"], rights["flow_versions"]} == {"SELECT"}


def test_nobody_changes_the_audit_log_or_the_schema():
    """What was done stays written down, for the gateway too; nothing but rows is granted."""
    for service in bootstrap.SERVICES:
        assert service_roles.RIGHTS[service].get("audit_log") in (None, "SELECT, INSERT")
        assert set(re.findall(r"GRANT (\w+) ON SCHEMA", granted(service))) == {"USAGE"}
        assert not re.findall(r"TRUNCATE|REFERENCES|TRIGGER|CREATE|GRANT OPTION|GRANT ALL", granted(service))


def test_rights_are_taken_back_before_they_are_granted():
    """What a role had beside goes, also on tables that the service does not use."""
    lines = granted("reader").splitlines()
    assert lines.index('REVOKE ALL ON TABLE "public"."runs" FROM "of_reader"') < lines.index(
        'GRANT SELECT, UPDATE ON TABLE "public"."runs" TO "of_reader"'
    )
    assert 'REVOKE ALL ON TABLE "public"."users" FROM "of_reader"' in lines
    closed = list(service_roles.closing("db", "public", ["users"]))
    assert closed[0] == 'REVOKE ALL ON DATABASE "db" FROM PUBLIC'
    assert closed[-1] == 'REVOKE ALL ON TABLE "public"."users" FROM PUBLIC'


def test_names_are_quoted():
    """A role or a database may be called anything."""
    assert service_roles.quoted('a"; DROP ROLE b; --') == '"a""; DROP ROLE b; --"'
    assert service_roles.role_name("reader") == "imageflow_reader"


def test_a_role_is_made_without_its_password_in_the_statement():
    """A new one has no attribute but the login; the statement holds the verifier that RFC 5803 describes."""
    assert "secret" not in service_roles.making("of_reader", "secret", exists=False)
    assert service_roles.making("r", "s", exists=False).startswith(
        'CREATE ROLE "r" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE'
    )
    assert service_roles.making("r", "s", exists=True).startswith('ALTER ROLE "r" LOGIN PASSWORD \'SCRAM-SHA-256$4096:')
    rounds, stored = re.fullmatch(
        r"SCRAM-SHA-256\$(\d+):c2FsdA==\$([^:]+):.+", service_roles.scram_verifier("pencil", b"salt")
    ).groups()
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", int(rounds))
    assert base64.b64decode(stored) == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()


LETTERS = {"SELECT": "s", "INSERT": "i", "UPDATE": "u", "DELETE": "d"}
DOCUMENT = Path(__file__).parents[3] / "docs" / "security.md"


def letters(rights: str) -> str:
    """The rights of a table in one word; those on some columns alone stand with these."""
    named = re.findall(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([^)]*)\))?", rights)
    return " ".join(
        ["".join(LETTERS[verb] for verb, columns in named if not columns)]
        + [f"{LETTERS[verb]}({columns})" for verb, columns in named if columns]
    ).strip()


def table_of_rights() -> str:
    rights = service_roles.RIGHTS
    lines = [["table", *rights], ["---"] * 6]
    lines += [[f"`{table}`", *(letters(rights[service].get(table, "")) for service in rights)] for table in TABLES]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_the_document_shows_the_rights():
    """docs/security.md has the table; `python -m tests.unit.store.test_service_roles` writes it."""
    assert f"<!-- rights: begin -->\n{table_of_rights()}\n<!-- rights: end -->" in DOCUMENT.read_text()


if __name__ == "__main__":
    whole = re.compile(r"(<!-- rights: begin -->\n).*(<!-- rights: end -->)", re.DOTALL)
    DOCUMENT.write_text(whole.sub(lambda found: f"{found[1]}{table_of_rights()}\n{found[2]}", DOCUMENT.read_text()))
