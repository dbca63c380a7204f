"""Lines of a stream that may have nothing more for hours, such as `tail -f`."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

Idle = Callable[[], object]
_PATIENCE_S = 1.0
_AT_ONCE_BYTES = 1 << 18


def as_they_come(stream: BinaryIO, idle: Idle) -> Iterator[bytes]:
    """Its lines, each as soon as it is there whole.

    `idle` is called where nothing more has come for a second, and otherwise about once a second.
    """
    try:
        descriptor = stream.fileno()
    except OSError:
        # It is in memory, so it is never waited for.
        yield from stream
        return
    begun, called_at = b"", time.monotonic()
    while True:
        is_waiting = not select.select([descriptor], [], [], _PATIENCE_S)[0]
        if is_waiting or time.monotonic() - called_at >= _PATIENCE_S:
            idle()
            called_at = time.monotonic()
        data = os.read(descriptor, _AT_ONCE_BYTES)
        if not data:
            break
        *lines, begun = (begun + data).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if begun:
        yield begun
