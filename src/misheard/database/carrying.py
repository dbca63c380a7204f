"""Tokens of a database that a copy takes the place of: none of them is good again by that."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from misheard.database.engine import migrate, now, open_engine
from misheard.database.schema import tokens


def carry_tokens(present: sqlite3.Connection, copy: Path) -> tuple[str, ...] | None:
    """Let no token be good in `copy` that is not so in `present`; the names of those that were.

    Those that were made since are there, too, revoked: a name is of one token for ever, and where
    there was a token one is required. None where `present` is too damaged to tell.
    """
    try:
        if not _has(present, "versions"):
            return None
        rows = _tokens(present) if _has(present, tokens.name) else []
    except sqlite3.DatabaseError:
        return None
    if not rows:
        return ()
    with closing(sqlite3.connect(copy)) as connection:
        is_old = not _has(connection, tokens.name)
    if is_old:
        _bring_up(copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        return tuple(str(row["name"]) for row in rows if _carry(connection, row))


def _carry(connection: sqlite3.Connection, row: dict[str, object]) -> bool:
    """Whether it was good in the copy, and is no more."""
    ended = row["revoked_at"]
    if ended is None:
        row = {**row, "revoked_at": f"{now():%Y-%m-%d %H:%M:%S.%f}"}
    marks = ", ".join("?" for _ in row)
    # One that is there stays as it is.
    insert = f"INSERT OR IGNORE INTO tokens ({', '.join(row)}) VALUES ({marks})"
    connection.execute(insert, tuple(row.values()))
    revoke = (
        "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL AND ? IS NOT NULL"
    )
    return connection.execute(revoke, (ended, row["id"], ended)).rowcount == 1


def _tokens(connection: sqlite3.Connection) -> list[dict[str, object]]:
    names = tokens.columns.keys()
    query = f"SELECT {', '.join(names)} FROM tokens ORDER BY created_at, id"
    return [dict(zip(names, row, strict=True)) for row in connection.execute(query)]


def _has(connection: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def _bring_up(copy: Path) -> None:
    """Give a copy of an older misheard the tables of this one, in one file as before."""
    engine = open_engine(URL.create("sqlite", database=str(copy)))
    try:
        migrate(engine, may_be_new=False)
    finally:
        engine.dispose()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
