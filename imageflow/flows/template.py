"""A flow file to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from imageflow.flows.file import dump
from imageflow.model.pagination import TYPES
from imageflow.model.pagination.next import NextPagination
from imageflow.text.printable import one_line

SCHEMA_FILE = ".imageflow/flow.schema.json"
"""Where the schema lies beside the flow files that name it: in a folder that is not looked into for flows."""

_HEAD = """\
# yaml-language-server: $schema={schema}
# What a file may hold: imageflow flow schema. Check it: imageflow flow lint {name}.yaml; imageflow check {name}.yaml
name: {name}
direction: {direction}
"""
_OMNITRON = """\
omnitron:
  domain_url: https://brand.omnitron.net   # your Omnitron
  username: {env: OMNITRON_USERNAME}       # a secret is named, never written down: {env: NAME} or {file: PATH}
  password: {env: OMNITRON_PASSWORD}
"""
_SCHEDULE = """\
schedule: {every: 15m}                     # or {cron: "*/15 * * * *"}, or {after: OTHER-FLOW}
timezone: UTC
"""
_ERP = """\
erp:
  endpoint_url: https://erp.example.com/images/   # your ERP; `imageflow probe URL` finds out how it pages
  rows_path: results                       # where the list of rows is in an answer; leave it out if the answer is the list
  pagination: {type: next, field: next}    # or {types}
  # modified_date_key: modified_date__gt   # the ERP's parameter for "changed since": then only changes are read
"""
_SCRIPT_HEAD = """\
script: |                                  # what is made of a row; try it: imageflow try {name}.yaml {source}
"""
_LIVE, _POSTED = "--live", "--input POSTED.json"
"""The option that names the answer to try a script with: of an ERP that is asked, of one that posts."""
_SCRIPT = (
    _SCRIPT_HEAD
    + """\
  def process_row(row):
      return {{"sku": row["sku"], "images": row["images"]}}
"""
)


_WATERMARK = "is there a parameter for changes since a date? Then set erp.modified_date_key: only changes are read"
_SINCE = {"modified_date_key", "query_settings"}
_EXPIRES = (
    "does the value of the header Authorization expire? Then it is no secret to keep: let ImageFlow log in itself, with erp.login of the "
    "type token or oauth2"
)
_LOGIN = """\
  # login: {type: token, url: "https://…/login", body: {username: {env: ERP_USERNAME}, password: {env: ERP_PASSWORD}},
  #         token_path: token, header: Authorization, template: "Bearer {token}"}
  # or {type: oauth2, token_url: "https://…/token", client_id: {env: ERP_CLIENT_ID}, client_secret: {env: ERP_CLIENT_SECRET}}
  # or {type: basic, username: {env: ERP_USERNAME}, password: {env: ERP_PASSWORD}}
  # or {type: header, name: X-Api-Key, value: {env: ERP_API_KEY}}
"""
_AS_IT_IS = "# No script is needed: the rows have the names that ImageFlow has. See docs/rows.md.\n"


class Looked(NamedTuple):
    """What a look at an endpoint found: the part about the ERP, the evidence, fields that make rows of an answer, and questions that
    it left. `rows` is None where nothing was found that makes rows; `refused`: the endpoint let nobody in.
    """

    erp: dict[str, Any]
    said: Sequence[str] = ()
    rows: dict[str, Any] | None = None
    questions: Sequence[str] = ()
    refused: bool = False


def flow_file_text(name: str, *, inbound: bool = True, looked: Looked | None = None) -> str:
    """The text of a new flow file. `looked`: what its ERP is known to answer."""
    head = _HEAD.format(schema=SCHEMA_FILE, name=name, direction="inbound" if inbound else "outbound")
    parts = [head, _SCHEDULE if inbound else "", _OMNITRON]
    if looked is not None:
        return "".join([*parts, *_looked(name, looked)])
    source = _LIVE if inbound else _POSTED
    return "".join([*parts, _erp() if inbound else "", _SCRIPT.format(name=name, source=source)])


def _erp() -> str:
    others = sorted(str(one.__struct_config__.tag) for one in TYPES if one is not NextPagination)
    return _ERP.replace("{types}", ", ".join(others))


def _looked(name: str, looked: Looked) -> Iterator[str]:
    yield "# What a look at the ERP's endpoint found:\n"
    yield from (f"#   {one_line(line)}\n" for line in looked.said)
    if questions := questions_of(looked):
        yield "# Questions that are left; answer them, and delete them:\n"
        yield from (f"#   - {one_line(question)}\n" for question in questions)
    yield dump({"erp": looked.erp})
    yield _LOGIN if looked.refused else ""
    if looked.rows is None:
        yield "".join(f"# {line}\n" for line in _SCRIPT.format(name=name, source=_LIVE).splitlines())
        return
    settings = {field: value for field, value in looked.rows.items() if field != "script"}
    yield dump(settings) if settings else ""
    script = looked.rows.get("script")
    yield _AS_IT_IS if script is None else _SCRIPT_HEAD.format(name=name, source=_LIVE)
    yield from (f"  {line}\n" if line else "\n" for line in (script or "").splitlines())


def questions_of(looked: Looked) -> list[str]:
    """What a look at an endpoint left open."""
    header = looked.erp.get("login", {}).get("name", "")
    expires = [_EXPIRES] if header.lower() == "authorization" and not looked.refused else []
    since = [] if looked.refused or looked.erp.keys() & _SINCE else [_WATERMARK]
    return [*looked.questions, *expires, *since]
