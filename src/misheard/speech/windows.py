"""What a CTranslate2 Whisper does with a batch of windows: encode, detect, search, align."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard.errors import (
    InvalidSettingError,
    MemoryFullError,
    MisheardError,
    ModelCorruptError,
    UnsupportedModelError,
)
from misheard.speech.context import FULL_POSITIONS
from misheard.speech.cuda import CPU, CUDA, require_cuda_of_ctranslate2
from misheard.speech.decoding import DECODER_TOKENS, DETECT, DecodingOptions, prompt_tokens
from misheard.speech.features import log_mel
from misheard.speech.long_audio import Stretch
from misheard.speech.memory import keep_memory
from misheard.speech.timing import words_of
from misheard.speech.transcriber import Word

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENGLISH = "en"
_SMALL_BYTES = 300 << 20
"""Up to here, Whisper base in float16, the products of a batch are too small to share: of two
threads, each with a batch of its own, tiny.en hears 1.6 times as much as of both on one."""
_GPU_BATCHES = 4
"""At once on a GPU, each on a stream of its own."""
_CPU_WINDOWS, _GPU_WINDOWS = 4, 16
"""Of 30 s that are decoded at the same time; on a GPU in each batch. Beyond four a processor is no
faster, and they take a GB."""

_AS_IT_COMES = ("default", "auto")
"""CTranslate2's own: as the files are, and whatever is quickest."""
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "CUBLAS_STATUS_ALLOC_FAILED")
"""What CUDA, oneMKL and cuBLAS say."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one search found in a window."""

    tokens: list[int]
    """Of text, and of timestamps where they were asked for."""
    avg_logprob: float
    no_speech_prob: float


class WhisperWindows:
    """The weights and the tokenizer in a directory, loaded once; several threads may share them.

    `workers` batches of them are served at the same time, each by its share of the processor's
    threads, and each of `most_positions` or of one window.
    """

    def __init__(
        self, directory: Path, *, name: str, compute_type: str, threads: int, device: str = CPU
    ) -> None:
        """See `WhisperTranscriber`."""
        import ctranslate2  # noqa: PLC0415 - 200 ms; a command that serves nothing need not pay

        keep_memory()
        if device == CUDA:
            require_cuda_of_ctranslate2()
            threads = self.workers = threads or _GPU_BATCHES
        else:
            threads = threads or os.cpu_count() or 1
            weights = directory / "model.bin"
            is_small = weights.exists() and weights.stat().st_size <= _SMALL_BYTES
            self.workers = threads if is_small else 1
        windows = _GPU_WINDOWS * self.workers if device == CUDA else _CPU_WINDOWS
        self.most_positions = windows * FULL_POSITIONS // self.workers
        _require_compute_type(compute_type, device, ctranslate2.get_supported_compute_types(device))
        self._float32: Any = ctranslate2.DataType.float32
        self._storage: Callable[[NDArray[Any]], Any] = ctranslate2.StorageView.from_array
        try:
            self._model = ctranslate2.models.Whisper(
                str(directory),
                device,
                compute_type=compute_type,
                inter_threads=self.workers,
                intra_threads=threads // self.workers,
            )
        except (MemoryError, RuntimeError, ValueError) as error:
            raise _why_not_loaded(error, directory, device) from error
        self._tokenizer = _load_tokenizer(directory)
        self.name = name
        self._start, self._end, self._no_timestamps = (
            self._token(word) for word in ("startoftranscript", "endoftext", "notimestamps")
        )

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows other languages than English."""
        known: bool = self._model.is_multilingual
        return known

    @property
    def mel_bins(self) -> int:
        """Of the spectrogram that it takes: 80, or 128 from large-v3 on."""
        bins: int = self._model.n_mels
        return bins

    def window(self, positions: int) -> int:
        """The window of so many, or of one more where that would be taken for something else."""
        # CTranslate2 takes what has as many rows as there are mel bins for a spectrogram.
        return positions + (positions == self.mel_bins)

    @property
    def first_timestamp(self) -> int:
        """The token for 0 s; the next ones are 20 ms apart."""
        return self._no_timestamps + 1

    def require_language(self, language: str) -> None:
        """Raise `InvalidSettingError` where the model does not know `language`."""
        if language == DETECT:
            return
        if self.is_multilingual:
            if self._tokenizer.token_to_id(f"<|{language}|>") is not None:
                return
            tokens = sorted(self._tokenizer.get_vocab())
            known = [token[2:-2] for token in tokens if re.fullmatch(r"<\|[a-z]{2,3}\|>", token)]
        else:
            known = [_ENGLISH]
        if language not in known:
            raise InvalidSettingError(
                f"'{self.name}' does not know speech.language = {language!r}, only "
                f'{", ".join(known)}, or "{DETECT}" to find out.'
            )

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; those of time and task say nothing."""
        spoken: str = self._tokenizer.decode([token for token in tokens if token < self._end])
        return spoken.strip()

    def encode(self, stretches: Sequence[Stretch], positions: int) -> NDArray[np.float32]:
        """What the encoder makes of each in a window: (stretches, positions, width)."""
        features = [log_mel(one.samples, positions, bins=self.mel_bins) for one in stretches]
        made = self._model.encode(self._storage(np.stack(features)), to_cpu=True)
        if made.dtype != self._float32:  # as a GPU has it; numpy knows no bfloat16
            made = made.to(self._float32)
        return np.asarray(made)

    def detect(self, encoded: NDArray[np.float32]) -> list[str]:
        """The likeliest language of each window; English where the model knows no other."""
        if not self.is_multilingual:
            return [_ENGLISH] * len(encoded)
        rankings = self._model.detect_language(self._storage(encoded))
        return [ranking[0][0].strip("<|>") for ranking in rankings]

    def search(
        self,
        encoded: NDArray[np.float32],
        languages: Sequence[str],
        temperature: float,
        options: DecodingOptions,
    ) -> list[Found]:
        """The likeliest text of each window; above temperature 0 the likeliest of some at random.

        `languages` names that of each window.
        """
        before = prompt_tokens(self._tokenizer, options)
        times = [] if options.timestamps else [self._no_timestamps]
        prompts = [[*before, *self._task(language), *times] for language in languages]
        # CTranslate2 gives the text half of its `max_length`, or what is left of it beside the
        # prompt, whose last token it counts to the text.
        longest = max(2 * options.max_tokens, options.max_tokens + len(prompts[0]) - 1)
        results = self._model.generate(
            self._storage(encoded),
            prompts,
            beam_size=1 if temperature else options.beam_size,
            num_hypotheses=options.best_of if temperature else 1,
            sampling_topk=0 if temperature else 1,
            sampling_temperature=temperature or 1.0,
            max_length=min(DECODER_TOKENS, longest),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
        )
        return [self._found(result) for result in results]

    def _found(self, result: Any) -> Found:
        pairs = zip(result.scores, result.sequences_ids, strict=True)
        score, tokens = max(pairs, key=lambda pair: pair[0] if pair[1] else -math.inf)
        return Found(
            tokens=tokens,
            # CTranslate2's score is the mean over the text; Whisper's counts the end token as well.
            # Of no text it is NaN: a model that has learnt silence may say nothing at all.
            avg_logprob=score * len(tokens) / (len(tokens) + 1) if tokens else 0.0,
            no_speech_prob=result.no_speech_prob,
        )

    def words(
        self,
        encoded: NDArray[np.float32],
        texts: Sequence[Sequence[int]],
        stretches: Sequence[Stretch],
        language: str,
    ) -> list[list[Word]]:
        """The words of each text (tokens, none empty), aligned with its window."""
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415 - loads PyAV

        spoken = [[token for token in text if token < self._end] for text in texts]
        # One by one: in a batch CTranslate2 (4.8) lets the padding of shorter texts move words.
        aligned = [
            self._model.align(
                self._storage(encoded[i : i + 1]),
                self._task(language),
                [text],
                # Nothing is said in the silence that fills up the window.
                min(2 * encoded.shape[1], stretches[i].frames),
            )[0]
            for i, text in enumerate(spoken)
        ]
        splitter = Tokenizer(self._tokenizer, multilingual=False)
        # Its constructor knows fewer codes than some models do ("iw").
        splitter.language_code = language
        return [
            words_of(found, text, stretch, splitter)
            for found, text, stretch in zip(aligned, spoken, stretches, strict=True)
        ]

    def _task(self, language: str) -> list[int]:
        if not self.is_multilingual:
            return [self._start]
        return [self._start, self._token(language), self._token("transcribe")]

    def _token(self, word: str) -> int:
        token: int | None = self._tokenizer.token_to_id(f"<|{word}|>")
        if token is None:
            raise UnsupportedModelError(f"'{self.name}' has no token '<|{word}|>'.")
        return token


def _require_compute_type(compute_type: str, device: str, supported: Collection[str]) -> None:
    if compute_type not in {*supported, *_AS_IT_COMES}:
        raise InvalidSettingError(
            f"speech.compute_type = {compute_type!r}, and speech.device = {device!r} computes in "
            f"{', '.join(sorted(supported))} here, or as it comes: {', '.join(_AS_IT_COMES)}."
        )


def _why_not_loaded(error: Exception, directory: Path, device: str) -> MisheardError:
    """What CTranslate2 tells by its words alone."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
        return MemoryFullError(
            f"'{directory}' does not fit beside what is on speech.device = {device!r} already "
            f"({error})."
        )
    return ModelCorruptError(f"'{directory}': {error}")


def _load_tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415 - only who decodes needs it

    path = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception for every fault
        raise ModelCorruptError(f"'{path}' is no tokenizer ({error}).") from error
