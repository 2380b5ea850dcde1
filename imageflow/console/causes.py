"""Causes of failures as people call them: what it is, who can mend it, and whether trying again may help. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from imageflow.model.row import CANCELLED

Name = Literal[
    "unknown sku",
    "too large",
    "not a picture",
    "unreachable",
    "no answer",
    "away",
    "too many",
    "login",
    "script",
    "mapping",
    "rows",
    "no images",
    "no address",
    "read",
    "refused",
    "cancelled",
]
Who = Literal["catalogue", "erp", "cdn", "omnitron", "nobody", "flow", "access"]


class Cause(NamedTuple):
    """What it is called, who can mend it, and whether it helps to write the rows again as they are."""

    name: Name
    who: Who
    again: bool

    @property
    def stays(self) -> bool:
        """Whether a stored page can only fail like this again, as long as the flow is the same."""
        return self.name in ("no images", "no address", "rows", "script", "mapping")

    @property
    def of_rows(self) -> bool:
        """Whether the cause lies in how the flow makes rows: then a change of the flow may have caused it, or may mend
        it.
        """
        return (self.who in ("flow", "catalogue", "erp", "cdn") and self.name != "read") or self.name == "refused"


_BY_STAGE: dict[str, Cause] = {
    "login": Cause("login", "access", again=True),
    "read": Cause("read", "erp", again=False),
    "script": Cause("script", "flow", again=False),
    "mapping": Cause("mapping", "flow", again=False),
    "rows": Cause("rows", "flow", again=False),
}
_NONE_THERE = re.compile(r"(images\[\d+\]: )?no (images|url)\b")
_NO_ADDRESS = re.compile(r"(images\[\d+\]: )?.* is not an http\(s\) URL$", re.DOTALL)
_OF_ROWS = (
    (_NONE_THERE, Cause("no images", "erp", again=False)),
    (_NO_ADDRESS, Cause("no address", "erp", again=False)),
)
_AWAY = Cause("away", "omnitron", again=True)
_CANCELLED = Cause("cancelled", "nobody", again=True)
_BY_REASON = (
    (r"sku\b.*(does not exist|not found|unknown)|product.*(does not exist|not found)", Cause("unknown sku", "catalogue", again=True)),
    (r"\bimage_(wrong_type|damaged|login_page)\b", Cause("not a picture", "erp", again=False)),
    (r"\bimage_(unreachable|not_found|refused|bad_redirect|private_address)\b", Cause("unreachable", "cdn", again=True)),
    (r"\bimage_too_|dimension|2000\s*x\s*2000|too large|pixels", Cause("too large", "erp", again=False)),
    (r"not a (png|jpe?g|picture|image)|png or jpe?g|content[- ]type", Cause("not a picture", "erp", again=False)),
    (r"image.*(unreachable|cannot be (reached|loaded))|cannot be (reached|loaded)", Cause("unreachable", "cdn", again=True)),
    (r"no answer|timed? ?out|within \d", Cause("no answer", "nobody", again=True)),
)  # fmt: skip
_PLACE = re.compile(r"images?\s*(?::\s*|\[\s*|\s+)(\d{1,3})\b")


def cause(stage: str, http_status: int | None, reason: str | None) -> Cause:
    """What a failure is, by its stage, Omnitron's status and words."""
    if reason == CANCELLED:
        return _CANCELLED
    if stage in _BY_STAGE:
        of_rows = (one for pattern, one in _OF_ROWS if stage == "rows" and pattern.match(reason or ""))
        return next(of_rows, _BY_STAGE[stage])
    if http_status == 429:
        return Cause("too many", "nobody", again=True)
    if http_status is not None and http_status >= 500:  # whatever its page says
        return _AWAY
    found = (one for pattern, one in _BY_REASON if re.search(pattern, reason or "", re.IGNORECASE))
    return next(found, None) or _by_status(http_status)


def _by_status(http_status: int | None) -> Cause:
    if http_status is None:
        return _AWAY
    if http_status == 404:
        return Cause("unknown sku", "catalogue", again=True)
    return Cause("refused", "omnitron", again=False)


def broken_places(reason: str | None) -> frozenset[int]:
    """Which images a refusal is about, by their place from 0, as far as Omnitron's words say."""
    return frozenset(int(place) for place in _PLACE.findall(reason or ""))
