"""Lines that come when they come."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

from misheard.transcripts.stream import as_they_come
from tests.loopback import until


def test_a_stream_says_when_it_has_nothing_more_for_now() -> None:
    reading, writing = os.pipe()
    events: list[bytes | str] = []

    def write() -> None:
        os.write(writing, b"one\ntw")
        until(lambda: b"one\n" in events and "idle" in events[events.index(b"one\n") :])
        os.write(writing, b"o\n")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        for line in as_they_come(stream, lambda: events.append("idle")):
            events.append(line)
    writer.join()
    assert [event for event in events if event != "idle"] == [b"one\n", b"two\n"]
    assert events[events.index(b"one\n") + 1] == "idle"


def test_a_stream_that_never_stops_says_so_about_once_a_second() -> None:
    reading, writing = os.pipe()
    idle: list[float] = []
    end = time.monotonic() + 120

    def gaps() -> list[float]:
        return [later - earlier for earlier, later in pairwise(idle)]

    def write() -> None:
        # Once is enough, for a busy machine may let it wait in between.
        while min(gaps(), default=9.0) >= 1.5 and time.monotonic() < end:
            os.write(writing, b"x\n")
            time.sleep(0.05)
        os.write(writing, b"the end")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        lines = list(as_they_come(stream, lambda: idle.append(time.monotonic())))
    writer.join()
    assert lines[-1] == b"the end"
    assert 1.0 <= min(gaps()) < 1.5


def test_what_is_in_memory_is_just_read() -> None:
    found: Iterator[bytes] = as_they_come(io.BytesIO(b"a\nb"), lambda: None)
    assert list(found) == [b"a\n", b"b"]
