"""Parts of a set: does a candidate that is better on the whole get worse for somebody? Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from misheard.datasets.manifest import Row
from misheard.scoring.significance import matched_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_WORDS = 30
MIN_UTTERANCES = 5
"""A slice with less of either is not tested: its figures are mostly chance."""
MAX_GROUPS = 20
"""Groups that are looked at, those with the most words. Each more makes the others harder to tell
from chance."""

_BANDS = ("under 1 s", "1–3 s", "3–10 s", "10–30 s", "over 30 s")
# The lower end belongs to a band; 30 s exactly is not over 30 s.
_EDGES_S = (1.0, 3.0, 10.0, math.nextafter(30.0, math.inf))


class SliceKind(StrEnum):
    """What the utterances of a slice have in common."""

    GROUP = "group"
    """The speaker group: who speaks, or which call."""
    LENGTH = "length"
    """How long the clip is."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of a set, and how both versions do on it."""

    name: str
    kind: SliceKind
    utterances: int
    words: int
    baseline_errors: int
    candidate_errors: int
    p_value: float | None
    """Matched-pairs test, two-sided, before the correction; None where it is too small to test."""
    worse: bool
    """The candidate makes more errors on it, by more than chance."""


def slices(
    rows: Sequence[Row],
    baseline_errors: NDArray[np.int64],
    candidate_errors: NDArray[np.int64],
    words: NDArray[np.int64],
    *,
    alpha: float,
) -> tuple[Slice, ...]:
    """The groups that are large enough to be tested (`MAX_GROUPS` at most), then all lengths.

    Arrays of shape (utterances,). `worse` is judged at level `alpha` over all slices together.
    """
    parts = [*_groups(rows, words), *_lengths(rows)]
    tests = [
        matched_pairs(baseline_errors[chosen], candidate_errors[chosen]).p_value
        if chosen.sum() >= MIN_UTTERANCES and words[chosen].sum() >= MIN_WORDS
        else None
        for _, _, chosen in parts
    ]
    beyond_chance = iter(holm([p for p in tests if p is not None], alpha))
    made = []
    for (name, kind, chosen), p_value in zip(parts, tests, strict=True):
        before, after = int(baseline_errors[chosen].sum()), int(candidate_errors[chosen].sum())
        differs = p_value is not None and next(beyond_chance)
        made.append(
            Slice(
                name=name,
                kind=kind,
                utterances=int(chosen.sum()),
                words=int(words[chosen].sum()),
                baseline_errors=before,
                candidate_errors=after,
                p_value=p_value,
                worse=differs and after > before,
            )
        )
    return tuple(made)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which of several tests are significant, so that any false one has a chance of `alpha`.

    The smallest of m p-values is held to alpha / m, the next to alpha / (m - 1), up to the first
    that fails (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979).

    >>> holm([0.04, 0.01, 0.03], 0.05)
    [False, True, False]
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values)
    passed = values[order] < alpha / np.arange(len(values), 0, -1)
    rejected = np.zeros(len(values), bool)
    rejected[order] = np.logical_and.accumulate(passed)
    return [bool(one) for one in rejected]


_Part = tuple[str, SliceKind, "NDArray[np.bool_]"]


def _groups(rows: Sequence[Row], words: NDArray[np.int64]) -> Iterator[_Part]:
    if not rows:
        return
    keys = np.asarray([row.speaker_group for row in rows], dtype=object).astype(str)
    names, index = np.unique(keys, return_inverse=True)
    sizes, spoken = np.bincount(index), np.bincount(index, weights=words)
    testable = np.flatnonzero((sizes >= MIN_UTTERANCES) & (spoken >= MIN_WORDS))
    largest = testable[np.argsort(-spoken[testable], kind="stable")][:MAX_GROUPS]
    for group in largest:
        yield str(names[group]), SliceKind.GROUP, np.equal(index, group)


def _lengths(rows: Sequence[Row]) -> Iterator[_Part]:
    band_of = np.digitize([row.duration_s for row in rows], _EDGES_S)
    for band, name in enumerate(_BANDS):
        chosen = np.equal(band_of, band)
        if chosen.any():
            yield name, SliceKind.LENGTH, chosen
