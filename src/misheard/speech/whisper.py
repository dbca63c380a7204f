"""CTranslate2 Whisper in batches, with a right-sized context where the model has learnt one."""

from __future__ import annotations

import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import ModelCorruptError, UnsupportedModelError
from misheard.speech.context import FULL_CONTEXT, FULL_POSITIONS, POSITIONS_PER_S, read_card
from misheard.speech.features import log_mel
from misheard.speech.transcriber import Progress, Transcript, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = FULL_POSITIONS / POSITIONS_PER_S


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How text is searched for. The thresholds are those of OpenAI's `transcribe`."""

    beam_size: int = 1
    batch_size: int = 16
    max_tokens: int = 224
    """Tokens a window: half of Whisper's decoder context, as OpenAI's `transcribe`."""
    no_speech_threshold: float = 0.6
    logprob_threshold: float = -1.0
    """A window is silent when no speech is likelier than the one and the text below the other."""
    language: str = "en"
    """Code of the spoken language, for models that know several."""


@dataclass(frozen=True)
class _Piece:
    """A stretch of a clip that fits the window."""

    clip: int
    samples: NDArray[np.float32]
    positions: int


class WhisperTranscriber:
    """Transcribes with the CTranslate2 Whisper in `directory`.

    Clips are sorted by length and decoded in batches that share a window. Clips over 30 s are cut
    at silences first (Silero's voice-activity detection, through faster-whisper).
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        options: DecodingOptions | None = None,
        compute_type: str = "int8",
        threads: int = 0,
    ) -> None:
        """Load the weights, once.

        `compute_type` is CTranslate2's ("int8" serves float16 files in 8 bits); `threads` of 0
        means one a core. Raises `ModelCorruptError` when the directory holds no such model.
        """
        import ctranslate2  # noqa: PLC0415 - 200 ms; a command that serves nothing need not pay

        self._storage: Callable[[NDArray[Any]], Any] = ctranslate2.StorageView.from_array
        try:
            self._model = ctranslate2.models.Whisper(
                str(directory),
                compute_type=compute_type,
                intra_threads=threads or os.cpu_count() or 1,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelCorruptError(f"'{directory}': {error}") from error
        self._tokenizer = _load_tokenizer(directory)
        self._name = name or directory.name
        self._options = options or DecodingOptions()
        self._prompt = self._prompt_tokens()
        card = read_card(directory)
        self._context = card.context if card else FULL_CONTEXT

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    def transcribe(
        self, clips: Sequence[Audio], *, progress: Progress = no_progress
    ) -> list[Transcript]:
        """Transcribe `clips`; see `Transcriber`."""
        pieces = [piece for index, clip in enumerate(clips) for piece in self._pieces(index, clip)]
        waiting = Counter(piece.clip for piece in pieces)
        progress(len(clips) - len(waiting))
        decoded: dict[int, Transcript] = {}
        for batch in self._batches(pieces):
            decoded |= zip(batch, self._decode(batch, pieces), strict=True)
            waiting_before = len(waiting)
            waiting -= Counter(pieces[i].clip for i in batch)  # drops what has come to zero
            progress(waiting_before - len(waiting))
        heard: list[list[Transcript]] = [[] for _ in clips]
        for i, piece in enumerate(pieces):
            heard[piece.clip].append(decoded[i])
        return [_join(parts) for parts in heard]

    def _pieces(self, index: int, clip: Audio) -> Iterator[_Piece]:
        """The clip itself, or its stretches of speech when it is longer than the window."""
        stretches = [clip.samples] if clip.duration_s <= WINDOW_S else _speech(clip.samples)
        for samples in stretches:
            positions = self._context.positions(len(samples) / SAMPLE_RATE_HZ)
            yield _Piece(index, samples, positions)

    def _batches(self, pieces: list[_Piece]) -> Iterator[list[int]]:
        """Indices of pieces that share a window, at most `batch_size` at once."""
        order = sorted(range(len(pieces)), key=lambda i: pieces[i].positions)
        size = self._options.batch_size
        for _, group in groupby(order, key=lambda i: pieces[i].positions):
            same = list(group)
            yield from (same[start : start + size] for start in range(0, len(same), size))

    def _decode(self, batch: list[int], pieces: list[_Piece]) -> list[Transcript]:
        started = time.perf_counter()
        bins = self._model.n_mels
        features = np.stack(
            [log_mel(pieces[i].samples, pieces[i].positions, bins=bins) for i in batch]
        )
        results = self._model.generate(
            self._storage(features),
            [self._prompt] * len(batch),
            beam_size=self._options.beam_size,
            max_length=self._options.max_tokens,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
        )
        latency_s = time.perf_counter() - started
        share_s = latency_s / len(batch)
        return [self._transcript(result, latency_s, share_s) for result in results]

    def _transcript(self, result: Any, latency_s: float, share_s: float) -> Transcript:
        tokens = result.sequences_ids[0]
        # CTranslate2's score is the mean over the text; Whisper's counts the end token as well.
        avg_logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
        text = self._tokenizer.decode(tokens).strip()
        options = self._options
        if (
            result.no_speech_prob > options.no_speech_threshold
            and avg_logprob < options.logprob_threshold
        ):
            text = ""
        return Transcript(
            text=text,
            avg_logprob=avg_logprob,
            no_speech_prob=result.no_speech_prob,
            compression_ratio=compression_ratio(text),
            latency_s=latency_s,
            compute_s=share_s,
        )

    def _prompt_tokens(self) -> list[int]:
        words = ["<|startoftranscript|>"]
        if self._model.is_multilingual:
            words += [f"<|{self._options.language}|>", "<|transcribe|>"]
        ids = [self._tokenizer.token_to_id(word) for word in [*words, "<|notimestamps|>"]]
        if None in ids:
            raise UnsupportedModelError(
                f"'{self._name}' has no token '{words[ids.index(None)]}'; see speech.language."
            )
        return ids


def compression_ratio(text: str) -> float:
    """Bytes of `text` over bytes of its zlib form; over 2.4 Whisper takes it for a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _load_tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415 - only who decodes needs it

    path = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception for every fault
        raise ModelCorruptError(f"'{path}' is no tokenizer ({error}).") from error


def _speech(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Stretches of speech in `samples`, in order, none longer than the window."""
    from faster_whisper.vad import (  # noqa: PLC0415 - onnxruntime, for long audio only
        VadOptions,
        collect_chunks,
        get_speech_timestamps,
    )

    options = VadOptions(max_speech_duration_s=WINDOW_S, min_silence_duration_ms=160)
    chunks, _ = collect_chunks(
        samples, get_speech_timestamps(samples, options), max_duration=WINDOW_S
    )
    return [chunk for chunk in chunks if len(chunk)]


def _join(parts: list[Transcript]) -> Transcript:
    """One transcript for a clip from those of its stretches, worst signals kept."""
    if len(parts) == 1:
        return parts[0]
    text = " ".join(part.text for part in parts if part.text)
    logprobs = [part.avg_logprob for part in parts if part.avg_logprob is not None]
    silence = [part.no_speech_prob for part in parts if part.no_speech_prob is not None]
    return Transcript(
        text=text,
        avg_logprob=min(logprobs, default=None),
        no_speech_prob=max(silence, default=None),
        compression_ratio=compression_ratio(text),
        latency_s=sum(part.latency_s for part in parts),
        compute_s=sum(part.compute_s for part in parts),
    )
