"""The suspicion of a transcript: its signals, joined by a logistic model. Pure; numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from misheard.capture.signals import Signals

Floats = NDArray[np.float64]

FEATURES = (
    "doubt",
    "no_speech",
    "compressed",
    "fast",
    "slow",
    "repeated",
    "empty",
    "lone_word",
    "phrase",
    "differs",
    "distance",
    "length",
)
"""What is made of the signals, in the order of `features`."""
MISSING = ("doubt", "no_speech", "compressed", "speed", "empty", "lone_word", "second_model")
"""The signals that may be missing: each has an indicator, `without_…`, that is 1 where it is."""
INPUTS = (*FEATURES, *(f"without_{name}" for name in MISSING))
"""The columns of a model."""
_MADE_OF = {"fast": "speed", "slow": "speed", "differs": "second_model", "distance": "second_model"}
"""Feature → the signal whose indicator is 1 where it is missing, if that is not its own name."""
_ROWS_AT_ONCE = 65_536


def indicator_of(feature: str) -> str | None:
    """The input that is 1 where this feature is missing; None for one that never is."""
    signal = _MADE_OF.get(feature, feature)
    return f"without_{signal}" if signal in MISSING else None


def features(signals: Sequence[Signals]) -> Floats:
    """One row for each transcript, one column for each of `FEATURES`, NaN where it is missing.

    Hinges where only one side is suspicious, and bounds, so that nothing odd outweighs all else:

    - doubt: minus the mean log-probability, 0 to 5; where no word was heard it is of none, so it is
      missing
    - no_speech: the probability that nobody speaks, though words were heard; where none was, that
      somebody does
    - compressed: the compression ratio above 1.5, up to 10; below, it tells only how long a text is
    - fast, slow: standard deviations above and below the speaker's own speed, up to 5 each
    - differs, distance: whether a second model heard something else, and how far off it is
    - length: the logarithm of one more than the number of words, each a chance to be wrong
    """
    raw = np.array(signals, dtype=np.float64).reshape(len(signals), len(Signals._fields))
    logprob, no_speech, ratio, speed, repeated, empty, lone, phrase, distance, words = raw.T
    made = np.empty((len(signals), len(FEATURES)))
    silent = words == 0
    made[:, 0] = np.where(silent, np.nan, np.clip(-logprob, 0.0, 5.0))
    no_speech = np.clip(no_speech, 0.0, 1.0)
    made[:, 1] = np.where(silent, 1.0 - no_speech, no_speech)
    made[:, 2] = np.clip(ratio, 1.5, 10.0) - 1.5
    made[:, 3] = np.clip(speed, 0.0, 5.0)
    made[:, 4] = np.clip(-speed, 0.0, 5.0)
    made[:, 5] = repeated
    made[:, 6] = empty
    made[:, 7] = lone
    made[:, 8] = phrase
    made[:, 9] = np.where(np.isnan(distance), np.nan, distance > 0)
    made[:, 10] = distance
    made[:, 11] = np.log1p(words)
    return made


def inputs(made: Floats, means: Floats, scales: Floats) -> Floats:
    """The columns of a model: features in standard units, 0 where missing, then the indicators."""
    gone = np.isnan(made)
    standard = np.where(gone, 0.0, (made - means) / scales)
    first = [FEATURES.index(_FIRST_OF[name]) for name in MISSING]
    return np.hstack([standard, gone[:, first].astype(np.float64)])


_FIRST_OF = {
    name: next(one for one in FEATURES if _MADE_OF.get(one, one) == name) for name in MISSING
}


@dataclass(frozen=True, kw_only=True)
class SuspicionModel:
    """A logistic model: 1 / (1 + exp(-(intercept + weights · inputs)))."""

    intercept: float
    weights: Mapping[str, float]
    """By input; those that are not named are 0."""
    means: Mapping[str, float]
    """By feature: what stands in where it is missing."""
    scales: Mapping[str, float]
    """By feature: what its weight is for."""

    @cached_property
    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        return (
            np.array([self.weights.get(name, 0.0) for name in INPUTS]),
            np.array([self.means[name] for name in FEATURES]),
            np.array([self.scales[name] for name in FEATURES]),
        )

    def log_odds(self, made: Floats) -> Floats:
        """Of rows as `features` gives them."""
        weights, means, scales = self._arrays
        return self.intercept + inputs(made, means, scales) @ weights

    def score(self, signals: Sequence[Signals]) -> Floats:
        """The chance that each transcript is wrong, 0 to 1."""
        if not signals:
            return np.zeros(0)
        parts = [
            probability(self.log_odds(features(signals[start : start + _ROWS_AT_ONCE])))
            for start in range(0, len(signals), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            "intercept": self.intercept,
            "weights": dict(self.weights),
            "means": dict(self.means),
            "scales": dict(self.scales),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self | None:
        """What `to_dict` gave; None where it was made for other signals than there are now."""
        made = cls(**stored)
        same = set(made.weights) <= set(INPUTS) and set(made.means) == set(FEATURES)
        return made if same and set(made.scales) == set(FEATURES) else None


def probability(log_odds: Floats) -> Floats:
    """The logistic function, for log-odds of any size."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


DEFAULTS = SuspicionModel(
    intercept=-1.8,
    weights={
        "doubt": 1.0,
        "no_speech": 0.3,
        "compressed": 0.5,
        "fast": 0.4,
        "slow": 0.1,
        "repeated": 0.3,
        "empty": 0.5,
        "lone_word": 0.5,
        "phrase": 0.5,
        "differs": 0.8,
        "distance": 0.5,
        "length": 0.3,
    },
    means={
        "doubt": 0.3,
        "no_speech": 0.05,
        "compressed": 0.0,
        "fast": 0.4,
        "slow": 0.4,
        "repeated": 0.0,
        "empty": 0.0,
        "lone_word": 0.0,
        "phrase": 0.0,
        "differs": 0.2,
        "distance": 0.05,
        "length": 2.2,
    },
    scales={
        "doubt": 0.25,
        "no_speech": 0.15,
        "compressed": 0.5,
        "fast": 0.6,
        "slow": 0.6,
        "repeated": 0.1,
        "empty": 0.2,
        "lone_word": 0.2,
        "phrase": 0.2,
        "differs": 0.4,
        "distance": 0.15,
        "length": 0.8,
    },
)
"""Until there are corrections to learn from; docs/suspicion.md has the reason for each."""
