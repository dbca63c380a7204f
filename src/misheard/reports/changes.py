"""What changed, utterance by utterance: which words were wrong before, and which are now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from misheard.gates.comparison import Comparison
from misheard.scoring.alignment import align

SHOWN = 40
"""Utterances of each list that stand on the page."""

_KINDS = {"equal": "right", "replace": "wrong", "delete": "missing", "insert": "extra"}


@dataclass(frozen=True)
class Words:
    """A stretch of a transcript."""

    kind: str
    """right, wrong, missing (spoken, not heard) or extra (heard, not spoken)."""
    text: str
    spoken: str
    """What was said there; differs from `text` where the kind is wrong."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """An utterance on which the two versions make different numbers of errors."""

    reference: str
    before: tuple[Words, ...]
    after: tuple[Words, ...]
    errors_before: int
    errors_after: int

    @property
    def note(self) -> str:
        """fixed or newly broken, where it is so simple."""
        if not self.errors_after:
            return "fixed"
        return "" if self.errors_before else "newly broken"


@dataclass(frozen=True, kw_only=True)
class ChangeList:
    """Utterances that all went one way, the greatest change first."""

    shown: tuple[Change, ...]
    total: int

    @property
    def more(self) -> int:
        """How many stand in the workspace and not on the page."""
        return self.total - len(self.shown)


def changes(comparison: Comparison) -> tuple[ChangeList, ChangeList]:
    """The utterances that got better and those that got worse, each list capped at `SHOWN`."""
    better = [row for row in comparison.changed if _gain(row) > 0]
    worse = [row for row in comparison.changed if _gain(row) < 0]
    return _list(better), _list(worse)


def marked(reference: str, hypothesis: str) -> tuple[Words, ...]:
    """The words of `hypothesis` against `reference`, both normalised.

    >>> [(part.kind, part.text) for part in marked("please hang up", "please hold up now")]
    [('right', 'please'), ('wrong', 'hold'), ('right', 'up'), ('extra', 'now')]
    """
    return tuple(
        Words(_KINDS[part.kind], part.hypothesis or part.reference, part.reference)
        for part in align(reference.split(), hypothesis.split())
    )


def _list(rows: Sequence[dict[str, Any]]) -> ChangeList:
    order = sorted(rows, key=lambda row: (-abs(_gain(row)), row["candidate_errors"]))
    return ChangeList(shown=tuple(map(_change, order[:SHOWN])), total=len(order))


def _change(row: dict[str, Any]) -> Change:
    spoken = row["reference_words"]
    return Change(
        reference=row["reference"],
        before=marked(spoken, row["baseline_words"]),
        after=marked(spoken, row["candidate_words"]),
        errors_before=row["baseline_errors"],
        errors_after=row["candidate_errors"],
    )


def _gain(row: dict[str, Any]) -> int:
    return int(row["baseline_errors"]) - int(row["candidate_errors"])
