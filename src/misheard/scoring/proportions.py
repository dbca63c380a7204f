"""A share of something, estimated from draws, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from misheard.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """An estimated share."""

    share: float
    low: float
    high: float
    """Ends of its interval."""
    trials: int
    """How many draws it rests on."""


def weighted_proportion(
    *, trials: int, weight: float, hits: float, squared_weight: float, confidence: float = 0.95
) -> Proportion | None:
    """The share of hits in what was drawn from, each draw weighted by one over its probability.

    `weight` is the sum of all weights, `hits` that of the draws that are hits, `squared_weight` the
    sum of the squares of all. None where nothing was drawn.

    The estimate is Hájek's ratio, hits / weight. The interval is Wilson's, with the effective
    number of draws weight² / squared_weight (Kish, "Survey Sampling", 1965, 11.7) in place of
    their number; with equal probabilities that is Wilson's own.

    >>> one = weighted_proportion(trials=10, weight=1000.0, hits=500.0, squared_weight=100_000.0)
    >>> one.share, round(one.low, 4), round(one.high, 4)
    (0.5, 0.2366, 0.7634)
    """
    if not trials:
        return None
    if not (0 < weight < math.inf and 0 <= hits <= weight * (1 + 1e-9) and squared_weight > 0):
        raise BadInputError(f"Weights of {weight} with hits of {hits} are no share of anything.")
    share, effective = min(1.0, hits / weight), weight * weight / squared_weight
    square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = share + square / (2 * effective)
    margin = math.sqrt(square * (share * (1 - share) / effective + square / (4 * effective**2)))
    scale = 1 + square / effective
    return Proportion(
        share=share,
        low=max(0.0, (centre - margin) / scale) if hits else 0.0,
        high=min(1.0, (centre + margin) / scale) if share < 1 else 1.0,
        trials=trials,
    )
