"""What a page changed is put back."""

from __future__ import annotations

import decimal
import gc
import html.entities
import json
import sys
import urllib.parse

from imageflow.sandbox.script import LAZY_MODULES, MODULES
from imageflow.sandbox.untouched import Untouched


def test_puts_modules_and_classes_back() -> None:
    """What a script changes in a module or one of its classes is gone with the page."""
    for name in (*MODULES, *LAZY_MODULES):
        __import__(name)
    untouched = Untouched()
    loads, encode = json.loads, json.JSONEncoder.encode
    json.loads = lambda _: "poison"
    json.JSONEncoder.encode = lambda *_: "poison"  # type: ignore[method-assign]
    json.JSONEncoder.extra = 1  # type: ignore[attr-defined]
    sys.modules["builtins"].len = lambda _: 0  # type: ignore[attr-defined]
    untouched.restore()
    assert json.loads is loads
    assert json.JSONEncoder.encode is encode
    assert not hasattr(json.JSONEncoder, "extra")
    assert len("ab") == 2


def test_puts_contents_and_settings_back() -> None:
    """Lists and tables in a module, a decimal context and the depth of recursion are as before the page."""
    for name in (*MODULES, *LAZY_MODULES):
        __import__(name)
    untouched = Untouched()
    names, entity, depth = list(urllib.parse.uses_netloc), html.entities.html5["amp;"], sys.getrecursionlimit()
    urllib.parse.uses_netloc.clear()
    html.entities.html5["amp;"] = "poison"
    decimal.DefaultContext.prec = 3
    sys.setrecursionlimit(depth + 7)
    untouched.restore()
    assert urllib.parse.uses_netloc == names
    assert html.entities.html5["amp;"] == entity
    assert decimal.DefaultContext.prec == 28
    assert sys.getrecursionlimit() == depth


def test_puts_functions_and_limits_back() -> None:
    """Names that hang on a function, and the limits of the interpreter are as before the page."""
    for name in (*MODULES, *LAZY_MODULES):
        __import__(name)
    untouched = Untouched()
    digits, switch = sys.get_int_max_str_digits(), sys.getswitchinterval()
    json.dumps.hidden = "poison"  # type: ignore[attr-defined]
    sys.set_int_max_str_digits(digits + 1000)
    sys.setswitchinterval(switch * 2)
    gc.disable()
    untouched.restore()
    assert not hasattr(json.dumps, "hidden")
    assert sys.get_int_max_str_digits() == digits
    assert sys.getswitchinterval() == switch
    assert gc.isenabled()
