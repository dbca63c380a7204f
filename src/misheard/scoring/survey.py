"""Rates of a whole that are estimated from a random part of it, with how far off they may be.

Utterances are drawn, each with a known chance; an utterance weighs one over that chance, since it
stands for so many others (Horvitz and Thompson, "A generalization of sampling without replacement
from a finite universe", JASA 1952). A rate is a ratio of two weighted sums (Hájek, in the comment
on Basu, 1971), and its variance is that of its linear part, taken over groups that move together
(Cochran, "Sampling Techniques", 3rd edition, 1977, sections 9A and 11; Wolter, "Introduction to
Variance Estimation", 2nd edition, 2007, chapter 6). What is drawn is taken for a small part of the
whole: a full count has the interval that the next such traffic would fall into.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A rate, and the interval that holds it 95 times in a hundred."""

    n: int
    """Utterances that it rests on."""
    groups: int
    """Speakers, calls or sessions that they come from: what is independent."""
    estimate: float
    """NaN where it rests on nothing."""
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class GroupSums:
    """Σ y, Σ x, Σ y², Σ xy, Σ x² over groups, y and x being a group's own weighted sums.

    All that a ratio Σ y / Σ x and its variance need, so that a database can do the summing.
    """

    groups: int
    y: float
    x: float
    yy: float
    xy: float
    xx: float

    @classmethod
    def of(cls, y: Sequence[float], x: Sequence[float]) -> GroupSums:
        """From the sums of each group; both of shape (groups,)."""
        pairs = list(zip(y, x, strict=True))
        return cls(
            groups=len(pairs),
            y=math.fsum(y),
            x=math.fsum(x),
            yy=math.fsum(a * a for a, _ in pairs),
            xy=math.fsum(a * b for a, b in pairs),
            xx=math.fsum(b * b for _, b in pairs),
        )

    @property
    def ratio(self) -> float:
        """NaN where the lower sum is nothing."""
        return self.y / self.x if self.x else math.nan

    @property
    def variance(self) -> float:
        """Of the ratio R: g / (g - 1) Σ (y - R x)² / (Σ x)², g groups; NaN of fewer than two."""
        if self.groups < 2 or not self.x:
            return math.nan
        rest = self.yy - 2 * self.ratio * self.xy + self.ratio**2 * self.xx
        return self.groups / (self.groups - 1) * max(0.0, rest) / self.x**2


def share(sums: GroupSums, *, n: int, weight_squared: float) -> Estimate:
    """The share of utterances that have something: y their weight, x the weight of all.

    `n` utterances, `weight_squared` the sum of their squared weights. The interval is Wilson's with
    the effective sample size p (1 - p) / variance, made smaller for few groups, and never larger
    than n (Korn and Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", Survey Methodology 24, 1998; with Wilson's in place
    of the exact interval: Dean and Pagano, "Evaluating confidence interval methods for binomial
    proportions in clustered surveys", J. Survey Statistics and Methodology 3, 2015). Where all are
    alike, groups are all that is counted, since nothing tells how alike their utterances are.

    >>> alone = GroupSums.of([1] * 10 + [0] * 90, [1] * 100)
    >>> found = share(alone, n=100, weight_squared=100)
    >>> round(found.estimate, 2), round(found.low, 3), round(found.high, 3)
    (0.1, 0.055, 0.176)
    """
    rate, low, high = sums.ratio, 0.0, 1.0
    if sums.groups >= 2:
        independent = sums.x**2 / weight_squared
        if 0 < rate < 1 and sums.variance > 0:
            size = rate * (1 - rate) / sums.variance
            size = min(n, size * (quantile() / quantile(sums.groups - 1)) ** 2)
        else:
            size = min(independent, sums.groups)
        low, high = wilson(rate, size)
    return Estimate(n=n, groups=sums.groups, estimate=rate, low=low, high=high)


def rate(sums: GroupSums, *, n: int, highest_share: float) -> Estimate:
    """A ratio that may be above 1, such as the WER: y word errors, x reference words, weighted.

    The interval is symmetric in the logarithm, with Student's t of the groups: a ratio of counts is
    skewed, and none is below 0. Where nothing was wrong there is no variance to go by, and its
    upper end is `highest_share`, that of the share of wrong utterances: as if every word of
    those were wrong.

    >>> found = rate(GroupSums.of([1, 0, 3, 1], [10, 12, 9, 11]), n=4, highest_share=1)
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
    (0.119, 0.023, 0.611)
    """
    wer, low, high = sums.ratio, 0.0, math.inf
    if sums.groups >= 2 and wer > 0:
        spread = quantile(sums.groups - 1) * math.sqrt(sums.variance) / wer
        # Beyond that any rate is in it; e to the 50 is far from where a float ends.
        low, high = wer * math.exp(-min(spread, 50.0)), wer * math.exp(min(spread, 50.0))
    elif sums.groups >= 2 and wer == 0:
        high = highest_share
    return Estimate(n=n, groups=sums.groups, estimate=wer, low=low, high=high)


def wilson(share: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share of `n`, which need not be whole.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    >>> low, high = wilson(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    """
    z = _NORMAL.inv_cdf(0.5 + confidence / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile(degrees: float = math.inf, *, confidence: float = 0.95) -> float:
    """How many standard errors each way: of Student's t, or of the normal.

    By the expansion of Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.5:
    0.01 % too small with 5 degrees of freedom, 0.8 % with 2, 11 % with 1.

    >>> round(quantile(), 3), round(quantile(10), 3)
    (1.96, 2.228)
    """
    z = _NORMAL.inv_cdf(0.5 + confidence / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
