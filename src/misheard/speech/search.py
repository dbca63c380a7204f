"""The search for the text of one batch: language, attempts until one passes, words and segments."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from misheard.speech.context import FULL_POSITIONS, POSITIONS_PER_S
from misheard.speech.decoding import DETECT, DecodingOptions
from misheard.speech.long_audio import Stretch
from misheard.speech.timing import segments_of
from misheard.speech.transcriber import Segment, Transcript, Word
from misheard.speech.windows import Found, WhisperWindows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Step:
    """How text is searched for, where what was found before is not good enough."""

    positions: int
    temperature: float
    is_for_doubt: bool = True
    """A longer window: for what is doubtful, too, or only for what goes round in circles."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one search found, where, and how far it is to be trusted."""

    found: Found
    text: str
    compression_ratio: float
    positions: int
    """The window that it was found in."""
    temperature: float = 0.0

    def is_silent(self, options: DecodingOptions) -> bool:
        """Whether nobody speaks: the model thinks so, and doubts the text."""
        return (
            self.found.no_speech_prob > options.no_speech_threshold
            and self.found.avg_logprob < options.logprob_threshold
        )

    def has_failed(self, options: DecodingOptions) -> bool:
        """Whether the text is unlikely or goes round in circles, and is not silence."""
        return not self.is_silent(options) and (
            self.found.avg_logprob < options.logprob_threshold or self.repeats(options)
        )

    def repeats(self, options: DecodingOptions) -> bool:
        """Whether the text goes round in circles."""
        return self.compression_ratio > options.compression_ratio_threshold

    def is_worth(self, step: Step, options: DecodingOptions) -> bool:
        """Whether another attempt may do better."""
        if step.positions <= self.positions:
            return self.has_failed(options)
        is_doubtful = step.is_for_doubt and self.found.avg_logprob < options.doubt_threshold
        return not self.is_silent(options) and (is_doubtful or self.repeats(options))


def kept(attempts: Sequence[Attempt], options: DecodingOptions) -> Attempt:
    """The likeliest that passed; where all failed, the likeliest of those without circles if any.

    As in faster-whisper's `generate_with_fallback`: text in circles is often very likely. No text
    at all has no probability, so it does not take the place of one.
    """
    passed = [one for one in attempts if not one.has_failed(options)]
    if passed:
        return max(passed, key=lambda attempt: (bool(attempt.text), attempt.found.avg_logprob))
    limit = options.compression_ratio_threshold
    straight = [one for one in attempts if one.compression_ratio <= limit]
    return max(straight or attempts, key=lambda attempt: attempt.found.avg_logprob)


class Search:
    """One batch of stretches that share a window, from audio to transcripts.

    What the encoder makes of a window is kept while the batch lasts, for whoever asks next.
    """

    def __init__(
        self,
        windows: WhisperWindows,
        stretches: Sequence[Stretch],
        positions: int,
        options: DecodingOptions,
        *,
        most_positions: int,
    ) -> None:
        """`most_positions` are decoded at once, or one window where it has more."""
        self._windows = windows
        self._stretches = stretches
        self._positions = positions
        self._options = options
        self._most_positions = most_positions
        self._rows: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._spent_s = [0.0] * len(stretches)

    def run(self, languages: Sequence[str | None]) -> list[Transcript]:
        """The transcript of each stretch, in order, with times on the clock of its clip.

        `languages` holds what is known of each already.
        """
        started = time.perf_counter()
        spoken = self._languages(languages)
        tries: list[list[Attempt]] = [[] for _ in self._stretches]
        for step in self._plan():
            positions, temperature = step.positions, step.temperature
            waiting = [
                i
                for i, made in enumerate(tries)
                if not made or kept(made, self._options).is_worth(step, self._options)
            ]
            most = max(1, self._most_positions // positions)
            for start in range(0, len(waiting), most):
                together = waiting[start : start + most]
                with self._timed(together):
                    encoded = self._encoded(together, positions)
                    heard_in = [spoken[i] for i in together]
                    results = self._windows.search(encoded, heard_in, temperature, self._options)
                    for i, found in zip(together, results, strict=True):
                        tries[i].append(self._attempt(found, positions, temperature))
        chosen = [kept(attempts, self._options) for attempts in tries]
        words = self._words(chosen, spoken)
        latency_s = time.perf_counter() - started
        return [
            self._transcript(i, attempt, spoken[i], words.get(i, []), latency_s)
            for i, attempt in enumerate(chosen)
        ]

    def _plan(self) -> Iterator[Step]:
        """One attempt after another."""
        first, *others = self._options.temperatures
        yield Step(positions=self._positions, temperature=first)
        margin = round(self._options.retry_margin_s * POSITIONS_PER_S)
        longer = self._windows.window(min(self._positions + margin, FULL_POSITIONS))
        if longer > self._positions:
            yield Step(positions=longer, temperature=first)
            if longer < FULL_POSITIONS:
                # Circles are rare, and the window that Whisper was trained with ends most of them.
                yield Step(positions=FULL_POSITIONS, temperature=first, is_for_doubt=False)
        yield from (Step(positions=self._positions, temperature=one) for one in others)

    def _languages(self, known: Sequence[str | None]) -> list[str]:
        if self._options.language != DETECT and self._windows.is_multilingual:
            return [self._options.language] * len(known)
        asked = [i for i, language in enumerate(known) if language is None]
        if not asked:
            return [language for language in known if language is not None]
        with self._timed(asked):
            answers = self._windows.detect(self._encoded(asked, self._positions))
        found = dict(zip(asked, answers, strict=True))
        return [language or found[i] for i, language in enumerate(known)]

    def _attempt(self, found: Found, positions: int, temperature: float) -> Attempt:
        text = self._windows.text(found.tokens)
        return Attempt(
            found=found,
            text=text,
            compression_ratio=compression_ratio(text),
            positions=positions,
            temperature=temperature,
        )

    def _words(self, chosen: list[Attempt], spoken: list[str]) -> dict[int, list[Word]]:
        """Stretch → its words, where there are any and they were asked for."""
        if not self._options.word_timestamps:
            return {}
        heard = [i for i, one in enumerate(chosen) if one.text and not one.is_silent(self._options)]

        def shared(i: int) -> tuple[int, str]:
            return chosen[i].positions, spoken[i]

        made: dict[int, list[Word]] = {}
        for (positions, language), group in groupby(sorted(heard, key=shared), key=shared):
            same = list(group)
            with self._timed(same):
                words = self._windows.words(
                    self._encoded(same, positions),
                    [chosen[i].found.tokens for i in same],
                    [self._stretches[i] for i in same],
                    language,
                )
            made |= zip(same, words, strict=True)
        return made

    def _encoded(self, which: list[int], positions: int) -> NDArray[np.float32]:
        missing = [i for i in which if (positions, i) not in self._rows]
        if missing:
            made = self._windows.encode([self._stretches[i] for i in missing], positions)
            self._rows |= {(positions, i): row for i, row in zip(missing, made, strict=True)}
            if missing == which:
                return made
        return np.stack([self._rows[positions, i] for i in which])

    @contextmanager
    def _timed(self, which: list[int]) -> Iterator[None]:
        """Charge what the block takes to those whom it is done for."""
        started = time.perf_counter()
        yield
        share_s = (time.perf_counter() - started) / len(which)
        for i in which:
            self._spent_s[i] += share_s

    def _transcript(
        self, i: int, attempt: Attempt, language: str, words: list[Word], latency_s: float
    ) -> Transcript:
        text = "" if attempt.is_silent(self._options) else attempt.text
        segments = self._segments(i, attempt) if self._options.timestamps and text else ()
        unassigned_s = latency_s - sum(self._spent_s)
        return Transcript(
            text=text,
            avg_logprob=attempt.found.avg_logprob if attempt.found.tokens else None,
            no_speech_prob=attempt.found.no_speech_prob,
            compression_ratio=compression_ratio(text),
            latency_s=latency_s,
            compute_s=self._spent_s[i] + unassigned_s / len(self._stretches),
            language=language,
            segments=segments,
            words=tuple(words),
        )

    def _segments(self, i: int, attempt: Attempt) -> tuple[Segment, ...]:
        cut = segments_of(
            attempt.found.tokens,
            self._stretches[i],
            first_timestamp=self._windows.first_timestamp,
            decode=self._windows.text,
        )
        return tuple(
            replace(
                segment,
                avg_logprob=attempt.found.avg_logprob,
                no_speech_prob=attempt.found.no_speech_prob,
                compression_ratio=attempt.compression_ratio,
                temperature=attempt.temperature,
            )
            for segment in cut
        )


def compression_ratio(text: str) -> float:
    """Bytes of `text` over bytes of its zlib form; over 2.4 Whisper takes it for a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
