"""Which words are misheard, and what differs in nothing but how it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from misheard.scoring.alignment import align_words
from misheard.scoring.normalize import Normalizer
from misheard.scoring.pairs import normalized


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """One way to mishear a word."""

    reference: str
    """The word that was spoken; empty where it was inserted."""
    hypothesis: str
    """The word that was heard; empty where it was deleted."""
    count: int


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """A transcript that is right and written otherwise, both as they were given."""

    reference: str
    hypothesis: str


@dataclass(frozen=True, kw_only=True)
class ErrorsByType:
    """The errors of a set of transcripts, each list with the most frequent first."""

    substituted: tuple[Confusion, ...]
    deleted: tuple[Confusion, ...]
    inserted: tuple[Confusion, ...]
    utterances: int
    wrong: int
    """Utterances that still differ from their reference once both are normalised."""
    formatting_only: int
    """Utterances that differ as they are written, white space aside, and not once normalised."""
    formatting_examples: tuple[Rewriting, ...]
    """The first of them."""
    normalizer: str
    """Name of the normaliser that references and hypotheses both went through."""

    def most(self, count: int) -> ErrorsByType:
        """The same with `count` of each list; the figures stay those of the whole set."""
        return replace(
            self,
            substituted=self.substituted[:count],
            deleted=self.deleted[:count],
            inserted=self.inserted[:count],
            formatting_examples=self.formatting_examples[:count],
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return asdict(self)


def errors_by_type(
    references: Iterable[str],
    hypotheses: Iterable[str],
    *,
    normalizer: Normalizer,
    examples: int = 20,
) -> ErrorsByType:
    """Count every misheard word of a set, in the alignments of `align_words`.

    `examples` bounds the rewritings that are kept. Raises what `score` raises.

    >>> from misheard.scoring.normalize import normalizer
    >>> errors = errors_by_type(
    ...     ["Press pound.", "Dr. Who"], ["press pond", "doctor who"],
    ...     normalizer=normalizer("whisper-english"),
    ... )
    >>> errors.substituted
    (Confusion(reference='pound', hypothesis='pond', count=1),)
    >>> errors.wrong, errors.formatting_only
    (1, 1)
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    utterances = wrong = formatting_only = 0
    shown: list[Rewriting] = []
    for reference, hypothesis, spoken, heard in normalized(references, hypotheses, normalizer):
        utterances += 1
        if spoken != heard:
            wrong += 1
            counts.update(
                (step.kind, step.reference, step.hypothesis)
                for step in align_words(spoken.split(), heard.split())
                if step.kind != "equal"
            )
        elif reference != hypothesis and reference.split() != hypothesis.split():
            formatting_only += 1
            if len(shown) < examples:
                shown.append(Rewriting(reference=reference, hypothesis=hypothesis))
    return ErrorsByType(
        substituted=_ranked(counts, "replace"),
        deleted=_ranked(counts, "delete"),
        inserted=_ranked(counts, "insert"),
        utterances=utterances,
        wrong=wrong,
        formatting_only=formatting_only,
        formatting_examples=tuple(shown),
        normalizer=normalizer.name,
    )


def _ranked(counts: Counter[tuple[str, str, str]], kind: str) -> tuple[Confusion, ...]:
    """Those of one kind, the most frequent first, and by the alphabet where equally many."""
    found = [
        Confusion(reference=reference, hypothesis=hypothesis, count=count)
        for (of_kind, reference, hypothesis), count in counts.items()
        if of_kind == kind
    ]
    return tuple(sorted(found, key=lambda one: (-one.count, one.reference, one.hypothesis)))
