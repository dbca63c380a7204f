"""References beside their hypotheses, one pair at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import zip_longest
from typing import TypeVar

from misheard.errors import InvalidTranscriptError, MismatchedLengthsError
from misheard.scoring.normalize import Normalizer

T = TypeVar("T")
_NOTHING = object()


def paired(references: Iterable[T], hypotheses: Iterable[T]) -> Iterator[tuple[T, T]]:
    """Each reference with its hypothesis; `MismatchedLengthsError` where one side has more.

    Sides that know their length are compared before the first pair is given out.
    """
    for side in (references, hypotheses):
        if isinstance(side, str):
            # Its letters would be scored as transcripts.
            raise InvalidTranscriptError(f"Expected a list of transcripts, got one str: {side!r}.")
    if (
        isinstance(references, Sized)
        and isinstance(hypotheses, Sized)
        and len(references) != len(hypotheses)
    ):
        raise MismatchedLengthsError(f"{len(references)} references, {len(hypotheses)} hypotheses.")
    return _paired(references, hypotheses)


def _paired(references: Iterable[T], hypotheses: Iterable[T]) -> Iterator[tuple[T, T]]:
    for index, pair in enumerate(zip_longest(references, hypotheses, fillvalue=_NOTHING)):
        if pair[0] is _NOTHING or pair[1] is _NOTHING:
            longer = "hypotheses" if pair[0] is _NOTHING else "references"
            raise MismatchedLengthsError(f"Only the {longer} go on after {index} of each.")
        yield pair  # type: ignore[misc]  # neither is the filling


def normalized(
    references: Iterable[str], hypotheses: Iterable[str], normalizer: Normalizer
) -> Iterator[tuple[str, str, str, str]]:
    """Each pair as (reference, hypothesis, and both normalised), nothing of it kept.

    `InvalidTranscriptError` names the first that is no str.
    """
    for index, (reference, hypothesis) in enumerate(paired(references, hypotheses)):
        if not (isinstance(reference, str) and isinstance(hypothesis, str)):
            what, text = (
                ("Hypothesis", hypothesis)
                if isinstance(reference, str)
                else ("Reference", reference)
            )
            raise InvalidTranscriptError(
                f"{what} {index}: expected str, got {type(text).__name__}."
            )
        spoken = normalizer(reference)
        # Most transcripts are right, and normalising costs as much as scoring does.
        heard = spoken if hypothesis == reference else normalizer(hypothesis)
        yield reference, hypothesis, spoken, heard
