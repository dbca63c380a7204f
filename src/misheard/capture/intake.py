"""Transcripts on their way into the log, by reference, by the thousand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from misheard.capture.captured import COLUMNS, Captured, latest_time, row
from misheard.capture.recordings import File, Recordings, local_path
from misheard.database.bulk import Row, RowInsert
from misheard.database.engine import adding_to_sqlite, new_ids, now, writing
from misheard.database.schema import inferences
from misheard.speech.transcriber import Progress


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What became of transcripts that were sent."""

    new: int
    known: int
    """Their `client_id` was in the log already."""


_AT_ONCE = 2_000
"""Rows a transaction: a few hundredths of a second, for which other writers wait."""
_insert = RowInsert(inferences, COLUMNS, unless_known="client_id")


class Intake:
    """Logs what it takes in portions, each of them kept whole or not at all."""

    def __init__(
        self,
        engine: Engine,
        recordings: Recordings,
        *,
        live: str,
        copy_audio: bool,
        progress: Progress,
    ) -> None:
        """`live` is who heard what names no recogniser."""
        self._engine = engine
        self._on_sqlite = engine.dialect.name == "sqlite"
        self._recordings = recordings
        self._live = live
        self._copies_audio = copy_audio
        self._progress = progress
        self._waiting: list[Captured] = []
        self._new = self._sent = 0

    @property
    def logged(self) -> Logged:
        """What became of all that was kept so far."""
        return Logged(new=self._new, known=self._sent - self._new)

    def take(self, items: Iterable[Captured]) -> Logged:
        """Log all of them."""
        waiting = self._waiting
        for item in items:
            waiting.append(item)
            if len(waiting) >= _AT_ONCE:
                self.flush()
        self.flush()
        return self.logged

    def flush(self) -> None:
        """Keep what has come so far: for a stream that has nothing more for now."""
        some = [_located(item) for item in self._waiting]
        self._waiting.clear()
        if not some:
            return
        copied: list[File] = []
        if self._copies_audio:
            copied = self._recordings.copy([item.audio for item in some])
            some = [_with_audio(*each) for each in zip(some, copied, strict=True)]
        self._new += self._add(self._rows(some, copied), copied)
        self._sent += len(some)
        self._progress(len(some))

    def _rows(self, items: Sequence[Captured], copied: Sequence[File]) -> list[Row]:
        latest, ids = latest_time(now()), new_ids("inf", len(items))
        kept: list[tuple[str, int | None]] = [("", None)] * len(items)
        if copied:
            kept = [(one.sha256, one.size_bytes) for one in copied]
        return [
            row(
                item,
                id_,
                live=self._live,
                latest=latest,
                on_sqlite=self._on_sqlite,
                audio_sha256=key,
                audio_bytes=size,
            )
            for item, id_, (key, size) in zip(items, ids, kept, strict=True)
        ]

    def _add(self, rows: Sequence[Row], copied: Sequence[File]) -> int:
        """One transaction; how many were new."""
        if self._on_sqlite and not copied:
            with adding_to_sqlite(self._engine) as driver:
                return _insert.add_to_sqlite(driver, rows)
        with writing(self._engine, together=True) as connection:
            added = _insert.add(connection, rows)
            self._recordings.named(connection, copied)
        return added


def _located(item: Captured) -> Captured:
    audio = local_path(item.audio)
    return item if audio is item.audio else replace(item, audio=audio)


def _with_audio(item: Captured, file: File) -> Captured:
    tags = dict(sorted({**file.tags, **item.tags}.items()))
    return replace(item, duration_s=file.duration_s, tags=tags)
