"""Score transcripts against references: corpus-level WER and CER, silence apart."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from misheard.scoring.alignment import ErrorCounts, count_text_pair
from misheard.scoring.normalize import Normalizer
from misheard.scoring.pairs import normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Score:
    """How far a set of transcripts is from its references."""

    words: ErrorCounts
    characters: ErrorCounts
    normalizer: str
    """Name of the normaliser that references and hypotheses both went through."""

    @property
    def wer(self) -> float:
        """Word error rate over the whole set; NaN when no word was spoken."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate over the whole set, spaces included."""
        return self.characters.rate

    @property
    def mer(self) -> float:
        """Match error rate over the whole set, of words; see `ErrorCounts.mer`."""
        return self.words.mer

    @property
    def wil(self) -> float:
        """Word information lost over the whole set; see `ErrorCounts.wil`."""
        return self.words.wil

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Which utterances have an empty reference; shape (utterances,)."""
        return np.equal(self.words.reference_length, 0)

    @property
    def hallucination_rate(self) -> float:
        """Share of silent utterances that were given any word; NaN when none is silent."""
        silent = self.silent
        return float(np.mean(self.words.insertions[silent] > 0)) if silent.any() else float("nan")

    def subset(self, chosen: NDArray[np.bool_]) -> Score:
        """The score of some of the utterances; `chosen` has shape (utterances,)."""
        return Score(
            words=self.words.subset(chosen),
            characters=self.characters.subset(chosen),
            normalizer=self.normalizer,
        )


def score(references: Iterable[str], hypotheses: Iterable[str], *, normalizer: Normalizer) -> Score:
    """Score `hypotheses` against `references`, pair by pair, both normalised alike.

    Silence has an empty reference. Nothing but the counts is kept, so that both may be streams.
    Raises `MismatchedLengthsError`, and `InvalidTranscriptError` for what is no str.

    >>> from misheard.scoring.normalize import normalizer
    >>> score(["The caller was"], ["the color was"], normalizer=normalizer("basic")).wer
    0.3333333333333333
    """
    words, characters = array("q"), array("q")
    for _, _, spoken, heard in normalized(references, hypotheses, normalizer):
        of_words, of_characters = count_text_pair(spoken, heard)
        words.extend(of_words)
        characters.extend(of_characters)
    return Score(
        words=ErrorCounts.from_rows(words),
        characters=ErrorCounts.from_rows(characters),
        normalizer=normalizer.name,
    )
