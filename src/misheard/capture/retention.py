"""Let go of audio and of transcripts that nobody needs any more, by age and by size.

What a person has to do with stays: audio of an utterance that was corrected, whose error case is
open, that waits in the review queue, that a suite has or that any dataset names.

Rows first, in portions of one short transaction each, then blobs: a run may be killed anywhere, and
the next one finishes what it left. What may go is looked for while others write, and looked at once
more in the transaction that lets go of it: millions that are held keep nobody waiting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, select, update

from misheard.blobs.store import BlobStore
from misheard.blobs.together import absent_from, delete_all, require_reachable, stores_of
from misheard.capture.copies import drop_forgotten, drop_unknown
from misheard.capture.free_rows import FreeRows, Place, free_audio, free_texts
from misheard.capture.norms import drop_norms
from misheard.database import audit, tallies
from misheard.database.claims import require_known
from misheard.database.discarded import InUse, delete_discarded, discard, portions, unknown_blobs
from misheard.database.engine import now, writing
from misheard.database.schema import (
    KEEPS_AUDIO,
    inferences,
    selections,
    suite_cases,
)
from misheard.errors import BlobNotFoundError

_AT_ONCE = 500
"""Rows a transaction: less than a tenth of a second, for which other writers wait."""
_COPIES_EVERY_S = 3600.0
_GIGABYTE = 1_000_000_000


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
        self,
        engine: Engine,
        blobs: BlobStore,
        *,
        rules: KeepRules,
        in_datasets: InUse,
        model_blobs: BlobStore | None = None,
        buckets: Collection[str] = (),
    ) -> None:
        """`in_datasets` says which recordings the manifest of a dataset names.

        `model_blobs`, where files of models are in a store of their own; `buckets`: addresses of
        those that the stores are in.
        """
        self._buckets = buckets
        self._engine = engine
        self._blobs = blobs
        self._stores = stores_of(blobs, model_blobs)
        self._rules = rules
        self._in_datasets = in_datasets
        self._came_to: dict[str, Place] = {}
        """By rule, where a run was out of time: the next one goes on there, not at what is held."""
        self._copies_at_s = -math.inf
        """When copies at home are next looked at."""

    def kept(self) -> KeptAudio:
        """How much audio there is."""
        self._measure()
        with self._engine.connect() as connection:
            return _kept(connection)

    def run(self, *, actor: str, within_s: float = math.inf) -> LetGo:
        """Let go of what the rules do not keep, for about `within_s` seconds.

        Each portion is a row of the audit log, in the same transaction. Raises `BucketLeftError`.
        """
        require_known(self._engine, self._buckets)
        run = _Run(actor=actor, until_s=time.monotonic() + within_s)
        moment, rules = now(), self._rules
        if rules.text_days:
            self._delete_texts(run, moment - timedelta(days=rules.text_days))
        if rules.audio_days:
            self._let_go(run, before=moment - timedelta(days=rules.audio_days))
        if rules.audio_gb:
            self._shrink(run, round(rules.audio_gb * _GIGABYTE))
        # Not only this run's: another may have been killed before it came to that.
        for store in self._stores:
            store.sweep()
        drop_forgotten(self._engine, self._stores)
        require_reachable(*self._stores)
        absent = absent_from(*self._stores)
        blobs = delete_discarded(self._engine, self._drop, self._in_datasets, absent=absent)
        self._drop_copies()
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
        keys = chain.from_iterable(self._stores)
        found = set(unknown_blobs(self._engine, keys, self._in_datasets))
        for some in portions(sorted(found)):
            with writing(self._engine) as connection:
                discard(connection, some)
        return len(found)

    def _drop(self, keys: Collection[str]) -> None:
        for store in self._stores:
            delete_all(store, keys)

    def _drop_copies(self) -> None:
        """Those at home of what other machines let go of: each is looked up, so not every time."""
        if time.monotonic() >= self._copies_at_s:
            drop_unknown(self._engine, self._stores, self._in_datasets)
            self._copies_at_s = time.monotonic() + _COPIES_EVERY_S

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
        rule = {"before": before.isoformat()} if before else {"above_bytes": limit}
        free = free_audio(self._engine, before=before)
        for some in self._portions(run, next(iter(rule)), free):
            with writing(self._engine) as connection:
                chosen = []
                for row in self._not_held(connection, free.still(connection, some)):
                    if excess <= 0:
                        break
                    chosen.append(row)
                    excess -= row.audio_bytes or 0
                if chosen:
                    _drop_audio(connection, run, chosen, rule)
            if excess <= 0:
                return

    def _portions(self, run: _Run, rule: str, free: FreeRows) -> Iterator[list[int]]:
        """Numbers of what may go by `rule`, oldest first, so many as a transaction takes."""
        after = self._came_to.pop(rule, None)
        while run.has_time:
            numbers, end = free.next(after)
            for start in range(0, len(numbers), _AT_ONCE):
                if not run.has_time:
                    break
                yield numbers[start : start + _AT_ONCE]
            else:
                if end is None:
                    return
                after = end
        if after is not None:
            self._came_to[rule] = after

    def _not_held(self, connection: Connection, rows: Sequence[Any]) -> list[Any]:
        """Those whose recording neither a dataset nor a suite has under another transcript."""
        keys = [row.audio_sha256 for row in rows]
        query = select(suite_cases.c.audio_sha256).where(suite_cases.c.audio_sha256.in_(keys))
        held = set(connection.scalars(query)) | self._in_datasets(connection, keys)
        return [row for row in rows if row.audio_sha256 not in held]

    def _delete_texts(self, run: _Run, before: datetime) -> None:
        free = free_texts(self._engine, before=before)
        for some in self._portions(run, "texts", free):
            with writing(self._engine) as connection:
                rows = free.still(connection, some)
                ids = [row.id for row in rows]
                tallies.let_go(connection, rows)
                # Nobody has looked at them in all that time.
                connection.execute(delete(selections).where(selections.c.inference_id.in_(ids)))
                connection.execute(delete(inferences).where(inferences.c.id.in_(ids)))
                discard(connection, (row.audio_sha256 for row in rows))
                drop_norms(connection, {row.speaker for row in rows if row.speaker})
                run.transcripts += len(rows)
                if rows:
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
