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

from misheard.audio import Audio
from misheard.errors import UnsupportedModelError
from misheard.speech.decoding import DecodingOptions
from misheard.speech.families.family import Heard
from misheard.speech.families.known import family_class, model_type
from misheard.speech.long_audio import stretches
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

    It computes in float32 on the CPU. There is no `no_speech_prob`: none of these models tells.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        options: DecodingOptions | None = None,
        threads: int = 0,
    ) -> None:
        """Load the weights, once.

        `threads` of 0 means one a core; another number holds for all that PyTorch computes in this
        process. Raises `ModelCorruptError` for files that cannot be read, `UnsupportedModelError`
        for a kind that is not known, or options that only Whisper has.
        """
        if threads:
            torch.set_num_threads(threads)
        self._name = name or directory.name
        self._type = model_type(directory)
        self._options = self._checked(options or DecodingOptions())
        self._model = family_class(self._type, where=directory)(directory)
        # Tokenizers and `generate` keep state; PyTorch has all the cores busy with one call anyway.
        self._turn = threading.Lock()

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
        """Transcribe `clips`; see `Transcriber`. `options` stand in for the engine's own."""
        options = self._options if options is None else self._checked(options)
        pieces = [
            (index, stretch.samples)
            for index, clip in enumerate(clips)
            for stretch in stretches(clip.samples)
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
        return [_joined(of_clip) for of_clip in parts]

    def _checked(self, options: DecodingOptions) -> DecodingOptions:
        asked = [option for option in _WHISPERS_ALONE if getattr(options, option)]
        if asked:
            raise UnsupportedModelError(
                f"'{self._name}' is a {self._type}; speech.{asked[0]} is for Whisper models only."
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
            heard = self._model.hear(
                values,
                mask if self._model.exact_when_padded else None,
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


def _joined(parts: list[Transcript]) -> Transcript:
    """One transcript for a clip from those of its stretches, the worst signal kept."""
    if len(parts) == 1:
        return parts[0]
    text = " ".join(part.text for part in parts if part.text)
    logprobs = [part.avg_logprob for part in parts if part.avg_logprob is not None]
    return Transcript(
        text=text,
        avg_logprob=min(logprobs, default=None),
        compression_ratio=compression_ratio(text),
        latency_s=sum(part.latency_s for part in parts),
        compute_s=sum(part.compute_s for part in parts),
    )
