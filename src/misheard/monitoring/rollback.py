"""Should the live version be rolled back? Pure: counts in, a decision with its reason out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from misheard.scoring.sequential import is_surely_above, lower_bound


@dataclass(frozen=True, kw_only=True)
class RollbackDecision:
    """Whether to roll back, and why."""

    should_roll_back: bool
    reason: str
    error_rate: float
    """The mean of the sessions' own; NaN where there were none."""
    lower: float
    """What the rate surely is, over all looks; NaN where there were no sessions."""


def should_roll_back(wrong: float, sessions: int, threshold: float) -> RollbackDecision:
    """Roll back when the error rate is surely above `threshold`, a share from 0 to 1.

    Transcripts of one session are no independent witnesses, so each session counts once, by the
    share of its transcripts that is wrong; `wrong` is the sum of those. A version that is no worse
    than the threshold is ever rolled back with a chance of 2.5 % at most, however often and for
    however long one looks: see `scoring.sequential`. So a few bad sessions right after a deployment
    do not. Without an error nothing is rolled back, whatever the threshold. Raises `BadInputError`
    for counts or thresholds that cannot be.
    """
    reached = is_surely_above(wrong, sessions, threshold)
    if not sessions:
        return RollbackDecision(
            should_roll_back=False,
            reason="no sessions since the deployment",
            error_rate=math.nan,
            lower=math.nan,
        )
    lower = lower_bound(wrong, sessions)
    return RollbackDecision(
        should_roll_back=reached,
        reason=(
            f"an error rate of {wrong / sessions:.1%} in {sessions:,} sessions since the "
            f"deployment, surely at least {lower:.1%}, {'more' if reached else 'not more'} than "
            f"{threshold:.1%}"
        ),
        error_rate=wrong / sessions,
        lower=lower,
    )
