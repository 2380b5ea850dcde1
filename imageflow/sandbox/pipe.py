"""The worker's ends of its pipes. The worker loads this module: it must stay light."""

from __future__ import annotations

import os
import struct


def receive(fd: int) -> bytearray:
    """The next frame's content. Ends the process at the end of input: the supervisor is gone, or ends this worker."""
    (length,) = struct.unpack("<I", _exactly(fd, 4))
    return _exactly(fd, length)


def _exactly(fd: int, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        part = os.read(fd, min(length - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return data


def send(fd: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
