"""What a transcriber is: audio in, transcripts out, in the same order."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from misheard.audio import Audio
from misheard.errors import InvalidSettingError, InvalidTranscriptError
from misheard.scoring.normalize import require_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from misheard.speech.decoding import DecodingOptions

Progress = Callable[[int], None]
"""Called with the number of clips done since the last call."""


def no_progress(_: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of a transcript, with the punctuation beside it."""

    text: str
    start_s: float
    """Seconds from the beginning of the clip, as all times here."""
    end_s: float
    probability: float
    """Mean probability of its tokens, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A phrase or sentence, as the recogniser cuts them."""

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...] = ()
    """Of its text; empty where the recogniser gives none, as what follows is None."""
    window_s: float = 0.0
    """Where the window begins that it was heard in; what follows is known of the window only."""
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    temperature: float | None = None
    """At which the text was found."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What a recogniser heard in one clip."""

    text: str
    avg_logprob: float | None = None
    """Mean log-probability a token, natural logarithm; None where the recogniser gives none."""
    no_speech_prob: float | None = None
    """Probability that nobody speaks, 0 to 1."""
    compression_ratio: float | None = None
    """Bytes of the text over bytes of its zlib form; high where words repeat."""
    latency_s: float
    """Wall time of the batch that this clip was decoded in: how long its caller waits."""
    compute_s: float
    """This clip's share of the time that its call took to decode; all of them sum to that time."""
    language: str | None = None
    """Code of the language that it was heard in; None where the recogniser gives none."""
    segments: tuple[Segment, ...] = ()
    """In order; empty where they were not asked for."""
    words: tuple[Word, ...] = ()
    """In order; empty where they were not asked for."""


class Transcriber(Protocol):
    """Anything that turns audio into text.

    Implementations return one transcript for each clip, in order, call `progress` as clips are
    done, and raise a `MisheardError` rather than return a guess. They may be called from several
    threads.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def transcribe(
        self,
        clips: Sequence[Audio],
        *,
        progress: Progress = no_progress,
        options: DecodingOptions | None = None,
    ) -> list[Transcript]:
        """Transcribe `clips`; `options` stand in for the transcriber's own in this call."""
        ...


class FunctionTranscriber:
    """A transcriber from a plain function of samples (16 kHz, mono, float32).

    The function returns a str, or a mapping with `transcript`.

    >>> import numpy as np
    >>> echo = FunctionTranscriber(lambda samples: f"{len(samples)} samples", name="echo")
    >>> echo.transcribe([Audio(samples=np.zeros(3, np.float32), sha256="")])[0].text
    '3 samples'
    """

    def __init__(
        self, function: Callable[[NDArray[Any]], str | Mapping[str, Any]], *, name: str = ""
    ) -> None:
        self._function = function
        self._name = name or getattr(function, "__name__", type(function).__name__)

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    def transcribe(
        self,
        clips: Sequence[Audio],
        *,
        progress: Progress = no_progress,
        options: DecodingOptions | None = None,
    ) -> list[Transcript]:
        """Transcribe `clips`, one call of the function each; it knows no `options`."""
        if options is not None:
            raise InvalidSettingError(f"'{self._name}' is a function, which takes no options.")
        made = []
        for clip in clips:
            started = time.perf_counter()
            answer = self._function(clip.samples)
            text = self._text_of(answer)
            spent_s = time.perf_counter() - started
            made.append(Transcript(text=text, latency_s=spent_s, compute_s=spent_s))
            progress(1)
        return made

    def _text_of(self, answer: object) -> str:
        if isinstance(answer, Mapping) and "transcript" in answer:
            answer = answer["transcript"]
        if inspect.isawaitable(answer):
            raise InvalidTranscriptError(f"'{self._name}' is a coroutine; pass a plain function.")
        return require_text(answer, what=f"'{self._name}'")
