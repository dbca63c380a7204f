"""Where `sclite` sees the errors of texts."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from rapidfuzz.distance import Postfix, Prefix

from misheard.scoring.cheapest import Words, wrong_and_inserted

if TYPE_CHECKING:
    from numpy.typing import NDArray

Text = str | Sequence[str]
"""Words between white space, or a list of words."""

PLACE_BITS = 32
"""A place is the number of the text, and in so many lower bits how many words stand before it."""


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Wrong words of references, in any order; arrays of shape (stretches,).

    Each error is in one stretch, and within a stretch no word is right.
    """

    first: NDArray[np.int64]
    """Place of the first wrong word, or of the word that others were inserted before."""
    end: NDArray[np.int64]
    """Place after the last wrong word. `first` where words were inserted, and none is wrong."""
    errors: NDArray[np.int64]


def error_stretches(references: Sequence[Text], texts: Sequence[Text]) -> Stretches:
    """Errors of texts against their references, in the alignment that `sclite` chooses.

    >>> found = error_stretches(["hold the line", "thank you"], ["hold a line", "well thank you"])
    >>> [divmod(int(place), 2**PLACE_BITS) for place in found.first]
    [(0, 1), (1, 0)]
    >>> (found.end - found.first).tolist(), found.errors.tolist()
    ([1, 0], [1, 1])
    """
    first, end, errors = array("q"), array("q"), array("q")
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    place, spoken, heard = array("q"), Words(numbers, mark=-1), Words(numbers, mark=-2)
    for number, (reference, text) in enumerate(zip(references, texts, strict=True)):
        if reference == text:
            continue
        before, said, given = _middle(reference, text)
        begin = (number << PLACE_BITS) + before
        if (len(said) > 1 or len(given) > 1) and not set(said).isdisjoint(given):
            place.append(begin)
            spoken.append(said)
            heard.append(given)
        # Without a word in common all are wrong, wherever the gaps stand among them.
        elif said != given:
            first.append(begin)
            end.append(begin + len(said))
            errors.append(max(len(said), len(given)))
    wrong, inserted = wrong_and_inserted(
        np.array(place, np.int64), spoken.together(), heard.together()
    )
    return Stretches(
        first=np.concatenate([np.array(first, np.int64), wrong, inserted]),
        end=np.concatenate([np.array(end, np.int64), wrong + 1, inserted]),
        errors=np.concatenate(
            [np.array(errors, np.int64), np.ones(len(wrong) + len(inserted), np.int64)]
        ),
    )


def _middle(reference: Text, text: Text) -> tuple[int, Sequence[str], Sequence[str]]:
    """What is left of both without the words that are the same at their ends.

    First how many words of the reference were cut off before it. Those after it are never aligned
    otherwise: a pair of the same words costs no more than anything else, and goes before it. Gaps
    at the front could stand further ahead instead, among words that are the same; but only if the
    last of those is a word of the middle too, and so it is not cut off then.
    """
    if not (isinstance(reference, str) and isinstance(text, str)):
        said, given = (t.split() if isinstance(t, str) else t for t in (reference, text))
        return 0, said, given
    behind = Postfix.similarity(reference, text)
    i, j = len(reference) - behind, len(text) - behind
    if (i and reference[i - 1] != " ") or (j and text[j - 1] != " "):
        space = reference.find(" ", i)
        i = space if space >= 0 else len(reference)
        j = len(text) - len(reference) + i
    ahead = min(Prefix.similarity(reference, text), i, j)
    if (ahead < i and reference[ahead] != " ") or (ahead < j and text[ahead] != " "):
        ahead = reference.rfind(" ", 0, ahead) + 1
    same, said, given = reference[:ahead].split(), reference[ahead:i].split(), text[ahead:j].split()
    kept = len(same)
    while kept and (same[kept - 1] in said or same[kept - 1] in given):
        kept -= 1
        said.insert(0, same[kept])
        given.insert(0, same[kept])
    return kept, said, given
