"""CTranslate2 Whisper in batches, with a right-sized context where the model has learnt one."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from misheard.audio import Audio
from misheard.speech.context import FULL_CONTEXT, read_card
from misheard.speech.decoding import DETECT, DecodingOptions
from misheard.speech.joining import joined
from misheard.speech.long_audio import Stretch, stretches
from misheard.speech.search import Search, compression_ratio
from misheard.speech.transcriber import Progress, Transcript, no_progress
from misheard.speech.windows import WhisperWindows

__all__ = ["DecodingOptions", "WhisperTranscriber", "compression_ratio"]


@dataclass(frozen=True)
class _Piece:
    """A stretch of a clip, and the window that it is decoded in."""

    clip: int
    stretch: Stretch
    positions: int


class WhisperTranscriber:
    """Transcribes with the CTranslate2 Whisper in `directory`.

    Clips are sorted by length and decoded in batches that share a window, of a small model a batch
    on each processor. Clips over 30 s are cut at silences first, and their times are those of the
    whole clip. Several threads may share one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        options: DecodingOptions | None = None,
        compute_type: str = "int8",
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        """Load the weights, once.

        `compute_type` is CTranslate2's ("int8" serves float16 files in 8 bits); `threads` of 0
        means one a core, or on a GPU (`device="cuda"`) four batches at once. Raises
        `ModelCorruptError` when the directory holds no such model, and `InvalidSettingError` for a
        device that is not there or a language that the model does not know.
        """
        self._name = name or directory.name
        self._windows = WhisperWindows(
            directory,
            name=self._name,
            compute_type=compute_type,
            threads=threads,
            device=device,
        )
        self._options = options or DecodingOptions()
        self._windows.require_language(self._options.language)
        card = read_card(directory)
        self._context = (card.context if card else None) or FULL_CONTEXT

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    @property
    def workers(self) -> int:
        """Batches that are decoded at the same time; see `BatchTranscriber`."""
        return self._windows.workers

    @property
    def options(self) -> DecodingOptions:
        """How it searches for text where a call says nothing else."""
        return self._options

    def window(self, duration_s: float) -> int:
        """Encoder positions for a stretch of `duration_s`; see `BatchTranscriber`."""
        return self._windows.window(self._context.positions(duration_s))

    def stretches(self, clip: Audio) -> list[Stretch]:
        """The clip itself, or its speech where it is over 30 s; see `BatchTranscriber`."""
        return stretches(clip.samples)

    def hear(self, stretches: Sequence[Stretch], *, options: DecodingOptions) -> list[Transcript]:
        """Decode stretches that share a window; see `BatchTranscriber`."""
        self._windows.require_language(options.language)
        return self._search(stretches, options, [None] * len(stretches))

    def _search(
        self,
        stretches: Sequence[Stretch],
        options: DecodingOptions,
        languages: Sequence[str | None],
    ) -> list[Transcript]:
        window = self.window(stretches[0].duration_s)
        search = Search(
            self._windows, stretches, window, options, most_positions=self._windows.most_positions
        )
        return search.run(languages)

    def transcribe(
        self,
        clips: Sequence[Audio],
        *,
        progress: Progress = no_progress,
        options: DecodingOptions | None = None,
    ) -> list[Transcript]:
        """Transcribe `clips`; see `Transcriber`.

        `options` stand in for the engine's own in this call. Raises `InvalidSettingError` for a
        language that the model does not know.
        """
        started = time.perf_counter()
        options = options or self._options
        self._windows.require_language(options.language)
        pieces = [piece for index, clip in enumerate(clips) for piece in self._pieces(index, clip)]
        waiting = Counter(piece.clip for piece in pieces)
        progress(len(clips) - len(waiting))
        languages = self._languages(pieces, options)
        decoded: dict[int, Transcript] = {}
        for batch, made in self._decoded(pieces, languages, options):
            decoded |= zip(batch, made, strict=True)
            waiting_before = len(waiting)
            waiting -= Counter(pieces[i].clip for i in batch)  # drops what has come to zero
            progress(waiting_before - len(waiting))
        heard: list[list[Transcript]] = [[] for _ in clips]
        for i, piece in enumerate(pieces):
            heard[piece.clip].append(decoded[i])
        spent_s = time.perf_counter() - started
        return _shared_out([joined(parts) for parts in heard], spent_s)

    def _decoded(
        self, pieces: list[_Piece], languages: dict[int, str], options: DecodingOptions
    ) -> Iterator[tuple[list[int], list[Transcript]]]:
        """Each batch (indices of pieces) with its transcripts, as they are done."""

        workers = self.workers

        def decode(batch: list[int]) -> list[Transcript]:
            known = [languages.get(pieces[i].clip) for i in batch]
            return self._search([pieces[i].stretch for i in batch], options, known)

        size = min(options.batch_size, math.ceil(len(pieces) / workers))
        batches = _batches(pieces, size, most_positions=self._windows.most_positions)
        if len(batches) < 2:
            yield from ((batch, decode(batch)) for batch in batches)
            return
        with ThreadPoolExecutor(workers) as pool:
            waiting = {pool.submit(decode, batch): batch for batch in batches}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _pieces(self, index: int, clip: Audio) -> Iterator[_Piece]:
        for stretch in self.stretches(clip):
            yield _Piece(index, stretch, self.window(stretch.duration_s))

    def _languages(self, pieces: list[_Piece], options: DecodingOptions) -> dict[int, str]:
        """Clip → language, where it is to be found out and the clip is in several pieces.

        The longest piece speaks for all of them. Other clips are asked with their batch, where
        their window is encoded anyway.
        """
        if options.language != DETECT or not self._windows.is_multilingual:
            return {}
        parts = Counter(piece.clip for piece in pieces)
        by_length = sorted(pieces, key=lambda piece: piece.stretch.duration_s)
        longest = {piece.clip: piece for piece in by_length if parts[piece.clip] > 1}
        return {
            clip: self._windows.detect(self._windows.encode([piece.stretch], piece.positions))[0]
            for clip, piece in longest.items()
        }


def _batches(pieces: list[_Piece], size: int, *, most_positions: int) -> list[list[int]]:
    """Indices of pieces that share a window, at most `size` at once; the dearest batch first.

    Dearest first, so that no worker is left with it at the end.
    """
    order = sorted(range(len(pieces)), key=lambda i: pieces[i].positions, reverse=True)
    batches = []
    for positions, group in groupby(order, key=lambda i: pieces[i].positions):
        same = list(group)
        most = min(size, max(1, most_positions // positions))
        batches += [same[start : start + most] for start in range(0, len(same), most)]
    return sorted(batches, key=lambda batch: -len(batch) * pieces[batch[0]].positions)


def _shared_out(transcripts: list[Transcript], spent_s: float) -> list[Transcript]:
    """The same, with the time of batches that were decoded at the same time counted once."""
    counted_s = sum(one.compute_s for one in transcripts)
    share = min(1.0, spent_s / counted_s) if counted_s else 1.0
    return [replace(one, compute_s=one.compute_s * share) for one in transcripts]
