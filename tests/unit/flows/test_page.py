"""docs/flow.md says of each field what the flow types say: made from the JSON Schema.

`python -m tests.unit.flows.test_page` writes the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from imageflow.flows import file as flow_file
from imageflow.flows.limits import LIMITS
from imageflow.model import pagination

PAGE = Path(__file__).parents[3] / "docs" / "flow.md"
HEAD = """\
# The flow file

Every field that a flow file may hold. Unknown fields are refused. `imageflow flow schema` prints the same as a JSON Schema, which
editors use: `imageflow flow new NAME` writes a file that names it. `imageflow flow lint PATH` checks files, `imageflow check NAME`
tries a flow's logins.

A duration is seconds, as a number or like `30s`, `5m`, `1h30m`; a rate is like `10/s` or `300/m`. A *secret* is named and never
written down: `{env: NAME}`, a variable of the service, or `{file: PATH}`, relative to the flow file. A path into JSON is dotted (`data.items.0.id`) or a JSON
Pointer (`/data/items/0/id`).

A folder's flow files are its `*.yaml`, `*.yml` and `*.json`. A `.json` file with neither `name` nor `direction` at its top (a saved
answer, a mapping) is none, and is left alone; nor are `NAME.test.yaml` and `NAME.shared.yaml`.

**What several flows share** stands in a file of its own, whose name ends with `.shared.yaml`; each flow file names it:

```yaml
# brand.shared.yaml
omnitron: {domain_url: https://brand.omnitron.net, username: {env: OMNITRON_USERNAME}, password: {env: OMNITRON_PASSWORD}}
timezone: Europe/Istanbul
```

```yaml
# winter.yaml
name: winter
direction: inbound
shared_file: brand.shared.yaml
erp: {endpoint_url: https://erp.example.com/images/}
```

What the flow file says itself wins, also with `null`. `omnitron`, `erp`, `fetch_missing`, `write` and `alarms` are put together field
by field; anything else is taken whole, as `schedule`, or `login` within `erp`. Name, direction, script and mapping stand in each
flow file. The flow that is saved is complete: `imageflow flow show` shows what it took, and `imageflow flow lint` says where from. A
running `up --flows` follows a change of the shared file with a new version of each flow that names it.

`up --flows`, `run --flows` and `flow apply --keep-changes` apply a file when it says something new. Where a person changed the flow
since (`flow rollback`, a save over the API or in the console), a file that says what it said before changes nothing, after a restart
neither: they warn and name both ways out, `flow export NAME > FILE` to keep the change, `flow apply FILE` to undo it.
"""
ORDER = {
    "Definition": "the file",
    "Schedule": "`schedule`",
    "Omnitron": "`omnitron`",
    "Erp": "`erp`",
    "BasicLogin": "`erp.login` with `type: basic`",
    "HeaderLogin": "`erp.login` with `type: header`",
    "TokenLogin": "`erp.login` with `type: token`",
    "OAuth2Login": "`erp.login` with `type: oauth2`",
    "QuerySetting": "`erp.query_settings`, each",
    "JsonFormat": "`erp.format: json`",
    "NdjsonFormat": "`erp.format: ndjson`",
    "CsvFormat": "`erp.format` with `type: csv`",
    "XmlFormat": "`erp.format` with `type: xml`",
    **{kind.__name__: f"`erp.pagination` with `type: {kind.__struct_config__.tag}`" for kind in pagination.TYPES},
    "Success": "`erp.success`",
    "NoRows": "`erp.no_rows`",
    "FetchMissing": "`fetch_missing`",
    "Write": "`write`",
    "Alarms": "`alarms`",
}


HEADING_LINES = 2

MOST = {(owner.__name__, field): limit.written for (owner, field), limit in LIMITS.items()}


def structs() -> dict[str, dict[str, Any]]:
    schema = flow_file.schema()
    found = {"Definition": schema, **schema["$defs"]}
    return {name: {**struct, "title": name} for name, struct in found.items()}


def kind_of(field: dict[str, Any]) -> str:
    """A field's type in a word or two."""
    options = field.get("anyOf")
    if options is not None:
        names = [kind_of(option) for option in options if option.get("type") != "null"]
        if "number" in names and any("pattern" in option for option in options):
            return "duration"
        return " or ".join(dict.fromkeys(names))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "secret" if name == "SecretRef" else "object"
    if str(field.get("pattern", "")).endswith("(s|m|h)$"):
        return "rate"
    names = {
        "string": "text",
        "boolean": "true or false",
        "integer": "whole number",
        "array": "list",
        "object": "object",
    }
    return names.get(field.get("type", ""), field.get("type", "anything"))


def shown(value: Any) -> str:
    """A value as a flow file writes it, on one line."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) and "\n" in value else None
    dumped = text or yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return f"`{dumped.removesuffix('...' + chr(10)).strip()}`"


def span(seconds: float) -> str:
    """A duration as a person writes it."""
    unit, name = next((size, name) for size, name in ((3600, "h"), (60, "m"), (1, "s")) if seconds % size == 0)
    return f"{seconds / unit:g}{name}"


def table(struct: dict[str, Any]) -> Iterator[str]:
    yield "| field | is | default | means |"
    yield "| --- | --- | --- | --- |"
    for name, field in struct["properties"].items():
        if "const" in field:
            continue
        given = field.get("default")
        if name in struct["required"]:
            default = "required"
        elif given in (None, "", [], ()) or isinstance(given, dict):
            default = ""
        else:
            default = shown(span(given) if kind_of(field) == "duration" else given)
        examples = [shown(example) for example in field.get("examples", [])]
        text = " ".join([field["description"], *(f"E.g. {example}." for example in examples)])
        if (struct["title"], name) in MOST:
            text += f" At most {MOST[struct['title'], name]}."
        yield f"| `{name}` | {kind_of(field)} | {default} | {text} |"


def page() -> str:
    found = structs()
    parts = [HEAD]
    for name, title in ORDER.items():
        about = "" if name == "Definition" else found[name]["description"].rstrip(".") + ".\n"
        lines = list(table(found[name]))
        fields = "\n".join(lines) + "\n" if len(lines) > HEADING_LINES else ""
        parts.append(f"## {title[0].upper() + title[1:]}\n\n" + "\n".join(part for part in (about, fields) if part))
    return "\n".join(parts)


def test_the_page_says_what_the_types_say() -> None:
    """The page is made from the types."""
    assert PAGE.read_text() == page(), "python -m tests.unit.flows.test_page writes it"


def test_every_field_is_explained() -> None:
    """Each field of each part has a description, a sentence that ends; every part is on the page."""
    assert set(structs()) - {"SecretRef"} == set(ORDER), "each part has its heading in ORDER"
    for name in ORDER:
        for field, described in structs()[name]["properties"].items():
            if "const" not in described:
                assert described.get("description", "").endswith("."), f"{name}.{field}"


def test_its_examples_are_flows(tmp_path: Path) -> None:
    """The files at the head of the page, beside each other, are a flow."""
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    definition = flow_file.parse(flow_file.load(tmp_path / "winter.yaml"))
    assert (len(blocks), definition.name, definition.timezone) == (2, "winter", "Europe/Istanbul")


if __name__ == "__main__":
    PAGE.write_text(page())
