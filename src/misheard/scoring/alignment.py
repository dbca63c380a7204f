"""Word alignment: how many words were substituted, deleted and inserted, and which."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, cast

import numpy as np
from rapidfuzz.distance import Editop, Editops, Levenshtein
from rapidfuzz.process import cdist

from misheard.scoring.pairs import paired

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """Errors of each utterance against its reference; all arrays have shape (utterances,)."""

    substitutions: NDArray[np.int64]
    deletions: NDArray[np.int64]
    insertions: NDArray[np.int64]
    reference_length: NDArray[np.int64]
    """Words (or characters) that were spoken."""

    @classmethod
    def from_rows(cls, rows: array[int]) -> ErrorCounts:
        """Counts out of one flat array: what `count_pair` gives, utterance after utterance."""
        columns = np.ascontiguousarray(np.frombuffer(rows, np.int64).reshape(-1, 4).T)
        return cls(
            substitutions=columns[0],
            deletions=columns[1],
            insertions=columns[2],
            reference_length=columns[3],
        )

    @property
    def hits(self) -> NDArray[np.int64]:
        """Words of each utterance that were heard as they were spoken."""
        return self.reference_length - self.substitutions - self.deletions

    @property
    def hypothesis_length(self) -> NDArray[np.int64]:
        """Words (or characters) that were heard."""
        return self.reference_length - self.deletions + self.insertions

    @property
    def errors(self) -> NDArray[np.int64]:
        """All errors of each utterance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Corpus-level error rate: the sum of errors over the sum of reference words.

        NaN where nothing was said at all. Insertions on silent clips count as errors.
        """
        return _share(int(self.errors.sum()), int(self.reference_length.sum()))

    @property
    def mer(self) -> float:
        """Match error rate: of everything that was spoken or heard, what did not match.

        With H hits, (S + D + I) / (H + S + D + I), so never above 1; NaN where both sides are
        empty. Morris, Maier and Green, "From WER and RIL to MER and WIL: improved evaluation
        measures for connected speech recognition", Interspeech 2004.
        """
        errors = int(self.errors.sum())
        return _share(errors, int(self.hits.sum()) + errors)

    @property
    def wil(self) -> float:
        """Word information lost: 1 - H²/(N·P), for N words spoken and P heard.

        1 where one side alone is empty, NaN where both are. Source as for `mer`.
        """
        hits = int(self.hits.sum())
        spoken, heard = int(self.reference_length.sum()), int(self.hypothesis_length.sum())
        if not spoken or not heard:
            return 1.0 if spoken or heard else float("nan")
        return 1 - hits / spoken * (hits / heard)

    def subset(self, chosen: NDArray[np.bool_]) -> ErrorCounts:
        """The counts of some of the utterances; `chosen` has shape (utterances,)."""
        return ErrorCounts(
            substitutions=self.substitutions[chosen],
            deletions=self.deletions[chosen],
            insertions=self.insertions[chosen],
            reference_length=self.reference_length[chosen],
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def count_errors(
    references: Iterable[Sequence[str]], hypotheses: Iterable[Sequence[str]]
) -> ErrorCounts:
    """Levenshtein counts of each pair, over words (lists of str) or characters (str).

    `MismatchedLengthsError` where one side has more than the other.

    >>> counts = count_errors([["the", "caller", "was"]], [["the", "color", "was", "here"]])
    >>> int(counts.substitutions[0]), int(counts.insertions[0]), round(counts.rate, 3)
    (1, 1, 0.667)
    """
    rows = array("q")
    for reference, hypothesis in paired(references, hypotheses):
        rows.extend(count_pair(reference, hypothesis))
    return ErrorCounts.from_rows(rows)


PairCounts = tuple[int, int, int, int]
"""Substitutions, deletions, insertions, and the reference's length."""


# One by one, and not by rapidfuzz's batch distances: these decide the counts of no more than half
# of all wrong pairs, and with the alignments of the rest they were measured to take longer.
def count_pair(reference: Sequence[str], hypothesis: Sequence[str]) -> PairCounts:
    """The errors of one pair.

    The counts are those of rapidfuzz's alignment, as jiwer gives them: several alignments have the
    fewest errors, and which one is taken decides between "two substituted" and "one deleted, one
    inserted".

    >>> count_pair("pound", "pond")
    (0, 1, 0, 5)
    """
    return _counts(len(reference), len(hypothesis), Levenshtein.editops(reference, hypothesis))


def count_text_pair(reference: str, hypothesis: str) -> tuple[PairCounts, PairCounts]:
    """`count_pair` of the words and of the characters of two normalised texts.

    >>> count_text_pair("press the pound key", "press the pond key now")
    ((1, 0, 1, 4), (0, 1, 4, 19))
    """
    spoken, heard = len(reference), len(hypothesis)
    words = reference.count(" ") + 1 if reference else 0
    if reference == hypothesis:
        return (0, 0, 0, words), (0, 0, 0, spoken)
    edits = Levenshtein.editops(reference, hypothesis)
    # Words before the first edit and after the last are the same on both sides, and rapidfuzz takes
    # such words off first: those in between are all that has to be split.
    first, last = cast(Editop, edits[0]), cast(Editop, edits[-1])
    start = reference.rfind(" ", 0, first.src_pos) + 1
    end = reference.find(" ", last.src_pos + 1)
    if end < 0:
        end = spoken
    left, right = reference[start:end].split(), hypothesis[start : end + heard - spoken].split()
    substitutions, deletions, insertions, _ = count_pair(left, right)
    return (substitutions, deletions, insertions, words), _counts(spoken, heard, edits)


def _counts(spoken: int, heard: int, edits: Editops) -> PairCounts:
    # For H hits: H + S + D spoken, H + S + I heard, S + D + I edits.
    substitutions = len(edits) - abs(heard - spoken)
    if substitutions <= 1:
        # Two substitutions might be a deletion and an insertion; one cannot.
        kept = min(spoken, heard)
    else:
        hits = sum([block.size for block in edits.as_matching_blocks()])
        substitutions = spoken + heard - 2 * hits - len(edits)
        kept = hits + substitutions
    return substitutions, spoken - kept, heard - kept, spoken


@dataclass(frozen=True, slots=True)
class AlignedWords:
    """A stretch of an alignment: the words on both sides and how they relate."""

    kind: str
    """equal, replace, delete or insert."""
    reference: str
    hypothesis: str


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWords]:
    """The alignment of two lists of words as stretches of one kind, for display.

    Which words stand beside each other is decided as in `align_words`.

    >>> align(["press", "pound"], ["press", "pond"])[1]
    AlignedWords(kind='replace', reference='pound', hypothesis='pond')
    """
    stretches = []
    for kind, steps in groupby(align_words(reference, hypothesis), key=lambda step: step.kind):
        words = list(steps)
        stretches.append(
            AlignedWords(
                kind,
                " ".join(step.reference for step in words) if kind != "insert" else "",
                " ".join(step.hypothesis for step in words) if kind != "delete" else "",
            )
        )
    return stretches


LONGEST = 1_000
"""Words a side that are aligned by their characters too; the table grows with their product."""


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWords]:
    """The alignment of two lists of words, word by word.

    Of all alignments with the fewest word errors, the one whose substituted words are most alike:
    the least sum of their character errors, each over the longer word's length. Where the sides
    differ over more than `LONGEST` words, characters are not looked at.

    >>> [(step.reference, step.hypothesis) for step in align_words(["new", "york"], ["work"])]
    [('new', ''), ('york', 'work')]
    """
    alike = _common_prefix(reference, hypothesis)
    end = _common_prefix(reference[alike:][::-1], hypothesis[alike:][::-1])
    left = reference[alike : len(reference) - end]
    right = hypothesis[alike : len(hypothesis) - end]
    return [
        *(AlignedWords("equal", word, word) for word in reference[:alike]),
        *_differing(left, right),
        *(AlignedWords("equal", word, word) for word in reference[len(reference) - end :]),
    ]


def _common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def _differing(left: Sequence[str], right: Sequence[str]) -> Iterator[AlignedWords]:
    if len(left) == len(right) == 1:
        yield AlignedWords("replace", left[0], right[0])
        return
    for row, column in _path(left, right):
        if column is None:
            yield AlignedWords("delete", left[row or 0], "")
        elif row is None:
            yield AlignedWords("insert", "", right[column])
        else:
            kind = "equal" if left[row] == right[column] else "replace"
            yield AlignedWords(kind, left[row], right[column])


def _path(left: Sequence[str], right: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Which word stands beside which, as pairs of positions; None where a word stands alone."""
    if not left or not right:
        return [(row, None) for row in range(len(left))] + [
            (None, column) for column in range(len(right))
        ]
    if max(len(left), len(right)) > LONGEST:
        return list(_plain_path(left, right))
    # However unlike the words that stand beside each other are, one error more weighs more.
    word_error = _UNLIKE * min(len(left), len(right)) + 1
    beside = _unlikeness(left, right, word_error)
    best = _cheapest(beside, word_error).tolist()
    steps: list[tuple[int | None, int | None]] = []
    row, column = len(left), len(right)
    while row or column:
        here = best[row][column]
        if row and column and here == best[row - 1][column - 1] + beside[row - 1, column - 1]:
            row, column = row - 1, column - 1
            steps.append((row, column))
        elif row and here == best[row - 1][column] + word_error:
            row -= 1
            steps.append((row, None))
        else:
            column -= 1
            steps.append((None, column))
    return steps[::-1]


_UNLIKE = 1_000
"""The price of a substitution beyond its word error, for two words without a common letter."""


def _unlikeness(left: Sequence[str], right: Sequence[str], word_error: int) -> NDArray[np.int64]:
    """What it costs to put each word beside each; shape (left words, right words)."""
    edits = cdist(left, right, scorer=Levenshtein.distance, dtype=np.int32).astype(np.int64)
    one, other = (np.array([len(word) for word in side], np.int64) for side in (left, right))
    longer = np.maximum(np.maximum.outer(one, other), 1)
    beside: NDArray[np.int64] = _UNLIKE * edits // longer + np.where(edits > 0, word_error, 0)
    return beside


def _cheapest(beside: NDArray[np.int64], word_error: int) -> NDArray[np.int64]:
    """The least that it costs to align the first rows with the first columns, from none up."""
    rows, columns = beside.shape
    across = word_error * np.arange(columns + 1)
    best = np.empty((rows + 1, columns + 1), np.int64)
    best[0] = across
    for row in range(rows):
        step = best[row] + word_error
        np.minimum(step[1:], best[row, :-1] + beside[row], out=step[1:])
        # Insertions run along the row: taken off its own way across, each place is a running least.
        np.minimum.accumulate(step - across, out=step)
        best[row + 1] = step + across
    return best


def _plain_path(
    left: Sequence[str], right: Sequence[str]
) -> Iterator[tuple[int | None, int | None]]:
    for block in Levenshtein.opcodes(left, right):
        rows, columns = (
            range(block.src_start, block.src_end),
            range(block.dest_start, block.dest_end),
        )
        if block.tag == "delete":
            yield from ((row, None) for row in rows)
        elif block.tag == "insert":
            yield from ((None, column) for column in columns)
        else:
            yield from zip(rows, columns, strict=True)
