"""The mapping: a Jolt chain, compiled and applied by jolt-py with the semantics of Java's Jolt 0.1.x.

`problems` looks at a spec's outline and is safe anywhere. The functions that compile or apply a spec run in a worker only:
a hostile spec or row may take all memory or never end. `check.check_mapping` starts a worker for it.
"""

from __future__ import annotations

import difflib
import re
import warnings
from typing import Any

from imageflow.errors import Problem

OPERATIONS = (
    "shift",
    "default",
    "remove",
    "sort",
    "cardinality",
    "modify-overwrite-beta",
    "modify-default-beta",
    "modify-define-beta",
)
JAVA_NAMES = {
    "com.bazaarvoice.jolt.Shiftr": "shift",
    "com.bazaarvoice.jolt.Defaultr": "default",
    "com.bazaarvoice.jolt.Removr": "remove",
    "com.bazaarvoice.jolt.Sortr": "sort",
    "com.bazaarvoice.jolt.CardinalityTransform": "cardinality",
    "com.bazaarvoice.jolt.Modifier$Overwritr": "modify-overwrite-beta",
    "com.bazaarvoice.jolt.Modifier$Defaultr": "modify-default-beta",
    "com.bazaarvoice.jolt.Modifier$Definr": "modify-define-beta",
}

FUNCTIONS = (  # noqa: SIM905 - words in lines read better
    "abs avg concat divide divideAndRound doubleSubtract doubleSum elementAt firstElement intSubtract intSum isNull isPresent "
    "join lastElement leftPad longSubtract longSum max min noop notNull recursivelySquashNulls rightPad size sort split "
    "squashDuplicates squashNulls substring toBoolean toDouble toInteger toList toLong toLower toString toUpper trim"
).split()
"""The functions of the modify operations."""


def problems(spec: Any) -> list[Problem]:
    """What is wrong with the outline of a spec: no list, an unknown operation, an operation without its spec."""
    if not isinstance(spec, list):
        return [Problem("mapping", "must be a list of Jolt operations")]
    found = ((index, _outline(entry)) for index, entry in enumerate(spec))
    return [Problem(f"mapping[{index}]", message) for index, message in found if message]


def _outline(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return "must be an object with `operation` and `spec`"
    operation = entry.get("operation")
    if not isinstance(operation, str):
        return "has no `operation`"
    name = JAVA_NAMES.get(operation, operation)
    if name not in OPERATIONS:
        return f"there is no operation {operation!r}; there are: {', '.join(OPERATIONS)}"
    if name != "sort" and not isinstance(entry.get("spec"), dict):
        return f"{operation} needs a `spec` that is an object"
    return None


def preload() -> None:
    """Load all that a mapping needs while files can still be opened: use every operation and every function once.

    Much is loaded only when it is used first, the codec for example that `sort` needs; later it would not be found.
    """
    from pyjolt import Chainr  # noqa: PLC0415 - only flows with a mapping pay for it

    calls = {name: f"={name}(@(1,value),2)" for name in FUNCTIONS}
    specs: dict[str, Any] = {
        "shift": {"*": "&"},
        "default": {"*": 1},
        "remove": {"*-x": ""},
        "cardinality": {"list": "MANY"},
    }
    chain = [{"operation": name, "spec": specs.get(name, {**calls, "sorted": "=sort"})} for name in OPERATIONS]
    Chainr.from_spec(chain).apply({"value": "é", "list": ["b", "é", "a"], "sorted": ["b", "é", "a"], "b-x": 1.5})


def compile_chain(spec: Any) -> tuple[Any, list[Problem]]:
    """The chain of a spec, or what is wrong with it, by operation. In a worker only."""
    from pyjolt import Chainr  # noqa: PLC0415 - only flows with a mapping pay for it

    found = problems(spec)
    if not found:
        found = [problem for index, entry in enumerate(spec) if (problem := _refusal(index, entry)) is not None]
    return (None, found) if found else (Chainr.from_spec(spec), [])


def _refusal(index: int, entry: dict[str, Any]) -> Problem | None:
    from pyjolt import Chainr  # noqa: PLC0415 - only flows with a mapping pay for it

    try:
        with warnings.catch_warnings(record=True) as unheard:
            warnings.simplefilter("always")
            Chainr.from_spec([entry])
    except RecursionError:
        return Problem(f"mapping[{index}]", f"{entry['operation']}: nested too deeply")
    except Exception as error:  # noqa: BLE001 - jolt-py raises more than its own errors
        return Problem(f"mapping[{index}]", f"{entry['operation']}: {text_of(error)}")
    if unheard:
        return Problem(f"mapping[{index}]", f"{entry['operation']}: {_unheard(str(unheard[0].message))}")
    return None


def _unheard(warning: str) -> str:
    """What jolt-py only warns of: a function that does not exist, with the nearest that does."""
    names = re.search(r"""function '([^']*)' in ['"](.*)['"]""", warning)
    if names is None:
        return warning
    near = difflib.get_close_matches(names[1], FUNCTIONS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(FUNCTIONS)}"
    return f"there is no function {names[1]!r} ({names[2]}); {hint}"


def apply(chain: Any, value: Any) -> Any:
    """The result of the chain; `value` stays as it is. Raises any error that jolt-py raises. In a worker only."""
    return chain.apply(value)


def failing_operation(spec: list[dict[str, Any]], value: Any) -> str:
    """Which operation fails on `value`, for the error's text: `mapping[1] (shift)`. In a worker only."""
    from pyjolt import Chainr  # noqa: PLC0415 - only flows with a mapping pay for it

    for index, entry in enumerate(spec):
        try:
            value = Chainr.from_spec([entry]).apply(value)
        except Exception:  # noqa: BLE001 - jolt-py raises more than its own errors
            return f"mapping[{index}] ({entry['operation']})"
    return "mapping"


def text_of(error: BaseException) -> str:
    """An error in one line: jolt-py's own errors by their text, others with their type."""
    own = type(error).__module__.startswith("pyjolt")
    return (str(error) if own and str(error) else f"{type(error).__name__}: {error}")[:2000]
