"""Should the live version be rolled back? Pure: counts in, a decision with its reason out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from misheard.errors import BadInputError

_Z = 1.959963984540054
"""97.5 % of the standard normal distribution lie below it."""


@dataclass(frozen=True, kw_only=True)
class RollbackDecision:
    """Whether to roll back, and why."""

    should_roll_back: bool
    reason: str
    error_rate: float
    """Errors over inferences; NaN where there were none."""
    lower: float
    """Lower end of the rate's 95 % interval; NaN where there were no inferences."""


def should_roll_back(errors: int, inferences: int, threshold: float) -> RollbackDecision:
    """Roll back when the error rate is surely at least `threshold`, a share from 0 to 1.

    Sure means that the lower end of Wilson's 95 % interval reaches it, so a few bad transcripts
    right after a deployment do not. Without an error nothing is rolled back, whatever the
    threshold.
    """
    if not 0 <= errors <= inferences:
        raise BadInputError(f"{errors} errors in {inferences} inferences cannot be.")
    if not 0.0 <= threshold <= 1.0:
        raise BadInputError(f"A threshold lies between 0 and 1, got {threshold}.")
    if not inferences:
        return RollbackDecision(
            should_roll_back=False,
            reason="no inferences since the deployment",
            error_rate=math.nan,
            lower=math.nan,
        )
    lower = wilson_lower(errors, inferences)
    reached = errors > 0 and lower >= threshold
    return RollbackDecision(
        should_roll_back=reached,
        reason=(
            f"{errors} errors in {inferences} inferences since the deployment: the error rate is "
            f"at least {lower:.1%} (95 %), which {'reaches' if reached else 'does not reach'} "
            f"{threshold:.1%}"
        ),
        error_rate=errors / inferences,
        lower=lower,
    )


def wilson_lower(successes: int, trials: int) -> float:
    """Lower end of the 95 % score interval of a share; `trials` must be above 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22 (1927), 209-212.

    >>> round(wilson_lower(5, 10), 4)
    0.2366
    """
    if not successes:
        return 0.0
    share, square = successes / trials, _Z**2
    centre = share + square / (2 * trials)
    margin = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return (centre - margin) / (1 + square / trials)
