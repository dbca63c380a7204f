"""How long something that passes by itself is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Pauses that double, with jitter, until a deadline."""

    first_s: float = 1.0
    most_s: float = 32.0
    deadline_s: float = 120.0
    """From the first attempt; nothing is tried after it."""
    answer_s: float = 60.0
    """How long a server may say nothing."""

    def attempts(self) -> Iterator[int]:
        """0, then 1 after a pause, and so on; ends when the deadline would be passed.

        Between half a pause and a whole one, so that many clients do not come back together.
        """
        ends, pause_s, attempt = time.monotonic() + self.deadline_s, self.first_s, 0
        while True:
            yield attempt
            attempt += 1
            waited_s = pause_s * random.uniform(0.5, 1.0)
            if time.monotonic() + waited_s > ends:
                return
            time.sleep(waited_s)
            pause_s = min(2 * pause_s, self.most_s)


PATIENT = Patience()
FIRST_LOOK = Patience(deadline_s=10.0, answer_s=10.0)
"""Whether a bucket is there at all: somebody waits to be told."""
