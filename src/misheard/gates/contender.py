"""Who is compared: a registered version, or any function that transcribes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.datasets.manifest import Row
from misheard.gates.hypotheses import Hypotheses, Hypothesis, one_line
from misheard.speech.transcriber import FunctionTranscriber, Progress, no_progress

Transcribe = Callable[[Any], Any]
"""Takes the path of an audio file (str), or an array; returns a str or a dict with `transcript`."""

_NO_AUDIO = audio.Audio(samples=np.zeros(0, np.float32), sha256="")


@dataclass
class TranscribeFunctions:
    """How the gates hear versions whose engine is not one of ours; None: with ours."""

    baseline: Transcribe | None = None
    """The live version."""
    of_model: Callable[[str], Transcribe] | None = None
    """Any other version, from the directory with its files."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One side of a comparison."""

    id: str
    """Id of a version, or the name of a transcriber that is none of ours."""
    hypothesise: Callable[[Sequence[Row], Progress], list[Hypothesis]]
    """The hypothesis for each row, in order."""


def from_version(version_id: str, hypotheses: Hypotheses) -> Contender:
    """A registered version; what it has heard before is remembered."""

    def hypothesise(rows: Sequence[Row], progress: Progress = no_progress) -> list[Hypothesis]:
        return hypotheses.of(version_id, rows, progress=progress)

    return Contender(id=version_id, hypothesise=hypothesise)


def from_function(
    name: str,
    function: Transcribe,
    blobs: BlobStore,
    *,
    paths: Mapping[str, Path] | None = None,
    arrays: Mapping[str, Any] | None = None,
) -> Contender:
    """A plain function; this contender hears each recording once.

    For a recording whose SHA-256 is in `arrays` the function is given that array, for one in
    `paths` that path. For every other it is given a 16-bit mono WAV file at 16 kHz, which is gone
    after the call.

    Where the function raises or returns no text, the hypothesis is empty and has the error. An
    empty string is a text: nobody speaks.
    """
    known: dict[str, Hypothesis] = {}
    own_paths, own_arrays = paths or {}, arrays or {}

    def listen(key: str, folder: Path) -> Hypothesis:
        if key in own_arrays:
            return _call(name, function, own_arrays[key])
        if key in own_paths:
            return _call(name, function, str(own_paths[key]))
        clip = audio.decode(blobs.get_bytes(key), name=key)
        path = folder / f"{key}.wav"
        path.write_bytes(audio.encode_wav(clip.samples, audio.SAMPLE_RATE_HZ, name=key))
        try:
            return _call(name, function, str(path))
        finally:
            path.unlink(missing_ok=True)

    def hypothesise(rows: Sequence[Row], progress: Progress = no_progress) -> list[Hypothesis]:
        with tempfile.TemporaryDirectory(prefix="misheard-") as folder:
            for row in rows:
                if row.audio_sha256 not in known:
                    known[row.audio_sha256] = listen(row.audio_sha256, Path(folder))
                progress(1)
        return [known[row.audio_sha256] for row in rows]

    return Contender(id=name, hypothesise=hypothesise)


def _call(name: str, function: Transcribe, source: Any) -> Hypothesis:
    # The adapter knows what counts as text; it would hand over samples, so it is given none.
    adapter = FunctionTranscriber(lambda _: function(source), name=name)
    started = time.perf_counter()
    try:
        (transcript,) = adapter.transcribe([_NO_AUDIO])
    except Exception as error:  # noqa: BLE001 - whatever a stranger's function raises is its failure
        spent_s = time.perf_counter() - started
        return Hypothesis(text="", compute_s=spent_s, error=one_line(error))
    return Hypothesis(text=transcript.text, compute_s=transcript.compute_s)
