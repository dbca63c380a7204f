"""What was spoken and what two versions heard, word under word. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from misheard.scoring.alignment import AlignedWords, align_words


class Cell(StrEnum):
    """How the word of a version stands to the one above it."""

    RIGHT = "right"
    WRONG = "wrong"
    EXTRA = "extra"
    """Heard where nothing is spoken."""
    MISSING = "missing"
    """Spoken and not heard; the cell holds no word."""
    NOTHING = "nothing"
    """Neither: only the other version heard something here."""


@dataclass(frozen=True)
class Heard:
    """One word of a version, or the gap where it would stand."""

    kind: Cell
    text: str


@dataclass(frozen=True)
class Column:
    """One place in an utterance."""

    spoken: str
    """Empty where a version heard a word that nobody spoke."""
    before: Heard
    after: Heard


def columns(reference: str, baseline: str, candidate: str) -> tuple[Column, ...]:
    """The words of three normalised texts in columns, the reference above.

    >>> [(one.spoken, one.before.text, one.after.text)
    ...  for one in columns("press pound", "press a pond", "pound")]
    [('press', 'press', ''), ('', 'a', ''), ('pound', 'pond', 'pound')]
    """
    spoken = reference.split()
    before, after = (_by_place(spoken, text.split()) for text in (baseline, candidate))
    made: list[Column] = []
    for place in range(len(spoken) + 1):
        # Extra words of both stand in one column where they are alike, as far as order allows.
        made += [
            Column("", _extra(pair.reference), _extra(pair.hypothesis))
            for pair in align_words(before.extra[place], after.extra[place])
        ]
        if place < len(spoken):
            made.append(Column(spoken[place], before.heard[place], after.heard[place]))
    return tuple(made)


@dataclass(frozen=True, kw_only=True)
class _Side:
    heard: Sequence[Heard]
    """One for each word that was spoken."""
    extra: Sequence[Sequence[str]]
    """Words heard before each spoken one, and after the last."""


def _by_place(spoken: Sequence[str], text: Sequence[str]) -> _Side:
    heard: list[Heard] = []
    extra: list[list[str]] = [[]]
    for step in align_words(spoken, text):
        if step.kind == "insert":
            extra[-1].append(step.hypothesis)
        else:
            heard.append(_beside(step))
            extra.append([])
    return _Side(heard=heard, extra=extra)


def _beside(step: AlignedWords) -> Heard:
    kinds = {"equal": Cell.RIGHT, "replace": Cell.WRONG, "delete": Cell.MISSING}
    return Heard(kinds[step.kind], step.hypothesis)


def _extra(word: str) -> Heard:
    return Heard(Cell.EXTRA, word) if word else Heard(Cell.NOTHING, "")
