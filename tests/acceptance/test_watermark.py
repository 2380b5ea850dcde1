"""The watermark by hand: show it, rewind it, clear it."""

from __future__ import annotations

from pathlib import Path

from .harness import site


def test_a_rewound_watermark_is_where_the_next_run_begins(tmp_path: Path):
    """A date without an offset is in the flow's timezone; the next run reads from there, and unchanged rows are not
    sent again.
    """
    with site(tmp_path) as here:
        here.emulators(10)
        here.flow(timezone="Europe/Istanbul")
        first = here.json("run", "main", "--flows", "flows", "--wait")
        shown = here.json("watermark", "show", "main")
        assert shown["watermark"] == first["watermark"]
        assert shown["asks_since"] < shown["watermark"]
        assert here.json("run", "main", "--wait")["rows"]["total"] == 0
        rewound = here.json("watermark", "set", "main", "2024-06-01T03:00")
        assert (rewound["watermark"], rewound["asks_since"]) == (
            "2024-06-01T00:00:00.000000Z",
            "2024-05-31T23:55:00.000000Z",
        )
        again = here.json("run", "main", "--wait")
        assert (again["status"], again["rows"]["unchanged"]) == ("success", 10)
        assert here.json("watermark", "set", "main", "none")["watermark"] is None
        assert here.call("watermark", "show", "main").stdout.splitlines()[0] == "watermark: none"
        for wrong in (("set", "main", "yesterday"), ("set", "main", "0001-01-01"), ("show", "nobody")):
            done = here.call("watermark", *wrong, check=False)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False)
