"""Work that is cheaper for many at once, done in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

_log = logging.getLogger("misheard.serving")
_T = TypeVar("_T")


class Gathering(Generic[_T]):
    """Does what it is given in turn: whatever comes while it is at work is done together next."""

    def __init__(self, work: Callable[[Sequence[_T]], object], *, name: str, most: int) -> None:
        """`work` is called with 1 to `most` items, and is to raise nothing."""
        self._work = work
        self._most = most
        self._waiting: SimpleQueue[_T | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"misheard-{name}", daemon=True)
        self._thread.start()

    def add(self, one: _T) -> None:
        """From any thread; it does not wait."""
        self._waiting.put(one)

    def close(self) -> None:
        """Return when all that waits is done."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            some, goes_on = self._next()
            if some:
                try:
                    self._work(some)
                except Exception:  # noqa: BLE001 - the thread goes on, for those who come later
                    _log.exception("%d of %s were lost", len(some), self._thread.name)

    def _next(self) -> tuple[list[_T], bool]:
        """What waits, and whether there may be more."""
        some: list[_T] = []
        one = self._waiting.get()
        while one is not None:
            some.append(one)
            if len(some) == self._most:
                return some, True
            try:
                one = self._waiting.get_nowait()
            except Empty:
                return some, True
        return some, False
