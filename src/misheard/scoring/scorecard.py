"""All figures of one system, or of two side by side, on the same references."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from misheard.scoring.alignment import AlignedWords, align_words
from misheard.scoring.confusions import ErrorsByType, errors_by_type
from misheard.scoring.normalize import Normalizer
from misheard.scoring.score import Score, score
from misheard.scoring.significance import (
    Interval,
    MatchedPairs,
    PermutationTest,
    mapsswe,
    paired_bootstrap,
    permutation_test,
)

ALPHA = 0.05
"""Level at which a difference is called more than chance."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The figures of one system."""

    name: str
    score: Score
    errors: ErrorsByType
    wer_interval: Interval
    """95 %, by the bootstrap blocked by group."""

    def to_dict(self) -> dict[str, Any]:
        """Plain figures; the words that were misheard with them."""
        words = self.score.words
        return {
            "name": self.name,
            "wer": self.score.wer,
            "wer_interval": self.wer_interval,
            "cer": self.score.cer,
            "mer": self.score.mer,
            "wil": self.score.wil,
            "hits": int(words.hits.sum()),
            "substitutions": int(words.substitutions.sum()),
            "deletions": int(words.deletions.sum()),
            "insertions": int(words.insertions.sum()),
            "silent_utterances": int(self.score.silent.sum()),
            "hallucination_rate": self.score.hallucination_rate,
            "utterances_with_errors": self.errors.wrong,
            "errors_by_type": self.errors.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Versus:
    """The second system against the first."""

    reduction: float
    """WER of the first minus WER of the second: above zero, the second is better."""
    interval: Interval
    """95 %, of the reduction."""
    permutation: PermutationTest
    """The blocked test, on which `verdict` rests."""
    mapsswe: MatchedPairs
    fixed: int
    """Utterances that the first has wrong and the second right."""
    broken: int
    """The other way round."""

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `undecided`, of the second system."""
        if self.permutation.p_value >= ALPHA:
            return "undecided"
        return "better" if self.permutation.reduction > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        """Plain figures."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What `mark` found."""

    utterances: int
    words: int
    """That were spoken."""
    groups: int
    normalizer: str
    systems: tuple[Marks, ...]
    versus: Versus | None
    """With two systems."""

    def most(self, count: int) -> Scorecard:
        """The same with `count` of each list of words."""
        cut = (replace(one, errors=one.errors.most(count)) for one in self.systems)
        return replace(self, systems=tuple(cut))

    def worst(self, count: int) -> list[int]:
        """Where the utterances stand on which the last system makes most errors, worst first."""
        errors = self.systems[-1].score.words.errors
        order = np.argsort(-errors, kind="stable")[:count]
        return [int(at) for at in order if errors[at]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return {
            "utterances": self.utterances,
            "words": self.words,
            "groups": self.groups,
            "normalizer": self.normalizer,
            "systems": [one.to_dict() for one in self.systems],
            "versus": self.versus.to_dict() if self.versus else None,
        }


def mark(
    references: Sequence[str],
    systems: Sequence[tuple[str, Sequence[str]]],
    groups: Sequence[Hashable],
    *,
    normalizer: Normalizer,
    replicates: int = 10_000,
) -> Scorecard:
    """Score one system or two, each a name and its transcripts, in the order of the references.

    `groups` names what moves together in statistics, one for each utterance.

    >>> from misheard.scoring.normalize import normalizer
    >>> card = mark(["press pound"], [("a", ["press pond"])], [0], normalizer=normalizer("basic"))
    >>> card.systems[0].score.wer
    0.5
    """
    # Each text is needed several times, and normalising is the slowest step.
    once = replace(normalizer, function=cache(normalizer.function))
    scores = [score(references, texts, normalizer=once) for _, texts in systems]
    errors = [one.words.errors for one in scores]
    words = scores[0].words.reference_length
    intervals = paired_bootstrap(errors[0], errors[-1], words, groups, replicates=replicates)
    marks = tuple(
        Marks(
            name=name,
            score=scored,
            errors=errors_by_type(references, texts, normalizer=once),
            wer_interval=interval,
        )
        for (name, texts), scored, interval in zip(
            systems, scores, (intervals.baseline, intervals.candidate), strict=False
        )
    )
    versus = None
    if len(systems) == 2:
        texts = ([once(text) for text in side] for side in (references, *(s[1] for s in systems)))
        versus = Versus(
            reduction=scores[0].wer - scores[1].wer,
            interval=intervals.reduction,
            permutation=permutation_test(errors[0], errors[1], groups),
            mapsswe=mapsswe(*texts),
            fixed=int(((errors[0] > 0) & (errors[1] == 0)).sum()),
            broken=int(((errors[0] == 0) & (errors[1] > 0)).sum()),
        )
    return Scorecard(
        utterances=len(words),
        words=int(words.sum()),
        groups=intervals.blocks,
        normalizer=normalizer.name,
        systems=marks,
        versus=versus,
    )


def aligned(reference: str, hypothesis: str, *, normalizer: Normalizer) -> list[AlignedWords]:
    """The words of a pair, normalised, each beside what was heard for it."""
    return align_words(normalizer(reference).split(), normalizer(hypothesis).split())
