"""From the rows of an exported dataset to what a model is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misheard import audio
from misheard.errors import EmptyDatasetError, MisheardError, UnspeakableTextError
from misheard.finetune import augment
from misheard.finetune.families.family import Example, Family
from misheard.finetune.plan import Clip, Plan, Showing
from misheard.finetune.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REASONS_SHOWN = 3
_ROOM_BYTES = 64 << 20
"""17 minutes of samples. Decoding and resampling the phone prompts took 3 % of an epoch."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A row of an exported dataset."""

    path: Path
    reference: str
    kind: str
    weight: float

    @property
    def is_replay(self) -> bool:
        """Whether a person confirmed what was heard, rather than correcting it."""
        return self.kind == "replay"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A row that cannot be learnt from."""

    audio: str
    """Name of its file: the SHA-256 of the audio."""
    reason: str


def read_rows(path: Path) -> list[Utterance]:
    """The rows of one split, as `Datasets.export` wrote them; none where there is no such file."""
    if not path.exists():
        return []
    # Not splitlines: a transcript may hold U+2028, which is no end of a line in JSON.
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [
        Utterance(
            path=path.parent / row["audio_path"],
            reference=row["reference"],
            kind=row["kind"],
            weight=row.get("weight", 1.0),
        )
        for row in rows
    ]


def usable(
    rows: Sequence[Utterance], family: Family, recipe: Recipe
) -> tuple[list[Clip], list[Refused]]:
    """What can be learnt from, and what cannot, each with its reason.

    Nothing is cut: a clip that is too long is refused with its text. Raises `EmptyDatasetError`
    where no spoken clip is left.
    """
    clips, refused = [], []
    for row in rows:
        try:
            clips.append(_clip(row, family, recipe))
        except MisheardError as error:
            refused.append(Refused(audio=row.path.name, reason=str(error)))
    if not any(clip.reference for clip in clips):
        raise EmptyDatasetError(_nothing_spoken(rows, refused))
    return clips, refused


def _clip(row: Utterance, family: Family, recipe: Recipe) -> Clip:
    recording = audio.read(row.path)
    if recording.duration_s > recipe.max_clip_s:
        raise UnspeakableTextError(
            f"It is {recording.duration_s:.1f} s long, and recipe.max_clip_s is "
            f"{recipe.max_clip_s:g}; cut it where its text can be cut."
        )
    family.labels(row.reference)
    return Clip(
        path=row.path,
        reference=row.reference,
        duration_s=recording.duration_s,
        is_replay=row.is_replay,
        weight=max(1.0, row.weight),
    )


def _nothing_spoken(rows: Sequence[Utterance], refused: Sequence[Refused]) -> str:
    if not refused:
        return (
            f"In none of the {len(rows)} training rows does anybody speak: a model would only "
            "learn to say nothing. Correct utterances with speech, too."
        )
    shown = "; ".join(f"{one.audio[:12]}: {one.reason}" for one in refused[:_REASONS_SHOWN])
    return f"None of the {len(rows)} training rows with speech can be learnt from ({shown})."


class Examples:
    """Makes the example of a showing when it is asked for.

    It takes a `Showing` for an index: what is shown follows from that alone. Samples are kept from
    one epoch to the next as far as there is room for them; others are decoded again.
    """

    def __init__(self, plan: Plan, family: Family, *, room_bytes: int = _ROOM_BYTES) -> None:
        self.plan = plan
        self._family = family
        self._kept: dict[Path, NDArray[np.float32]] = {}
        self._room_bytes = room_bytes

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, showing: Showing) -> Example:
        generator = np.random.default_rng(showing.seed)
        samples, text = self._heard(showing, generator)
        if showing.telephone:
            samples = augment.through_telephone(samples, generator)
        times = None
        if showing.times and self._family.learns_times:
            times = speech_times(samples)
        return Example(
            features=self._family.features(samples, full_window=showing.full_window),
            labels=self._family.labels(text, times=times),
        )

    def _heard(
        self, showing: Showing, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], str]:
        if not showing.clips:
            return augment.non_speech(showing.seconds, generator), ""
        clips = [self.plan.clips[i] for i in showing.clips]
        text = " ".join(clip.reference for clip in clips)
        try:
            self._family.labels(text)
        except UnspeakableTextError:
            clips = clips[:1]  # each fits, both together do not
            text = clips[0].reference
        samples = self._samples(clips[0].path)
        for clip in clips[1:]:
            samples = augment.joined(samples, self._samples(clip.path), showing.gap_s)
        if showing.speed != 1.0:
            samples = augment.change_speed(samples, showing.speed)
        return samples, text

    def _samples(self, path: Path) -> NDArray[np.float32]:
        if path in self._kept:
            return self._kept[path]
        samples = audio.read(path).samples
        if samples.nbytes <= self._room_bytes:
            self._room_bytes -= samples.nbytes
            self._kept[path] = samples
        return samples


def speech_times(samples: NDArray[np.float32]) -> tuple[float, float] | None:
    """Seconds at which speech begins and ends in `samples` (n,); None where none is found.

    By Silero's voice-activity detection, as long recordings are cut when they are served.
    """
    from faster_whisper.vad import (  # noqa: PLC0415 - onnxruntime, for a few clips only
        VadOptions,
        get_speech_timestamps,
    )

    options = VadOptions(speech_pad_ms=0, min_silence_duration_ms=160)
    found: list[dict[str, Any]] = get_speech_timestamps(samples, options)
    if not found:
        return None
    rate_hz = audio.SAMPLE_RATE_HZ
    return found[0]["start"] / rate_hz, found[-1]["end"] / rate_hz
