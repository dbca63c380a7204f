"""How wrong a transcript was, measured against its correction. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from misheard.scoring.alignment import count_errors
from misheard.scoring.normalize import Normalizer

MEASURED = ("substitution", "deletion", "insertion", "hallucination")
"""The types of error that are measured, in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a transcript differs from its correction."""

    types: tuple[str, ...]
    """Of `MEASURED`; none when they say the same."""
    errors: int
    words: int
    """Word errors, and reference words."""

    @property
    def score(self) -> float:
        """Word errors over reference words, at most 1."""
        return min(1.0, self.errors / max(1, self.words))


def compare(hypothesis: str, reference: str, *, normalize: Normalizer) -> Outcome:
    """Compare the two after normalisation.

    >>> compare("Press one", "press two now", normalize=str.lower).types
    ('substitution', 'deletion')
    """
    spoken, heard = normalize(reference).split(), normalize(hypothesis).split()
    counts = count_errors([spoken], [heard])
    named = (counts.substitutions, counts.deletions, counts.insertions)
    types = tuple(name for name, count in zip(MEASURED, named, strict=False) if count[0])
    if heard and not spoken:
        types = ("hallucination",)
    return Outcome(types=types, errors=int(counts.errors[0]), words=len(spoken))
