"""Lines that come when they come."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

from misheard.transcripts.stream import as_they_come

PATIENCE_S = 60.0


def test_a_stream_says_when_it_has_nothing_more_for_now() -> None:
    reading, writing = os.pipe()
    events: list[bytes | str] = []

    def write() -> None:
        os.write(writing, b"one\ntw")
        deadline = time.monotonic() + PATIENCE_S
        while events[-2:] != [b"one\n", "idle"] and time.monotonic() < deadline:
            time.sleep(0.02)
        os.write(writing, b"o\n")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        for line in as_they_come(stream, lambda: events.append("idle")):
            events.append(line)
    writer.join()
    assert [one for one in events if one != "idle"] == [b"one\n", b"two\n"]
    assert "idle" in events[events.index(b"one\n") : events.index(b"two\n")]


def test_a_stream_that_never_stops_says_so_about_once_a_second() -> None:
    reading, writing = os.pipe()
    idle: list[float] = []
    began = time.monotonic()

    def write() -> None:
        while len(idle) < 2 and time.monotonic() - began < PATIENCE_S:
            os.write(writing, b"x\n")
            time.sleep(0.05)
        os.write(writing, b"the end")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        lines = list(as_they_come(stream, lambda: idle.append(time.monotonic() - began)))
    writer.join()
    assert lines[-1] == b"the end"
    # The writer ends once it has said so twice; on a slow machine it may say so once more.
    assert len(idle) >= 2
    assert all(later - sooner >= 1.0 for sooner, later in pairwise([0.0, *idle]))


def test_what_is_in_memory_is_just_read() -> None:
    found: Iterator[bytes] = as_they_come(io.BytesIO(b"a\nb"), lambda: None)
    assert list(found) == [b"a\n", b"b"]
