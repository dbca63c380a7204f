"""Word alignment: how many words were substituted, deleted and inserted, and which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """Errors of each utterance against its reference; all arrays have shape (utterances,)."""

    substitutions: NDArray[np.int64]
    deletions: NDArray[np.int64]
    insertions: NDArray[np.int64]
    reference_length: NDArray[np.int64]
    """Words (or characters) that were spoken."""

    @property
    def errors(self) -> NDArray[np.int64]:
        """All errors of each utterance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Corpus-level error rate: the sum of errors over the sum of reference words.

        NaN where nothing was said at all. Insertions on silent clips count as errors.
        """
        length = int(self.reference_length.sum())
        return float(self.errors.sum() / length) if length else float("nan")

    def subset(self, chosen: NDArray[np.bool_]) -> ErrorCounts:
        """The counts of some of the utterances; `chosen` has shape (utterances,)."""
        return ErrorCounts(
            substitutions=self.substitutions[chosen],
            deletions=self.deletions[chosen],
            insertions=self.insertions[chosen],
            reference_length=self.reference_length[chosen],
        )


def count_errors(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> ErrorCounts:
    """Levenshtein counts of each pair, over words (lists of str) or characters (str).

    >>> counts = count_errors([["the", "caller", "was"]], [["the", "color", "was", "here"]])
    >>> int(counts.substitutions[0]), int(counts.insertions[0]), round(counts.rate, 3)
    (1, 1, 0.667)
    """
    counts = np.zeros((4, len(references)), np.int64)
    for index, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        for operation in Levenshtein.editops(reference, hypothesis):
            counts[_ROW[operation.tag], index] += 1
        counts[3, index] = len(reference)
    return ErrorCounts(
        substitutions=counts[0],
        deletions=counts[1],
        insertions=counts[2],
        reference_length=counts[3],
    )


_ROW = {"replace": 0, "delete": 1, "insert": 2}


@dataclass(frozen=True, slots=True)
class AlignedWords:
    """A stretch of an alignment: the words on both sides and how they relate."""

    kind: str
    """equal, replace, delete or insert."""
    reference: str
    hypothesis: str


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWords]:
    """The alignment of two lists of words as stretches of one kind, for display.

    >>> align(["press", "pound"], ["press", "pond"])[1]
    AlignedWords(kind='replace', reference='pound', hypothesis='pond')
    """
    return [
        AlignedWords(
            block.tag,
            " ".join(reference[block.src_start : block.src_end]),
            " ".join(hypothesis[block.dest_start : block.dest_end]),
        )
        for block in Levenshtein.opcodes(reference, hypothesis)
    ]
