"""What a rented machine does with an attempt of a job, from its files to its manifest."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import IO, TypeVar

from misheard.blobs.transfers import put_all
from misheard.errors import (
    AttemptOverError,
    BucketUnavailableError,
    MisheardError,
    ObjectExistsError,
)
from misheard.finetune.backends.local import ENVIRONMENT, command
from misheard.finetune.ending import KILLED, error_in, progress_of
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Phase, begin, require_newest
from misheard.finetune.rented.bundle import fetch_bundle, is_released
from misheard.finetune.rented.layout import RentedAttempt
from misheard.finetune.rented.manifest import Made, Manifest, Outcome, read_manifest
from misheard.finetune.rented.saves import restore
from misheard.finetune.rented.saving import Saver
from misheard.finetune.rented.stopping import Stop, StoppedError
from misheard.finetune.rented.telling import Teller
from misheard.finetune.rented.tied import tied

GRACE_S = 25.0
"""What there is to save in, once the machine is to be taken away; Google gives it thirty."""
_LOOK_EVERY_S = 0.2
_MOST_PAUSE_S = 30.0
T = TypeVar("T")


class Exit(IntEnum):
    """What the program leaves with."""

    SUCCEEDED = 0
    FAILED = 1
    MISUSED = 2
    PREEMPTED = 3
    OVER = 4
    IN_VAIN = 5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a machine waits for what."""

    go_s: float
    """For the word that training may begin."""
    bucket_s: float
    """For a bucket that cannot be reached, while there is nothing else to do."""
    every_s: float
    """Between two times that it tells how it is."""


class Machine:
    """One attempt."""

    def __init__(self, attempt: RentedAttempt, paths: JobPaths, stop: Stop, limits: Limits) -> None:
        self._attempt = attempt
        self._job = attempt.job
        self._paths = paths
        self._stop = stop
        self._limits = limits
        self._teller = Teller(attempt, paths, stop, limits.every_s)
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> Exit:
        """Do all there is to do; whatever goes wrong is told in the manifest."""
        self._paths.log.unlink(missing_ok=True)
        with self._paths.attempt.open("a+", encoding="utf-8") as file:
            try:
                self._claim(file)
                ended = self._patiently(lambda: read_manifest(self._job))
                return _exit(ended) if ended else _exit(self._end(self._made()))
            except AttemptOverError as error:
                self._stop.say(Phase.OVER, error.detail)
                return self._leave()
            except StoppedError:
                return self._leave()
            except MisheardError as error:
                self._teller.say(str(error))
                return Exit.FAILED
            finally:
                self._teller.finish()

    def _claim(self, file: IO[str]) -> None:
        """Take the attempt, and this directory."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AttemptOverError(f"'{self._paths.root}' is that of another process.") from None
        file.seek(0)
        known = json.loads(file.read() or "{}")
        if known.get("attempt") != self._attempt.number:
            known = {"attempt": self._attempt.number, "token": secrets.token_hex(16)}
            file.truncate(0)
            file.write(json.dumps(known))
            file.flush()
            os.fsync(file.fileno())
        self._patiently(lambda: begin(self._attempt, known["token"]))
        self._patiently(lambda: self._teller.grows(self._attempt.log, self._paths.log))
        self._teller.start()

    def _made(self) -> Manifest:
        """Train, and say what came of it."""
        try:
            self._prepare()
            return self._trained()
        except (AttemptOverError, StoppedError):
            raise
        except MisheardError as error:
            return self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
            self._teller.say(traceback.format_exc())
            return self._failed(repr(error))

    def _prepare(self) -> None:
        """Until training may begin."""
        self._patiently(lambda: fetch_bundle(self._job, self._paths))
        self._teller.is_in(Phase.WAITING)
        ends = time.monotonic() + self._limits.go_s
        while not self._patiently(lambda: is_released(self._job)):
            if time.monotonic() > ends:
                reason = f"nobody said within {self._limits.go_s:.0f} s that training may begin"
                self._stop.say(Phase.IN_VAIN, reason)
            self._stop.pause(self._limits.every_s)

    def _trained(self) -> Manifest:
        """Train until there is a result or an error."""
        step = self._patiently(lambda: restore(self._job, self._paths, say=self._teller.say))
        self._teller.saved_step = step
        events = self._paths.events
        known_bytes = events.stat().st_size if events.exists() else 0
        self._patiently(
            lambda: self._teller.grows(self._attempt.events, events, begins_at=known_bytes)
        )
        self._teller.is_in(Phase.TRAINING)
        if step:
            self._teller.say(f"it goes on from step {step}")
        saver = Saver(self._attempt, self._paths, self._teller, self._stop, self._limits.every_s)
        saver.start()
        try:
            error = self._trained_again_and_again()
        finally:
            self._kill()
            saver.finish(last_round=self._stop.is_said_for(Phase.PREEMPTED))
        return self._failed(error) if error else self._succeeded()

    def _trained_again_and_again(self) -> str:
        """Why it has failed; "" when there is a result.

        Killed, it goes on from its own last checkpoint, for as long as it gets further.
        """
        reached = -1
        while True:
            self._train()
            if self._paths.result.exists():
                return ""
            error, progress = error_in(self._paths.log), progress_of(self._paths)
            if error or progress <= reached:
                return error or KILLED
            reached = progress
            self._teller.say("the training was killed; it is started again")

    def _train(self) -> None:
        """Run the training program as `LocalBackend` does, until it ends."""
        temporary = self._paths.temporary
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        with self._paths.log.open("ab") as log:
            self._child = subprocess.Popen(
                tied(command(self._paths)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=ENVIRONMENT | os.environ | {"TMPDIR": str(temporary)},
            )
        while self._child.poll() is None:
            self._stop.pause(_LOOK_EVERY_S)

    def _kill(self) -> None:
        """Nothing is asked of a training: it has its checkpoints."""
        child = self._child
        if child is not None and child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _succeeded(self) -> Manifest:
        """Send the model and its result."""
        self._teller.is_in(Phase.SENDING)
        root = self._paths.root
        files = [self._paths.result]
        files += [path for path in sorted(self._paths.model.rglob("*")) if path.is_file()]
        keys = self._patiently(lambda: put_all(self._job.outputs, files), to_the_end=True)
        made = {
            path.relative_to(root).as_posix(): Made(sha256=key, size_bytes=path.stat().st_size)
            for path, key in zip(files, keys, strict=True)
        }
        return Manifest(attempt=self._attempt.number, outcome=Outcome.SUCCEEDED, files=made)

    def _failed(self, reason: str) -> Manifest:
        self._teller.say(f"it has failed: {reason}")
        return Manifest(attempt=self._attempt.number, outcome=Outcome.FAILED, reason=reason)

    def _end(self, manifest: Manifest) -> Manifest:
        """Put the manifest into the bucket, after everything else."""
        self._teller.finish()
        self._patiently(lambda: self._teller.tell(at_once=True), to_the_end=True)
        try:
            self._patiently(lambda: self._put(manifest), to_the_end=True)
        except ObjectExistsError:
            there = read_manifest(self._job)
            if there != manifest:
                raise AttemptOverError(f"'{self._job.job_id}' has ended already.") from None
        return manifest

    def _put(self, manifest: Manifest) -> None:
        require_newest(self._attempt)
        self._job.bucket.put(self._job.manifest, manifest.to_json(), create_only=True)

    def _leave(self) -> Exit:
        """Say why, where somebody may still want to know."""
        self._teller.finish()
        self._teller.say(f"it stops: {self._stop.reason}")
        self._teller.is_in(self._stop.phase)
        try:
            self._teller.tell(at_once=True)
        except MisheardError as error:
            self._teller.say(str(error))
        return left(self._stop)

    def _patiently(self, action: Callable[[], T], *, to_the_end: bool = False) -> T:
        """What `action` returns, once the bucket can be reached.

        With `to_the_end` also while the machine is being taken away: so little is left to do.
        """
        ends, pause_s = time.monotonic() + self._limits.bucket_s, self._limits.every_s
        while True:
            if not (to_the_end and self._stop.is_said_for(Phase.PREEMPTED)):
                self._stop.check()
            try:
                return action()
            except BucketUnavailableError as error:
                if time.monotonic() > ends:
                    raise
                self._teller.say(str(error))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)


def left(stop: Stop) -> Exit:
    """What to leave with, once it was said to stop."""
    known = {Phase.PREEMPTED: Exit.PREEMPTED, Phase.IN_VAIN: Exit.IN_VAIN}
    return known.get(stop.phase, Exit.OVER)


def _exit(manifest: Manifest) -> Exit:
    return Exit.SUCCEEDED if manifest.outcome is Outcome.SUCCEEDED else Exit.FAILED
