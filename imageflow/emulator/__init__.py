"""A fake ERP and a fake Omnitron as real HTTP servers with scripted faults: for the demo, for tests, for rehearsals.

erp = FakeErp(rows=1000, mode="repeated_page")
omnitron = FakeOmnitron(faults=["status=503,every=10", "latency=20ms"])
async with erp.serve() as erp_url, omnitron.serve() as omnitron_url:
    ...
assert omnitron.images_of("SKU-000001") == erp.expected_images("SKU-000001")
"""

from imageflow.emulator.erp import FakeErp
from imageflow.emulator.faults import Fault, parse_fault
from imageflow.emulator.hostile import MODES
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.emulator.server import serve_forever

__all__ = ["MODES", "FakeErp", "FakeOmnitron", "Fault", "parse_fault", "serve_forever"]
