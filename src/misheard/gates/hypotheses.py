"""What a version makes of a clip, computed once: neither of the two ever changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.database.engine import writing
from misheard.database.schema import hypotheses
from misheard.datasets.manifest import Row
from misheard.speech.transcriber import Progress, Transcriber, no_progress

_CLIPS_AT_ONCE = 256


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

    def _known(self, version_id: str) -> dict[str, Hypothesis]:
        query = select(hypotheses).where(
            hypotheses.c.version_id == version_id, hypotheses.c.decoding == self._decoding
        )
        with self._engine.connect() as connection:
            return {
                row.audio_sha256: Hypothesis(text=row.text, compute_s=row.compute_s)
                for row in connection.execute(query)
            }

    def _transcribe(
        self, version_id: str, rows: Sequence[Row], progress: Progress
    ) -> dict[str, Hypothesis]:
        clips = [audio.decode(self._blobs.get_bytes(row.audio_sha256)) for row in rows]
        transcripts = self._transcriber(version_id).transcribe(clips, progress=progress)
        made = {
            row.audio_sha256: Hypothesis(text=transcript.text, compute_s=transcript.compute_s)
            for row, transcript in zip(rows, transcripts, strict=True)
        }
        values = [
            {
                "version_id": version_id,
                "audio_sha256": key,
                "decoding": self._decoding,
                "text": hypothesis.text,
                "compute_s": hypothesis.compute_s,
            }
            for key, hypothesis in made.items()
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
