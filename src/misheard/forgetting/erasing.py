"""What SQLite leaves of deleted rows in its file, and how that goes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from misheard.database.engine import open_engine

_REWRITTEN_BYTES = 500_000_000
"""A file up to this size is written anew within seconds, for which other writers wait."""

_WRITERS_S = 30.0
_READERS_MS = 5_000
"""How long to wait until nobody writes, and nobody reads what was there before."""


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What became of the file of a database."""

    is_rewritten: bool
    """Written anew. What was deleted is overwritten either way; but SQLite moves rows about, and
    where one has been before may be left as it was."""
    is_wal_empty: bool
    """Whether the log beside it, which has pages as they were before, was cut to nothing."""
    detail: str
    """What stood in the way; else empty."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing that was deleted can be in either file."""
        return self.is_rewritten and self.is_wal_empty


def erasing_engine(engine: Engine) -> Engine:
    """An engine of the same database that overwrites what it deletes, where it can."""
    made = open_engine(engine.url)
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", _overwrite)
    return made


def rewrite(engine: Engine, *, wanted: bool | None) -> Rewritten | None:
    """Write SQLite's file anew and empty the log beside it; None for other databases."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    small = Path(engine.url.database).stat().st_size <= _REWRITTEN_BYTES
    details = []
    is_rewritten = small if wanted is None else wanted
    if not is_rewritten:
        details.append("the file was not written anew: misheard forget --rewrite")
    with closing(_opened(engine.url.database)) as connection:
        if is_rewritten:
            try:
                connection.execute("VACUUM")
            except sqlite3.OperationalError as error:
                is_rewritten = False
                details.append(f"the file could not be written anew ({error})")
        connection.execute(f"PRAGMA busy_timeout={_READERS_MS}")
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        details.append("somebody reads the database, so the log beside it is not empty yet")
    return Rewritten(is_rewritten=is_rewritten, is_wal_empty=not is_busy, detail="; ".join(details))


def _opened(path: str) -> sqlite3.Connection:
    """A connection without transactions of its own: neither statement works inside one."""
    return sqlite3.connect(path, timeout=_WRITERS_S, isolation_level=None)


def _overwrite(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA secure_delete=ON")
