"""What a settling transaction enters, of what it is given."""

from imageflow.store import LedgerEntry
from imageflow.store.settling import _entries

DOMAIN = "https://omnitron.example"


def test_of_a_product_the_newest_version_is_entered():
    """In whatever order they come; what was written is not only released."""
    newest, older = (LedgerEntry(DOMAIN, "A", version, f"d{version}", "r", version) for version in (7, 5))
    for written in ([newest, older], [older, newest]):
        entries = _entries(written, [(DOMAIN, "A"), (DOMAIN, "B")])
        assert [(entry[2], entry[3]) for entry in entries] == [(7, "d7"), (-1, None)]
