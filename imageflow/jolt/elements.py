"""The elements of a spec: what stands on the left (`*-*`, `@(1,a)`, `$1`, `#text`), and where the right writes to.

An element refers to what was matched on the way by levels: 0 is the element's own level, 1 the one above, and so on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from imageflow.jolt.errors import SpecError


@dataclass(frozen=True)
class Ref:
    """`&(level,part)`: the key that was matched `level` levels up; `part` is what its nth star stands for."""

    level: int
    part: int = 0


@dataclass(frozen=True)
class Count:
    """`#level`: how many children of that level have matched so far."""

    level: int


Template: TypeAlias = tuple[str | Ref, ...]
"""A key with references in it: `p-&1` is `("p-", Ref(1))`."""


@dataclass(frozen=True)
class Name:
    """A step into an object."""

    template: Template


@dataclass(frozen=True)
class Lookup:
    """`@(level,path)`: the value found from `level` levels up along `path`."""

    level: int
    path: tuple[Name | Index, ...]


@dataclass(frozen=True)
class Index:
    """A step into a list: a number, a reference to one, or None for `[]`, the end of the list."""

    of: int | Ref | Count | Lookup | None


Step: TypeAlias = Name | Index | Lookup
"""A step of a path to write to; the text of a Lookup's value is a key."""


@dataclass(frozen=True)
class Literal:
    text: str


@dataclass(frozen=True)
class Stars:
    """`a*b`: the texts around the stars; `*` alone has two empty ones."""

    around: tuple[str, ...]


@dataclass(frozen=True)
class Amp:
    template: Template


@dataclass(frozen=True)
class Key:
    """`$(level,part)`: the key of a level as a value."""

    ref: Ref


@dataclass(frozen=True)
class Text:
    """`#text`: the text as a value."""

    text: str


@dataclass(frozen=True)
class Here:
    """`@`: the value whose children are matched here."""


@dataclass(frozen=True)
class InList:
    """`[…]` on the left: of meaning to the modify operations only."""

    index: Index


Element: TypeAlias = Literal | Stars | Amp | Key | Text | Here | Lookup | InList


# texts -----------------------------------------------------------------------------------------------------------------

_REF = re.compile(r"(?:\((\d+)(?:,(\d+))?\)|(\d+))?")
_WHOLE_REF = re.compile(r"[&$](?:\((\d+)(?:,(\d+))?\)|(\d+))?")
_COUNT = re.compile(r"#(?:\((\d+)\)|(\d+))?")
_LOOKUP = re.compile(r"@\((\d+)(?:,(.*))?\)", re.DOTALL)


def unescaped(text: str) -> str:
    """Without the backslashes that take the meaning from the character after them."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def visible(text: str) -> str:
    """Without what backslashes take the meaning from."""
    return re.sub(r"\\.?", "", text, flags=re.DOTALL)


def _reference(level: str | None, part: str | None, bare: str | None) -> Ref:
    return Ref(int(level or bare or 0), int(part or 0))


def template(text: str) -> Template:
    """A key with `&`s in it. Raises SpecError."""
    parts: list[str | Ref] = []
    word = ""
    position = 0
    while position < len(text):
        if text[position] == "\\":
            word += text[position + 1 : position + 2].replace("\\", "")  # Java loses an escaped backslash here
            position += 2
        elif text[position] != "&":
            word += text[position]
            position += 1
        else:
            found = _REF.match(text, position + 1)
            if found is None or text[found.end() : found.end() + 1] == "(":
                raise SpecError(f"the reference & in {text!r} cannot be read; it is &, &1, &(1) or &(1,2)")
            parts += [word] if word else []
            parts.append(_reference(*found.groups()))
            word, position = "", found.end()
    return (*parts, word) if word or not parts else tuple(parts)


# the left side -------------------------------------------------------------------------------------------------------------


def element(text: str) -> Element:
    """One alternative of a key of a spec. Raises SpecError."""
    shown = visible(text)
    if shown == "@":
        return Here()
    if shown == "*":
        return _all_star(text)
    if shown.startswith("[") or ("[" in shown and "@" not in shown and "$" not in shown):
        return InList(index(text))
    if shown.startswith("@") or "@(" in shown:
        return lookup(text)
    if "@" in shown:
        raise SpecError(f"{text!r} has an @ that is not at the front")
    return _marked(text, shown)


def _marked(text: str, shown: str) -> Element:
    if "$" in shown:
        return Key(_whole_reference(text, "$"))
    if "&" in shown:
        if "*" in shown:
            raise SpecError(f"{text!r} mixes * and &")
        return Amp(template(text))
    if "*" in shown:
        return Stars(tuple(unescaped(text).split("*")))
    if "#" in shown:
        return _text(text, shown)
    return Literal(unescaped(text))


def _all_star(text: str) -> Stars:
    if unescaped(text) != "*":
        raise SpecError(f"{text!r} must be a single *")
    return Stars(("", ""))


def _text(text: str, shown: str) -> Text:
    if not shown.startswith("#"):
        raise SpecError(f"{text!r}: a # must be at the front")
    if len(text) == 1:
        raise SpecError("a # needs the text that it stands for: #text")
    return Text(unescaped(text)[1:])


def _whole_reference(text: str, mark: str) -> Ref:
    found = _WHOLE_REF.fullmatch(text)
    if found is None or not text.startswith(mark):
        raise SpecError(f"the reference {text!r} cannot be read; it is {mark}, {mark}1, {mark}(1) or {mark}(1,2)")
    return _reference(*found.groups())


def lookup(text: str) -> Lookup:
    """`@name`, `@2`, `@(2,a.b)`. Raises SpecError."""
    if not text.startswith("@"):
        raise SpecError(f"{text!r}: an @ must be at the front")
    found = _LOOKUP.fullmatch(text)
    if found is not None:
        return Lookup(int(found[1]), _read_path(found[2] or "", text))
    inner = text[1:]
    if inner.startswith("("):
        if not inner.endswith(")"):
            raise SpecError(f"{text!r} has no closing parenthesis")
        inner = inner[1:-1]
    if inner.isdecimal():
        return Lookup(int(inner), ())
    return Lookup(0, _read_path(inner, text))


def _read_path(text: str, whole: str) -> tuple[Name | Index, ...]:
    steps = path(text)
    read = tuple(step for step in steps if isinstance(step, (Name, Index)))
    if len(read) != len(steps):
        raise SpecError(f"{whole!r} looks up within a look-up")
    if any(isinstance(step, Index) and step.of is None for step in read):
        raise SpecError(f"{whole!r} reads a value: it can have neither * nor []")
    return read


def index(text: str) -> Index:
    """`[]`, `[3]`, `[&1]`, `[#2]`, `[@(1,rank)]`. Raises SpecError."""
    if text.count("[") != 1 or text.count("]") != 1:
        raise SpecError(f"{text!r} has too many brackets, or too few")
    if text[0] != "[" or text[-1] != "]":
        raise SpecError(f"{text!r}: an index stands alone, as a[3]")
    inner = text[1:-1]
    if not inner:
        return Index(None)
    if inner[0] == "&":
        return Index(_whole_reference(inner, "&"))
    if inner[0] == "@":
        return Index(lookup(inner))
    if inner[0] == "#":
        return Index(_count(inner))
    if not inner.isdecimal() or not inner.isascii():
        raise SpecError(f"{text!r} is no index; it is [], [3], [&1], [#2] or [@(1,rank)]")
    return Index(int(inner))


def _count(text: str) -> Count:
    found = _COUNT.fullmatch(text)
    if found is None:
        raise SpecError(f"the count {text!r} cannot be read; it is # or #2")
    return Count(int(found[1] or found[2] or 0))


# paths -------------------------------------------------------------------------------------------------------------------


def path(text: str) -> tuple[Step, ...]:
    """A path to write to, or to read from: `a.b[&1].@(1,name)`. Raises SpecError."""
    return tuple(_step(part) for part in _parts(text))


def _step(text: str) -> Step:
    shown = visible(text)
    if shown == "@":
        raise SpecError("@ alone names no key")
    if shown.startswith("["):
        return Index(index(text).of)
    if shown.startswith("@") or "@(" in shown:
        return lookup(text)
    if "@" in shown:
        raise SpecError(f"{text!r} has an @ that is not at the front")
    if "*" in shown or "$" in shown:
        raise SpecError(f"{text!r}: a path can have neither * nor $")
    if shown.startswith("#"):
        raise SpecError(f"{text!r} is no key to write to")
    return Name(template(text))


def _parts(text: str) -> list[str]:
    """The steps of a path, split at dots and before brackets; look-ups and indexes are kept whole."""
    parts: list[str] = []
    word = ""
    position = 0
    while position < len(text):
        mark = text[position]
        if mark in ".[@":
            taken = _taken(text, position, word)
            if mark != "@" or taken:
                parts += [word] if word else []
                word = ""
            parts += [taken] if taken else []
            position += len(taken) or 1
            word += "@" if mark == "@" and not taken else ""
            continue
        size = 2 if mark == "\\" else 1
        word += text[position : position + size]
        position += size
    return [*parts, word] if word else parts


def _taken(text: str, position: int, word: str) -> str:
    """The look-up or the index that begins here, whole; nothing for a dot or an @ that is neither."""
    if text[position] == ".":
        return ""
    if text[position] == "[":
        return _bracketed(text, position)
    if word or text[position + 1 : position + 2] != "(":
        return ""
    end = text.find(")", position)
    if end < 0:
        raise SpecError(f"{text!r} has no closing parenthesis")
    inner = text[position + 2 : end]
    if "(" in inner:
        end = _closing(text, position + 1)
    return text[position : end + 1]


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if not depth:
            return position
    raise SpecError(f"{text!r} has no closing parenthesis")


def _bracketed(text: str, position: int) -> str:
    end = position
    while end < len(text) and text[end] != "]":
        end += 1
    stop = end + 1
    while stop < len(text) and text[stop] not in ".[":
        stop += 1
    return text[position:stop]
