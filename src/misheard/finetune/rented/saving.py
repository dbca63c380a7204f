"""Sends each new state of a training to the bucket, in a thread, while the training goes on."""

from __future__ import annotations

import shutil
import threading

from misheard.errors import AttemptOverError, MisheardError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import Phase
from misheard.finetune.rented.layout import RentedAttempt
from misheard.finetune.rented.saves import send, take
from misheard.finetune.rented.stopping import Stop
from misheard.finetune.rented.telling import Teller

_LOOK_EVERY_S = 1.0
"""Between two looks the figures of the next epoch must not come to be."""


class _NeedlessError(Exception):
    """There will be nothing to go on from: the job has ended."""


class Saver:
    """Sends the newest state there is, and then the next."""

    def __init__(
        self, attempt: RentedAttempt, paths: JobPaths, teller: Teller, stop: Stop, every_s: float
    ) -> None:
        self._thread = threading.Thread(target=self._run, name="saving", daemon=True)
        self._attempt = attempt
        self._paths = paths
        self._teller = teller
        self._stop = stop
        self._every_s = every_s
        self._finishing = threading.Event()
        self._has_last_round = False

    def start(self) -> None:
        """Save from now on, until `finish`."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            is_last = self._finishing.is_set()
            if is_last and not self._has_last_round:
                return
            pause_s = min(_LOOK_EVERY_S, self._every_s) if self._round() else self._every_s
            if is_last:
                return
            self._finishing.wait(pause_s)

    def finish(self, *, last_round: bool) -> None:
        """End; with `last_round` only when the newest state is there."""
        self._has_last_round = last_round
        self._finishing.set()
        self._thread.join()

    def _go_on(self, _: int) -> None:
        if self._finishing.is_set() and not self._has_last_round:
            raise _NeedlessError

    def _round(self) -> bool:
        """Whether nothing went wrong."""
        try:
            taken = take(self._paths, after=self._teller.saved_step)
            if taken is not None:
                send(self._attempt, taken, self._go_on)
                self._teller.saved_step = taken.step
        except _NeedlessError:
            return True
        except AttemptOverError as error:
            self._stop.say(Phase.OVER, error.detail)
        except (MisheardError, OSError) as error:
            self._teller.say(f"nothing can be saved: {error}")
            return False
        finally:
            shutil.rmtree(self._paths.saving, ignore_errors=True)
        return True
