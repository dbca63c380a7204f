"""Keeps a lease while the work that it is for goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from misheard.cycle.states import Observer
from misheard.errors import LeaseLostError, MisheardError
from misheard.finetune.events import TrainingEvent
from misheard.speech.transcriber import Progress

# A copy of a large database or the hash of a large model says nothing meanwhile. What is silent for
# longer than this hangs, and another process may try.
_MOST_SILENCE_S = 2 * 3600.0


class LeaseKeeper(Observer):
    """Passes everything on; as a context manager, renews the lease until the block is left.

    A thread renews it, so that work which is silent for longer than a lease keeps it: two workers
    that took it from each other in turn would never come to an end.
    """

    def __init__(self, inner: Observer, renew: Callable[[], None], lease: timedelta) -> None:
        self._inner = inner
        self._renew = renew
        self._every_s = lease.total_seconds() / 4
        self._heard_at = time.monotonic()
        self._is_over = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._beat, name="misheard-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def progress(self, what: str, total: int) -> Progress:
        """See `Observer`."""
        inner = self._inner.progress(what, total)

        def done(count: int) -> None:
            self._tick()
            inner(count)

        return done

    def training(self, event: TrainingEvent) -> None:
        """See `Observer`."""
        self._tick()
        self._inner.training(event)

    def waiting(self) -> None:
        """See `Observer`."""
        self._tick()
        self._inner.waiting()

    def _tick(self) -> None:
        self._heard_at = time.monotonic()
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> None:
        while not self._is_over.wait(self._every_s):
            if time.monotonic() - self._heard_at > _MOST_SILENCE_S:
                return
            try:
                self._renew()
            except LeaseLostError as error:
                self._lost = error
                return
            except (SQLAlchemyError, MisheardError) as error:
                # The database is away or full for a moment; the lease holds for some more beats.
                logging.getLogger("misheard").warning("A lease could not be renewed: %s", error)
