"""Two people, one recording: how far apart is what they heard?

No recogniser can be shown to be better than people agree with each other, and a label that another
person contradicts is worth a second look.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, func, select

from misheard.database.schema import corrections
from misheard.scoring.alignment import count_pair
from misheard.scoring.normalize import Normalizer

_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Label:
    """The last that one person said of an utterance."""

    number: int
    """Counts corrections."""
    inference_id: str
    author: str
    reference: str
    is_error: bool


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two people say of one utterance, in the order in which they said it."""

    inference_id: str
    authors: tuple[str, str]
    references: tuple[str, str]
    errors: int
    """Words to change one into the other, after normalisation."""
    words: float
    """Of both, on average."""

    @property
    def is_exact(self) -> bool:
        """They say the same."""
        return not self.errors


@dataclass(frozen=True, kw_only=True)
class Together:
    """How two people agree over all that both labelled."""

    authors: tuple[str, str]
    """In the order of the alphabet."""
    utterances: int
    exact: int
    errors: int
    words: float

    @property
    def exact_share(self) -> float:
        """Share of the utterances of which they say the same."""
        return self.exact / self.utterances if self.utterances else math.nan

    @property
    def wer(self) -> float:
        """Words that differ over words; the mean length of the two counts, since neither of them is
        the reference."""
        return self.errors / self.words if self.words else math.nan


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How people agree, over every pair of labels of one utterance."""

    utterances: int
    """That two or more people labelled."""
    everybody: Together
    """Of all pairs, each of them an utterance of its own."""
    pairs: tuple[Together, ...]
    """By the two people, those with most in common first."""
    furthest: tuple[Pair, ...]
    """What differs, the largest difference first."""


def agreement(
    connection: Connection,
    *,
    normalizer: Normalizer,
    since: datetime | None = None,
    limit: int = 20,
) -> Agreement:
    """Of every utterance that two people labelled, and one of them after `since`.

    `limit` is how many of those that differ are named. Without `since` every label there is has to
    be looked at once.
    """
    by_author: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    utterances: set[str] = set()
    for labels in several_labels(connection, since):
        utterances.add(labels[0].inference_id)
        for one in compared(labels, normalizer):
            by_author[tuple(sorted(one.authors))].append(one)
    pairs = [one for found in by_author.values() for one in found]
    together = [_together((a, b), found) for (a, b), found in by_author.items()]
    differing = sorted(
        (one for one in pairs if not one.is_exact),
        key=lambda one: (-one.errors / max(one.words, 1.0), one.inference_id, one.authors),
    )
    return Agreement(
        utterances=len(utterances),
        everybody=_together(("", ""), pairs),
        pairs=tuple(sorted(together, key=lambda one: (-one.utterances, one.authors))),
        furthest=tuple(differing[:limit]),
    )


def compared(labels: Sequence[Label], normalizer: Normalizer) -> Iterator[Pair]:
    """Every two of the labels of one utterance, each by another person."""
    for one, other in combinations(labels, 2):
        words, others = (normalizer(label.reference).split() for label in (one, other))
        substitutions, deletions, insertions, _ = count_pair(words, others)
        yield Pair(
            inference_id=one.inference_id,
            authors=(one.author, other.author),
            references=(one.reference, other.reference),
            errors=substitutions + deletions + insertions,
            words=(len(words) + len(others)) / 2,
        )


def several_labels(connection: Connection, since: datetime | None) -> Iterator[list[Label]]:
    """The labels of each utterance that two or more people labelled."""
    query: Any = (
        select(corrections.c.inference_id)
        .group_by(corrections.c.inference_id)
        .having(func.count(corrections.c.author.distinct()) > 1)
        .order_by(corrections.c.inference_id)
    )
    if since is not None:
        recent = select(corrections.c.inference_id).where(corrections.c.created_at > since)
        query = query.where(corrections.c.inference_id.in_(recent))
    ids = connection.execute(query).scalars().all()
    for start in range(0, len(ids), _AT_ONCE):
        yield from newest_labels(connection, ids[start : start + _AT_ONCE]).values()


def newest_labels(
    connection: Connection, inference_ids: Sequence[str]
) -> Mapping[str, list[Label]]:
    """Of each utterance, the newest label of each person; the newest of all is the last."""
    columns = [corrections.c[name] for name in Label.__dataclass_fields__]
    query = select(*columns).where(corrections.c.inference_id.in_(inference_ids))
    found: dict[str, dict[str, Label]] = defaultdict(dict)
    for row in connection.execute(query.order_by(corrections.c.number)).mappings():
        label = Label(**row)
        # Taken out first, so that the newest stands last.
        found[label.inference_id].pop(label.author, None)
        found[label.inference_id][label.author] = label
    return {key: list(by_author.values()) for key, by_author in found.items()}


def _together(authors: tuple[str, str], pairs: Iterable[Pair]) -> Together:
    found = list(pairs)
    return Together(
        authors=authors,
        utterances=len(found),
        exact=sum(one.is_exact for one in found),
        errors=sum(one.errors for one in found),
        words=sum(one.words for one in found),
    )
