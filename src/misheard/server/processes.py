"""Several server processes that listen at one address: started, replaced, stopped together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from misheard.errors import MisheardError
from misheard.server.running import Ready, ServerPlan, serve

_log = logging.getLogger("misheard.server")
_SPAWN = multiprocessing.get_context("spawn")
_LOOK_S = 0.5
_FIRST_PATIENCE_S, _MOST_PATIENCE_S = 1.0, 30.0
"""Before another takes the place of one that has ended: longer each time that none got ready."""


def serve_in_several(plan: ServerPlan, listening: socket.socket, *, ready: Ready) -> None:
    """Serve in `plan.processes` processes until told to stop; one that dies is replaced.

    Raises what keeps the first from starting.
    """
    with _until_told() as stop:
        started = [_Worker(plan, listening)]
        try:
            version_id = started[0].wait_until_ready()
            started += [_Worker(plan, listening) for _ in range(1, plan.processes)]
            ready(version_id)
            while not stop.wait(_LOOK_S):
                for number, one in enumerate(started):
                    if one.is_to_be_replaced():
                        patience_s = min(2 * one.patience_s, _MOST_PATIENCE_S)
                        started[number] = _Worker(plan, listening, patience_s=patience_s)
        finally:
            for one in started:
                one.process.terminate()
            for one in started:
                one.process.join()


class _Worker:
    """One of the processes; it stops when this one is gone."""

    def __init__(
        self,
        plan: ServerPlan,
        listening: socket.socket,
        *,
        patience_s: float = _FIRST_PATIENCE_S,
    ) -> None:
        """`patience_s` holds where it ends before it was ready."""
        self._ours, theirs = _SPAWN.Pipe()
        self._patience_s = patience_s
        self._is_ready = False
        self._ended_at: float | None = None
        self.process: SpawnProcess = _SPAWN.Process(target=_work, args=(plan, listening, theirs))
        self.process.start()
        theirs.close()

    def wait_until_ready(self) -> str:
        """What is live; raises what keeps it from starting."""
        wait([self._ours, self.process.sentinel])
        told = self._told()
        if told is None:
            self.process.join()
            code = self.process.exitcode
            raise MisheardError(f"The server process has ended ({code}); see above.")
        if isinstance(told, MisheardError):
            raise told
        return told

    @property
    def patience_s(self) -> float:
        """Its place is left empty so long."""
        return _FIRST_PATIENCE_S if self._is_ready else self._patience_s

    def is_to_be_replaced(self) -> bool:
        """Whether it has ended, and for long enough; the log is told why, once."""
        if self.process.exitcode is None:
            return False
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            reasons = [f" {told}" for told in iter(self._told, None) if not isinstance(told, str)]
            _log.error(
                "A server process has ended (%s).%s Another takes its place in %g s.",
                self.process.exitcode,
                "".join(reasons),
                self.patience_s,
            )
        return time.monotonic() - self._ended_at >= self.patience_s

    def _told(self) -> str | MisheardError | None:
        """What it says next: what is live once it answers, or why it ends; None after its end."""
        try:
            told = self._ours.recv()
        except (EOFError, OSError):  # the latter where it was killed within a word
            return None
        if isinstance(told, str):
            self._is_ready = True
            return told
        kind, detail = told
        made: MisheardError = kind(detail)
        return made


def _work(plan: ServerPlan, listening: socket.socket, theirs: Connection) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=_stop_when_left, args=(theirs,), daemon=True).start()
    try:
        serve(plan, listening, ready=theirs.send)
    except MisheardError as error:
        theirs.send((type(error), error.detail))
        sys.exit(error.exit_code)


def _stop_when_left(theirs: Connection) -> None:
    try:
        theirs.recv()
    except (EOFError, OSError):  # the latter where what was sent is not read yet
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second one ends this process at once."""
    stop = threading.Event()
    before: dict[int, object] = {}

    def told(_number: int, _: FrameType | None) -> None:
        stop.set()
        for one, handler in before.items():
            signal.signal(one, handler)  # type: ignore[arg-type]

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.signal(one, told)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
