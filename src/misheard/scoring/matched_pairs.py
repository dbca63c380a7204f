"""The matched-pairs test: is the mean difference of errors a segment more than chance?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from misheard.scoring.blocks import counts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MatchedPairs:
    """Result of the matched-pairs test."""

    z: float
    """Standard normal statistic; positive when the candidate makes fewer errors."""
    p_value: float
    """Two-sided: the chance of so large a difference between equally good models."""
    segments: int
    mean: float
    """Errors of the baseline minus errors of the candidate, a segment. NaN without segments."""
    deviation: float
    """Standard deviation of that difference. 0 where it cannot be told: fewer than two segments."""


def matched_pairs(baseline_errors: NDArray[Any], candidate_errors: NDArray[Any]) -> MatchedPairs:
    """The matched-pairs test; each utterance, or each group's sum, is a segment.

    Arrays of shape (segments,). With differences d of errors a segment, z = mean(d) / (s / √n)
    is taken as standard normal (Gillick and Cox, "Some statistical issues in the comparison of
    speech recognition algorithms", ICASSP 1989, equations 5 to 7). Two models with the same errors
    on every segment have p = 1. Where every difference is the same the formula has no value; then
    the sign test says how unlikely it is that all of them point one way, p = 2^(1-n).

    Segments must be independent of each other. Utterances of one call are not: see
    `permutation_test`. `mapsswe` cuts utterances into segments first.
    """
    before, after = counts(baseline_errors=baseline_errors, candidate_errors=candidate_errors)
    difference = (before - after).astype(float)
    count = len(difference)
    deviation = float(difference.std(ddof=1)) if count > 1 else 0.0
    mean = float(difference.mean()) if count else math.nan
    if not difference.any():
        z, p_value = 0.0, 1.0
    elif deviation == 0.0:
        z, p_value = math.copysign(math.inf, mean), 2.0 ** (1 - count)
    else:
        z = mean / (deviation / math.sqrt(count))
        p_value = math.erfc(abs(z) / math.sqrt(2))
    return MatchedPairs(z=z, p_value=p_value, segments=count, mean=mean, deviation=deviation)
