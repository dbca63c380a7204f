"""Which words both versions mishear most, side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = 15
"""Rows of each list on the page."""

Words = tuple[str, str]
"""The word that was spoken and the one that was heard; either may be empty."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """How often a version made one mistake."""

    amount: int
    exact: bool = True
    """Otherwise it is at most that: only the most frequent mistakes of a version are kept."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One way to mishear a word, and how often either version does."""

    spoken: str
    heard: str
    before: Count
    after: Count

    @property
    def change(self) -> int:
        """How many more the candidate makes; see `is_bound`."""
        return self.after.amount - self.before.amount

    @property
    def is_bound(self) -> bool:
        """Whether the change is at least so large, one of the two being no exact count."""
        return not (self.before.exact and self.after.exact)


def mistakes(
    baseline: Mapping[str, Any], candidate: Mapping[str, Any], kind: str, *, kept: int
) -> tuple[Mistake, ...]:
    """The most frequent of a kind: substituted, deleted or inserted.

    Both sides as `ErrorsByType.to_dict` gives them, each list cut to the `kept` most frequent. A
    mistake that is on one list alone, and no more frequent than what the other has left out, says
    nothing of either and is not told.
    """
    before, after = (_counts(side.get(kind, ())) for side in (baseline, candidate))
    unseen = [_unseen(found, kept) for found in (before, after)]
    made = []
    for words in {**before, **after}:
        counts = [
            _count(found, words, most) for found, most in zip((before, after), unseen, strict=True)
        ]
        one = Mistake(spoken=words[0], heard=words[1], before=counts[0], after=counts[1])
        if not one.is_bound or one.change:
            made.append(one)
    made.sort(key=lambda one: (-one.before.amount - one.after.amount, one.spoken, one.heard))
    return tuple(made[:SHOWN])


def _counts(found: Iterable[Mapping[str, Any]]) -> dict[Words, int]:
    return {(one["reference"], one["hypothesis"]): int(one["count"]) for one in found}


def _unseen(found: Mapping[Words, int], kept: int) -> int:
    """How often at most a mistake was made that is not among those kept."""
    return min(found.values()) if len(found) >= kept else 0


def _count(found: Mapping[Words, int], words: Words, unseen: int) -> Count:
    if words in found:
        return Count(amount=found[words])
    return Count(amount=unseen, exact=not unseen)
