"""What a version makes of a clip, computed once: neither of the two ever changes."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.blobs.together import get_all
from misheard.database.engine import writing
from misheard.database.schema import hypotheses
from misheard.datasets.manifest import Row
from misheard.speech.transcriber import Progress, Transcriber, no_progress

_CLIPS_AT_ONCE = 256
_ERROR_CHARACTERS = 1_000
_TIMED_CLIPS, _ROUNDS = 16, 5


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """The text that a version gave for a clip."""

    text: str
    compute_s: float
    """Its share of the wall time of the batch that it was decoded in."""
    error: str | None = None
    """Why there is no text, where a transcriber that is none of ours has failed."""


class Hypotheses:
    """Transcribes the clips of a dataset with a version, or remembers that it has."""

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        transcriber: Callable[[str], Transcriber],
        *,
        decoding: str,
    ) -> None:
        """`transcriber` loads a version by its id; `decoding` names the options it decodes with."""
        self._engine = engine
        self._blobs = blobs
        self._transcriber = transcriber
        self._decoding = decoding

    def of(
        self, version_id: str, rows: Sequence[Row], *, progress: Progress = no_progress
    ) -> list[Hypothesis]:
        """The hypothesis of `version_id` for each row, in order."""
        known = self._known(version_id)
        missing = {row.audio_sha256: row for row in rows if row.audio_sha256 not in known}
        progress(len(rows) - len(missing))
        # Stored in portions, so that a killed run goes on where it stopped. Sorted by length, so
        # that each portion still batches well.
        waiting = sorted(missing.values(), key=lambda row: row.duration_s)
        for start in range(0, len(waiting), _CLIPS_AT_ONCE):
            portion = waiting[start : start + _CLIPS_AT_ONCE]
            known |= self._transcribe(version_id, portion, progress)
        return [known[row.audio_sha256] for row in rows]

    def has_heard(self, version_id: str) -> bool:
        """Whether any clip was ever transcribed with this version here."""
        query = select(hypotheses.c.version_id).where(hypotheses.c.version_id == version_id)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def in_turn(self, baseline_id: str, candidate_id: str, rows: Sequence[Row]) -> float:
        """How many times as long the candidate takes, both timed in turn on a few of the clips.

        Times of different hours on a shared machine say little about two models; a ratio within one
        run does. The median of a few rounds, after one that does not count.
        """
        order = sorted(rows, key=lambda row: (row.duration_s, row.audio_sha256))
        chosen = order[:: max(1, len(order) // _TIMED_CLIPS)][:_TIMED_CLIPS]
        clips = self._clips(chosen)

        def time_s(version_id: str) -> float:
            engine = self._transcriber(version_id)
            started = time.perf_counter()
            engine.transcribe(clips)
            return time.perf_counter() - started

        ratios = []
        for _ in range(1 + _ROUNDS):
            before_s = time_s(baseline_id)
            ratios.append(time_s(candidate_id) / before_s)
        return statistics.median(ratios[1:])

    def _known(self, version_id: str) -> dict[str, Hypothesis]:
        query = select(hypotheses).where(
            hypotheses.c.version_id == version_id, hypotheses.c.decoding == self._decoding
        )
        with self._engine.connect() as connection:
            return {
                row.audio_sha256: Hypothesis(text=row.text, compute_s=row.compute_s)
                for row in connection.execute(query)
            }

    def _clips(self, rows: Sequence[Row]) -> list[audio.Audio]:
        data = get_all(self._blobs, [row.audio_sha256 for row in rows])
        return [audio.decode(one) for one in data]

    def _transcribe(
        self, version_id: str, rows: Sequence[Row], progress: Progress
    ) -> dict[str, Hypothesis]:
        clips = self._clips(rows)
        heard = _heard(self._transcriber(version_id), clips, progress)
        made = {row.audio_sha256: one for row, one in zip(rows, heard, strict=True)}
        values = [
            {
                "version_id": version_id,
                "audio_sha256": key,
                "decoding": self._decoding,
                "text": hypothesis.text,
                "compute_s": hypothesis.compute_s,
            }
            for key, hypothesis in made.items()
            # A failure may be the machine's fault: the next run tries again.
            if hypothesis.error is None
        ]
        with writing(self._engine) as connection:
            # Another process may have computed the same in the meantime; its rows serve as well.
            there = select(hypotheses.c.audio_sha256).where(
                hypotheses.c.version_id == version_id,
                hypotheses.c.decoding == self._decoding,
                hypotheses.c.audio_sha256.in_(list(made)),
            )
            known = set(connection.execute(there).scalars())
            fresh = [value for value in values if value["audio_sha256"] not in known]
            if fresh:
                connection.execute(insert(hypotheses), fresh)
        return made


def _heard(
    transcriber: Transcriber, clips: Sequence[audio.Audio], progress: Progress
) -> list[Hypothesis]:
    """The hypothesis for each clip; where a batch fails, one by one, to see which it was."""
    reported = 0

    def count(done: int) -> None:
        nonlocal reported
        reported += done
        progress(done)

    try:
        transcripts = transcriber.transcribe(clips, progress=count)
    except Exception as error:  # noqa: BLE001 - whatever an engine raises, it has failed on a clip
        progress(-reported)
        if len(clips) == 1:
            progress(1)
            return [Hypothesis(text="", compute_s=0.0, error=one_line(error))]
        return [one for clip in clips for one in _heard(transcriber, [clip], progress)]
    return [Hypothesis(text=one.text, compute_s=one.compute_s) for one in transcripts]


def one_line(error: Exception) -> str:
    """An error as one line that can be stored whatever its message holds."""
    text = "".join(traceback.format_exception_only(error)).strip()
    return text.encode(errors="backslashreplace").decode().replace("\0", "")[:_ERROR_CHARACTERS]
