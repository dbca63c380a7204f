"""The clock of this machine, which goes on while a test runs, and the one of its processor."""

from __future__ import annotations

import resource
import time
from datetime import timedelta

from misheard.database.engine import now
from misheard.monitoring.trends import Period


def wait_for_room(period: Period, seconds: float = 60.0) -> None:
    """Begin no test so late in an hour, a day or a week that it may end in the next."""
    while period.start_of(now()) != period.start_of(now() + timedelta(seconds=seconds)):
        time.sleep(0.5)


def processor_s() -> float:
    """What the processes that this one began, and that have ended, have taken of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
