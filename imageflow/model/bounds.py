"""What numbers and names in messages may be: what the store's columns take. Checked when a message is decoded."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_INT = 2**31 - 1
"""The largest number of an INTEGER column."""
MAX_BIGINT = 2**63 - 1
"""The largest number of a BIGINT column."""
END_OF_TIME = 253_402_300_799.0
"""The last second of the year 9999, in Unix time: a later instant is no date."""

Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
Long = Annotated[int, Meta(ge=0, le=MAX_BIGINT)]
SignedLong = Annotated[int, Meta(ge=-MAX_BIGINT - 1, le=MAX_BIGINT)]
Instant = Annotated[float, Meta(ge=0, le=END_OF_TIME)]

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
"""The id of a run, or the name of a flow. PostgreSQL takes no NUL."""
Hex = Annotated[str, Meta(max_length=128, pattern=r"\A[0-9a-f]*\Z")]
