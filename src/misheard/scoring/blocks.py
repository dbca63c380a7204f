"""Counts of utterances, summed over what moves together: a speaker, a call, a session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def counts(**columns: NDArray[Any] | Sequence[int]) -> list[NDArray[np.int64]]:
    """The columns as whole numbers, each of shape (utterances,).

    Raises `BadInputError` where they differ in length, or one holds what is no count: a number that
    is negative, not whole or not a number at all.
    """
    made = [_whole(name, column) for name, column in columns.items()]
    lengths = {name: len(column) for name, column in zip(columns, made, strict=True)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise BadInputError(f"The counts are not of the same utterances: {found}.")
    return made


def block_sums(
    columns: Sequence[NDArray[np.int64]], groups: Sequence[Hashable] | None
) -> NDArray[np.int64]:
    """The columns summed over each group; shape (groups, columns), groups as they first appear.

    Columns have shape (utterances,), `groups` names the group of each utterance. None: every
    utterance is a group of its own.
    """
    if groups is None:
        return np.stack(columns, axis=1)
    if len(groups) != len(columns[0]):
        raise BadInputError(
            f"Every utterance needs a group: {len(columns[0])} utterances, {len(groups)} groups."
        )
    number: defaultdict[Hashable, int] = defaultdict(count().__next__)
    index = np.fromiter(map(number.__getitem__, groups), np.int64, len(groups))
    sums = np.zeros((len(number), len(columns)), np.int64)
    for at, column in enumerate(columns):
        # Sums in float64 are exact up to 2^53.
        sums[:, at] = np.bincount(index, weights=column, minlength=len(number))
    return sums


def _whole(name: str, column: NDArray[Any] | Sequence[int]) -> NDArray[np.int64]:
    try:
        values = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"The {name} are no numbers: {error}.") from error
    if values.ndim != 1:
        raise BadInputError(f"The {name} must be one for each utterance, not of {values.shape}.")
    wrong = ~((values >= 0) & (values < 2**53) & (np.floor(values) == values))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise BadInputError(f"The {name} must be counts; utterance {at} has {values[at]}.")
    return values.astype(np.int64)
