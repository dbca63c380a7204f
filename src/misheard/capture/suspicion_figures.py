"""How well a fit ranks, beside the model in use and the defaults, and whether it is better. Pure.

It has to be better by more than chance. Both rank the same labels, out of fold; the interval of the
difference of their average precisions is that of the delete-a-group jackknife over speaker groups
(P. S. Kott, "The delete-a-group jackknife", Journal of Official Statistics 17, 2001, 521-526), with
Student's t for so many groups. Where all of it lies above 0 the fit is better. What it tells of is
models that were made from such labels; that folds share most of what they learn from is left out
(Bengio and Grandvalet, "No unbiased estimator of the variance of k-fold cross-validation", JMLR 5,
2004).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from misheard.capture.ranking import Budget, at_budgets, average_precision
from misheard.capture.suspicion import Floats
from misheard.capture.suspicion_fit import Examples, log_loss
from misheard.scoring.survey import quantile

_MOST_GROUPS = 60
"""More of them are put together at random: Student's t is the normal by then."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """How well a model tells what is wrong."""

    average_precision: float
    log_loss: float
    budgets: tuple[Budget, ...]

    @classmethod
    def of(cls, log_odds: Floats, places: Floats, examples: Examples) -> Self:
        """By out-of-fold log-odds, and the places that they have within their folds."""
        return cls(
            average_precision=average_precision(places, examples.errors, examples.weights),
            log_loss=log_loss(log_odds, examples),
            budgets=tuple(at_budgets(places, examples.errors, examples.weights)),
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """As JSON keeps it."""
        budgets = tuple(Budget(**one) for one in stored["budgets"])
        return cls(**{**stored, "budgets": budgets})


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A difference of average precisions, and its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}"

    @property
    def is_sure(self) -> bool:
        """Whether chance does not explain it."""
        return self.low > 0


@dataclass(frozen=True, kw_only=True)
class FitFigures:
    """How a fitted model does on transcripts of groups that it has not seen."""

    labels: int
    errors: int
    groups: int
    audited: int
    """Of the labels: how many answer an audit, so that they stand for the traffic."""
    error_rate: float
    """Share that is wrong, weighted; what random choice has as precision."""
    fitted: Ranked
    current: Ranked
    """The model that was in use, on the same labels, and out of fold if it was fitted."""
    defaults: Ranked
    gain: Gain
    """Over the model that was in use."""
    is_used: bool
    reason: str
    """Why it is used, or why not."""

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """As JSON keeps it."""
        read = {name: Ranked.from_dict(stored[name]) for name in ("fitted", "current", "defaults")}
        return cls(**{**stored, **read, "gain": Gain(**stored["gain"])})


def gain(one: Floats, other: Floats, examples: Examples) -> Gain:
    """Of the places `one` over the places `other`, of the same examples.

    The variance is (G - 1) / G · Σ (d_g - d)², d_g being the difference without the group g of G.
    """

    def difference(weights: Floats) -> float:
        new, old = (average_precision(places, examples.errors, weights) for places in (one, other))
        return new - old

    _, groups = np.unique(examples.groups.astype(str), return_inverse=True)
    count = int(groups.max()) + 1
    if count > _MOST_GROUPS:
        groups = np.random.default_rng(0).permutation(count)[groups] % _MOST_GROUPS
        count = _MOST_GROUPS
    whole = difference(examples.weights)
    rest = [difference(np.where(groups == left, 0.0, examples.weights)) for left in range(count)]
    variance = (count - 1) / count * float(np.sum((np.array(rest) - whole) ** 2))
    if math.isnan(variance):
        # All that is wrong is of one group: nothing tells how another would do.
        return Gain(estimate=whole, low=-1.0, high=1.0)
    reach = quantile(count - 1) * math.sqrt(variance)
    return Gain(estimate=whole, low=whole - reach, high=whole + reach)
