"""Chains and documents by chance, from a grammar with all that Jolt's language has."""

# ruff: noqa: SIM905 - words in lines read better

from __future__ import annotations

from random import Random
from typing import Any

KEYS = ["a", "b", "c", "id", "x", "0", "1", "2", "a-1", "a-1-b", "b-2", "ab", "sku"]
SCALARS: list[Any] = [
    *(None, True, False, 0, 1, 2, 7, -3, 1.5, 2.0, 0.1, 1e10, 12345678.9, 3000000000),
    *("", "a", "b", "id", "x", "1", "2", "foo bar", "a-1", "é", "12.50"),
]
LEFT = """
    a b c id x 0 1 * * * a* *b a-* *-* *-*-* *a* a|b id|c & &1 a-& &(1,1) @ @a @(0,id) @(1,a) @(1,b.a) @(2,a) @(0,a[0]) @(1,&)
    $ $1 $(0,1) $(1,0) #foo #1 \\@x \\* [0] a\\.b
""".split()
RIGHT = [
    *"a x x.y a.b.c x[] x[0] x[2] x[1].y x[&1] x[&] [&1].y [&] [] x[].y q[].r[] q[&2].r[&1].s [&1].a [&1].b x.x x.x.y".split(),
    *"[&2].images[&1].u [&2].images[].u x[#1] x[#2].y [#2].z [#1].y [#3] & &1 &2 &3 &1.& p-& p-&1-&(0,1) &(0,1)".split(),
    *"&(1,1) &(1,1).y @a @(0,a) @(1,id) @(1,a.b) @(1,id).b x.@(2,id).y x[@(1,id)] x[@(1,a[0].b)] @1 @(1,&)".split(),
    *"\\@z \\& x.\\$ x\\.y x.[&1].y x.&1.y x[&1].y x[&1].z".split(),
    "",
]
FUNCTIONS = """
    abs avg concat divide divideAndRound doubleSubtract doubleSum elementAt firstElement intSubtract intSum isNull isPresent
    join lastElement leftPad longSubtract longSum max min noop notNull recursivelySquashNulls rightPad size sort split
    squashDuplicates squashNulls substring toBoolean toDouble toInteger toList toLong toLower toString toUpper trim
""".split()
ARGUMENTS = [
    *"@(1,a) @(1,b) @(1,c) @(1,id) @(2,a) @(1,x[0]) @(1,a.b) @(1,&) @(1,zz) @0 @(0,a) @1 @(5,a) ^o.p ^zz".split(),
    *"1 2 0 -1 3 9 1.5 true abc 'lit' null 2147483647 5000000000 0.125 '12' '1.5' 'x' '-3' ',' '0'".split(),
    "' '",
    "'a b'",
    "",
]
TELLING = {
    "join": ["','", "'-'", "''"],
    "split": ["','", "' '", "'-'", "'[a-b]'", "'a'", "''", "'|'", "'o+'"],
    "elementAt": ["0", "1", "9"],
    "divideAndRound": ["0", "1", "2"],
}


class Programs:
    """Random programs; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._make = {
            "shift": self._shift,
            "default": self._default,
            "remove": self._remove,
            "cardinality": self._cardinality,
            "sort": lambda _depth: {},
            "modify-overwrite-beta": self._modify,
            "modify-default-beta": self._modify,
            "modify-define-beta": self._modify,
        }

    def chain(self) -> list[dict[str, Any]]:
        names = [self._random.choice(list(self._make)) for _ in range(self._one_of(1, 1, 1, 2, 3))]
        return [{"operation": name, "spec": self._make[name](0)} for name in names]

    def document(self) -> Any:
        if self._chance(0.7):
            return {self._key(): self._value(1) for _ in range(self._random.randint(1, 6))}
        return [self._value(1) for _ in range(self._random.randint(1, 4))] if self._chance(0.8) else self._value(0)

    def _one_of(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _key(self) -> str:
        return self._random.choice(KEYS)

    def _value(self, depth: int) -> Any:
        chance = self._random.random()
        if depth < 3 and chance < 0.32:
            return {self._key(): self._value(depth + 1) for _ in range(self._random.randint(0, 4))}
        if depth < 3 and chance < 0.5:
            return [self._value(depth + 1) for _ in range(self._random.randint(0, 4))]
        return self._random.choice(SCALARS)

    def _shift(self, depth: int) -> Any:
        spec: dict[str, Any] = {}
        for _ in range(self._one_of(1, 1, 2, 2, 3, 4)):
            key = self._random.choice(LEFT)
            if depth < 3 and self._chance(0.45 - 0.1 * depth) and key[0] != "$" and key != "@":
                spec[key] = self._shift(depth + 1)
            elif self._chance(0.12):
                spec[key] = [self._random.choice(RIGHT) for _ in range(self._random.randint(0, 3))]
            else:
                spec[key] = None if self._chance(0.02) else self._random.choice(RIGHT)
        return spec

    def _default(self, depth: int, *, of_list: bool = False) -> Any:
        spec: dict[str, Any] = {}
        for _ in range(self._one_of(1, 1, 2, 3)):
            keys = "0 1 3 0|2 * 1|0|2" if of_list else "a b c id x * a|b id|x b|id|c 0 1"
            key = self._random.choice(keys.split())
            if depth < 3 and self._chance(0.5):
                below = self._chance(0.3)
                spec[key + ("[]" if below else "")] = self._default(depth + 1, of_list=below)
            else:
                spec[key] = self._one_of(1, "s", None, True, [1, "q"], [], "", {}, -3)
        return spec

    def _remove(self, depth: int) -> Any:
        keys = "a b c id x 0 1 2 * a* *b *-* *-*-* a|b *-1 a-1".split()
        return {
            self._random.choice(keys): self._remove(depth + 1) if depth < 3 and self._chance(0.5) else ""
            for _ in range(self._one_of(1, 1, 2, 3))
        }

    def _cardinality(self, depth: int) -> Any:
        keys = "a b c id x 0 1 * a* *b *-* a-1 ab*".split()
        spec = {
            self._random.choice(keys): self._cardinality(depth + 1)
            if depth < 3 and self._chance(0.5)
            else self._one_of("ONE", "MANY")
            for _ in range(self._one_of(1, 1, 2, 3))
        }
        return {**spec, "@": self._one_of("ONE", "MANY")} if depth and self._chance(0.25) else spec

    def _modify(self, depth: int) -> Any:
        spec: dict[str, Any] = {}
        for _ in range(self._one_of(1, 1, 2, 3)):
            key = self._random.choice("a b c id x 0 new * * a* *-* a|b [0] [1] [3] out".split())
            key = (self._one_of("+", "~", "_") if self._chance(0.2) else "") + key + ("?" if self._chance(0.15) else "")
            spec[key] = self._modify(depth + 1) if depth < 3 and self._chance(0.35) else self._right()
        return spec

    def _right(self) -> Any:
        chance = self._random.random()
        if chance < 0.6:
            return self._call()
        if chance < 0.75:
            return self._one_of(
                "@(1,a)", "@(2,b)", "@(1,id)", "@0", "@(1,&)", "@(0,a)", "^o.p", "^ctx", "@(1,a.b)", "@(1,x[0])"
            )
        if chance < 0.85:
            return [self._call(), self._one_of("x", 1, None, "@(1,a)", self._call())]
        return self._one_of("plain", "", 1, 2.5, None, True, [], [1, 2], {}, 3000000000, [{"b": 1}])

    def _call(self) -> str:
        name = self._random.choice(FUNCTIONS)
        if self._chance(0.25):
            return f"={name}"
        arguments = [self._random.choice(ARGUMENTS) for _ in range(self._one_of(0, 1, 1, 1, 2, 2, 3))]
        if name in TELLING and self._chance(0.8):
            arguments.insert(0, self._random.choice(TELLING[name]))
        if name in ("leftPad", "rightPad") and self._chance(0.8):
            arguments = [
                self._random.choice(ARGUMENTS),
                self._one_of("5", "8", "0"),
                self._one_of("'0'", "'*'", "'ab'"),
            ]
        if name == "substring" and self._chance(0.8):
            arguments = [self._random.choice(ARGUMENTS), self._one_of("0", "1", "2"), self._one_of("1", "2", "3", "9")]
        return f"={name}({','.join(arguments)})"
