"""`up --flows DIR` under edits, broken edits, deletes, renames, and people who disable and enable: what fires is exactly what
files and people asked for.

`python -m tests.acceptance.test_flow_folder --minutes 10` plays on until then, and prints what it saw.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.harness import free_port, get, site, wait_for

SETTLE_SECONDS = 8.0
"""A change is seen within three looks, and a run that was asked for before it ends."""

WATCH_SECONDS = 4.0
NAMES = "abcd"


class Folder:
    """The files, and what is expected of them: which flows fire."""

    def __init__(self, here, seed: int) -> None:
        self._here = here
        self._dice = random.Random(seed)
        self.files: dict[str, str] = {}
        self._disabled: set[str] = set()
        self._off: set[str] = set()
        self._versions = 0
        self._spoiled: tuple[Path, str] | None = None

    @property
    def firing(self) -> set[str]:
        return set(self.files.values()) - self._disabled - self._off

    def step(self) -> str:
        """Do something; gives what."""
        acts = (self.edit, self.spoil, self.add, self.delete, self.rename, self.disable, self.enable, self.switch_off)
        return self._dice.choice(acts)()

    def edit(self) -> str:
        stem = self._some(self.files)
        self._write(stem, self.files[stem])
        self._disabled.discard(self.files[stem])
        return f"{stem} is edited"

    def spoil(self) -> str:
        """A file is broken until the next step: nothing changes."""
        stem = self._some(self.files)
        path = self._here.flows / f"{stem}.yaml"
        self._spoiled = (path, path.read_text())
        path.write_text("name: [\n")
        return f"{stem} is broken"

    def mend(self) -> None:
        if self._spoiled is not None:
            path, text = self._spoiled
            path.write_text(text)
            self._spoiled = None

    def switch_off(self) -> str:
        stem = self._some(self.files)
        self._write(stem, self.files[stem], enabled=False)
        self._disabled.add(self.files[stem])
        return f"{stem} says enabled: false"

    def add(self) -> str:
        if not (free := [name for name in NAMES if name not in self.files and name not in self.files.values()]):
            return self.edit()
        name = self._dice.choice(free)
        self._write(name, name)
        self.files[name] = name
        self._disabled.discard(name)
        self._off.discard(name)
        return f"{name} is added"

    def delete(self) -> str:
        if len(self.files) < 2:
            return self.add()
        stem = self._some(self.files)
        (self._here.flows / f"{stem}.yaml").unlink()
        name = self.files.pop(stem)
        self._off.discard(name)
        return f"{stem} is deleted"

    def rename(self) -> str:
        stem = self._some(self.files)
        old, new = self.files[stem], f"{stem}{self._dice.randrange(1000)}"
        self._write(stem, new)
        self.files[stem] = new
        self._off.discard(old)
        return f"{stem}: {old} is {new} now"

    def disable(self) -> str:
        name = self._some(self.files.values())
        self._here.call("flow", "disable", name)
        self._off.add(name)
        return f"a person disables {name}"

    def enable(self) -> str:
        name = self._some(self.files.values())
        self._here.call("flow", "enable", name)
        self._off.discard(name)
        self._disabled.discard(name)
        return f"a person enables {name}"

    def _some(self, of) -> str:
        return self._dice.choice(sorted(of))

    def _write(self, stem: str, name: str, **fields) -> None:
        self._versions += 1
        erp = {
            "endpoint_url": f"{self._here.erp}/images/none/",
            "rows_path": "results",
            "timeout": f"{self._versions + 5}s",
        }
        changes = {"schedule": {"every": "1s"}, "overlap_policy": "skip", "erp": erp, **fields}
        self._here.flow(name, script=None, mapping=None, **changes)
        (self._here.flows / f"{name}.yaml").rename(self._here.flows / f"{stem}.yaml")


def tell(path: Path, seed: int, *, steps: int | None = None, seconds: float = 0.0) -> list[str]:
    """Play; gives what went wrong."""
    wrong = []
    with site(path) as here:
        here.emulators(3)
        folder = Folder(here, seed)
        for _ in range(2):
            folder.add()
        port = free_port()
        here.spawn("up", "--flows", "flows", "--port", str(port))
        wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="the gateway")
        end, done = time.monotonic() + seconds, 0
        while done < steps if steps is not None else time.monotonic() < end:
            done += 1
            said = folder.step()
            time.sleep(SETTLE_SECONDS)
            before = newest(here)
            time.sleep(WATCH_SECONDS)
            fired = {name for name, run in newest(here).items() if before.get(name) != run}
            good = fired == folder.firing
            print(
                f"{'ok ' if good else 'BAD'} {said}: fired {sorted(fired)}, expected {sorted(folder.firing)}",
                flush=True,
            )
            if not good:
                wrong.append(said)
            folder.mend()
    return wrong


def newest(here) -> dict[str, str]:
    """The newest run of each flow."""
    found: dict[str, str] = {}
    for run in here.json("runs"):
        found.setdefault(run["flow"], run["run_id"])
    return found


def test_what_fires_is_what_was_asked_for(tmp_path):
    """A few steps of one seed."""
    assert tell(tmp_path, seed=3, steps=4) == []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = tell(Path(folder), options.seed, seconds=options.minutes * 60)
    print(f"{len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
