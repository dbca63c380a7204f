"""What goes wrong with a request, as far as that can be told at once. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from misheard.capture.signals import known_phrase
from misheard.rollouts.voice import has_voice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Signal(StrEnum):
    """What may go wrong with a request."""

    SUSPICIOUS = "suspicious"
    """Its transcript is likely to be wrong."""
    EMPTY = "empty"
    """Nothing was heard where there is a voice."""
    PHRASE = "phrase"
    """A known hallucination."""
    SLOW = "slow"
    """Its caller waited too long."""
    FAILED = "failed"
    """It could not be transcribed."""
    CORRECTED = "corrected"
    """A person said that it is wrong."""

    @property
    def is_of_shadows(self) -> bool:
        """Whether a shadow has it: it runs when there is time, and nobody reads what it heard."""
        return self not in (Signal.SLOW, Signal.CORRECTED)


class Limits(Protocol):
    """From where on it is wrong: `RolloutRules`."""

    @property
    def min_suspicion(self) -> float: ...  # noqa: D102

    @property
    def slow_s(self) -> float: ...  # noqa: D102

    @property
    def signals(self) -> tuple[Signal, ...]: ...  # noqa: D102


def wrong_of(
    text: str | None,
    samples: NDArray[np.float32],
    *,
    suspicion: float | None,
    latency_s: float | None,
    limits: Limits,
) -> frozenset[Signal]:
    """What went wrong with a request.

    `text` is what was heard, None where the transcriber failed; `samples` are those at 16 kHz that
    it was given; `suspicion` and `latency_s` may be unknown. A silence that is answered with
    nothing is right, and so a model that has learnt that is not held to be worse: whether there is
    a voice is told from the samples alone, in the same way for whoever answers.
    """
    found = set()
    if text is None:
        found.add(Signal.FAILED)
    else:
        if suspicion is not None and suspicion >= limits.min_suspicion:
            found.add(Signal.SUSPICIOUS)
        if known_phrase(text):
            found.add(Signal.PHRASE)
        if not any(map(str.isalnum, text)) and has_voice(samples):
            found.add(Signal.EMPTY)
    if latency_s is not None and latency_s > limits.slow_s:
        found.add(Signal.SLOW)
    return frozenset(found).intersection(limits.signals)
