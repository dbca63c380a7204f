"""A thread that sends each new state of a training to the bucket, while the training goes on."""

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


class Saver(threading.Thread):
    """Sends the newest state there is, and then the next."""

    def __init__(
        self, attempt: RentedAttempt, paths: JobPaths, teller: Teller, stop: Stop, every_s: float
    ) -> None:
        super().__init__(name="saving", daemon=True)
        self._attempt = attempt
        self._paths = paths
        self._teller = teller
        self._stop = stop
        self._every_s = every_s
        self._finishing = threading.Event()
        self._has_last_round = False

    def run(self) -> None:
        """Until `finish`."""
        while True:
            is_last = self._finishing.is_set()
            if is_last and not self._has_last_round:
                return
            pause_s = min(_LOOK_EVERY_S, self._every_s) if self._round() else self._every_s
            if is_last:
                return
            self._finishing.wait(pause_s)

    def finish(self, *, last_round: bool) -> None:
        """End when what is being sent is there; with `last_round` what is newer by then, too."""
        self._has_last_round = last_round
        self._finishing.set()
        self.join()

    def _round(self) -> bool:
        """Whether nothing went wrong."""
        try:
            taken = take(self._paths, after=self._teller.saved_step)
            if taken is not None:
                send(self._attempt, taken)
                self._teller.saved_step = taken.step
        except AttemptOverError as error:
            self._stop.say(Phase.OVER, error.detail)
        except (MisheardError, OSError) as error:
            self._teller.say(f"nothing can be saved: {error}")
            return False
        finally:
            shutil.rmtree(self._paths.saving, ignore_errors=True)
        return True
