"""Several server processes that listen at one address: started, replaced, stopped together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
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
_PATIENCE_S = 1.0
"""One that ends sooner than that after its start is started again more slowly."""


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
                    if one.process.exitcode is not None:
                        _log.error("A server process has ended (%s); another takes its place.",
                                   one.process.exitcode)  # fmt: skip
                        time.sleep(max(0.0, _PATIENCE_S - one.age_s))
                        started[number] = _Worker(plan, listening)
        finally:
            for one in started:
                one.process.terminate()
            for one in started:
                one.process.join()


class _Worker:
    """One of the processes; it stops when this one is gone."""

    def __init__(self, plan: ServerPlan, listening: socket.socket) -> None:
        self._ours, theirs = _SPAWN.Pipe()
        self._started = time.monotonic()
        self.process: SpawnProcess = _SPAWN.Process(target=_work, args=(plan, listening, theirs))
        self.process.start()
        theirs.close()

    @property
    def age_s(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started

    def wait_until_ready(self) -> str:
        """What is live; raises what keeps it from starting."""
        wait([self._ours, self.process.sentinel])
        try:
            told = self._ours.recv()
        except EOFError as error:
            code = self.process.exitcode
            raise MisheardError(f"The server process has ended ({code}); see above.") from error
        if isinstance(told, str):
            return told
        kind, detail = told
        raise kind(detail)


def _work(plan: ServerPlan, listening: socket.socket, theirs: Connection) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=_stop_when_left, args=(theirs,), daemon=True).start()
    try:
        serve(plan, listening, ready=theirs.send)
    except MisheardError as error:
        theirs.send((type(error), error.detail))


def _stop_when_left(theirs: Connection) -> None:
    try:
        theirs.recv()
    except EOFError:
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
