"""Which split an utterance belongs to: decided once, by its words, for ever.

The split is a hash of the normalised reference. So one sentence never stands in two splits, the
answer needs no table, and adding data never moves a row. Audio without speech has no words; there
the caller's `fallback`, the audio's own hash, is hashed instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from misheard.errors import InvalidSettingError


class Split(StrEnum):
    """A part of a dataset that must not share sentences with the others."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"

    @property
    def may_be_trained_on(self) -> bool:
        """Whether the optimiser may see it."""
        return self is Split.TRAIN


@dataclass(frozen=True, kw_only=True)
class SplitShares:
    """How many of a hundred sentences go where."""

    train_percent: int = 80
    validation_percent: int = 10
    test_percent: int = 10

    def __post_init__(self) -> None:
        shares = (self.train_percent, self.validation_percent, self.test_percent)
        if min(shares) < 0 or sum(shares) != 100:
            raise InvalidSettingError(
                f"Split shares must not be negative and must sum to 100, got {shares}."
            )


def split_of(normalized_reference: str, shares: SplitShares, *, fallback: str) -> Split:
    """The split of a sentence.

    >>> shares = SplitShares(train_percent=50, validation_percent=10, test_percent=40)
    >>> split_of("please hold", shares, fallback="")
    <Split.TEST: 'test'>
    """
    key = normalized_reference or f"no speech: {fallback}"
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    if percent < shares.train_percent:
        return Split.TRAIN
    if percent < shares.train_percent + shares.validation_percent:
        return Split.VALIDATION
    return Split.TEST
