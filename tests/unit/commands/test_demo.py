"""The demo's flows."""

from imageflow.commands import demo
from imageflow.flows import bounded, file
from imageflow.flows.bounded import Reach
from imageflow.http.public_address import Allowed
from imageflow.secret import Bounds


def test_they_may_be_saved_in_its_console():
    """The test bench saves what it shows, so the demo must allow what its own flows name."""
    reach = Reach(Bounds((), (demo.ENV_PREFIX,)), Allowed((demo.LOCAL,)))
    for document in demo.flows(f"http://{demo.LOCAL}:1", f"http://{demo.LOCAL}:2"):
        bounded.check(file.parse(document), reach)
