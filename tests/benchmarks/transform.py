"""What the sandbox costs: `python -m tests.benchmarks.transform [--seconds S]`.

The same pages go through the sandbox (as the transformer sends them: bytes in, an outcome out) and through the same functions
called in this process, which parse, run and encode alike and are as unsafe as they look. Each is measured in turn, several
times, and the best is shown: rows/s, and the sandbox's rate as a part of the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable

import msgspec
import uvloop

from imageflow.sandbox import jolt
from imageflow.sandbox.answer import rows_at
from imageflow.sandbox.outcome import Program, Ran
from imageflow.sandbox.supervisor import Sandbox

SCRIPT = """
def process_row(row):
    return {"sku": row["sku"].strip(), "images": [{"url": url, "order": i} for i, url in enumerate(row["pictures"])]}
"""
CHAIN = [
    {
        "operation": "shift",
        "spec": {"results": {"*": {"sku": "[&1].sku", "pictures": {"*": {"@": "[&3].images[&1].url"}}}}},
    },
    {"operation": "modify-overwrite-beta", "spec": {"*": {"sku": "=toUpper(@(1,sku))"}}},
]
PROGRAMS = {
    "script": Program(SCRIPT, rows_path="results"),
    "mapping": Program(mapping=msgspec.json.encode(CHAIN)),
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
    if name == "mapping":
        chain, problems = jolt.compile_chain(CHAIN)
        assert not problems
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


async def compare(sandbox: Sandbox, name: str, rows: int, seconds: float) -> tuple[float, float]:
    """The best rate in this process, and through the sandbox. The results must be the same."""
    body, function = page(rows), in_process(name)

    async def here() -> bytes:
        return msgspec.json.decode(function(body))  # the sandbox's answer is decoded, too

    async def sandboxed() -> Ran:
        outcome = await sandbox.run("bench", PROGRAMS[name], body)
        assert isinstance(outcome, Ran), outcome
        return outcome

    assert (await sandboxed()).result == await here()
    best = [0.0, 0.0]
    for _ in range(TRIES):
        for index, once in enumerate((here, sandboxed)):
            best[index] = max(best[index], await rate(once, rows, seconds))
    return best[0], best[1]


async def bench(seconds: float) -> None:
    print(f"{'program':10} {'rows/page':>10} {'in process':>12} {'sandbox':>12} {'ratio':>7}   (rows/s)")
    async with Sandbox() as sandbox:
        for name in PROGRAMS:
            for rows in (100, 1000):
                free, sandboxed = await compare(sandbox, name, rows, seconds)
                print(f"{name:10} {rows:10,} {free:12,.0f} {sandboxed:12,.0f} {sandboxed / free:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    uvloop.run(bench(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
