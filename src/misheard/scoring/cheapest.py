"""The cheapest alignments of many texts, those that `sclite` chooses."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Places = tuple[NDArray[np.int64], NDArray[np.int64]]

_SUBSTITUTION, _GAP = 4, 3
"""What `sclite` pays for a substitution, and for an insertion or a deletion."""
_PAIR, _DELETED, _INSERTED = 0, 1, 2
_SHIFTS = 3, 8, 20
"""Words that one text may run ahead of the other; more is left to the table of all cells."""
_WORTH = 5
"""Words that a text has at least, for each of those, to be looked at in that way."""
_CELLS = 4_000_000
"""Cells that are worked on at the same time; about a byte each in a table of all, else eight."""
_NEVER = -(2**30)


def wrong_and_inserted(place: NDArray[np.int64], spoken: _Words, heard: _Words) -> _Places:
    """Places of wrong words of references, and of words that others were inserted before.

    A place is that of the reference's first word, `place`, and how many words stand before; arrays
    of shape (errors,), in any order. On a tie a substitution goes before an insertion and that
    before a deletion, seen from the end.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    # Those of about the same length are aligned together, so that little is computed for nothing.
    todo = np.lexsort((heard.length, spoken.length))
    for shift in _SHIFTS:
        # With so few words the table is quicker.
        enough = spoken.length[todo] >= _WORTH * shift
        unknown, todo = [todo[~enough]], todo[enough]
        for several in _batches(todo, (spoken.length + 1)[todo] * (2 * shift + 1), each=False):
            places, left = _near(
                place[several], spoken.chosen(several), heard.chosen(several), shift
            )
            found.append(places)
            unknown.append(several[left])
        todo = np.concatenate(unknown)
        todo = todo[np.lexsort((heard.length[todo], spoken.length[todo]))]
    cells = (spoken.length + heard.length + 1) * (spoken.length + 1)
    for several in _batches(todo, cells[todo], each=True):
        found += _far(place, spoken, heard, several)
    wrong, inserted = (np.concatenate(side) for side in zip(*found, strict=True))
    return wrong, inserted


def _batches(
    texts: NDArray[np.int64], cells: NDArray[np.int64], *, each: bool
) -> Iterator[NDArray[np.int64]]:
    """As many texts at a time as go into `_CELLS`, with `each` where all take as many as one."""
    begin = 0
    while begin < len(texts):
        some = cells[begin : begin + 8192]
        taken = (
            np.maximum.accumulate(some) * np.arange(1, len(some) + 1) if each else np.cumsum(some)
        )
        end = begin + max(1, int(np.searchsorted(taken, _CELLS, side="right")))
        yield texts[begin:end]
        begin = end


class Words:
    """Words of texts as numbers, to be added text by text."""

    def __init__(self, number: defaultdict[str, int], *, mark: int) -> None:
        """`mark` is the number of no word, nor another side's mark."""
        self._number, self._mark = number, mark
        self._words, self._length = array("i", [mark]), array("q")

    def append(self, text: Sequence[str]) -> None:
        """One text more."""
        self._words.extend(map(self._number.__getitem__, text))
        self._words.append(self._mark)
        self._length.append(len(text))

    def together(self) -> _Words:
        """All that were added."""
        return _Words(np.array(self._length, np.int64), np.array(self._words, np.int32))


class _Words:
    """Words of many texts as numbers, with a mark before, between and after the texts."""

    def __init__(self, length: NDArray[np.int64], words: NDArray[np.int32]) -> None:
        self.length, self.words = length, words
        self.start = np.cumsum(length + 1) - length

    def chosen(self, texts: NDArray[np.int64]) -> _Words:
        """Some of the texts."""
        length = self.length[texts]
        begin = np.cumsum(length + 1) - (length + 1)
        at = np.repeat(self.start[texts] - begin, length + 1) + np.arange(int((length + 1).sum()))
        return _Words(length, np.concatenate([self.words[:1], self.words[at]]))

    def columns(self, texts: NDArray[np.int64]) -> NDArray[np.int32]:
        """These texts side by side, shape (longest, texts); what is beyond a text's end is any."""
        row = np.arange(self.length[texts].max(initial=0))[:, None]
        return np.take(self.words, self.start[texts] + row, mode="clip")


def _near(
    place: NDArray[np.int64], spoken: _Words, heard: _Words, shift: int
) -> tuple[_Places, NDArray[np.int64]]:
    """Align texts that never run more than `shift` words apart; and those that may, as indices.

    After Ukkonen, "Algorithms for approximate string matching", 1985: for each cost and each
    diagonal (words heard minus words spoken) how far one gets. Costs never fall along a diagonal,
    so that this tells which cells cost how much, and only errors are looked at one by one.
    """
    mismatch = _mismatches(spoken, heard, shift)
    width, words = mismatch.shape
    differs = np.flatnonzero(mismatch).astype(np.int32)
    onward = np.zeros(mismatch.size, np.int32)
    onward[: differs[-1] + 1] = np.repeat(differs, np.diff(differs, prepend=np.int32(-1)))
    start, size = spoken.start.astype(np.int32), len(place)
    diagonal = np.arange(-shift, shift + 1, dtype=np.int32)[:, None]
    n, m = spoken.length.astype(np.int32), heard.length.astype(np.int32)
    last = start + np.minimum(n, m - diagonal)
    row = (np.arange(width, dtype=np.int32) * np.int32(words))[:, None]
    most = _GAP * (shift + 1) - 1
    # Rows for costs below 0, and columns beyond the outermost diagonals, are never reached.
    far = np.full((_SUBSTITUTION + most + 1, width + 2, size), _NEVER, np.int32)
    cost = np.full(size, -1)
    texts = np.arange(size)
    apart = np.clip(m - n, -shift - 1, shift + 1) + shift + 1
    for s in range(most + 1):
        now = s + _SUBSTITUTION
        low, high = shift - s // _GAP, shift + s // _GAP + 1
        best = far[now - _SUBSTITUTION, low + 1 : high + 1] + 1
        np.maximum(best, far[now - _GAP, low:high], out=best)
        np.maximum(best, far[now - _GAP, low + 2 : high + 2] + 1, out=best)
        if s == 0:
            best[:] = start
        np.minimum(best, last[low:high], out=best)
        reached = onward[np.maximum(best, 0) + row[low:high]] - row[low:high]
        far[now, low + 1 : high + 1] = np.where(best >= 0, reached, _NEVER)
        cost[(cost < 0) & (far[now, apart, texts] == start + n)] = s
        if (cost >= 0).all():
            break
    since = np.repeat(differs, np.diff(differs, append=np.int32(mismatch.size)))
    return _errors_near(place, (spoken, heard), far, since, cost), np.flatnonzero(cost < 0)


def _mismatches(spoken: _Words, heard: _Words, shift: int) -> NDArray[np.bool_]:
    """Whether words differ, by diagonal and place; shape (diagonals, words with marks)."""
    texts = np.repeat(heard.start - spoken.start, spoken.length + 1)
    at = np.arange(len(spoken.words))
    at[1:] += texts
    return np.stack(
        [
            spoken.words != np.take(heard.words, at + k, mode="clip")
            for k in range(-shift, shift + 1)
        ]
    )


def _errors_near(
    place: NDArray[np.int64],
    sides: tuple[_Words, _Words],
    far: NDArray[np.int32],
    since: NDArray[np.int32],
    cost: NDArray[np.int64],
) -> _Places:
    """Go back from the ends, from error to error."""
    spoken, heard = sides
    shift, words = far.shape[1] // 2 - 1, len(spoken.words)
    text = np.flatnonzero(cost > 0)
    s, k = cost[text], (heard.length - spoken.length)[text]
    start = spoken.start[text]
    at = start + spoken.length[text]
    wrong, inserted = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    while len(text):
        # Words that are the same are a pair.
        row = (k + shift) * words
        at = since[row + at - 1] - row + 1
        row, column = s + _SUBSTITUTION, k + shift + 1
        pair = far[row - _SUBSTITUTION, column, text] >= at - 1
        insertion = ~pair & (far[row - _GAP, column - 1, text] >= at)
        word = place[text] + at - start
        wrong.append(word[~insertion] - 1)
        inserted.append(word[insertion])
        at = at - ~insertion
        k = k + np.where(pair, 0, np.where(insertion, -1, 1))
        s = s - np.where(pair, _SUBSTITUTION, _GAP)
        left = s > 0
        text, s, k, start, at = text[left], s[left], k[left], start[left], at[left]
    return np.concatenate(wrong), np.concatenate(inserted)


def _far(
    place: NDArray[np.int64], spoken: _Words, heard: _Words, texts: NDArray[np.int64]
) -> Iterator[_Places]:
    """Align texts over all cells; those of an anti-diagonal, and of all texts, at once."""
    reference, hypothesis = spoken.columns(texts), heard.columns(texts)
    back = _way_back(reference, hypothesis)
    start, column = place[texts], np.arange(len(texts))
    i, j = spoken.length[texts], heard.length[texts]
    while len(column):
        step = back[i + j, i, column]
        pair = np.flatnonzero(step == _PAIR)
        at = column[pair]
        differ = pair[reference[i[pair] - 1, at] != hypothesis[j[pair] - 1, at]]
        word = start + i
        wrong = np.concatenate([word[differ], word[step == _DELETED]]) - 1
        yield wrong, word[step == _INSERTED]
        i, j = i - (step != _INSERTED), j - (step != _DELETED)
        left = i + j > 0
        column, start, i, j = column[left], start[left], i[left], j[left]


def _way_back(reference: NDArray[np.int32], hypothesis: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The last step to each cell (i words of the reference, j of the hypothesis) of each text.

    Shape (i + j, i, texts). The inputs have shape (longest, texts).
    """
    (n, texts), m = reference.shape, len(hypothesis)
    back = np.empty((n + m + 1, n + 1, texts), np.uint8)
    kind = np.int16 if _SUBSTITUTION * (n + m) < 2**15 else np.int32
    costs = [np.empty((n + 1, texts), kind) for _ in range(3)]
    backwards = np.ascontiguousarray(hypothesis[::-1])
    costs[0][0] = 0
    for k in range(1, n + m + 1):
        cost, one, two = costs[k % 3], costs[(k - 1) % 3], costs[(k - 2) % 3]
        low, high = max(1, k - m), min(n, k - 1)
        if low <= high:
            differ = reference[low - 1 : high] != backwards[m - k + low : m - k + high + 1]
            pair = two[low - 1 : high] + differ * kind(_SUBSTITUTION)
            deleted, inserted = one[low - 1 : high] + kind(_GAP), one[low : high + 1] + kind(_GAP)
            gap = np.minimum(deleted, inserted)
            np.minimum(pair, gap, out=cost[low : high + 1])
            back[k, low : high + 1] = (pair > gap) * (1 + (deleted >= inserted).view(np.uint8))
        if k <= m:
            cost[0], back[k, 0] = kind(_GAP) * k, _INSERTED
        if k <= n:
            cost[k], back[k, k] = kind(_GAP) * k, _DELETED
    return back
