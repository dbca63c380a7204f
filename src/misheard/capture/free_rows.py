"""Rows of the log that nobody has to do with any more: found in portions, while others write.

What is held may be millions, and nothing but a look at each of them tells that it is. So a portion
is so many rows whatever they are, and whoever lets go of some looks at just those once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, TextClause, or_, select
from sqlalchemy.sql import ColumnElement

from misheard.database import tallies
from misheard.database.schema import (
    KEEPS_AUDIO,
    corrections,
    error_cases,
    inferences,
    selections,
    suite_cases,
)

_LOOKED_AT = 10_000
"""Rows a portion: some hundredths of a second."""
_OPEN = "open"
_ROW = inferences.c
_READ = (
    "number",
    "created_at",
    "id",
    "audio_sha256",
    "audio_bytes",
    "speaker",
    "version_id",
    "reported",
    "tags",
)
"""What whoever lets go of a row has to know of it."""

_Condition = ColumnElement[bool] | TextClause
Place = tuple[datetime, int]
"""A row of the log: when it was heard, and its number."""


class FreeRows:
    """What may go by one rule, oldest first."""

    def __init__(
        self,
        engine: Engine,
        *,
        of: Sequence[_Condition],
        free: Sequence[_Condition],
    ) -> None:
        """`of` says which rows the rule is of, by an index; `free` is what may change meanwhile."""
        self._engine = engine
        self._of = of
        self._free = free

    def next(self, after: Place | None) -> tuple[list[int], Place | None]:
        """The numbers of the next portion that are free, and where it ends; None: with the last."""
        end: Select[Any] = select(_ROW.created_at, _ROW.number).where(*self._of, *_later(after))
        free: Select[Any] = select(_ROW.number)
        free = free.where(*self._of, *self._free, *_later(after))
        with self._engine.connect() as connection:
            last = connection.execute(_in_order(end).offset(_LOOKED_AT - 1).limit(1)).first()
            if last is not None:
                earlier = or_(_ROW.created_at < last.created_at, _ROW.number <= last.number)
                free = free.where(_ROW.created_at <= last.created_at, earlier)
            numbers = list(connection.scalars(_in_order(free)))
        return numbers, None if last is None else (last.created_at, last.number)

    def still(self, connection: Connection, numbers: Sequence[int]) -> Sequence[Any]:
        """The rows that are free in the caller's transaction, too, oldest first."""
        query: Select[Any] = select(*(_ROW[name] for name in _READ))
        # Were they sorted there, SQLite would walk all rows in that order to find these.
        rows = connection.execute(query.where(_ROW.number.in_(numbers), *self._free)).all()
        return sorted(rows, key=lambda row: (row.created_at, row.number))


def free_audio(engine: Engine, *, before: datetime | None) -> FreeRows:
    """Recordings, from `before` or of any age: nobody has to do with them."""
    this = _ROW.id
    is_open = (error_cases.c.inference_id == this) & (error_cases.c.status == _OPEN)
    waits = (selections.c.inference_id == this) & selections.c.labelled_at.is_(None)
    return FreeRows(
        engine,
        of=[KEEPS_AUDIO, *([] if before is None else [_ROW.created_at < before])],
        free=[
            KEEPS_AUDIO,
            ~select(corrections.c.number).where(corrections.c.inference_id == this).exists(),
            ~select(error_cases.c.id).where(is_open).exists(),
            ~select(selections.c.inference_id).where(waits).exists(),
            ~select(suite_cases.c.number).where(suite_cases.c.inference_id == this).exists(),
        ],
    )


def free_texts(engine: Engine, *, before: datetime) -> FreeRows:
    """Transcripts from `before` that were counted and that no person has touched."""
    this = _ROW.id
    labelled = (selections.c.inference_id == this) & selections.c.labelled_at.is_not(None)
    with engine.connect() as connection:
        # What the digest has not counted yet would be missing from `hourly`.
        counted = _ROW.number <= tallies.digested_to(connection)
    return FreeRows(
        engine,
        of=[_ROW.created_at < before, counted],
        free=[
            ~select(corrections.c.number).where(corrections.c.inference_id == this).exists(),
            ~select(error_cases.c.id).where(error_cases.c.inference_id == this).exists(),
            ~select(selections.c.inference_id).where(labelled).exists(),
            ~select(suite_cases.c.number).where(suite_cases.c.inference_id == this).exists(),
        ],
    )


def _later(after: Place | None) -> list[ColumnElement[bool]]:
    if after is None:
        return []
    at, number = after
    return [_ROW.created_at >= at, or_(_ROW.created_at > at, _ROW.number > number)]


def _in_order(query: Select[Any]) -> Select[Any]:
    return query.order_by(_ROW.created_at, _ROW.number)
