"""A flow file to begin with."""

from __future__ import annotations

from collections.abc import Sequence

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
  pagination: {type: next, field: next}    # or none, token, link, offset, page, seek
  # modified_date_key: modified_date__gt   # the ERP's parameter for "changed since": then only changes are read
"""
_SCRIPT = """\
script: |                                  # what is made of a row; try it: imageflow try {name}.yaml --live
  def process_row(row):
      return {{"sku": row["sku"], "images": row["images"]}}
"""


def flow_file_text(name: str, *, inbound: bool = True, erp: str | None = None, said: Sequence[str] = ()) -> str:
    """The text of a new flow file. `erp`: the part about the ERP, as a probe found it, with what it `said`."""
    head = _HEAD.format(schema=SCHEMA_FILE, name=name, direction="inbound" if inbound else "outbound")
    parts = [head, _SCHEDULE if inbound else "", _OMNITRON]
    if inbound:
        parts += [*(f"# {line}\n" for line in said), erp or _ERP]
    return "".join([*parts, _SCRIPT.format(name=name)])
