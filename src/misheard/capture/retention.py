"""Let go of audio and of transcripts that nobody needs any more, by age and by size.

What a person has to do with stays: audio of an utterance that was corrected, whose error case is
open, that waits in the review queue, that a suite has or that any dataset names.

Rows first, in portions of one short transaction each, then blobs: a run may be killed anywhere, and
the next one finishes what it left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, delete, func, or_, select, update

from misheard.blobs.store import BlobStore
from misheard.capture.norms import drop_norms
from misheard.database import audit, tallies
from misheard.database.discarded import InUse, delete_discarded, discard, portions, unknown_blobs
from misheard.database.engine import now, writing
from misheard.database.schema import (
    KEEPS_AUDIO,
    corrections,
    error_cases,
    inferences,
    selections,
    suite_cases,
)
from misheard.errors import BlobNotFoundError

_AT_ONCE = 500
"""Rows a transaction: less than a tenth of a second, for which other writers wait."""
_GIGABYTE = 1_000_000_000
_OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class KeepRules:
    """How long what was heard is kept; 0 is for ever, or without a limit."""

    audio_days: float = 0.0
    audio_gb: float = 0.0
    """Gigabytes, of a thousand million bytes."""
    text_days: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KeptAudio:
    """The audio of the inference log, as its rows tell; what two of them share counts twice."""

    recordings: int
    bytes: int
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class LetGo:
    """What one run came to."""

    recordings: int
    """Transcripts that have no audio any more."""
    bytes: int
    transcripts: int
    """Rows of the log that were deleted."""
    blobs: int
    """Files that were deleted: those that nothing else needs."""
    is_done: bool
    """False where the time was up before all that may go was gone."""


@dataclass
class _Run:
    """What a run has let go of so far, and until when it may go on."""

    actor: str
    until_s: float
    recordings: int = 0
    bytes: int = 0
    transcripts: int = 0

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self.until_s


class CaptureRetention:
    """Keeps the inference log within its rules; several processes may do so at once."""

    def __init__(
        self, engine: Engine, blobs: BlobStore, *, rules: KeepRules, in_datasets: InUse
    ) -> None:
        """`in_datasets` says which recordings the manifest of a dataset names."""
        self._engine = engine
        self._blobs = blobs
        self._rules = rules
        self._in_datasets = in_datasets

    def kept(self) -> KeptAudio:
        """How much audio there is."""
        self._measure()
        with self._engine.connect() as connection:
            return _kept(connection)

    def run(self, *, actor: str, within_s: float = math.inf) -> LetGo:
        """Let go of what the rules do not keep, for about `within_s` seconds.

        Each portion is a row of the audit log, in the same transaction.
        """
        run = _Run(actor=actor, until_s=time.monotonic() + within_s)
        moment, rules = now(), self._rules
        if rules.text_days:
            self._delete_texts(run, moment - timedelta(days=rules.text_days))
        if rules.audio_days:
            self._let_go(run, before=moment - timedelta(days=rules.audio_days))
        if rules.audio_gb:
            self._shrink(run, round(rules.audio_gb * _GIGABYTE))
        # Not only this run's: another may have been killed before it came to that.
        self._blobs.sweep()
        blobs = delete_discarded(self._engine, self._blobs.delete, self._in_datasets)
        return LetGo(
            recordings=run.recordings,
            bytes=run.bytes,
            transcripts=run.transcripts,
            blobs=blobs,
            is_done=run.has_time,
        )

    def note_unknown(self) -> int:
        """Have the next `run` delete files that nothing points at; how many there are.

        Not while a model, a dataset or a validation is added: its files come before its row.
        """
        found = list(unknown_blobs(self._engine, self._blobs, self._in_datasets))
        for some in portions(found):
            with writing(self._engine) as connection:
                discard(connection, some)
        return len(found)

    def _shrink(self, run: _Run, limit: int) -> None:
        kept = self.kept()
        if kept.bytes > limit:
            self._let_go(run, excess=kept.bytes - limit, limit=limit)

    def _let_go(
        self,
        run: _Run,
        *,
        before: datetime | None = None,
        excess: float = math.inf,
        limit: int | None = None,
    ) -> None:
        """The oldest audio first: all from `before`, or `excess` bytes of it."""
        after: Any = None
        while run.has_time and excess > 0:
            with writing(self._engine) as connection:
                rows = connection.execute(_audio_after(after, before)).all()
                if not rows:
                    return
                after = (rows[-1].created_at, rows[-1].number)
                chosen = []
                for row in self._not_held(connection, rows):
                    if excess <= 0:
                        break
                    chosen.append(row)
                    excess -= row.audio_bytes or 0
                if chosen:
                    rule = {"before": before.isoformat()} if before else {"above_bytes": limit}
                    _drop_audio(connection, run, chosen, rule)

    def _not_held(self, connection: Connection, rows: Sequence[Any]) -> list[Any]:
        """Those whose recording neither a dataset nor a suite has under another transcript."""
        keys = [row.audio_sha256 for row in rows]
        query = select(suite_cases.c.audio_sha256).where(suite_cases.c.audio_sha256.in_(keys))
        held = set(connection.scalars(query)) | self._in_datasets(connection, keys)
        return [row for row in rows if row.audio_sha256 not in held]

    def _delete_texts(self, run: _Run, before: datetime) -> None:
        after: Any = None
        while run.has_time:
            with writing(self._engine) as connection:
                rows = connection.execute(_texts_after(connection, after, before)).all()
                if not rows:
                    return
                after = (rows[-1].created_at, rows[-1].number)
                ids = [row.id for row in rows]
                # Nobody has looked at them in all that time.
                connection.execute(delete(selections).where(selections.c.inference_id.in_(ids)))
                connection.execute(delete(inferences).where(inferences.c.id.in_(ids)))
                discard(connection, (row.audio_sha256 for row in rows))
                drop_norms(connection, {row.speaker for row in rows if row.speaker})
                run.transcripts += len(rows)
                figures = {"transcripts": len(rows), "before": before.isoformat()}
                _record(connection, run.actor, figures)

    def _measure(self) -> None:
        """The bytes of recordings that were kept before their rows told how many they are."""
        for keys in self._unmeasured():
            sizes = {key: self._size_bytes(key) for key in keys}
            with writing(self._engine) as connection:
                for key, size in sizes.items():
                    this = inferences.c.audio_sha256 == key
                    connection.execute(update(inferences).where(this).values(audio_bytes=size))

    def _unmeasured(self) -> Iterator[list[str]]:
        unknown = select(inferences.c.audio_sha256).distinct()
        unknown = unknown.where(KEEPS_AUDIO, inferences.c.audio_bytes < 0)
        with self._engine.connect() as connection:
            keys = list(connection.scalars(unknown))
        yield from portions(keys)

    def _size_bytes(self, key: str) -> int:
        try:
            return self._blobs.size_bytes(key)
        except BlobNotFoundError:
            return 0


def _kept(connection: Connection) -> KeptAudio:
    # One look at the index that holds just these rows, and nothing else of them.
    query: Select[Any] = select(
        func.count(), func.coalesce(func.sum(inferences.c.audio_bytes), 0)
    ).where(KEEPS_AUDIO)
    count, size = connection.execute(query).one()
    oldest = select(inferences.c.created_at).where(KEEPS_AUDIO)
    oldest = oldest.order_by(inferences.c.created_at).limit(1)
    return KeptAudio(
        recordings=count, bytes=int(size), oldest_at=connection.execute(oldest).scalar()
    )


def _later_than(after: Any) -> list[Any]:
    if after is None:
        return []
    at, number = after
    later = or_(inferences.c.created_at > at, inferences.c.number > number)
    return [inferences.c.created_at >= at, later]


def _audio_after(after: Any, before: datetime | None) -> Select[Any]:
    """The next portion of audio that nobody has to do with, oldest first."""
    this = inferences.c.id
    is_open = (error_cases.c.inference_id == this) & (error_cases.c.status == _OPEN)
    waits = (selections.c.inference_id == this) & selections.c.labelled_at.is_(None)
    query: Select[Any] = (
        select(
            inferences.c.number,
            inferences.c.created_at,
            inferences.c.audio_sha256,
            inferences.c.audio_bytes,
        )
        .where(
            KEEPS_AUDIO,
            ~select(corrections.c.number).where(corrections.c.inference_id == this).exists(),
            ~select(error_cases.c.id).where(is_open).exists(),
            ~select(selections.c.inference_id).where(waits).exists(),
            ~select(suite_cases.c.number).where(suite_cases.c.inference_id == this).exists(),
            *_later_than(after),
        )
        .order_by(inferences.c.created_at, inferences.c.number)
        .limit(_AT_ONCE)
    )
    return query if before is None else query.where(inferences.c.created_at < before)


def _texts_after(connection: Connection, after: Any, before: datetime) -> Select[Any]:
    """The next portion of old transcripts that were counted and that no person has touched."""
    this = inferences.c.id
    labelled = and_(selections.c.inference_id == this, selections.c.labelled_at.is_not(None))
    query: Select[Any] = (
        select(
            inferences.c.number,
            inferences.c.id,
            inferences.c.created_at,
            inferences.c.audio_sha256,
            inferences.c.speaker,
        )
        .where(
            inferences.c.created_at < before,
            # What the digest has not counted yet would be missing from `hourly`.
            inferences.c.number <= tallies.digested_to(connection),
            ~select(corrections.c.number).where(corrections.c.inference_id == this).exists(),
            ~select(error_cases.c.id).where(error_cases.c.inference_id == this).exists(),
            ~select(selections.c.inference_id).where(labelled).exists(),
            ~select(suite_cases.c.number).where(suite_cases.c.inference_id == this).exists(),
            *_later_than(after),
        )
        .order_by(inferences.c.created_at, inferences.c.number)
        .limit(_AT_ONCE)
    )
    return query


def _drop_audio(
    connection: Connection, run: _Run, rows: Sequence[Any], rule: dict[str, Any]
) -> None:
    numbers = [row.number for row in rows]
    gone = {"audio_sha256": "", "audio_bytes": None}
    these = inferences.c.number.in_(numbers)
    connection.execute(update(inferences).where(these).values(**gone))
    discard(connection, (row.audio_sha256 for row in rows))
    size = sum(row.audio_bytes or 0 for row in rows)
    run.recordings += len(rows)
    run.bytes += size
    _record(connection, run.actor, {"recordings": len(rows), "bytes": size, **rule})


def _record(connection: Connection, actor: str, evidence: dict[str, Any]) -> None:
    entry = audit.AuditEntry(
        actor=actor, action="let_go", subject="inferences", reason="retention", evidence=evidence
    )
    audit.record(connection, entry)
