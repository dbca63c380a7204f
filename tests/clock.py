"""The clock of this machine, which goes on while a test runs."""

from __future__ import annotations

import time
from datetime import timedelta

from misheard.database.engine import now
from misheard.monitoring.trends import Period


def wait_for_room(period: Period, seconds: float = 60.0) -> None:
    """Begin no test so late in an hour, a day or a week that it may end in the next."""
    while period.start_of(now()) != period.start_of(now() + timedelta(seconds=seconds)):
        time.sleep(0.5)
