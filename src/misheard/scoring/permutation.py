"""The blocked permutation test, exact: the test that a gate rests on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.scoring.blocks import block_sums, counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CELLS = 200_000_000
"""Steps through the exact distribution before the normal takes over."""
_MOST_SUMS = 10_000_000
"""Sums that are held at the same time: 80 MB."""
_ENUMERATED = 20
"""So few groups have at most a million sums, however large each is; they can be listed."""


@dataclass(frozen=True, kw_only=True)
class PermutationTest:
    """Result of the blocked permutation test."""

    p_value: float
    """Two-sided: the chance of so large a difference between equally good models."""
    exact: bool
    """Otherwise by the normal approximation, for very many groups."""
    reduction: int
    """Errors of the baseline minus errors of the candidate."""
    groups: int
    differing_groups: int
    """Groups on which the two models make different numbers of errors; the others say nothing."""

    @property
    def smallest_p(self) -> float:
        """What the p-value would be if all groups that differ pointed one way.

        Above the level that is asked for, this many groups can show nothing.
        """
        return min(1.0, 2.0 ** (1 - self.differing_groups))


def permutation_test(
    baseline_errors: NDArray[Any],
    candidate_errors: NDArray[Any],
    groups: Sequence[Hashable] | None,
) -> PermutationTest:
    """Are the models exchangeable within each group? Exact and two-sided.

    Arrays of shape (utterances,); `groups` names what moves together (a speaker, a call); None
    makes every utterance a group of its own. If neither model is better, each group's difference
    of errors might as well have the other sign, all its utterances together, and each choice of
    signs is as likely (Fisher, "The design of experiments", 1935, section 21; Good, "Permutation,
    parametric and bootstrap tests of hypotheses", 2005). The p-value is the share of choices whose
    sum is at least as far from zero as the one found. Differences are whole numbers, so the
    distribution of the sum is built up group by group: exact far beyond the sets whose choices
    could be counted one by one. No assumption on how errors are correlated within a group.

    Where that would take more than `MOST_CELLS` steps the sum is taken as normal with the same
    variance, with a correction for continuity.

    >>> found = permutation_test([4, 3, 2, 5, 1, 2], [3, 1, 1, 2, 0, 1], list("abcdef"))
    >>> found.p_value, found.exact
    (0.03125, True)
    """
    columns = counts(baseline_errors=baseline_errors, candidate_errors=candidate_errors)
    sums = block_sums(columns, groups)
    difference = sums[:, 0] - sums[:, 1]
    sizes = np.sort(np.abs(difference[difference != 0]))
    reduction = int(difference.sum())
    p_value, exact = _two_sided(sizes, abs(reduction))
    return PermutationTest(
        p_value=p_value,
        exact=exact,
        reduction=reduction,
        groups=len(sums),
        differing_groups=len(sizes),
    )


def _two_sided(sizes: NDArray[np.int64], found: int) -> tuple[float, bool]:
    """P(|S| >= found) for S = Σ ± sizes, and whether it is exact. `sizes` ascend."""
    if not found:
        return 1.0, True
    step = int(np.gcd.reduce(sizes))
    parts, found = sizes // step, found // step
    # S = total - 2 · (the sizes that point down), and it is symmetric: both tails are the chance
    # that those that point down add up to no more than `most`.
    most = (int(parts.sum()) - found) // 2
    cells = len(parts) * (most + 1)
    built = most <= _MOST_SUMS and cells <= MOST_CELLS
    if len(parts) <= _ENUMERATED and (not built or 2 ** len(parts) <= cells):
        return _enumerated(parts, most), True
    if built:
        return _built_up(parts, most), True
    deviation = math.sqrt(float(np.square(parts, dtype=float).sum()))
    return math.erfc((found - 1) / deviation / math.sqrt(2)), False


def _enumerated(parts: NDArray[np.int64], most: int) -> float:
    sums = np.zeros(1, np.int64)
    for part in parts:
        sums = np.concatenate([sums, sums + part])
    return min(1.0, 2 * float(np.mean(sums <= most)))


def _built_up(parts: NDArray[np.int64], most: int) -> float:
    chance = np.zeros(most + 1)
    chance[0] = 1.0
    reached = 0
    for part in parts.tolist():
        reached = min(most, reached + part)
        chance[: reached + 1] *= 0.5
        # The right side is read whole before anything is written; what was halved counts once.
        chance[part : reached + 1] += chance[: max(0, reached + 1 - part)].copy()
    return min(1.0, 2 * float(chance.sum()))
