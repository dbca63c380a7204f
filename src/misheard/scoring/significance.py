"""Is the difference between two models more than chance? Paired tests on the same utterances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MatchedPairs:
    """Result of the matched-pairs test."""

    z: float
    """Standard normal statistic; positive when the candidate makes fewer errors."""
    p_value: float
    """Two-sided: the chance of so large a difference between equally good models."""
    segments: int


def matched_pairs(baseline_errors: NDArray[Any], candidate_errors: NDArray[Any]) -> MatchedPairs:
    """NIST's matched-pair sentence-segment test, each utterance a segment.

    Arrays of shape (utterances,). With differences d of errors a segment, z = mean(d) / (s / √n)
    is taken as standard normal (Gillick and Cox, "Some statistical issues in the comparison of
    speech recognition algorithms", ICASSP 1989, equations 5 to 7). Two models with the same errors
    on every utterance have p = 1. Where every difference is the same the formula has no value; then
    the sign test says how unlikely it is that all of them point one way, p = 2^(1-n).
    """
    difference = np.asarray(baseline_errors, float) - np.asarray(candidate_errors, float)
    count = len(difference)
    deviation = float(difference.std(ddof=1)) if count > 1 else 0.0
    if not count or not difference.any():
        return MatchedPairs(z=0.0, p_value=1.0, segments=count)
    if deviation == 0.0:
        z = math.copysign(math.inf, float(difference[0]))
        return MatchedPairs(z=z, p_value=2.0 ** (1 - count), segments=count)
    z = float(difference.mean()) / (deviation / math.sqrt(count))
    return MatchedPairs(z=z, p_value=math.erfc(abs(z) / math.sqrt(2)), segments=count)


@dataclass(frozen=True, kw_only=True)
class BootstrapIntervals:
    """Percentile intervals of two error rates and of their difference."""

    baseline: Interval
    candidate: Interval
    reduction: Interval
    """Of baseline minus candidate: above zero throughout means fewer errors."""
    confidence: float
    blocks: int


def paired_bootstrap(
    baseline_errors: NDArray[Any],
    candidate_errors: NDArray[Any],
    reference_length: NDArray[Any],
    groups: Sequence[str],
    *,
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> BootstrapIntervals:
    """Resample whole groups with replacement, both models together.

    Arrays of shape (utterances,); `groups` names what moves together (a speaker, a call).
    Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
    ICASSP 2004; blocks after Liu and Peng, "Estimating WER with block bootstrap", 2019.
    Replicates in which no word is spoken are left out.
    """
    if not len(groups):
        return _no_intervals(confidence)
    names, index = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    columns = (baseline_errors, candidate_errors, reference_length)
    sums = np.stack([np.bincount(index, weights=column) for column in columns], axis=1)
    weights = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=replicates
    )
    drawn = weights @ sums
    drawn = drawn[drawn[:, 2] > 0]
    if not len(drawn):
        return _no_intervals(confidence, blocks=len(names))
    baseline, candidate = drawn[:, 0] / drawn[:, 2], drawn[:, 1] / drawn[:, 2]
    return BootstrapIntervals(
        baseline=_interval(baseline, confidence),
        candidate=_interval(candidate, confidence),
        reduction=_interval(baseline - candidate, confidence),
        confidence=confidence,
        blocks=len(names),
    )


def _no_intervals(confidence: float, blocks: int = 0) -> BootstrapIntervals:
    """Where no word was spoken there is no rate."""
    nothing = (math.nan, math.nan)
    return BootstrapIntervals(
        baseline=nothing,
        candidate=nothing,
        reduction=nothing,
        confidence=confidence,
        blocks=blocks,
    )


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
