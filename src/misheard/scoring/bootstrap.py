"""The paired bootstrap, blocked by group: intervals for two error rates and their difference."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.errors import BadInputError
from misheard.scoring.blocks import block_sums, counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]

MOST_DRAWS = 100_000
"""Blocks a replicate that are drawn one by one; of more, the sum is drawn from a normal."""
_RARE = 16
"""A kind of block that is found less often is cheaper to draw one by one than to be counted."""
_FEW_KINDS = 300
_CELLS = 500_000
"""Counts that a thread holds at the same time."""


@dataclass(frozen=True, kw_only=True)
class BootstrapIntervals:
    """Percentile intervals of two error rates and of their difference."""

    baseline: Interval
    candidate: Interval
    reduction: Interval
    """Of baseline minus candidate: above zero throughout means fewer errors."""
    confidence: float
    blocks: int
    reductions: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), repr=False, compare=False
    )
    """Baseline minus candidate of every replicate with words, in ascending order."""

    def reduction_at(self, confidence: float) -> Interval:
        """The interval of baseline minus candidate at another level of confidence."""
        return _interval(self.reductions, _level(confidence))

    def largest_increase(self, alpha: float = 0.05) -> float:
        """Upper end of the one-sided interval of candidate minus baseline, at 1 - `alpha`.

        Below a margin, the candidate is not worse than the baseline by that margin. NaN where
        there is no rate.
        """
        return -self.reduction_at(1 - 2 * _level(alpha))[0]

    @property
    def standard_error(self) -> float:
        """Standard deviation of baseline minus candidate over the replicates; NaN without any."""
        return float(self.reductions.std()) if len(self.reductions) else math.nan


def paired_bootstrap(
    baseline_errors: NDArray[Any],
    candidate_errors: NDArray[Any],
    reference_length: NDArray[Any],
    groups: Sequence[Hashable] | None,
    *,
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 2,
) -> BootstrapIntervals:
    """Resample whole groups with replacement, both models together.

    Arrays of shape (utterances,); `groups` names what moves together (a speaker, a call); None
    makes every utterance a group of its own. Bisani and Ney, "Bootstrap estimates for confidence
    intervals in ASR performance evaluation", ICASSP 2004; blocks after Liu and Peng, "Statistical
    testing on ASR performance via blockwise bootstrap", arXiv 1912.09508, 2019. Replicates in which
    no word is spoken are left out. The result depends on the seed, not on the order of the
    utterances nor on `threads`; swapped models give the mirrored interval.

    Blocks with the same sums are of one kind, so a replicate is a multinomial draw over kinds: the
    same distribution, at a cost that hardly grows with the number of utterances. Kinds that are
    found rarely are drawn block by block. Both are exact. Only where more than `MOST_DRAWS` blocks
    are of rare kinds is their part of the sum drawn from a normal with their mean and covariance.

    With few groups a percentile interval is too narrow: docs/significance.md says by how much.
    """
    columns = counts(
        baseline_errors=baseline_errors,
        candidate_errors=candidate_errors,
        reference_length=reference_length,
    )
    level = _level(confidence)
    if replicates < 1:
        raise BadInputError(f"A bootstrap needs replicates, not {replicates}.")
    sums = block_sums(columns, groups)
    # The better model comes first, so that swapped models see the same draws.
    order = [0, 1, 2] if columns[0].sum() <= columns[1].sum() else [1, 0, 2]
    drawn = _draw(sums[:, order], replicates, seed, threads)[:, order]
    drawn = drawn[drawn[:, 2] > 0]
    baseline, candidate = drawn[:, 0] / drawn[:, 2], drawn[:, 1] / drawn[:, 2]
    reductions = np.sort(baseline - candidate)
    return BootstrapIntervals(
        baseline=_interval(baseline, level),
        candidate=_interval(candidate, level),
        reduction=_interval(reductions, level),
        confidence=level,
        blocks=len(sums),
        reductions=reductions,
    )


def _draw(sums: NDArray[np.int64], replicates: int, seed: int, threads: int) -> NDArray[np.float64]:
    """Sums of as many blocks as there are, drawn with replacement; shape (replicates, columns)."""
    if not len(sums):
        return np.zeros((replicates, sums.shape[1]))
    kinds, found = _kinds(sums)
    rare = found < _RARE
    if rare.sum() <= _FEW_KINDS:
        rare[:] = False
    one_by_one = np.repeat(kinds[rare], found[rare], axis=0)
    weights = np.append(found[~rare], len(one_by_one)) / len(sums)
    each = max(1, _CELLS // len(weights))
    sizes = [min(each, replicates - start) for start in range(0, replicates, each)]
    # A generator for each portion, so that it does not matter which thread draws it.
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    draw = partial(_draw_portion, kinds[~rare], one_by_one, weights, len(sums))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return np.concatenate(list(pool.map(draw, sizes, seeds)))


def _draw_portion(
    kinds: NDArray[np.float64],
    one_by_one: NDArray[np.float64],
    weights: NDArray[np.float64],
    blocks: int,
    replicates: int,
    seed: np.random.SeedSequence,
) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    times = random.multinomial(blocks, weights, size=replicates)
    drawn: NDArray[np.float64] = times[:, :-1].astype(float) @ kinds
    if not len(one_by_one):
        return drawn
    rest = times[:, -1]
    if len(one_by_one) > MOST_DRAWS:
        spread = np.cov(one_by_one, rowvar=False, ddof=0)
        noise = random.multivariate_normal(np.zeros(len(spread)), spread, replicates, method="eigh")
        drawn += rest[:, None] * one_by_one.mean(axis=0) + np.sqrt(rest)[:, None] * noise
        return drawn
    for at, count in enumerate(rest):
        which = random.integers(0, len(one_by_one), count, dtype=np.uint32)
        drawn[at] += np.bincount(which, minlength=len(one_by_one)) @ one_by_one
    return drawn


def _kinds(sums: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different rows in a fixed order, and how often each is found."""
    sizes = [int(size) for size in sums.max(axis=0) + 1]
    if math.prod(sizes) < 2**63:
        # One number a row sorts ten times faster than rows do.
        keys, found = np.unique(np.ravel_multi_index(tuple(sums.T), sizes), return_counts=True)
        return np.stack(np.unravel_index(keys, sizes), axis=1).astype(float), found
    kinds, found = np.unique(sums, axis=0, return_counts=True)
    return kinds.astype(float), found


def _level(value: float) -> float:
    if not 0 < value < 1:
        raise BadInputError(f"A level lies between 0 and 1, not at {value}.")
    return value


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    """NaN where no word was spoken: there is no rate."""
    if not len(values):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
