"""docs/architecture.md mirrors the code, and pure modules are what the import contract says.

`python -m tests.unit.test_architecture` writes the mirrored parts of the page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from imageflow import bootstrap
from imageflow.gateway import queue as outbound_queue
from imageflow.model import messages, retry_ladder
from imageflow.runtime import settlement
from imageflow.write import row_work
from tests import pure_modules

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PAGES = [PAGE, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LAYERS = "six layers, and the ground below them"


def rows(heading: str, *lines: str) -> str:
    """A table in Markdown, from its heading and its lines, cells divided by ` | `."""
    return "\n".join(f"| {line} |" for line in (heading, " | ".join(["---"] * len(heading.split(" | "))), *lines))


def columns(docstring: str | None) -> dict[str, str]:
    """The lines of a docstring that have two columns."""
    found = re.findall(r"^    (\S.*?)  +(\S.*)$", docstring or "", re.MULTILINE)
    return {left.strip(): right for left, right in found}


def services() -> str:
    consumed = {
        "scheduler": ("the clock", ""),
        "reader": (f"`{messages.READ_QUEUE}`", bootstrap.READ_PREFETCH),
        "transformer": (f"`{messages.transform_queue('<flow>')}`", bootstrap.TRANSFORM_PREFETCH),
        "writer": (f"`{messages.write_queue('<flow>')}`", bootstrap.WRITE_PREFETCH),
        "gateway": (f"HTTP, and `{messages.OUTBOUND_QUEUE}`", outbound_queue.PREFETCH),
    }
    lines = [f"`{name}` | {consumed[name][0]} | {consumed[name][1]}" for name in bootstrap.SERVICES]
    return rows("service | consumes | unacknowledged deliveries, per queue and process", *lines)


def settlements() -> str:
    names = {"FAILURE_LIMIT": settlement.FAILURE_LIMIT, "CRASH_LIMIT": settlement.CRASH_LIMIT}
    found = columns(settlement.__doc__).items()
    table = rows("handling ended in | the delivery", *(f"{ended} | {then}" for ended, then in found))
    return re.sub("|".join(names), lambda name: str(names[name[0]]), table)


def row_states() -> str:
    causes = columns(row_work.__doc__)
    again = {"busy": f"after {row_work.BUSY_SECONDS:g} s", "held": f"after {row_work.HELD_SECONDS:g} s"}
    lines = [
        f"`{state}` | {causes[state]} | {rule.log or ''} | {again.get(rule.again or '', rule.again or '')} | "
        f"{rule.attempts or ''} | {'released' if rule.releases else 'kept'}"
        for state, rule in row_work.RULES.items()
    ]
    return rows("state | how it comes about | log | comes again | attempts | claims", *lines)


def layers() -> str:
    named = pure_modules.contract(LAYERS)["layers"]
    return "\n".join(["```", *(layer.replace(" | ", "  ") for layer in named), "```"])


def rooms() -> str:
    """Every folder of the package, with the first sentence that its `__init__` says of it."""
    found = []
    for folder in sorted((ROOT / "imageflow").glob("*/__init__.py")):
        sentence = re.match(r'"""(.*?)\.(?:\s|""")', folder.read_text(), re.DOTALL)
        found.append(f"`{folder.parent.name}` | {' '.join(sentence[1].split()) if sentence else ''}")
    return rows("room | what is in it", *found)


MIRRORED: dict[str, Callable[[], str]] = {
    "services": services,
    "ladder": lambda: ", ".join(map(str, retry_ladder.LADDER)),
    "settlements": settlements,
    "row-states": row_states,
    "layers": layers,
    "rooms": rooms,
}


def part(name: str, page: str) -> re.Match[str]:
    """A mirrored part of the page: what stands between its marks."""
    found = re.search(f"(<!-- {name}: begin -->\n?)(.*?)(\n?<!-- {name}: end -->)", page, re.DOTALL)
    assert found is not None, f"the page has no part {name}"
    return found


@pytest.mark.parametrize("name", MIRRORED)
def test_the_page_mirrors_the_code(name):
    """Tables, ladder and layers are what the code says; `python -m tests.unit.test_architecture` writes them."""
    assert part(name, PAGE.read_text())[2] == MIRRORED[name]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_docs_name_exist(page):
    """A path in backquotes, whole or within the package, is there; so is the target of a link."""
    text = page.read_text()
    named = re.findall(r"`(\w[\w./-]*/[\w.-]+\.(?:py|md|toml|yaml|yml|json|sh))`", text)
    places = [ROOT, ROOT / "imageflow", ROOT / "docs", ROOT / "deploy"]
    assert not [path for path in named if not any((place / path).exists() for place in places)]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^):]+)\)", text)]
    assert not [link for link in links if link and not (page.parent / link).exists()]


def test_every_room_says_what_is_in_it():
    """The `__init__` of each folder of the package has a docstring."""
    assert "|  |" not in rooms()


@pytest.mark.parametrize(
    ("source", "touches"),
    [
        ("def key(path):\n    return open(path)", True),
        ("import os\nos.open(name, os.O_RDONLY)", True),
        ("import os\nos.path.exists(name)", True),
        ("from os.path import exists\nexists(name)", True),
        ("(folder / name).read_text()", True),
        ("old.replace(new)", True),
        ("from importlib import resources", True),
        ("from imageflow.private_files import private_file", True),
        ("text.replace('a', 'b')", False),
        ("instant.replace(tzinfo=UTC)", False),
        ("structs.replace(row, state='failed')", False),
        ("import os\nos.strerror(number)", False),
        ("from pathlib import Path\nPath(name).suffix", False),
    ],
)
def test_calls_on_files_are_seen(source, touches):
    """Opening, reading and moving are; texts and instants with a part replaced are no files."""
    assert pure_modules.touches_files(ast.parse(source)) is touches


def test_modules_that_are_pure_but_for_files_are_known():
    """A pure module does not become one by the way, and none of them comes to do more I/O than files."""
    assert pure_modules.pure_but_for_files().keys() - pure_modules.pure().keys() == pure_modules.FILES_ONLY.keys()


def test_pure_modules_are_those_of_the_contract():
    """A module without I/O is in the contract that keeps it so (pyproject.toml), or in NOT_PURE with a reason; no other is."""
    named = pure_modules.contract(pure_modules.CONTRACT)["source_modules"]
    covered = {
        module: [name for name in named if module == name or module.startswith(f"{name}.")]
        for module in pure_modules.pure()
    }
    missing = {module for module, by in covered.items() if not by} - pure_modules.NOT_PURE.keys()
    assert not missing, f"add to the contract {pure_modules.CONTRACT!r} in pyproject.toml"
    assert not pure_modules.NOT_PURE.keys() - covered.keys(), "is not pure any more: take it out of NOT_PURE"
    assert {name for by in covered.values() for name in by} == set(named), "in the contract, and nothing there is pure"
    listed = {module for module, _ in pure_modules.modules() for name in named if f"{module}.".startswith(f"{name}.")}
    assert not listed - covered.keys(), "in the contract, and does I/O"


def imports() -> dict[str, set[str]]:
    """What each module of the package imports of it, inside functions and under TYPE_CHECKING, too."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "imageflow").rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= inside & paths.keys() or {node.module}
        found[module] = named & paths.keys()
    return found


def reached(module: str, imported: dict[str, set[str]]) -> set[str]:
    """The modules that importing one leads to."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = imported[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_no_module_imports_itself_on_a_way_round():
    """Modules of one room form no cycle either, nor does one that an import inside a function, or for types alone, closes."""
    imported = imports()
    leads = {module: reached(module, imported) for module in imported}
    in_cycles = {
        f"{module} -> {other}" for module, found in imported.items() for other in found if module in leads[other]
    }
    assert "imageflow.store.connect" in leads["imageflow.bootstrap"]
    assert not in_cycles


if __name__ == "__main__":
    text = PAGE.read_text()
    for name, written in MIRRORED.items():
        found = part(name, text)
        text = text[: found.start()] + found[1] + written() + found[3] + text[found.end() :]
    PAGE.write_text(text)
