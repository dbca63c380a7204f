"""What makes a transcript suspicious by itself: signals that need no reference. Pure."""

from __future__ import annotations

import math
import re
import tomllib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, Protocol

from rapidfuzz.distance import Levenshtein

from misheard.scoring.normalize import normalizer

DEFAULT_SPEED, DEFAULT_SPEED_SPREAD = 13.0, 4.0
"""Characters a second, spaces among them, and their standard deviation: 150 words a minute, with
the silence around them. It holds until speakers of the workspace have been heard."""
NORM_WEIGHT = 5
"""A norm that somebody starts from weighs as much as so many of their own utterances."""
_FARTHEST = 3.0
"""Standard deviations: no single utterance moves a norm by more than one that is so far off."""
_LONG_FOR_NONE_S, _LONG_FOR_ONE_S = 2.0, 3.0
_GRAM = 3
_COMPRESSIBLE = 200
"""Characters: what is shorter compresses badly, however much of it repeats."""
# Chinese, Japanese, Thai, Lao, Burmese and Khmer put no spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_plain = normalizer("unicode").function


class Signals(NamedTuple):
    """Of one transcript; None where it is not known. A tuple, since thousands become one array."""

    avg_logprob: float | None
    """Mean log-probability a token, as the recogniser gave it."""
    no_speech_prob: float | None
    """Probability that nobody speaks, as the recogniser gave it."""
    compression: float | None
    """Bytes over compressed bytes, as given; else of what is long enough to say something."""
    speed: float | None
    """Standard deviations from the speaker's own characters a second; below 0: slow."""
    repetition: float
    """Share of its word trigrams that were there before."""
    empty: float | None
    """1 where nothing was heard in 2 s or more."""
    lone_word: float | None
    """1 where a single word was heard in 3 s or more."""
    phrase: float
    """1 with a known hallucination in it, 0.5 where it is all of it and people say so, too."""
    disagreement: float | None
    """Word errors between it and what a second model heard, over the longer of the two."""
    words: int


class Heard(Protocol):
    """What signals are read from: a row of `inferences`."""

    @property
    def speaker(self) -> str | None: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102

    @property
    def second_text(self) -> str | None: ...  # noqa: D102

    @property
    def duration_s(self) -> float | None: ...  # noqa: D102

    @property
    def avg_logprob(self) -> float | None: ...  # noqa: D102

    @property
    def no_speech_prob(self) -> float | None: ...  # noqa: D102

    @property
    def compression_ratio(self) -> float | None: ...  # noqa: D102


@dataclass(slots=True)
class Norm:
    """Running moments of somebody's characters a second, after Welford.

    "Note on a method for calculating corrected sums of squares and products", Technometrics 4,
    1962. It changes in place: a digest adds thousands.
    """

    utterances: int = 0
    mean: float = 0.0
    squared_distance: float = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.utterances += 1
        off = value - self.mean
        self.mean += off / self.utterances
        self.squared_distance += off * (value - self.mean)


class Speeds:
    """How fast each speaker speaks, beside everybody.

    What a speaker starts from is everybody's norm, and everybody starts from `DEFAULT_SPEED`; each
    weighs as much as `NORM_WEIGHT` utterances.
    """

    def __init__(self, norms: dict[str, Norm]) -> None:
        """`norms` by speaker, changed in place; that of "" is everybody's."""
        self._norms = norms
        self._everybody = norms.setdefault("", Norm())

    def deviation(self, speaker: str | None, speed: float) -> float:
        """How many standard deviations `speed` is above the norm of `speaker`."""
        mean, spread = self._expected(speaker)
        return (speed - mean) / spread

    def heard(self, speaker: str | None, speed: float) -> float:
        """As `deviation`, and then it is part of the norms."""
        mean, spread = self._expected(speaker)
        # Text that a recogniser made up may be ten times as fast as anybody speaks.
        kept = min(max(speed, mean - _FARTHEST * spread), mean + _FARTHEST * spread)
        self._everybody.add(kept)
        if speaker:
            known = self._norms.get(speaker)
            if known is None:
                known = self._norms[speaker] = Norm()
            known.add(kept)
        return (speed - mean) / spread

    def _expected(self, speaker: str | None) -> tuple[float, float]:
        mean, variance = DEFAULT_SPEED, DEFAULT_SPEED_SPREAD**2
        own = self._norms.get(speaker) if speaker else None
        for norm in (self._everybody, own):
            if norm is not None and norm.utterances:
                total = NORM_WEIGHT + norm.utterances
                mean = (NORM_WEIGHT * mean + norm.utterances * norm.mean) / total
                variance = (NORM_WEIGHT * variance + norm.squared_distance) / total
        return mean, math.sqrt(variance)


def signals_of(
    row: Heard,
    deviation: Callable[[str | None, float], float],
    *,
    normalize: Callable[[str], str] = _plain,
) -> Signals:
    """The signals of a transcript.

    `deviation` says how far a speed is from its speaker's (`Speeds.deviation`, or `Speeds.heard`);
    it is asked only where the speed is known. `normalize` is what both texts go through before a
    second model's is compared.
    """
    text, duration_s = row.text, row.duration_s
    clean = _plain(text)
    if not text.isascii():
        clean = " ".join(_UNSPACED.sub(r" \g<0> ", clean).split())
    words = clean.split()
    count = len(words)
    ratio = row.compression_ratio
    if ratio is None and len(text) >= _COMPRESSIBLE:
        ratio = _compression(text)
    empty: float | None = 0.0
    lone_word: float | None = 0.0
    if count == 0:
        empty = float(duration_s >= _LONG_FOR_NONE_S) if duration_s is not None else None
    elif count == 1:
        lone_word = float(duration_s >= _LONG_FOR_ONE_S) if duration_s is not None else None
    second = row.second_text
    return Signals(
        row.avg_logprob,
        row.no_speech_prob,
        ratio,
        deviation(row.speaker, len(clean) / duration_s) if duration_s and count else None,
        _repetition(words) if count > _GRAM else 0.0,
        empty,
        lone_word,
        _phrase(words, clean) if count else 0.0,
        None if second is None else _disagreement(text, second, normalize),
        count,
    )


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _repetition(words: Sequence[str]) -> float:
    if len(set(words)) == len(words):
        return 0.0
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(grams)) / len(grams)


def _disagreement(text: str, second: str, normalize: Callable[[str], str]) -> float:
    if text == second or _plain(text) == _plain(second):
        return 0.0
    # Only now, for it may cost ten times all the rest.
    one, other = (_words(normalize(one)) for one in (text, second))
    return float(Levenshtein.normalized_distance(one, other))


def _words(clean: str) -> list[str]:
    return (clean if clean.isascii() else _UNSPACED.sub(r" \g<0> ", clean)).split()


def known_phrase(text: str) -> bool:
    """Whether a transcript has, or is, something that recognisers are known to make up.

    >>> known_phrase("Thank you."), known_phrase("Thank you for the parcel.")
    (True, False)
    """
    clean = _plain(text)
    if not clean.isascii():
        clean = " ".join(_UNSPACED.sub(r" \g<0> ", clean).split())
    return bool(clean) and _phrase(clean.split(), clean) > 0


def _phrase(words: Sequence[str], clean: str) -> float:
    by_first_word, alone = _hallucinations()
    if clean in alone:
        return 0.5
    if by_first_word.keys().isdisjoint(words):
        return 0.0
    within = f" {clean} "
    for word in by_first_word.keys() & words:
        if any(phrase in within for phrase in by_first_word[word]):
            return 1.0
    return 0.0


@cache
def _hallucinations() -> tuple[dict[str, list[str]], frozenset[str]]:
    """By their first words those that count anywhere; and those that have to be all of a text."""
    listed = tomllib.loads(
        files("misheard.capture").joinpath("hallucinations.toml").read_text(encoding="utf-8")
    )
    by_first_word: dict[str, list[str]] = {}
    for phrase in listed["anywhere"]:
        words = _words(_plain(phrase))
        by_first_word.setdefault(words[0], []).append(f" {' '.join(words)} ")
    return by_first_word, frozenset(" ".join(_words(_plain(one))) for one in listed["alone"])
