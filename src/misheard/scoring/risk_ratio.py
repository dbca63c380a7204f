"""Does something go wrong more often with one of two, however often one looks? Sequential, exact.

Traffic is dealt out at random: each session falls to the candidate with a known chance, its share,
and else to the live version. Of those that went wrong, then, a candidate that is no worse has just
that share, whatever the hour, whoever calls, and however the rate of what goes wrong moves: all of
that befalls both alike. With a candidate that goes wrong θ times as often it is

    q(θ) = share · θ / (share · θ + 1 - share).

So what is looked at is one stream of zeros and ones with a known chance of a one, which is how
vaccines are watched (M. Kulldorff et al., "A maximized sequential probability ratio test for drug
and vaccine safety surveillance", Sequential Analysis 30, 2011). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from misheard.errors import BadInputError

MULTIPLES = tuple(1.2 * (200 / 1.2) ** (step / 23) for step in range(24))
"""What is bet on: so many times the ratio that is tested, from 1.2 to 200, evenly in logarithm."""
_LARGEST = 1e6
_HALVINGS = 60


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What went wrong while the candidate had one share of the sessions."""

    share: float
    """The candidate's, above 0 and below 1."""
    candidate: int
    """Sessions of the candidate that went wrong."""
    live: int
    """Sessions of the live version that did."""

    def __post_init__(self) -> None:
        """Raises `BadInputError` for what cannot be."""
        if not 0.0 < self.share < 1.0:
            raise BadInputError(f"A share lies between 0 and 1, got {self.share}.")
        if self.candidate < 0 or self.live < 0:
            raise BadInputError(f"{self.candidate} and {self.live} sessions cannot be.")


def log_evidence(wrong: Iterable[Wrong], ratio: float) -> float:
    """How strongly it speaks for more than `ratio`, as the logarithm of a bet's wealth.

    The bet begins with 1, spread evenly over the multiples of `ratio` in `MULTIPLES`; each part
    multiplies by q(θ) / q(ratio) for a session of the candidate, and by (1 - q(θ)) / (1 - q(ratio))
    for one of the live version. That is fair where the true ratio is `ratio` and a loss where it is
    smaller, even if it is another one for each session; so by Ville's inequality ("Étude critique
    de la notion de collectif", 1939) the wealth ever reaches 1 / a there with a chance of at most
    a: at any look, for ever. Shares may change from look to look, as long as they are not chosen by
    sessions whose outcome is still open.

    It falls as `ratio` rises. Raises `BadInputError` for a ratio that is not above 0.

    >>> three = [Wrong(share=0.05, candidate=3, live=0)]
    >>> round(log_evidence(three, 1.5), 1), log_evidence([], 1.5)
    (6.6, 0.0)
    """
    if not 0.0 < ratio < math.inf:
        raise BadInputError(f"A ratio is above 0, got {ratio}.")
    given = [one for one in wrong if one.candidate or one.live]
    bets = [sum(_log_bet(one, ratio, times) for one in given) for times in MULTIPLES]
    most = max(bets)
    return most + math.log(math.fsum(math.exp(bet - most) for bet in bets) / len(bets))


def _log_bet(one: Wrong, ratio: float, times: float) -> float:
    # The growth of share · θ + 1 - share; small shares of small growths keep their digits.
    growth = math.log1p(one.share * ratio * (times - 1) / (1 + one.share * (ratio - 1)))
    return one.candidate * math.log(times) - (one.candidate + one.live) * growth


def is_surely_above(wrong: Iterable[Wrong], ratio: float, *, alpha: float) -> bool:
    """Whether the true ratio is above `ratio`; ever wrong, over all looks, with chance `alpha`.

    >>> four = [Wrong(share=0.05, candidate=4, live=3)]
    >>> is_surely_above(four, 1.5, alpha=0.05), is_surely_above(four, 1.5, alpha=0.001)
    (True, False)
    """
    return log_evidence(wrong, ratio) >= -math.log(alpha)


def lower_bound(wrong: Sequence[Wrong], *, alpha: float) -> float:
    """The largest ratio of which `is_surely_above` says so, up to a million; 0 where there is none.

    Always below the true one, over all looks, but for a chance of `alpha`.

    >>> round(lower_bound([Wrong(share=0.05, candidate=4, live=3)], alpha=0.05), 1)
    2.7
    """
    if not any(one.candidate for one in wrong):
        return 0.0
    low, high = -math.log(_LARGEST), math.log(_LARGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if is_surely_above(wrong, math.exp(middle), alpha=alpha):
            low = middle
        else:
            high = middle
    return math.exp(low) if low > -math.log(_LARGEST) else 0.0


def estimate(wrong: Sequence[Wrong]) -> float:
    """The ratio under which what went wrong is most likely; NaN without any, infinity without the
    live version's.

    >>> estimate([Wrong(share=0.2, candidate=10, live=10)])
    4.0
    """
    candidate, live = sum(one.candidate for one in wrong), sum(one.live for one in wrong)
    if not candidate:
        return 0.0 if live else math.nan
    if not live:
        return math.inf
    low, high = -math.log(_LARGEST), math.log(_LARGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # The likelihood rises while fewer of the candidate's are expected than there are.
        if math.fsum(_expected(one, math.exp(middle)) for one in wrong) < candidate:
            low = middle
        else:
            high = middle
    return float(f"{math.exp(low):.9g}")


def _expected(one: Wrong, ratio: float) -> float:
    odds = one.share * ratio
    return (one.candidate + one.live) * odds / (odds + 1 - one.share)
