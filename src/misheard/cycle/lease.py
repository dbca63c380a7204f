"""Keeps a lease while there is news of the work that it is for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from misheard.cycle.states import Observer
from misheard.database.engine import now
from misheard.finetune.events import TrainingEvent
from misheard.speech.transcriber import Progress


class LeaseKeeper(Observer):
    """Passes everything on, and renews the lease while there is news."""

    def __init__(self, inner: Observer, renew: Callable[[], None], lease: timedelta) -> None:
        self._inner = inner
        self._renew = renew
        self._renew_after = lease / 4
        self._renewed_at = now()

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
        if now() - self._renewed_at > self._renew_after:
            self._renew()
            self._renewed_at = now()
