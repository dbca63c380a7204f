"""Speech models that Transformers runs: Moonshine, wav2vec2, HuBERT and their kin."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from misheard.audio import SAMPLE_RATE_HZ, Audio
from misheard.errors import InvalidSettingError, UnsupportedModelError
from misheard.speech.cuda import CPU, CUDA, require_cuda
from misheard.speech.decoding import DecodingOptions
from misheard.speech.families.family import Heard
from misheard.speech.families.known import family_class, model_type
from misheard.speech.joining import joined
from misheard.speech.long_audio import Stretch, stretches
from misheard.speech.search import compression_ratio
from misheard.speech.transcriber import Progress, Transcript, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHISPERS_ALONE = ("prompt", "hotwords", "timestamps", "word_timestamps")
"""Options that ask for what these models do not have."""


class TransformersTranscriber:
    """Transcribes with the model in `directory`, of any kind in `speech/families/known.py`.

    Clips are sorted by length and decoded in batches: of like length with an attention mask where
    the model then hears each as if it were alone, else of one length. So a clip's transcript never
    depends on what it was decoded beside. Clips over 30 s are cut at silences first, as for
    Whisper: attention over more costs its square.

    It computes in float32. There is no `no_speech_prob`: none of these models tells.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        options: DecodingOptions | None = None,
        threads: int = 0,
        device: str = CPU,
    ) -> None:
        """Load the weights, once.

        `threads` of 0 means one a core; another number holds for all that PyTorch computes in this
        process. Raises `ModelCorruptError` for files that cannot be read, `UnsupportedModelError`
        for a kind that is not known, or options that only Whisper has, and `InvalidSettingError`
        for a `device` that is not there.
        """
        if device == CUDA:
            require_cuda(torch.cuda.device_count())
        if threads:
            torch.set_num_threads(threads)
        self._name = name or directory.name
        self._type = model_type(directory)
        self._options = options or DecodingOptions()
        self._checked(self._options)
        self._model = family_class(self._type, where=directory)(directory)
        self._model.model.to(device)
        # Tokenizers and `generate` keep state; PyTorch has all the cores busy with one call anyway.
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    @property
    def workers(self) -> int:
        """One: PyTorch has all the cores busy with one batch; see `BatchTranscriber`."""
        return 1

    @property
    def options(self) -> DecodingOptions:
        """How it searches for text where a call says nothing else."""
        return self._options

    def window(self, duration_s: float) -> int:
        """The same for all where padding is masked, else of clips as long; `BatchTranscriber`."""
        return 0 if self._model.exact_when_padded else round(duration_s * SAMPLE_RATE_HZ)

    def stretches(self, clip: Audio) -> list[Stretch]:
        """The clip itself, or its speech where it is over 30 s; see `BatchTranscriber`."""
        return stretches(clip.samples)

    def hear(self, stretches: Sequence[Stretch], *, options: DecodingOptions) -> list[Transcript]:
        """Decode stretches that share a window; see `BatchTranscriber`."""
        return self._decode([stretch.samples for stretch in stretches], self._checked(options))

    def transcribe(
        self,
        clips: Sequence[Audio],
        *,
        progress: Progress = no_progress,
        options: DecodingOptions | None = None,
    ) -> list[Transcript]:
        """Transcribe `clips`; see `Transcriber`. `options` stand in for the engine's own."""
        options = self._options if options is None else self._checked(options)
        pieces = [
            (index, stretch.samples)
            for index, clip in enumerate(clips)
            for stretch in self.stretches(clip)
        ]
        waiting = Counter(index for index, _ in pieces)
        progress(len(clips) - len(waiting))
        heard: dict[int, Transcript] = {}
        for batch in self._batches([len(samples) for _, samples in pieces], options.batch_size):
            decoded = self._decode([pieces[i][1] for i in batch], options)
            heard |= zip(batch, decoded, strict=True)
            before = len(waiting)
            waiting -= Counter(pieces[i][0] for i in batch)  # drops what has come to zero
            progress(before - len(waiting))
        parts: list[list[Transcript]] = [[] for _ in clips]
        for i, (index, _) in enumerate(pieces):
            parts[index].append(heard[i])
        return [joined(of_clip) for of_clip in parts]

    def _checked(self, options: DecodingOptions) -> DecodingOptions:
        asked = [option for option in _WHISPERS_ALONE if getattr(options, option)]
        if asked:
            raise UnsupportedModelError(
                f"'{self._name}' is a {self._type}; speech.{asked[0]} is for Whisper models only."
            )
        own = self._options.language
        if options.language != own:
            # Which language it has learnt cannot be told from its files.
            raise InvalidSettingError(
                f"'{self._name}' is a {self._type}, which knows one language and finds out none: "
                f"that of speech.language = {own!r}, not {options.language!r}."
            )
        return options

    def _batches(self, lengths: list[int], size: int) -> Iterator[list[int]]:
        """Indices of pieces that may be decoded together, shortest first."""
        batch: list[int] = []
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            together = self._model.exact_when_padded or not batch or lengths[batch[0]] == lengths[i]
            if batch and (len(batch) == size or not together):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _decode(
        self, batch: Sequence[NDArray[np.float32]], options: DecodingOptions
    ) -> list[Transcript]:
        started = time.perf_counter()
        with self._turn, torch.inference_mode():
            values, mask = self._model.batch([self._model.inputs(samples) for samples in batch])
            where = self._model.model.device
            heard = self._model.hear(
                values.to(where),
                mask.to(where) if self._model.exact_when_padded else None,
                beam_size=options.beam_size,
                max_tokens=options.max_tokens,
            )
        latency_s = time.perf_counter() - started
        return [_transcript(one, latency_s, latency_s / len(batch)) for one in heard]


def _transcript(heard: Heard, latency_s: float, share_s: float) -> Transcript:
    return Transcript(
        text=heard.text,
        avg_logprob=heard.avg_logprob,
        compression_ratio=compression_ratio(heard.text),
        latency_s=latency_s,
        compute_s=share_s,
    )
