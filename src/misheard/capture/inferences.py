"""The inference log: every transcript, with its audio and what the recogniser thought of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, select, update

from misheard.audio import Audio, sha256_of
from misheard.blobs.store import BlobStore
from misheard.capture.captured import LIMITS, Captured, number, require_id
from misheard.capture.intake import Intake, Logged
from misheard.capture.recordings import Recordings
from misheard.database import tallies
from misheard.database.engine import new_id, now, writing
from misheard.database.paging import older_than
from misheard.database.schema import error_cases, inferences
from misheard.errors import BadInputError, NotAudioError, UnknownIdError
from misheard.scoring.normalize import require_text
from misheard.speech.transcriber import Progress, Transcript, no_progress
from misheard.tags import require_tags, tagged


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One transcript that production made."""

    id: str
    created_at: datetime
    """When it was heard."""
    client_id: str | None
    """The caller's own id for it."""
    speaker_group: str
    """Who or what moves together in statistics: a speaker, a call, a session."""
    audio_sha256: str
    """Empty where the audio is not kept: only referred to, or let go of."""
    audio_bytes: int | None
    """How much of it is kept, as its sender encoded it; None where none is."""
    source: str
    """Where the audio came from, as its sender called it: a path, an address, or nothing."""
    duration_s: float | None
    version_id: str
    """Who heard it: a version, or the name of a recogniser that is none of ours."""
    text: str
    second_text: str | None
    """What another model heard, where one was asked."""
    avg_logprob: float | None
    no_speech_prob: float | None
    compression_ratio: float | None
    latency_s: float | None
    compute_s: float | None
    reported: bool
    """Known only because somebody reported it as wrong, so it is no sample of the traffic."""
    speaker: str | None
    session: str | None
    """Whose data it is, by the caller's own ids."""
    tags: dict[str, str] = field(default_factory=dict)
    """As given with the recording, and `noise` as measured."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is to be logged: encoded audio, its decoded form, and the transcript."""

    data: bytes
    audio: Audio
    transcript: Transcript
    speaker_group: str = ""
    client_id: str | None = None
    speaker: str | None = None
    session: str | None = None
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """An id that is empty is none."""
        for name in ("client_id", "speaker", "session"):
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)

    @property
    def sha256(self) -> str:
        """Of its data."""
        return self.audio.sha256

    def read(self) -> bytes:
        """Its data."""
        return self.data


_IDS_AT_ONCE = 500
_columns = [inferences.c[name] for name in Inference.__dataclass_fields__]


class InferenceLog:
    """Records and finds inferences."""

    def __init__(self, engine: Engine, blobs: BlobStore) -> None:
        """The log may be kept by an engine that is opened for telemetry."""
        self._engine = engine
        self._recordings = Recordings(engine, blobs)

    def capture(
        self,
        items: Iterable[Captured],
        *,
        live: str,
        copy_audio: bool = False,
        progress: Progress = no_progress,
    ) -> Logged:
        """Log transcripts; `live` is who heard those that name no recogniser.

        Audio stays where it is, or is read and copied in. Up to 2,000 are kept at once, all or
        none of them: what cannot be is refused, with nothing after it. Sent again, what has a
        `client_id` makes no second row.
        """
        return self.intake(live=live, copy_audio=copy_audio, progress=progress).take(items)

    def intake(
        self, *, live: str, copy_audio: bool = False, progress: Progress = no_progress
    ) -> Intake:
        """As `capture`, for a stream that may have nothing more for a while."""
        return Intake(
            self._engine, self._recordings, live=live, copy_audio=copy_audio, progress=progress
        )

    def record(self, version_id: str, heard: Sequence[Heard]) -> list[Inference]:
        """Log transcripts of `version_id`, all or none, audio first.

        A `client_id` that is logged already is left as it was, and its row is returned.
        """
        self.keep_audio(heard)
        made: list[Inference] = []
        with writing(self._engine) as connection:
            client_ids = [item.client_id for item in heard if item.client_id is not None]
            query = select(*_columns).where(inferences.c.client_id.in_(client_ids))
            known = {row["client_id"]: dict(row) for row in connection.execute(query).mappings()}
            fresh = []
            for item in heard:
                if item.client_id in known:
                    made.append(Inference(**known[item.client_id]))
                    continue
                inference = _inference(version_id, item)
                made.append(inference)
                fresh.append(vars(inference))
                if item.client_id is not None:
                    known[item.client_id] = vars(inference)
            if fresh:
                connection.execute(insert(inferences), fresh)
            self._recordings.named(connection, heard)
        return made

    def fetch_audio(self, inference_ids: Sequence[str]) -> list[str]:
        """Copy in the audio of transcripts that only refer to it; ids of those where it is gone.

        For when a person has said what was spoken, so that it can be trained on. A path that is
        not absolute would be another file wherever this runs, so it is as good as gone.
        """
        gone = []
        for start in range(0, len(inference_ids), _IDS_AT_ONCE):
            some = inference_ids[start : start + _IDS_AT_ONCE]
            query = select(inferences.c.id, inferences.c.source)
            query = query.where(inferences.c.id.in_(some), inferences.c.audio_sha256 == "")
            with self._engine.connect() as connection:
                referred = connection.execute(query).all()
            for inference_id, source in referred:
                try:
                    if not Path(source).is_absolute():
                        raise NotAudioError(f"'{source}' is no absolute path.")
                    copied = self._recordings.copy([source])
                except NotAudioError:
                    gone.append(inference_id)
                    continue
                this = inferences.c.id == inference_id
                values = {
                    "audio_sha256": copied[0].sha256,
                    "audio_bytes": copied[0].size_bytes,
                    "duration_s": copied[0].duration_s,
                }
                with writing(self._engine) as connection:
                    row = connection.execute(select(inferences).where(this)).first()
                    if row is None:
                        continue  # deleted meanwhile
                    tallies.measured(connection, row, copied[0].duration_s)
                    connection.execute(update(inferences).where(this).values(**values))
                    self._recordings.named(connection, copied)
        return gone

    def keep_audio(self, heard: Sequence[Heard]) -> None:
        """Check all, then keep their audio: what has to come before any row."""
        for item in heard:
            _check(item)
        self._recordings.put(heard)

    def report_in(self, connection: Connection, version_id: str, item: Heard) -> str:
        """The id of the inference that somebody reports as wrong, in the caller's transaction.

        The newest one of the same audio and text that has no case yet is meant; without one it is
        logged now, as `reported`. Its audio is kept already (`keep_audio`).
        """
        query = (
            select(inferences.c.id)
            .outerjoin(error_cases, error_cases.c.inference_id == inferences.c.id)
            .where(
                inferences.c.audio_sha256 == item.audio.sha256,
                inferences.c.text == item.transcript.text,
                inferences.c.reported.is_(False),
                error_cases.c.id.is_(None),
            )
            .order_by(inferences.c.created_at.desc(), inferences.c.id.desc())
        )
        known: str | None = connection.execute(query.limit(1)).scalar()
        if known is not None:
            return known
        inference = _inference(version_id, item, reported=True)
        connection.execute(insert(inferences).values(**vars(inference)))
        self._recordings.named(connection, [item])
        return inference.id

    def get(self, inference_id: str) -> Inference:
        """One inference by its id."""
        with self._engine.connect() as connection:
            query = select(*_columns).where(inferences.c.id == inference_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no inference '{inference_id}'.")
        return Inference(**row)

    def recent(self, *, limit: int = 20, before: str | None = None) -> list[Inference]:
        """The newest inferences, newest first; those after the one with the id `before`."""
        query = select(*_columns).order_by(inferences.c.created_at.desc(), inferences.c.id.desc())
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, inferences, before))
            rows = connection.execute(query.limit(limit)).mappings()
            return [Inference(**row) for row in rows]

    def count(self, *, since: datetime | None = None) -> int:
        """How many there are, or came since then."""
        query = select(func.count()).select_from(inferences)
        if since is not None:
            query = query.where(inferences.c.created_at > since)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar_one()


def _check(item: Heard) -> None:
    require_text(item.transcript.text, what="the transcript")
    if item.speaker_group:
        require_id(item.speaker_group, what="the speaker group")
    require_tags(item.tags, what="the tags")
    for name in ("client_id", "speaker", "session"):
        if (value := getattr(item, name)) is not None:
            require_id(value, what=f"the {name}")
    if sha256_of(item.data) != item.audio.sha256:
        raise BadInputError("The audio was decoded from other data than is to be kept.")
    for name in LIMITS.keys() - {"duration_s"}:
        if (value := getattr(item.transcript, name)) is not None:
            number(name, value)


def _inference(version_id: str, item: Heard, *, reported: bool = False) -> Inference:
    transcript = item.transcript
    return Inference(
        id=new_id("inf"),
        created_at=now(),
        client_id=item.client_id,
        speaker_group=item.speaker_group or item.speaker or item.session or item.audio.sha256,
        speaker=item.speaker,
        session=item.session,
        audio_sha256=item.audio.sha256,
        audio_bytes=len(item.data),
        # A path need not be Unicode, but a column is.
        source=item.source.encode(errors="backslashreplace").decode(),
        duration_s=item.audio.duration_s,
        version_id=version_id,
        text=transcript.text,
        second_text=None,
        avg_logprob=transcript.avg_logprob,
        no_speech_prob=transcript.no_speech_prob,
        compression_ratio=transcript.compression_ratio,
        latency_s=transcript.latency_s,
        compute_s=transcript.compute_s,
        reported=reported,
        tags=tagged(item.audio, item.tags),
    )
