"""Parts of a set: does a candidate that is better on the whole get worse for somebody? Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from misheard.datasets.manifest import Row
from misheard.scoring.significance import permutation_test
from misheard.tags import MUST_PASS

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = "group"
"""Kind of the slices by speaker group: who speaks, or which call."""
LENGTH = "length"
"""Kind of the slices by how long the clip is; every other kind is the name of a tag."""
MIN_WORDS = 30
MIN_UTTERANCES = 5
"""A slice with less of either is not tested: its figures are mostly chance."""
MAX_SLICES = 20
"""Slices of one kind that are looked at, those with the most words. Each more makes the others
harder to tell from chance."""
MIN_BLOCKS = 6
"""Below it whole groups can show nothing (their smallest two-sided p is 2 / 2⁵), so utterances
stand for themselves: in a check for harm a false alarm is better than a blind eye."""

LENGTHS = ("under 1 s", "1–3 s", "3–10 s", "10–30 s", "over 30 s")
"""Names of the slices of kind `LENGTH`, the shortest first."""
# The lower end belongs to a band; 30 s exactly is not over 30 s.
_EDGES_S = (1.0, 3.0, 10.0, math.nextafter(30.0, math.inf))


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of a set, and how both versions do on it."""

    name: str
    kind: str
    """`GROUP`, `LENGTH`, or the name of the tag that it is cut by."""
    utterances: int
    words: int
    baseline_errors: int
    candidate_errors: int
    p_value: float | None
    """The chance of so many more errors if the candidate were worse by just the limit: one-sided,
    before the correction; None where the slice is too small to test."""
    worse: bool
    """The candidate's WER rises by more than the limit, by more than chance."""
    limit: float = 0.0
    """How far the WER may rise on it, absolute."""

    @property
    def rise(self) -> float:
        """Candidate WER minus baseline WER; NaN without a word."""
        if not self.words:
            return math.nan
        return (self.candidate_errors - self.baseline_errors) / self.words


def slices(
    rows: Sequence[Row],
    baseline_errors: NDArray[np.int64],
    candidate_errors: NDArray[np.int64],
    words: NDArray[np.int64],
    *,
    alpha: float,
    limits: Mapping[str, float] | None = None,
) -> tuple[Slice, ...]:
    """The groups that are large enough to be tested, all lengths, then the values of every tag.

    Arrays of shape (utterances,). `worse` is judged at level `alpha` over all slices together.
    `limits` says how far the WER may rise, absolute: by kind ("channel"), by kind and name
    ("channel=mobile"), or for all that are not named (""); 0 where nothing is said.
    """
    if not rows:
        return ()
    given = limits or {}
    parts = list(_parts(rows, words))
    allowed = [_limit(given, kind, name) for name, kind, _ in parts]
    groups = np.asarray([row.speaker_group for row in rows], dtype=object).astype(str)
    tests = [
        _p_value(
            candidate_errors[chosen] - baseline_errors[chosen], words[chosen], groups[chosen], limit
        )
        if _is_testable(chosen, words)
        else None
        for (_, _, chosen), limit in zip(parts, allowed, strict=True)
    ]
    beyond_chance = iter(holm([p for p in tests if p is not None], alpha))
    return tuple(
        Slice(
            name=name,
            kind=kind,
            utterances=int(chosen.sum()),
            words=int(words[chosen].sum()),
            baseline_errors=int(baseline_errors[chosen].sum()),
            candidate_errors=int(candidate_errors[chosen].sum()),
            p_value=p_value,
            worse=p_value is not None and next(beyond_chance),
            limit=limit,
        )
        for (name, kind, chosen), p_value, limit in zip(parts, tests, allowed, strict=True)
    )


def _is_testable(chosen: NDArray[np.bool_], words: NDArray[np.int64]) -> bool:
    return bool(chosen.sum() >= MIN_UTTERANCES and words[chosen].sum() >= MIN_WORDS)


def _limit(limits: Mapping[str, float], kind: str, name: str) -> float:
    for key in (f"{kind}={name}", kind, ""):
        if key in limits:
            return limits[key]
    return 0.0


def _p_value(
    rises: NDArray[np.int64], words: NDArray[np.int64], groups: NDArray[np.str_], limit: float
) -> float:
    """One-sided: is the number of errors more by more than `limit` times the words?"""
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < MIN_BLOCKS:
        index = np.arange(len(rises))
    risen, spoken = np.bincount(index, rises), np.bincount(index, words)
    beyond = risen - limit * spoken
    if beyond.sum() <= 0:
        return 1.0
    if not limit:
        # The exact distribution is symmetric, so half of both sides is one.
        more = risen.astype(np.int64)
        test = permutation_test(np.maximum(-more, 0), np.maximum(more, 0), None)
        return test.p_value / 2
    deviation = float(beyond.std(ddof=1))
    # As in `matched_pairs`: without any spread the sign test says what is left to say.
    if not deviation:
        return 2.0 ** -len(beyond)
    return NormalDist().cdf(-float(beyond.mean()) * math.sqrt(len(beyond)) / deviation)


def length_band(duration_s: float) -> str:
    """Name of the slice of kind `LENGTH` that a clip is in.

    >>> length_band(0.4), length_band(30.0)
    ('under 1 s', '10–30 s')
    """
    return LENGTHS[int(np.digitize(duration_s, _EDGES_S))]


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


_Part = tuple[str, str, "NDArray[np.bool_]"]


def _parts(rows: Sequence[Row], words: NDArray[np.int64]) -> Iterator[_Part]:
    yield from _by_value(GROUP, [row.speaker_group for row in rows], words, only_testable=True)
    band_of = np.digitize([row.duration_s for row in rows], _EDGES_S)
    for band, name in enumerate(LENGTHS):
        chosen = np.equal(band_of, band)
        if chosen.any():
            yield name, LENGTH, chosen
    tags = [dict(row.tags) for row in rows]
    for kind in sorted({key for tag in tags for key in tag} - {MUST_PASS}):
        yield from _by_value(kind, [tag.get(kind, "") for tag in tags], words)


def _by_value(
    kind: str,
    values: Sequence[str],
    words: NDArray[np.int64],
    *,
    only_testable: bool = False,
) -> Iterator[_Part]:
    """The utterances of each value, those with most words first; "" is no value."""
    names, index = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True)
    sizes, spoken = np.bincount(index), np.bincount(index, weights=words)
    wanted = np.flatnonzero(names != "")
    if only_testable:
        enough = (sizes[wanted] >= MIN_UTTERANCES) & (spoken[wanted] >= MIN_WORDS)
        wanted = wanted[enough]
    for value in wanted[np.argsort(-spoken[wanted], kind="stable")][:MAX_SLICES]:
        yield str(names[value]), kind, np.equal(index, value)
