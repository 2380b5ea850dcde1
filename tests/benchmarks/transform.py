"""What the sandbox costs: `python -m tests.benchmarks.transform [--seconds S]`.

The same pages go through the sandbox (as the transformer sends them: bytes in, an outcome out) and through the same functions
called in this process, which parse, run and encode alike and are as unsafe as they look; mappings through jolt-py as well, the
engine before ours. Each is measured in turn, several times, and the best is shown: rows/s, and the sandbox's rate as a part of
the others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop
from pyjolt import Chainr

from imageflow.sandbox import jolt
from imageflow.sandbox.answer import rows_at
from imageflow.sandbox.outcome import Program, Ran
from imageflow.sandbox.supervisor import Sandbox

SCRIPT = """
def process_row(row):
    return {"sku": row["sku"].strip(), "images": [{"url": url, "order": i} for i, url in enumerate(row["pictures"])]}
"""
SHIFT = {
    "operation": "shift",
    "spec": {
        "results": {
            "*": {"sku": "[&1].sku", "pictures": {"*": {"@": "[&3].images[&1].url", "$": "[&3].images[&1].order"}}}
        }
    },
}
CHAINS = {
    "short": [SHIFT, {"operation": "modify-overwrite-beta", "spec": {"*": {"sku": "=toUpper(@(1,sku))"}}}],
    "long": [
        SHIFT,
        {
            "operation": "modify-overwrite-beta",
            "spec": {"*": {"sku": "=trim", "images": {"*": {"order": "=toInteger"}}}},
        },
        {"operation": "default", "spec": {"*": {"images[]": {"*": {"image_type": "default"}}}}},
    ],
}
PROGRAMS = {
    "script": Program(SCRIPT, rows_path="results"),
    **{name: Program(mapping=msgspec.json.encode(chain)) for name, chain in CHAINS.items()},
}
TRIES = 3


def page(rows: int) -> bytes:
    """An answer of the ERP with four pictures for each product."""
    return msgspec.json.encode(
        {
            "results": [
                {"sku": f"sku-{n}", "pictures": [f"https://cdn.example.com/{n}/{i}.jpg" for i in range(4)]}
                for n in range(rows)
            ]
        }
    )


def in_process(name: str) -> Callable[[bytes], bytes]:
    """The program as a function, compiled once: what an engineer would write without a sandbox."""
    if name in CHAINS:
        chain, _ = jolt.compile_chain(CHAINS[name])
        assert chain is not None
        return lambda body: msgspec.json.encode(jolt.apply(chain, msgspec.json.decode(body)))
    namespace: dict = {}
    exec(SCRIPT, namespace)
    process_row = namespace["process_row"]
    return lambda body: msgspec.json.encode([process_row(row) for row in rows_at(msgspec.json.decode(body), "results")])


async def rate(once: Callable[[], Awaitable[object]], rows: int, seconds: float) -> float:
    """Rows per second over about `seconds`."""
    begun, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        await once()
        count += 1
    return rows * count / passed


def by_jolt_py(name: str) -> Callable[[bytes], bytes]:
    """A mapping as jolt-py does it, in this process."""
    chain = Chainr.from_spec(CHAINS[name])
    return lambda body: msgspec.json.encode(chain.apply(msgspec.json.decode(body)))


async def compare(sandbox: Sandbox, name: str, rows: int, seconds: float) -> list[float]:
    """The best rate through the sandbox, in this process, and by jolt-py. The results must be the same."""
    body = page(rows)
    functions = [in_process(name), *([by_jolt_py(name)] if name in CHAINS else [])]

    async def sandboxed() -> Any:
        outcome = await sandbox.run("bench", PROGRAMS[name], body)
        assert isinstance(outcome, Ran), outcome
        return outcome.result

    def here(function: Callable[[bytes], bytes]) -> Callable[[], Awaitable[Any]]:
        async def once() -> Any:
            return msgspec.json.decode(function(body))  # the sandbox's answer is decoded, too

        return once

    ways = [sandboxed, *map(here, functions)]
    results = [await once() for once in ways]
    assert all(result == results[0] for result in results)
    best = [0.0] * len(ways)
    for _ in range(TRIES):
        for index, once in enumerate(ways):
            best[index] = max(best[index], await rate(once, rows, seconds))
    return best


async def bench(seconds: float) -> None:
    print("rows/s; in brackets: the sandbox's rate as a part of it")
    print(f"{'program':8} {'rows/page':>10} {'sandbox':>12} {'in process':>20} {'jolt-py, in process':>20}")
    async with Sandbox() as sandbox:
        for name in PROGRAMS:
            for rows in (100, 1000):
                sandboxed, *others = await compare(sandbox, name, rows, seconds)
                shown = "".join(f"{other:12,.0f} {f'({sandboxed / other:.2f})':>8}" for other in others)
                print(f"{name:8} {rows:10,} {sandboxed:12,.0f} {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    uvloop.run(bench(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
