"""NIST's matched-pair sentence-segment test (MAPSSWE), over texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from misheard.errors import BadInputError
from misheard.scoring.matched_pairs import MatchedPairs, matched_pairs
from misheard.scoring.sclite import Text, error_stretches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RIGHT_BETWEEN = 2
"""Words in a row that both models have right before a segment ends."""
_UTTERANCES = 16_384
"""Utterances that are worked on at the same time, so that little is held of a million."""


def mapsswe(
    references: Sequence[Text], baseline: Sequence[Text], candidate: Sequence[Text]
) -> MatchedPairs:
    """Compare two models as `sc_stats -t mapsswe` does; texts are normalised already.

    Each text is words between spaces, or a list of words. Segments are those of `segment_errors`.
    Where every segment differs by the same number of errors, `sc_stats` prints Z = 0 and p = 1;
    here the sign test answers (`matched_pairs`). Segments of one call are not independent of each
    other, so that a gate should not rest on this test alone.

    >>> spoken = ["please hold the line now", "thank you"]
    >>> found = mapsswe(spoken, ["peas hold the line know", "tank you"], [spoken[0], "tank you"])
    >>> found.segments, round(found.mean, 3)
    (3, 0.667)
    """
    return matched_pairs(*segment_errors(references, baseline, candidate))


def segment_errors(
    references: Sequence[Text], baseline: Sequence[Text], candidate: Sequence[Text]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors of both models in each segment; two arrays of shape (segments,).

    A segment ends where both models have at least two words in a row right and nothing inserted
    between them, and at the end of an utterance (Gillick and Cox 1989; Pallett, Fisher and Fiscus,
    "Tools for the analysis of benchmark speech recognition tests", ICASSP 1990). Stretches without
    an error of either model are no segments. Alignments are `sclite`'s.
    """
    if not len(references) == len(baseline) == len(candidate):
        raise BadInputError(
            f"{len(references)} references need as many texts of both models; there are "
            f"{len(baseline)} and {len(candidate)}."
        )
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for begin in range(0, len(references), _UTTERANCES):
        several = slice(begin, begin + _UTTERANCES)
        parts.append(_segments(references[several], baseline[several], candidate[several]))
    one, other = (np.concatenate(side) for side in zip(*parts, strict=True))
    return one, other


def _segments(
    references: Sequence[Text], baseline: Sequence[Text], candidate: Sequence[Text]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    before, after = (error_stretches(references, side) for side in (baseline, candidate))
    first, end = (
        np.concatenate(ends) for ends in ((before.first, after.first), (before.end, after.end))
    )
    order = np.argsort(first)
    # Places of different utterances lie further apart than any number of right words.
    reached = np.maximum.accumulate(end[order])
    begins = np.ones(len(order), bool)
    begins[1:] = first[order[1:]] - reached[:-1] >= _RIGHT_BETWEEN
    segment = np.empty(len(order), np.int64)
    segment[order] = np.cumsum(begins) - 1
    count = int(begins.sum())
    one, other = (
        np.bincount(which, weights=side.errors, minlength=count).astype(np.int64)
        for side, which in zip((before, after), np.split(segment, [len(before.first)]), strict=True)
    )
    return one, other
