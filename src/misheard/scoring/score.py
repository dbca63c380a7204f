"""Score transcripts against references: corpus-level WER and CER, silence apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from misheard.scoring.alignment import ErrorCounts, count_errors
from misheard.scoring.normalize import normalizer

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


def score(references: Sequence[str], hypotheses: Sequence[str], *, normalizer_name: str) -> Score:
    """Score `hypotheses` against `references`, pair by pair, both normalised alike.

    >>> score(["The caller was"], ["the color was"], normalizer_name="basic").wer
    0.3333333333333333
    """
    normalize = normalizer(normalizer_name)
    spoken = [normalize(text) for text in references]
    heard = [normalize(text) for text in hypotheses]
    return Score(
        words=count_errors([t.split() for t in spoken], [t.split() for t in heard]),
        characters=count_errors(spoken, heard),
        normalizer=normalizer_name,
    )
