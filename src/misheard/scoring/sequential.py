"""How large a share surely is, however often one looks: tests that may be made after each draw.

An interval that holds in 95 % of cases does so for one look. Whoever looks after every transcript,
and stops at the first alarm, is wrong far more often. What is here holds for all looks together.
"""

from __future__ import annotations

import math

from misheard.errors import BadInputError

ALPHA = 0.025
"""The chance that a bound is ever above the truth, over all looks."""
_HALVINGS = 60


def log_evidence(successes: float, trials: int, share: float) -> float:
    """How strongly the draws speak for more than `share`, as the logarithm of a bet's wealth.

    The bet begins with 1 and is fair or worse wherever the true share is `share` or less, so by
    Ville's inequality its wealth reaches 1 / a there at any time with a chance of at most a. It is
    spread evenly over all shares above `share` (H. Robbins, "Statistical methods related to the law
    of the iterated logarithm", Annals of Mathematical Statistics 41, 1970; S. R. Howard et al.,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49,
    2021). Of the binomial tail in its closed form a half is counted, which it is at least where
    successes ≥ (trials + 1) · share (R. Kaas and J. M. Buhrman, "Mean, median and mode in binomial
    distributions", Statistica Neerlandica 34, 1980); where there are fewer, nothing is claimed: the
    result is minus infinity.

    Draws are taken to be independent. One may also be a share from 0 to 1, of which the mean is
    asked for, and `successes` their sum: since a^x · b^(1-x) ≤ x · a + (1-x) · b the bet wins no
    more by it. (The half holds as well: the median of a beta distribution lies between its mode and
    its mean; R. A. Groeneveld and G. Meeden, "The mode, median, and mean inequality", American
    Statistician 31, 1977.) Raises `BadInputError` for counts or shares that cannot be.
    """
    if not 0 <= successes <= trials:
        raise BadInputError(f"{successes} of {trials} cannot be.")
    if not 0.0 <= share <= 1.0:
        raise BadInputError(f"A share lies between 0 and 1, got {share}.")
    if not successes or successes < (trials + 1) * share:
        return -math.inf
    if not share:
        return math.inf
    failures = trials - successes
    mixed = math.lgamma(successes + 1) + math.lgamma(failures + 1) - math.lgamma(trials + 2)
    fixed = successes * math.log(share) + failures * math.log1p(-share)
    return mixed - fixed - math.log(2) - math.log1p(-share)


def is_surely_above(successes: float, trials: int, share: float, *, alpha: float = ALPHA) -> bool:
    """Whether the true share is above `share`; ever wrong, over all looks, with chance `alpha`.

    >>> is_surely_above(8, 8, 0.5), is_surely_above(9, 9, 0.5)
    (False, True)
    """
    return log_evidence(successes, trials, share) >= -math.log(alpha)


def lower_bound(successes: float, trials: int, *, alpha: float = ALPHA) -> float:
    """The largest share of which `is_surely_above` says so; 0 without a success.

    >>> round(lower_bound(9, 9), 3), lower_bound(0, 9)
    (0.516, 0.0)
    """
    low, high = 0.0, successes / trials if trials else 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if is_surely_above(successes, trials, middle, alpha=alpha):
            low = middle
        else:
            high = middle
    return low
