"""How many requests come with a token: a bucket that fills at its rate and holds some seconds."""

from __future__ import annotations

BURST_S = 10.0
"""Who was silent so long may ask at once for what would have come in that time."""
_MANY = 1_000


class Rates:
    """One bucket a token, in the memory of one process; not for several threads at once.

    Kept is only when a bucket will be full again (the generic cell rate algorithm, ITU-T I.371):
    a full one need not be remembered.
    """

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, token_id: str, *, per_minute: int, at: float) -> float:
        """Count a request at `at` (seconds of any clock that never goes back).

        0 where it may go on, else the seconds after which it may; then it is not counted. No limit
        where `per_minute` is 0.
        """
        if not per_minute:
            return 0.0
        if len(self._full_at) > _MANY:
            self._full_at = {one: full for one, full in self._full_at.items() if full > at}
        each_s = 60.0 / per_minute
        full_at = max(self._full_at.get(token_id, at), at)
        # At least one request, however slow the rate is.
        wait_s = full_at + each_s - at - max(BURST_S, each_s)
        if wait_s > 0.0:
            return wait_s
        self._full_at[token_id] = full_at + each_s
        return 0.0
