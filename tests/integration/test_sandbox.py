"""The sandbox against hostile scripts and mappings: each attack ends as a failed page, and the next page works."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from imageflow.errors import FlowFileError, SandboxError
from imageflow.flows import file as flow_file
from imageflow.sandbox import check, supervisor
from imageflow.sandbox.check import check_mapping, check_script, layers
from imageflow.sandbox.outcome import Broken, Outcome, Program, Ran
from imageflow.sandbox.supervisor import Sandbox
from tests.unit.jolt import golden

linux = pytest.mark.skipif(sys.platform != "linux", reason="the wall is seccomp")
pytestmark = linux

TIMEOUT = 0.6
PAGE = b'[{"sku":"A"}]'
ATTACK = b'[{"sku":"A","attack":true}]'

SMALL_FLOW = {
    "name": "small",
    "direction": "outbound",
    "omnitron": {"domain_url": "https://b.omnitron.net", "username": "me", "password": {"env": "P"}},
}

PRELUDE = """
import re, io, time, json
def find_os():
    for kind in ().__class__.__base__.__subclasses__():
        if kind.__name__ == "_wrap_close":
            return kind.__init__.__globals__
os = find_os()
def real_import(name):
    return os["sys"].modules["builtins"].__import__(name)
def process(rows):
    return attack(rows) if rows and rows[0].get("attack") else rows
"""

REFUSED = r"RefusedError|PermissionError|ImportError|ModuleNotFoundError|RuntimeError|OSError|ran longer|KeyError|crashed|ended its process"

ATTACKS: dict[str, tuple[str, str]] = {
    "read a file": ("return io.open('/etc/passwd').read()", r"a script may not use open"),
    "read a file, by os": ("return os['read'](os['open']('/etc/passwd', 0), 100)", r"a script may not use open"),
    "write a file": ("io.open('/tmp/imageflow-sandbox', 'w').write('x'); return rows", r"a script may not use open"),
    "the service's environment": (
        "return io.FileIO('/proc/%d/environ' % os['getppid']()).read()",
        r"a script may not use open",
    ),
    "the service's memory": ("return io.FileIO('/proc/%d/mem' % os['getppid'](), 'r+')", r"a script may not use open"),
    "list a folder": ("return os['listdir']('/')", r"a script may not use os.listdir"),
    "a socket": ("return real_import('_socket').socket()", REFUSED),
    "a socket, by its module": ("import socket", r"the module 'socket' is not available"),
    "fork": ("return os['fork']()", r"a script may not use os.fork"),
    "a fork bomb": (
        "while True:\n    try: os['fork']()\n    except PermissionError: pass",
        r"the script ran longer than 0.6s",
    ),
    "exec": ("return os['execv']('/bin/sh', ['sh'])", r"a script may not use os.exec"),
    "a shell": ("return os['system']('id')", r"a script may not use os.system"),
    "subprocess": ("return real_import('subprocess').run(['id'])", REFUSED),
    "_posixsubprocess": ("return real_import('_posixsubprocess').fork_exec", REFUSED),
    "signal the service": ("return os['kill'](os['getppid'](), 9)", r"a script may not use os.kill"),
    "ctypes": ("return real_import('ctypes').CDLL(None)", REFUSED),
    "a pipe, which nothing audits": ("return os['pipe']()", r"PermissionError: \[Errno 1\]"),
    "memory as a file, which nothing audits": ("return os['memfd_create']('x')", r"PermissionError: \[Errno 1\]"),
    "stat, which nothing audits": ("return os['stat']('/')", r"PermissionError: \[Errno 1\]"),
    "priorities, which nothing audits": ("return os['nice'](-5)", r"PermissionError|OSError"),
    "more memory, by setrlimit": ("return real_import('resource').setrlimit(9, (-1, -1))", REFUSED),
    "a huge text": ("return ['x' * 10**10]", r"the script used more than 512 MB \(line \d+\)"),
    "a growing list": ("x = []\nwhile True: x.append('y' * 10**6)", r"the script used more than 512 MB"),
    "an endless loop": ("while True: pass", r"the script ran longer than 0.6s \(line \d+\)"),
    "an endless loop in C": ("return sum(range(10**12))", r"the script ran longer than 0.6s \(line \d+\)"),
    "sleep": ("time.sleep(1000)", r"the script ran longer than 0.6s"),
    "a catastrophic expression": ("return re.match('(a*)*b', 'a' * 64)", r"the script ran longer than 0.6s"),
    "deep recursion": ("return attack(rows)", r"RecursionError"),
    "a deep result": ("x = []\nfor _ in range(10**5): x = [x]\nreturn [x]", r"RecursionError"),
    "a cyclic result": ("x = []\nx.append(x)\nreturn x", r"RecursionError"),
    "an exception whose text takes for ever": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        r"ScriptTimeout|E|ran longer",
    ),
    "an output flood": ("return ['x' * 10**6] * 100", r"the result is larger than 16 MB"),
    "a flood of objects": ("return [[]] * 10**6", r"the result has more than 500,000 objects"),
    "a flood of values": ("return ['ab'] * 3_000_000", r"the result has more than 2,000,000 values"),
    "a huge number": ("return [10 ** 10**5]", r"\w"),
    "half a character": ("return ['\\ud800']", r"UnicodeEncodeError"),
    "what is no JSON": ("return [object()]", r"TypeError"),
    "nothing at all": ("return None", r"process\(\) returned neither a list nor an object but null"),
    "walk the frames": (
        "try: 1 / 0\nexcept Exception as e: return e.__traceback__.tb_frame.f_back.f_locals",
        r"a script may not use tb_frame",
    ),
    "walk the frames, by sys": ("return os['sys']._getframe(1).f_locals", r"a script may not use sys._getframe"),
    "walk the frames, by a generator": (
        "g = (g.gi_frame.f_back for _ in (1,))\nreturn next(g)",
        r"a script may not use gi_frame",
    ),
    "walk the frames, by a signal's handler": (
        "s = real_import('_signal')\ns.signal(s.SIGALRM, lambda n, frame: print(frame.f_back))\nwhile True: pass",
        r"PermissionError: \[Errno 1\]",
    ),
    "walk the frames, by a format": (
        "try: 1 / 0\nexcept Exception as e: return ['{0.__traceback__.tb_frame.f_back.f_locals}'.format(e)]",
        r"a script may not use tb_frame",
    ),
    "another code for the worker's functions": (
        "os['sys'].modules['imageflow.sandbox.protocol'].frame.__code__ = attack.__code__",
        r"a script may not use __code__",
    ),
    "other defaults for the worker's functions": (
        "os['sys'].modules['imageflow.sandbox.untouched']._Names.changed.__kwdefaults__ = {}",
        r"a script may not use __kwdefaults__",
    ),
    "another class for a module": ("json.__class__ = type('M', (type(json),), {})", r"a script may not use __class__"),
    "other bases for a class": ("json.JSONDecoder.__bases__ = (dict,)", r"a script may not use __bases__"),
    "all objects": ("return real_import('gc').get_objects()", r"a script may not use gc"),
    "shared memory": ("return real_import('_posixshmem').shm_open('/x', 66, 0o600)", REFUSED),
    "a thread of another interpreter": (
        "i = real_import('_xxsubinterpreters')\ni.run_string(i.create(), 'import os; os.system(\"id\")')",
        REFUSED + "|RunFailedError|may not use",
    ),
    "importlib": ("return real_import('importlib').import_module('urllib.request')", REFUSED),
    "a thread left running": (
        "return real_import('_thread').start_new_thread(print, ())",
        r"a script may not use _thread|RuntimeError|can't start",
    ),
    "forged frames into every pipe": (
        "for fd in range(10):\n    try: os['write'](fd, b'\\x02\\0\\0\\0{}')\n    except OSError: pass\nreturn rows",
        r"the result cannot be read",
    ),
    "a forged answer": (
        (
            'data = b\'{"id":"0","result":[{"sku":"EVIL"}]}\'\n'
            "for fd in range(10):\n    try: os['write'](fd, len(data).to_bytes(4, 'little') + data)\n    except OSError: pass\n"
            "return rows"
        ),
        r"an answer of its own",
    ),
    "a frame without end": (
        (
            "for fd in range(3, 10):\n    try: os['write'](fd, b'\\xff\\xff\\xff\\xff' + b'x' * 100)\n    except OSError: pass\n"
            "return rows"
        ),
        r"the result is larger than 16 MB",
    ),
    "a flood of errors": ("while True: os['write'](2, b'x' * 65536)", r"the script ran longer than 0.6s"),
    "read what comes next": (
        "for fd in range(3, 10):\n    try: os['read'](fd, 9)\n    except OSError: pass",
        r"ran longer",
    ),
    "close the pipes": (
        "for fd in range(10):\n    try: os['close'](fd)\n    except OSError: pass\nreturn rows",
        REFUSED,
    ),
    "_exit": ("os['_exit'](0)", r"the script ended its process \(exit status 0\)"),
    "a crash": ("os['abort']()", r"the script crashed with SIG\w+"),
    "SystemExit": ("raise SystemExit(0)", r"line \d+: SystemExit: 0"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", r"line \d+: KeyboardInterrupt"),
    "swallow the time-out": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        r"the script ran longer than 0.6s",
    ),
    "ignore the alarm": (
        "s = real_import('_signal')\ns.signal(s.SIGALRM, s.SIG_IGN)\nwhile True: pass",
        r"PermissionError: \[Errno 1\]",
    ),
    "silence the alarm": (
        "s = real_import('_signal')\ns.setitimer(s.ITIMER_REAL, 0)\nwhile True: pass",
        r"the script ran longer than 0.6s",
    ),
}


def attacking(body: str, timeout: float = TIMEOUT) -> Program:
    return Program(PRELUDE + "def attack(rows):\n" + textwrap.indent(body, "    "), timeout=timeout)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


async def goes_on(sandbox: Sandbox, program: Program) -> None:
    """The flow's next page, and another flow's, come out right."""
    assert await sandbox.run("evil", program, PAGE) == Ran([{"sku": "A"}])
    assert await sandbox.run("good", Program("def process(r): return r"), PAGE) == Ran([{"sku": "A"}])


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Broken), outcome
    return outcome.reason


@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks_end_as_failed_pages(sandbox: Sandbox, name: str) -> None:
    """An attack is a failed page with a reason; the flow's next page works, and so does the other flow's."""
    body, expected = ATTACKS[name]
    timeout = 10 if "MB" in expected or ("flood of" in name and "errors" not in name) else TIMEOUT
    program = attacking(body, timeout)
    started = time.monotonic()
    assert re.search(expected, reason(await sandbox.run("evil", program, ATTACK)))
    assert time.monotonic() - started < timeout + 8
    await goes_on(sandbox, program)


async def test_a_finalizer_that_never_ends(sandbox: Sandbox) -> None:
    """Python swallows what interrupts a __del__: the page took its time, and is right; the next one is, too."""
    body = "class D:\n    def __del__(self):\n        while True: pass\nglobal keep\nkeep = D()\nreturn rows"
    program = attacking(body)
    assert isinstance(await sandbox.run("evil", program, ATTACK), Ran)
    await goes_on(sandbox, program)


async def test_prints_are_cut(sandbox: Sandbox) -> None:
    """A flood of prints is cut; the page is fine."""
    outcome = await sandbox.run("evil", Program("def process(r):\n    print('x' * 10**8)\n    return r"), PAGE)
    assert isinstance(outcome, Ran)
    assert 65_536 <= len(outcome.prints) < 65_700
    assert outcome.prints.endswith("more characters")


async def test_there_is_no_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the service's environment, arguments or user is in a worker."""
    monkeypatch.setenv("OMNITRON_PASSWORD", "hunter2")
    outcome = await sandbox.run(
        "evil", attacking("return [dict(os['environ']), os['sys'].argv[1:], os['sys'].path]"), ATTACK
    )
    assert isinstance(outcome, Ran)
    environment, arguments, path = outcome.result
    assert "OMNITRON_PASSWORD" not in environment
    assert "hunter2" not in str(outcome.result)
    assert path == []
    assert all(Path(argument).is_dir() for argument in arguments)


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_nothing_is_open_but_the_pipes(sandbox: Sandbox) -> None:
    """No file, socket or folder of the service is open in a worker: only /dev/null, twice, and three pipes. That holds for
    descriptors, too, which the service itself inherited.
    """
    body = """
found = {}
for fd in range(256):
    try: found[fd] = os["lseek"](fd, 0, 1)
    except OSError as error:
        if error.errno != 9: found[fd] = error.errno
return [sorted(found.values())]
"""
    inherited = os.pipe()
    try:
        for fd in inherited:
            os.set_inheritable(fd, True)
        assert await sandbox.run("evil", attacking(body, 5), ATTACK) == Ran([[0, 0, *[errno.ESPIPE] * 3]])
    finally:
        for fd in inherited:
            os.close(fd)


async def test_one_page_does_not_poison_the_next(sandbox: Sandbox) -> None:
    """Patched modules, classes, builtins and contexts are as they were when the next page comes."""
    poison = """
        import decimal, collections
        json.loads = lambda text: "poison"
        json.JSONDecoder.decode = lambda self, text: "poison"
        collections.Counter.extra = 1
        decimal.getcontext().prec = 3
        os["sys"].modules["builtins"].len = lambda value: 99
        __builtins__["sorted"] = None
        global attack
        attack = None
        return rows
    """
    check = "import decimal, collections, json\n" + PRELUDE
    program = Program(
        check
        + "def attack(rows):\n"
        + textwrap.indent(textwrap.dedent(poison), "    ")
        + "def state():\n"
        + "    import collections\n"
        + "    return [json.loads('1'), len(''), str(decimal.Decimal(1) / 3), sorted([2, 1]), callable(attack),\n"
        + "        hasattr(collections.Counter, 'extra')]\n"
        + "inner = process\n"
        + "def process(rows):\n"
        + "    return inner(rows) if 'attack' in rows[0] else state()\n"
    )
    before = await sandbox.run("evil", program, PAGE)
    assert isinstance(before, Ran)
    assert before.result == [1, 0, "0.3333333333333333333333333333", [1, 2], True, False]
    assert isinstance(await sandbox.run("evil", program, ATTACK), Ran)
    assert await sandbox.run("evil", program, PAGE) == before


SAME = "class Same:\n    def __eq__(self, other): return True\n    def __call__(self, *rest): return 'poison'\n"
OURS = "audit, kernel, protocol, script, untouched, worker = (\n    os['sys'].modules['imageflow.sandbox.' + name] for name in 'audit kernel protocol script untouched worker'.split())\n"
POISONS = {
    "what says that it equals everything": SAME + "json.loads = Same()",
    "a decoder's method": "json._default_decoder.decode = lambda text: 'poison'",
    "a decoder's constants": "json.decoder._CONSTANTS['NaN'] = 'poison'",
    "another json": "os['sys'].modules['json'] = type('M', (), {'loads': lambda text: 'poison'})",
    "names that changed places": (
        "d = vars(json)\nd['loads'], d['dumps'] = d['dumps'], d['loads']\n"
        "items = [*d.items()]\nd.clear()\nd.update(items)"
    ),
    "keys that changed places": (
        "d = vars(json)\nitems = {**d}\nd.clear()\n"
        "d.update({{'loads': 'dumps', 'dumps': 'loads'}.get(k, k): v for k, v in items.items()})"
    ),
    "builtins": "b = vars(os['sys'].modules['builtins'])\nb.update(len=lambda value: 99, all=lambda value: True)",
    "a table": "import html.entities\nhtml.entities.html5['auml;'] = 'poison'",
    "an expression": "import re\nre.purge()\nre._cache[str, 'a', re.compile('b').flags & 0] = re.compile('b')",
    "decimal's defaults": "import decimal\ndecimal.DefaultContext.prec = 3\ndecimal.getcontext().prec = 3",
    "a function's defaults of keywords": "json.dumps.__kwdefaults__.clear()",
    "a function's attributes": "json.dumps.note = 'poison'",
    "a method's attributes": "json.JSONEncoder.encode.note = 'poison'",
    "a cached quoter": (
        "from urllib import parse\nparse.quote('a b')\nparse._byte_quoter_factory(b'/').__self__[32] = 'poison'"
    ),
    "a flag's name": "import re\nre.I._name_ = 'poison'",
    "a UUID": "import uuid\nobject.__setattr__(uuid.NAMESPACE_DNS, 'int', 0)",
    "the digits of a number": "os['sys'].set_int_max_str_digits(0)",
    "the depth of recursion": "os['sys'].setrecursionlimit(60)",
    "a list of callbacks": "real_import('gc').callbacks.append(lambda *rest: 1 / 0)",
    "an audit hook": "def hook(*rest): raise ValueError\nos['sys'].addaudithook(hook)",
    "prints": "os['sys'].stdout.write = lambda text: None\nos['sys'].stdout.take = lambda: 'poison'",
    "what puts things back": OURS
    + "untouched.Untouched.restore = untouched.Untouched.restore_ours = lambda self: None\njson.loads = len",
    "what compares": OURS + "untouched._Names.changed = lambda self: False\njson.loads = len",
    "the worker's functions": OURS
    + "worker.frame = worker.failure_of = worker._rows = worker.rows_at = lambda *rest: 1 / 0",
    "the frames": OURS + "protocol._encode_into = protocol.frame = protocol._exactly = lambda *rest: 1 / 0",
    "the import": OURS + "script.MODULES.append('os')\nscript._available = script._import = lambda *rest: json",
    "what tells what is near": OURS
    + "untouched._differs = untouched._restore_class = lambda *rest: False\njson.loads = len",
    "what hides frames": OURS + "audit.FRAMES = audit.FORBIDDEN_EVENTS = ()",
    "the mapping's": "os['sys'].modules['imageflow.sandbox.jolt'].apply = lambda *rest: 'poison'",
    "jolt's": "os['sys'].modules['imageflow.jolt.chain'].Chain.apply = lambda *rest: 'poison'",
    "msgspec's": "m = os['sys'].modules['msgspec.json']\nm.decode = m.encode = lambda *rest, **names: 'poison'",
    "the alarm": OURS + "a = real_import('_signal').getsignal(14).__self__\na._armed = a._seconds = 0.0",
    "what os does": "os['read'] = os['write'] = lambda *rest: 1 / 0",
}
STATE = """
def process(rows):
    import decimal, html, json, re, uuid
    from urllib import parse
    if "attack" in rows[0]:
        return attack(rows)
    def deep(left): return left and deep(left - 1)
    def digits():
        try: return len(str(10 ** 5000))
        except ValueError: return "too many"
    print("here")
    return [json.loads('{"a": [1]}'), str(json.loads("NaN")), json.dumps(1), len(""), all([0]), html.unescape("&auml;"),
        re.match("a", "a") is None, str(decimal.Decimal(1) / 3), str(decimal.Context().prec), deep(200),
        hasattr(json.dumps, "note"), hasattr(json.JSONEncoder.encode, "note"), parse.quote("a b"), re.I._name_,
        str(uuid.NAMESPACE_DNS)[:8], digits()]
"""


@pytest.mark.parametrize("name", POISONS)
async def test_nothing_stays_for_the_next_page(sandbox: Sandbox, name: str) -> None:
    """Whatever a page does to modules, to the worker's own among them, the next page of the flow comes out the same."""
    spec = b'[{"operation":"shift","spec":{"*":"[]"}}]'
    program = Program(
        PRELUDE + "def attack(rows):\n" + textwrap.indent(POISONS[name], "    ") + "\n    return rows\n" + STATE, spec
    )
    before = await sandbox.run("evil", program, PAGE)
    assert isinstance(before, Ran)
    assert before.result == [
        *({"a": [1]}, "nan", "1", 0, False, "ä", False, "0.3333333333333333333333333333", "28", 0),
        *(False, False, "a%20b", "IGNORECASE", "6ba7b810", "too many"),
    ]
    assert before.prints == "here\n"
    await sandbox.run("evil", program, ATTACK)
    assert await sandbox.run("evil", program, PAGE) == before


async def test_ctypes_is_gone(sandbox: Sandbox) -> None:
    """Of ctypes, by which all memory could be read and written, no function and no pointer is left to be found."""
    body = """
def below(kind):
    for sub in type.__subclasses__(kind):
        yield sub
        yield from below(sub)
names = [kind.__name__ for kind in below(object)]
return [name for name in names if name.startswith("LP_") or name in ("CDLL", "PyDLL", "_FuncPtr", "CFunctionType")]
"""
    assert await sandbox.run("evil", attacking(body, 10), ATTACK) == Ran([])


async def test_others_are_served_meanwhile(sandbox: Sandbox) -> None:
    """While flows loop, eat memory, fork and crash, another flow's pages come out right and in time."""
    attacks = ["a fork bomb", "a growing list", "a crash", "an endless loop in C", "close the pipes"]
    good = Program("def process(r): return r")
    await sandbox.run("good", good, PAGE)
    async with asyncio.TaskGroup() as group:
        evil = [group.create_task(sandbox.run(name, attacking(ATTACKS[name][0], 2.0), ATTACK)) for name in attacks]
        pages = 0
        while not all(task.done() for task in evil):
            async with asyncio.timeout(5):
                assert await sandbox.run("good", good, PAGE) == Ran([{"sku": "A"}])
            pages += 1
            await asyncio.sleep(0.01)
    assert pages > 20
    assert all(isinstance(task.result(), Broken) for task in evil)


async def test_an_answer_forged_for_the_next_page(sandbox: Sandbox) -> None:
    """A frame that waits in the pipe when the next page comes is noticed; that page is done again in a new worker."""
    program = attacking("""
write = os["write"]
def twice(fd, data):
    count = write(fd, data)
    fake = b'{"id":"0","result":[{"sku":"EVIL"}]}'
    write(fd, len(fake).to_bytes(4, "little") + fake)
    return count
os["write"] = twice
real_import("posix").write = twice
return rows
""")
    await sandbox.run("evil", program, ATTACK)
    await goes_on(sandbox, program)


async def test_a_worker_that_hangs_between_pages(sandbox: Sandbox) -> None:
    """A worker that an earlier page has left unable to answer is replaced; the innocent page is done again."""
    program = attacking("""
def never(fd, count):
    while True: pass
os["read"] = never
return rows
""")
    assert isinstance(await sandbox.run("evil", program, ATTACK), Ran)
    await goes_on(sandbox, program)


# rows and lines ----------------------------------------------------------------------------------------------------------


async def test_a_row_fails_alone(sandbox: Sandbox) -> None:
    """process_row's exceptions fail their row only, with line and text, and the element as it came."""
    source = """
def process_row(row):
    row["seen"] = True
    if row["n"] == 1:
        raise ValueError("no ones")
    if row["n"] == 2:
        raise SystemExit
    return None if row["n"] == 3 else {"n": row["n"]}
"""
    body = msgspec.json.encode({"items": [{"n": n} for n in range(5)]})
    outcome = await sandbox.run("f", Program(source, rows_path="items"), body)
    assert isinstance(outcome, Ran)
    assert outcome.result == [{"n": 0}, {"n": 4}]
    assert [(row.index, row.element) for row in outcome.failed] == [(1, {"n": 1}), (2, {"n": 2})]
    assert outcome.failed[0].reason == 'line 5: ValueError: no ones (in `raise ValueError("no ones")`)'


async def test_elements_of_process_come_back_as_it_gave_them(sandbox: Sandbox) -> None:
    """With both functions, a failed row shows what process made of it."""
    source = "def process(r):\n    yield from ({'m': n} for n in r)\ndef process_row(row):\n    return row.pop('m') / 0"
    outcome = await sandbox.run("f", Program(source), b"[1,2]")
    assert isinstance(outcome, Ran)
    assert [row.element for row in outcome.failed] == [{"m": 1}, {"m": 2}]


async def test_script_then_mapping(sandbox: Sandbox) -> None:
    """The mapping takes the whole list that the script made; failed rows are not in it."""
    source = "def process(r):\n    return {'results': r['data']}\ndef process_row(row):\n    return {'code': row['c']}"
    spec = [{"operation": "shift", "spec": {"*": {"code": "[&1].sku"}}}]
    program = Program(source, msgspec.json.encode(spec), "results")
    outcome = await sandbox.run("f", program, b'{"data":[{"c":1},{},{"c":3}]}')
    assert isinstance(outcome, Ran)
    assert outcome.result == [{"sku": 1}, {"sku": 3}]
    assert [row.index for row in outcome.failed] == [1]


async def test_mapping_takes_the_answer_itself(sandbox: Sandbox) -> None:
    """With an empty rows_path an object goes to the mapping as it is."""
    spec = [{"operation": "shift", "spec": {"rows": {"*": {"c": "[&1].sku"}}}}]
    outcome = await sandbox.run("f", Program(mapping=msgspec.json.encode(spec)), b'{"rows":[{"c":1}]}')
    assert outcome == Ran([{"sku": 1}])


async def test_mapping_of_nothing_is_nothing(sandbox: Sandbox) -> None:
    """Jolt makes null of an empty list; that is no row, not a failed one. Null for rows stays null."""
    program = Program(mapping=msgspec.json.encode([{"operation": "shift", "spec": {"*": {"c": "[&1].sku"}}}]))
    assert await sandbox.run("f", program, b"[]") == Ran([])
    assert await sandbox.run("f", program, b'[{"x":1}]') == Ran(None)


@pytest.mark.parametrize(
    ("program", "stage", "words"),
    [
        (
            Program("def process(r): return {'a': 1}", rows_path="results"),
            "script",
            "process() returned no list at 'results'",
        ),
        (Program("def process(r): return 7"), "script", "neither a list nor an object but a number"),
        (Program("def process(r:"), "script", "line 1: SyntaxError"),
        (Program("import os\ndef process(r): pass"), "script", "the module 'os' is not available"),
        (Program("x = 1 / 0\ndef process(r): pass"), "script", "line 1: ZeroDivisionError"),
        (
            Program(mapping=b'[{"operation":"sort"},{"operation":"nope"}]'),
            "mapping",
            "mapping[1]: there is no operation",
        ),
        (
            Program(mapping=b'[{"operation":"shift","spec":{"*":{"sku":"[99999999999999999999]"}}}]'),
            "mapping",
            "mapping",
        ),
    ],
)
async def test_pages_fail_with_a_reason(sandbox: Sandbox, program: Program, stage: str, words: str) -> None:
    """A page fails at its stage, with what is wrong."""
    outcome = await sandbox.run("f", program, PAGE)
    assert isinstance(outcome, Broken)
    assert outcome.stage == stage
    assert words in outcome.reason


async def test_numbers_survive(sandbox: Sandbox) -> None:
    """Large numbers and decimals come through unharmed."""
    body = b'[{"sku":12345678901234567890123,"x":1.10}]'
    outcome = await sandbox.run(
        "f", Program("import decimal\ndef process(r): return r + [decimal.Decimal('1.10')]"), body
    )
    assert outcome == Ran([{"sku": 12345678901234567890123, "x": 1.1}, "1.10"])


SPEC_ATTACKS: dict[str, tuple[Any, Any]] = {
    "an index of hundreds of millions": ([{"operation": "shift", "spec": {"a": "x[400000000]"}}], {"a": 1}),
    "a catastrophic split": (
        [{"operation": "modify-overwrite-beta", "spec": {"x": "=split('(a*)*b',@(1,a))"}}],
        {"a": "a" * 64},
    ),
    "an index that the row names": ([{"operation": "shift", "spec": {"a": "x[@(1,n)]"}}], {"a": 1, "n": 400_000_000}),
    "a default array of millions": ([{"operation": "default", "spec": {"x[]": {"400000000": "y"}}}], {}),
    "cross references that multiply": (
        [
            {
                "operation": "modify-overwrite-beta",
                "spec": {"x": ["=concat(@(1,a),@(1,a))"], "a": "=concat(@(1,a),@(1,a))"},
            }
        ]
        * 40,
        {"a": "aaaaaaaa"},
    ),
}


@pytest.mark.parametrize("name", SPEC_ATTACKS)
async def test_hostile_mappings_end_as_failed_pages(sandbox: Sandbox, name: str) -> None:
    """A spec that takes all memory or never ends fails its page, at the stage mapping, and the service goes on."""
    spec, page = SPEC_ATTACKS[name]
    outcome = await sandbox.run(
        "evil", Program(mapping=msgspec.json.encode(spec), timeout=1.5), msgspec.json.encode(page)
    )
    assert isinstance(outcome, Broken), outcome
    assert outcome.stage == "mapping"
    assert "mapping[" in outcome.reason, "the limit of a line, before that of the page"
    assert await sandbox.run("good", Program("def process(r): return r"), PAGE) == Ran([{"sku": "A"}])


async def test_a_trace_tells_what_each_line_did(sandbox: Sandbox) -> None:
    """Also of a mapping that fails; and `^` finds the flow's name and what the caller gives."""
    spec = [{"operation": "modify-overwrite", "spec": {"*": {"flow": "^flow", "run": "^run_id"}}}]
    program = Program(mapping=msgspec.json.encode(spec), trace=True)
    outcome = await sandbox.run("winter", program, b"[{}]", {"run_id": "r1"})
    assert isinstance(outcome, Ran)
    assert outcome.result == [{"flow": "winter", "run": "r1"}]
    assert outcome.explained["steps"][0]["lines"][1]["written"] == 1
    broken = Program(mapping=msgspec.json.encode([{"operation": "shift", "spec": {"*": "&9"}}]), trace=True)
    failed = await sandbox.run("winter", broken, b"[{}]")
    assert isinstance(failed, Broken)
    assert "&9 goes 9 levels up" in failed.explained["steps"][0]["error"]


GOLDEN = """
jolt = os["sys"].modules["imageflow.sandbox.jolt"]
def attack(cases):
    return [answer(case) for case in cases[1:]]
def answer(case):
    chain, problems = jolt.compile_chain(case["spec"])
    if problems:
        return "spec"
    try:
        return json.dumps(jolt.apply(chain, case["input"], case["context"]), sort_keys=True)
    except Exception:
        return "transform"
"""
"""A script that applies many specs in the worker, with the worker's own functions: a worker for each would take minutes."""


async def test_golden_mappings_give_the_same_in_a_worker(sandbox: Sandbox) -> None:
    """A locked-down worker can load nothing any more; all of Java's answers come out there, too."""
    program = Program(PRELUDE + GOLDEN, b'[{"operation":"shift","spec":{"*":"[]"}}]', timeout=60.0)
    cases = [case for case in golden.CASES if not case.get("java_bug")]
    page = [{"spec": golden.spec_of(case), "input": case["input"], "context": case.get("context")} for case in cases]
    outcome = await sandbox.run("f", program, json.dumps([{"attack": True}, *page]).encode())
    assert isinstance(outcome, Ran), outcome
    java = [
        json.dumps(case["expected"], sort_keys=True) if "expected" in case else case["error_phase"] for case in cases
    ]
    different = [case["id"] for case, there, here in zip(cases, outcome.result, java, strict=True) if there != here]
    assert different == []


@pytest.mark.parametrize(
    ("spec", "page", "rows"),
    [
        ([{"operation": "sort"}], [{"b": 1, "a": 2}], [{"a": 2, "b": 1}]),
        (
            [{"operation": "modify-overwrite-beta", "spec": {"*": {"tags": "=sort(@(1,tags))"}}}],
            [{"tags": ["b", "ä", "a"]}],
            [{"tags": ["a", "b", "ä"]}],
        ),
    ],
)
async def test_sort_works_in_a_worker(sandbox: Sandbox, spec: Any, page: Any, rows: Any) -> None:
    """Texts are sorted by a codec, which must be loaded before the worker locks itself down."""
    outcome = await sandbox.run("f", Program(mapping=msgspec.json.encode(spec)), msgspec.json.encode(page))
    assert outcome == Ran(rows)
    assert isinstance(outcome, Ran)
    assert [[*row] for row in outcome.result] == [[*row] for row in rows]


# the walls themselves ----------------------------------------------------------------------------------------------------

WITHOUT_AUDIT = """
import ctypes, os, signal, socket, sys
from imageflow.sandbox import kernel
from imageflow.sandbox.protocol import Config
parent = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
held = kernel.lock_down(Config(5, 512 << 20, 1 << 20, 1000, 61184), audit=lambda: None)
assert held["seccomp"] is None, held
attempts = {
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "socket": lambda: socket.socket(),
    "fork": lambda: os.fork(),
    "execve": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(parent, signal.SIGTERM),
    "ptrace": lambda: called("ptrace", 16, parent, 0, 0),
    "process_vm_readv": lambda: called("process_vm_readv", parent, 0, 0, 0, 0, 0),
    "unshare": lambda: called("unshare", 0x10000000),
    "memfd": lambda: os.memfd_create("x"),
    "setrlimit": lambda: __import__("resource").setrlimit(9, (-1, -1)),
    "prctl": lambda: called("prctl", 4, 1, 0, 0, 0),
    "mmap rwx": lambda: called("mmap", None, 4096, 7, 0x22, -1, 0),
    "io_uring": lambda: called("syscall", 425, 8, 0),
    "bpf": lambda: called("syscall", 321, 0, 0, 0),
    "openat": lambda: called("syscall", 257, -100, b"/etc/passwd", 0),
    "clone3": lambda: called("syscall", 435, 0, 0),
    "userfaultfd": lambda: called("syscall", 323, 0),
    "pidfd_open": lambda: called("syscall", 434, parent, 0),
    "tgkill": lambda: called("syscall", 234, parent, parent, 15),
    "shmget": lambda: called("syscall", 29, 0, 4096, 0o1600),
    "perf_event_open": lambda: called("syscall", 298, 0, 0, -1, -1, 0),
    "keyctl": lambda: called("syscall", 250, 0, 0, 0, 0, 0),
    "sendmsg": lambda: called("syscall", 46, 1, 0, 0),
    "dup": lambda: os.dup(1),
    "pipe": lambda: os.pipe(),
    "a thread": lambda: __import__("_thread").start_new_thread(print, ()),
    "another handler": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    "another handler, by number": lambda: called("syscall", 13, 14, 0, 0, 8),
    "mprotect rx": lambda: called("mprotect", 0, 0, 5),
}
def called(name, *arguments):
    result = getattr(libc, name)(*[a if isinstance(a, (bytes, type(None))) else ctypes.c_long(a) for a in arguments])
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
escaped = []
for name, attempt in attempts.items():
    try:
        attempt()
        escaped.append(name)
    except (ValueError, RuntimeError):
        pass  # the words of setrlimit and threads for EPERM
    except OSError as error:
        if error.errno != 1:
            escaped.append(f"{name}: errno {error.errno}")
print(escaped)
"""


def test_the_kernel_alone_holds() -> None:
    """Without the audit hook, and with native calls, everything but computing answers EPERM."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AUDIT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_layers_are_reported() -> None:
    """`layers` says for each mechanism that it holds, or why not; seccomp does on Linux."""
    held = layers()
    assert held["seccomp"] is None
    assert {"landlock", "rlimits", "no_new_privs", "nodump", "audit", "netns"} <= set(held)


NO_SECCOMP = "import sys; sys.path += sys.argv[1:]; from imageflow.sandbox import kernel, worker; kernel.ARCHITECTURES.clear(); worker.main()"


async def test_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no seccomp, no script runs, unless the operator says that best effort will do."""
    monkeypatch.setattr(supervisor, "_BOOT", NO_SECCOMP)
    program = Program("def process(r): return r")
    async with Sandbox() as sandbox:
        with pytest.raises(SandboxError, match="seccomp"):
            await sandbox.run("f", program, PAGE)
        assert await sandbox.run("f", Program(), PAGE) == Ran([{"sku": "A"}])
    async with Sandbox(best_effort=True) as sandbox:
        assert await sandbox.run("f", program, PAGE) == Ran([{"sku": "A"}])


async def test_no_python_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot start is an error of the machine, not of the page."""
    monkeypatch.setattr(supervisor, "_BOOT", "raise SystemExit('no way')")
    async with Sandbox() as sandbox:
        with pytest.raises(SandboxError, match="no way"):
            await sandbox.run("f", Program("def process(r): return r"), PAGE)


ORPHAN = """
import asyncio
from imageflow.sandbox.outcome import Program
from imageflow.sandbox.supervisor import Sandbox
async def main():
    async with Sandbox() as sandbox:
        await sandbox.run("f", Program("def process(r): return r"), b"[]")
        print(next(iter(sandbox._workers))._process.pid, flush=True)
        await sandbox.run("f", Program("def process(r): return r"), b"[]")
        await sandbox.run("f", Program("import time\\ndef process(r):\\n    while True: time.sleep(1)", timeout=600.0), b"[]")
asyncio.run(main())
"""


def test_workers_die_with_the_service() -> None:
    """kill -9 of the service leaves no worker behind, not even one in an endless loop."""
    service = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE)
    assert service.stdout is not None
    service.stdout.readline()
    time.sleep(0.5)
    children = psutil.Process(service.pid).children()
    assert len(children) == 2
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    service.stdout.close()
    deadline = time.monotonic() + 10
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# slots and workers -------------------------------------------------------------------------------------------------------

PID = Program("import time\ndef process(r): return [r]")


async def pid(sandbox: Sandbox, flow: str, program: Program = PID) -> int:
    await sandbox.run(flow, program, PAGE)
    worker = sandbox._slots[flow, program].worker
    assert worker is not None
    return worker._process.pid


async def test_workers_are_kept_per_flow_version(sandbox: Sandbox) -> None:
    """Pages of a flow version share a worker; other flows, and other versions, have their own."""
    first = await pid(sandbox, "one")
    assert await pid(sandbox, "one") == first
    other = {await pid(sandbox, "two"), await pid(sandbox, "one", Program("import time\ndef process(r): return r"))}
    assert first not in other
    assert sandbox.live == 3


async def test_the_longest_unused_makes_room() -> None:
    """There are never more than `max_workers`."""
    async with Sandbox(max_workers=2) as sandbox:
        one = await pid(sandbox, "one")
        await pid(sandbox, "two")
        assert await pid(sandbox, "one") == one
        await pid(sandbox, "three")
        assert await pid(sandbox, "one") == one
        await asyncio.sleep(0.05)
        assert sandbox.live == 2


async def test_more_flows_than_room() -> None:
    """Flows that find no room wait for it; all are served."""
    async with Sandbox(max_workers=2) as sandbox:
        program = Program("import time\ndef process(r):\n    time.sleep(0.05)\n    return r")
        outcomes = await asyncio.gather(*(sandbox.run(f"f{n % 5}", program, PAGE) for n in range(15)))
    assert outcomes == [Ran([{"sku": "A"}])] * 15


async def test_idle_workers_end() -> None:
    """A worker that has nothing to do ends, and the next page gets a new one."""
    async with Sandbox(idle_seconds=0.2) as sandbox:
        first = await pid(sandbox, "one")
        async with asyncio.timeout(5):
            while sandbox.live:
                await asyncio.sleep(0.02)
        assert await pid(sandbox, "one") != first


async def test_workers_are_recycled(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many pages, and after it ran out of memory, a worker is replaced."""
    monkeypatch.setattr(supervisor, "PAGES_PER_WORKER", 2)
    first = await pid(sandbox, "one")
    assert await pid(sandbox, "one") == first
    assert await pid(sandbox, "one") != first
    hungry = Program("def process_row(row):\n    if row: x = 'x' * 10**10\n    return row")
    before = await pid(sandbox, "hungry", hungry)
    assert await pid(sandbox, "hungry", hungry) != before


async def test_what_a_page_keeps_does_not_burden_the_next(sandbox: Sandbox) -> None:
    """A page that leaves most of the memory in use gets its flow another worker: the next page has all of it."""
    body = "data = b'x' * (330 << 20)\nreal_import('codecs').register(lambda name, kept=data: None)\nreturn rows"
    leaking = attacking(body, 20.0)
    for _ in range(3):
        assert isinstance(await sandbox.run("one", leaking, ATTACK), Ran)


async def test_the_event_loop_goes_on(sandbox: Sandbox) -> None:
    """While a script runs, the service does other things, other flows' scripts among them."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        await sandbox.run("evil", Program("def process(r):\n    while True: pass", timeout=TIMEOUT), PAGE)
        ticking.cancel()
    assert ticks > 10


async def test_cancelled_pages_leave_nothing_behind(sandbox: Sandbox) -> None:
    """A page that is cancelled ends its worker: its answer must not be taken for the next page's."""
    program = Program("import time\ndef process(r):\n    if r: time.sleep(5)\n    return r")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await sandbox.run("f", program, PAGE)
    assert await sandbox.run("f", program, b"[]") == Ran([])


BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
SLOW = Program("import time\ndef process(r):\n    time.sleep(0.3)\n    return r", timeout=10.0)


async def worker_in(sandbox: Sandbox, flow: str, other_than: int = 0) -> int:
    """The pid of the flow's worker once a page is in it."""
    while True:
        slot = sandbox._slots.get((flow, SLOW))
        if slot is not None and slot.worker is not None and slot.worker._process.pid != other_than:
            return slot.worker._process.pid
        await asyncio.sleep(0.01)


@BOTH_LOOPS
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_killed_by_the_system_is_replaced(sandbox: Sandbox, how: signal.Signals) -> None:
    """When the system kills a worker, its page is done again in a new one, time after time."""
    for round_ in range(3):
        flow = f"f{round_}"
        async with asyncio.TaskGroup() as group:
            page = group.create_task(sandbox.run(flow, SLOW, PAGE))
            os.kill(await worker_in(sandbox, flow), how)
        assert page.result() == Ran([{"sku": "A"}])


@BOTH_LOOPS
async def test_a_worker_killed_in_its_handshake_is_replaced(sandbox: Sandbox) -> None:
    """A kill before the worker has said anything is not the page's fault either."""
    this = psutil.Process()
    for round_ in range(3):
        before = {child.pid for child in this.children()}
        async with asyncio.TaskGroup() as group:
            page = group.create_task(sandbox.run(f"f{round_}", SLOW, PAGE))
            while not (new := {child.pid for child in this.children()} - before):
                await asyncio.sleep(0.001)
            os.kill(new.pop(), signal.SIGKILL)
        assert page.result() == Ran([{"sku": "A"}])


@BOTH_LOOPS
async def test_a_worker_that_the_system_kills_twice(sandbox: Sandbox) -> None:
    """The page fails then, and the reason names the system, not the script."""
    async with asyncio.TaskGroup() as group:
        page = group.create_task(sandbox.run("f", SLOW, PAGE))
        first = await worker_in(sandbox, "f")
        os.kill(first, signal.SIGKILL)
        os.kill(await worker_in(sandbox, "f", other_than=first), signal.SIGKILL)
    assert reason(page.result()) == "the process of the script was killed by the system (SIGKILL)"


@BOTH_LOOPS
async def test_a_worker_that_the_supervisor_ends_is_replaced(sandbox: Sandbox) -> None:
    """A worker that is killed from within the service while a page is in it is replaced as well, whatever exit status the
    event loop reports.
    """
    async with asyncio.TaskGroup() as group:
        page = group.create_task(sandbox.run("f", SLOW, PAGE))
        await worker_in(sandbox, "f")
        next(iter(sandbox._workers)).kill()
    assert page.result() == Ran([{"sku": "A"}])


async def test_a_late_mapping_is_not_taken_for_the_script(sandbox: Sandbox) -> None:
    """Of a program with both, the stage that did not end is named."""
    spec = [{"operation": "shift", "spec": {"*": {"@(1)": {"*": {"nothing": "x"}}}}}]
    program = Program("def process(r): return r", msgspec.json.encode(spec), timeout=1.0)
    outcome = await sandbox.run("f", program, msgspec.json.encode([[]] * 10_000))
    assert (reason(outcome), outcome.stage) == ("the mapping ran longer than 1s", "mapping")


# checks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def process(r: pass", "line 1: SyntaxError"),
        ("import os\ndef process(r): pass", "line 1: the module 'os'"),
        ("x = 1", "defines"),
    ],
)
def test_scripts_are_checked(source: str, words: str) -> None:
    """`flow lint` gets the problems of a script with their line."""
    (problem,) = check_script(source)
    assert problem.path == "script"
    assert words in problem.message


def test_good_scripts_and_mappings_have_no_problems() -> None:
    """What can run has no problems; checking does not run it."""
    assert check_script("x = 1 / 0\ndef process(r): pass") == []
    assert check_script("  ") == []
    assert check_mapping([{"operation": "sort"}]) == []


async def test_a_strict_flow_refuses_what_only_jolt_community_has() -> None:
    """`jolt: strict` of a flow: lint names the function, and so does a page of it."""
    document = SMALL_FLOW | {
        "jolt": "strict",
        "mapping": [{"operation": "modify-overwrite-beta", "spec": {"a": "=now"}}],
    }
    with pytest.raises(FlowFileError) as caught:
        flow_file.compiled(document)
    (problem,) = caught.value.problems
    assert (problem.path, "now is a function of jolt-community" in problem.message) == ("mapping[0].spec.a", True)
    assert flow_file.compiled(document | {"jolt": "community"}).jolt == "community"
    async with Sandbox() as sandbox:
        outcome = await sandbox.run("f", Program.of(flow_file.parse(document)), b"[{}]")
    assert isinstance(outcome, Broken)
    assert "jolt-community" in outcome.reason


@pytest.mark.parametrize(
    "spec",
    [
        [{"operation": "sort"}, {"operation": "shift", "spec": {"a": "b.@(("}}],
        [{"operation": "sort"}, {"operation": "shift"}],
    ],
)
def test_mappings_are_checked(spec: Any) -> None:
    """`flow lint` gets the problems of a mapping with their operation."""
    (problem,) = check_mapping(spec)
    assert problem.path.startswith("mapping[1]")


def test_hostile_specs_do_not_hang_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec that never compiles, or is nested too deeply, is a problem like any other."""
    deep: Any = {"a": "b"}
    for _ in range(3000):
        deep = {"a": deep}
    assert check_mapping([{"operation": "shift", "spec": deep}])
    monkeypatch.setattr(check, "EXAMINE_SECONDS", 0.5)
    monkeypatch.setattr(supervisor, "_BOOT", "while True: pass")
    (problem,) = check_mapping([{"operation": "sort"}])
    assert "takes longer than" in problem.message


# what honest scripts may use ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("from urllib.parse import urljoin\ndef process(r): return [urljoin('https://c.example/a/', 'b.jpg')]", ["https://c.example/a/b.jpg"]),
        ("import datetime\ndef process(r): return [datetime.datetime.strptime('24.11.2026', '%d.%m.%Y')]", ["2026-11-24T00:00:00"]),
        ("import zoneinfo, datetime\ndef process(r):\n    z = zoneinfo.ZoneInfo('Europe/Istanbul')\n    return [datetime.datetime(2026, 1, 1, tzinfo=z).isoformat()]", ["2026-01-01T00:00:00+03:00"]),
        ("import decimal\ndef process(r): return [str(round(decimal.Decimal('2.675'), 2))]", ["2.68"]),
        ("import hashlib, base64\ndef process(r): return [hashlib.md5(b'a').hexdigest(), base64.b64encode(b'a').decode()]", ["0cc175b9c0f1b6a831c399e269772661", "YQ=="]),
        ("import csv, io\ndef process(r): return list(csv.DictReader(io.StringIO('a,b\\n1,2')))", [{"a": "1", "b": "2"}]),
        ("import re, itertools, collections\ndef process(r): return [re.sub('a+', 'b', 'caat'), [*itertools.chain([1], [2])], collections.Counter('aab')]", ["cbt", [1, 2], {"a": 2, "b": 1}]),
        ("from dataclasses import dataclass\n@dataclass\nclass Row:\n    sku: str\ndef process(r): return [Row('A')]", [{"sku": "A"}]),
        ("import enum, uuid, random, statistics\nclass E(enum.Enum):\n    A = 'a'\ndef process(r): return [E.A, statistics.mean([1, 3]), len(str(uuid.uuid4()))]", ["a", 2, 36]),
        ("def process(r):\n    class Base:\n        def f(self): return 1\n    class Sub(Base):\n        def f(self): return super().f() + 1\n    return [Sub().f(), *(x for x in (1, 2))]", [2, 1, 2]),
        ("import html, unicodedata, string, json\ndef process(r): return [html.unescape('&amp;'), unicodedata.normalize('NFC', 'u\\u0308'), json.dumps({'a': 1})]", ["&", "ü", '{"a": 1}']),
        ("def process(r): return tuple(r)", [{"sku": "A"}]),
    ],
)  # fmt: skip
async def test_honest_scripts_run(sandbox: Sandbox, source: str, result: list[Any]) -> None:
    """The usual standard library is there."""
    assert await sandbox.run("f", Program(source, timeout=5.0), PAGE) == Ran(result)
