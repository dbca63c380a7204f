"""A machine tells how it is: its log, the training's events and a heartbeat, every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from misheard.blobs.bucket import Bucket
from misheard.errors import AttemptOverError, BlobNotFoundError, MisheardError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Heartbeat, Phase, require_newest
from misheard.finetune.rented.layout import RentedAttempt
from misheard.finetune.rented.stopping import Stop

_SHARE = 10
"""Of its time, one part in so many goes into sending what has grown large."""


class Grown:
    """An object that holds what a file has gained since a moment, and what it held before that.

    Objects cannot be appended to; it is written anew, whole lines only.
    """

    def __init__(self, bucket: Bucket, name: str, path: Path, begins_at: int) -> None:
        self._bucket = bucket
        self._name = name
        self._path = path
        self._begins_at = begins_at
        try:
            # The machine was started anew, and goes on with the same attempt.
            self._before = bucket.get(name)
        except BlobNotFoundError:
            self._before = b""
        self._sent_bytes = 0
        self._rests_until_s = 0.0

    def send(self, *, at_once: bool = False) -> None:
        """Write what has come since; `at_once` also where it was written a moment ago."""
        begun_s = time.monotonic()
        if not self._path.exists() or (begun_s < self._rests_until_s and not at_once):
            return
        with self._path.open("rb") as file:
            file.seek(self._begins_at)
            new, end, _ = file.read().rpartition(b"\n")
        if len(new) == self._sent_bytes:
            return
        self._bucket.put(self._name, self._before + new + end)
        self._sent_bytes = len(new)
        ended_s = time.monotonic()
        self._rests_until_s = ended_s + _SHARE * (ended_s - begun_s)


class Teller:
    """Tells, and looks whether a newer attempt has begun."""

    def __init__(self, attempt: RentedAttempt, paths: JobPaths, stop: Stop, every_s: float) -> None:
        self._thread = threading.Thread(target=self._run, name="telling", daemon=True)
        self._attempt = attempt
        self._paths = paths
        self._stop = stop
        self._every_s = every_s
        self._grown: list[Grown] = []
        self._telling = threading.Lock()
        self._wake = threading.Event()
        self._is_finished = False
        self._phase = Phase.FETCHING
        self.saved_step = 0
        """From where the next attempt would go on."""

    def start(self) -> None:
        """Tell from now on, until `finish`."""
        self._thread.start()

    def _run(self) -> None:
        while not self._is_finished:
            try:
                self.tell()
            except AttemptOverError as error:
                self._stop.say(Phase.OVER, error.detail)
            except (MisheardError, OSError) as error:
                # The training needs no bucket: it goes on, and this is told another time.
                self.say(f"nothing can be told: {error}")
            self._wake.wait(self._every_s)
            self._wake.clear()

    def say(self, text: str) -> None:
        """A line of the machine's own, in the log of the training and on standard error."""
        line = f"misheard, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {text.rstrip()}\n"
        with self._paths.log.open("a", encoding="utf-8") as file:
            file.write(line)
        sys.stderr.write(line)

    def grows(self, name: str, path: Path, *, begins_at: int = 0) -> None:
        """From now on, what `path` holds beyond so many bytes is told in the object `name`."""
        self._grown.append(Grown(self._attempt.job.bucket, name, path, begins_at))

    def is_in(self, phase: Phase) -> None:
        """What the machine is doing from now on."""
        self._phase = phase
        self._wake.set()

    def tell(self, *, at_once: bool = False) -> None:
        """All that is new; raises what the bucket raises, `AttemptOverError` among it."""
        with self._telling:
            for one in list(self._grown):
                one.send(at_once=at_once)
            beat = Heartbeat(
                attempt=self._attempt.number,
                host=gethostname(),
                at=datetime.now(UTC),
                phase=self._phase,
                saved_step=self.saved_step,
                reason=self._stop.reason,
            )
            self._attempt.job.bucket.put(self._attempt.heartbeat, beat.to_json())
        require_newest(self._attempt)

    def finish(self) -> None:
        """Tell nothing more; whatever is being told is told when this returns."""
        self._is_finished = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
