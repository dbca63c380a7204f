"""How sound a dataset is: the share of its utterances that have no flaw. Pure.

A flaw is what makes a label doubtful or useless, as far as it can be told without listening. A
flawed utterance stays in the dataset; too many of them and nothing is trained on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from misheard.cases.records import Labelled
from misheard.scoring.normalize import Normalize

_SHORTEST_S, _LONGEST_S = 0.1, 30.0
"""Less holds no word; more does not fit Whisper's window and is left out of training."""
_FASTEST_PER_S = 40.0
"""Characters a second. Fast English speech has about 25 (6.2 syllables: Pellegrino et al. 2011,
"A cross-language perspective on speech information rate"); more was not said in that time."""
_SHORT_TEXT = 12
"""A text up to so many characters may be fast: the ends of a clip are often cut close."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The figures of a dataset."""

    score: float
    """Share of utterances without a flaw, 0 to 1."""
    flaws: dict[str, int]
    """How many utterances have which flaw; one may have several."""

    def to_dict(self) -> dict[str, Any]:
        """For storage."""
        return {"score": self.score, "flaws": self.flaws}

    def __str__(self) -> str:
        named = ", ".join(f"{count} {name}" for name, count in self.flaws.items())
        return f"quality {self.score:.1%}" + (f" ({named})" if named else "")


def flaws_of(
    utterance: Labelled, *, normalize: Normalize, same_recording: Sequence[str] = ()
) -> list[str]:
    """What is wrong with a labelled utterance; `same_recording`: older labels of the same audio."""
    text = normalize(utterance.reference)
    found = []
    if utterance.duration_s < _SHORTEST_S:
        found.append("too short")
    if utterance.duration_s > _LONGEST_S:
        found.append("too long to train on")
    if len(text) > _SHORT_TEXT and len(text) > _FASTEST_PER_S * utterance.duration_s:
        found.append("text too long for its audio")
    if utterance.reference.strip() and not text:
        found.append("no words in the text")
    if any(normalize(other) != text for other in utterance.other_references):
        found.append("people disagree")
    if any(normalize(other) != text for other in same_recording):
        found.append("same recording, other text")
    return found


def assess(flaws: Iterable[Sequence[str]]) -> Quality:
    """The quality of a dataset from the flaws of each of its utterances.

    >>> assess([[], [], ["too short"], []]).score
    0.75
    """
    listed = list(flaws)
    counts = Counter(name for names in listed for name in names)
    sound = sum(not names for names in listed)
    return Quality(score=sound / max(1, len(listed)), flaws=dict(sorted(counts.items())))
