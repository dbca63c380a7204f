"""Keeps what was heard: whatever comes while a transaction is under way is in the next one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from misheard.capture.inferences import Heard, Inference, InferenceLog
from misheard.errors import (
    BadInputError,
    BucketUnreachableError,
    MisheardError,
    StorageBusyError,
)
from misheard.serving.gathering import Gathering

_log = logging.getLogger("misheard.serving")
_AT_ONCE = 64
"""Rows a transaction, for which other writers wait."""
_AGAIN_S = 0.5
_MOST_BYTES = 512_000_000
"""Of audio that waits to be kept, however long the database takes."""


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A transcript that waits to be kept, and who waits for that."""

    version_id: str
    heard: Heard
    loop: asyncio.AbstractEventLoop
    kept: asyncio.Future[Inference]
    lost: Callable[[Exception], object]
    """Is told why it is not kept, where nobody waits any more."""

    @property
    def size_bytes(self) -> int:
        """What it holds in memory."""
        return len(self.heard.data) + int(self.heard.audio.samples.nbytes)

    def tell(self, outcome: Inference | Exception) -> None:
        """From any thread: what has become of it."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: Inference | Exception) -> None:
        if self.kept.done():  # who waited has gone
            if isinstance(outcome, Exception):
                self.lost(outcome)
        elif isinstance(outcome, Exception):
            self.kept.set_exception(outcome)
        else:
            self.kept.set_result(outcome)


class Recorder:
    """Logs transcripts, many in one transaction, in a thread of its own."""

    def __init__(self, log: InferenceLog, *, lost: Callable[[Exception], object]) -> None:
        """`lost` is called, on its event loop, for each that nobody waits for and that is not kept.

        Others are told by `keep` itself.
        """
        self._log = log
        self._lost = lost
        self._closing = threading.Event()
        self._held_bytes = 0
        self._counting = threading.Lock()
        self._gathering: Gathering[_Waiting] = Gathering(
            self._keep_all, name="recorder", most=_AT_ONCE
        )

    async def keep(self, version_id: str, heard: Heard) -> Inference:
        """Log a transcript of `version_id`; returns when it is kept, or raises why it is not.

        It is kept even if whoever waits for it goes away, and however long the database is busy or
        the bucket away;
        `StorageBusyError` where too much waits already.
        """
        loop = asyncio.get_running_loop()
        one = _Waiting(
            version_id=version_id,
            heard=heard,
            loop=loop,
            kept=loop.create_future(),
            lost=self._lost,
        )
        with self._counting:
            if self._held_bytes and self._held_bytes + one.size_bytes > _MOST_BYTES:
                raise StorageBusyError(f"{self._held_bytes / 1e6:,.0f} MB wait to be kept.")
            self._held_bytes += one.size_bytes
        self._gathering.add(one)
        return await one.kept

    def close(self) -> None:
        """Return when all that waits is kept, or cannot be."""
        self._closing.set()
        self._gathering.close()

    def _keep_all(self, some: Sequence[_Waiting]) -> None:
        by_version = defaultdict(list)
        for one in some:
            by_version[one.version_id].append(one)
        try:
            for version_id, same in by_version.items():
                self._keep(version_id, same)
        finally:
            with self._counting:
                self._held_bytes -= sum(one.size_bytes for one in some)

    def _keep(self, version_id: str, some: Sequence[_Waiting]) -> None:
        try:
            outcomes: Iterable[Inference | Exception] = self._record(version_id, some)
        except BadInputError as error:
            if len(some) > 1:
                # One of them cannot be kept; the others can.
                for one in some:
                    self._keep(version_id, [one])
                return
            outcomes = [error]
        except MisheardError as error:
            outcomes = [error] * len(some)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            _log.exception("%d transcripts could not be kept", len(some))
            outcomes = [error] * len(some)
        for one, outcome in zip(some, outcomes, strict=True):
            one.tell(outcome)

    def _record(self, version_id: str, some: Sequence[_Waiting]) -> list[Inference]:
        """Log them; while another has the database, or the bucket is away, again and again."""
        while True:
            is_last = self._closing.is_set()
            try:
                return self._log.record(version_id, [one.heard for one in some])
            except (StorageBusyError, BucketUnreachableError) as error:
                if is_last:
                    raise
                _log.warning("%d transcripts wait to be kept. %s", len(some), error)
                # A server that is away says so at once.
                self._closing.wait(_AGAIN_S)
