"""A script before it runs: problems with their line, and the modules that it may import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imageflow.sandbox.script import MODULES, compile_script


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def process(r:\n  pass", "line 1: SyntaxError"),
        ("def process(r):\n  x = 'a\n", "line 2: SyntaxError"),
        ("  def process(r): pass", "line 1: IndentationError"),
        ("x = 1", "defines neither process(response) nor process_row(row)"),
        ("import os\ndef process(r): pass", "line 1: the module 'os' is not available to scripts; there are: abc, "),
        ("from os.path import join\ndef process(r): pass", "line 1: the module 'os.path'"),
        ("import json.nothing\ndef process(r): pass", "line 1: the module 'json.nothing' is not available"),
        ("import json, requests\ndef process_row(r): pass", "line 1: the module 'requests'"),
        ("a\0b", "script"),
        ("(" * 5000, "script"),
        ("x = " + "-" * 200_000 + "1", "script"),
    ],
)
def test_says_what_is_wrong_with_a_script(source: str, words: str) -> None:
    """A script that cannot run is refused with its line, before any page."""
    code, problems, line = compile_script(source)
    assert code is None
    assert problems
    assert words in f"{problems[0].path} {problems[0].message}"
    assert (line is not None) == problems[0].message.startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "source",
    [
        "def process(response):\n    return response",
        "def process_row(row): return row",
        "process = lambda r: r",
        "from __future__ import annotations\nimport json, re, urllib.parse\nfrom datetime import date\ndef process(r): pass",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\ndef process(r): pass",
    ],
)
def test_takes_scripts_that_can_run(source: str) -> None:
    """One of the two functions is enough; an import that the script guards is its own affair."""
    code, problems, line = compile_script(source)
    assert code is not None
    assert problems == ()
    assert line is None


def test_docs_list_the_modules() -> None:
    """docs/scripts.md names the modules that a script may import, no more and no less."""
    text = (Path(__file__).parents[3] / "docs" / "scripts.md").read_text()
    listed = text.partition("## What may be imported")[2].partition("and their submodules that")[0]
    assert re.findall(r"`(\w+)`", listed) == MODULES
