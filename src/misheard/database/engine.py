"""Open the database: SQLite in WAL mode by default, PostgreSQL by its URL."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError

from misheard.database.schema import REVISION
from misheard.errors import NewerSchemaError, WorkspaceNotFoundError

_IMMEDIATE = "misheard_immediate"
# How long a process waits for the lock of another before it gives up.
_PATIENCE_S = 30


def open_engine(url: str | URL) -> Engine:
    """An engine for `url`; SQLite gets full durability, WAL, foreign keys and a patient lock."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: all of it is kept, or nothing.

    On SQLite the write lock is taken at once. A transaction that reads first and asks for the lock
    later would be refused when another process has written in between.
    """
    with engine.connect().execution_options(**{_IMMEDIATE: True}) as connection, connection.begin():
        yield connection


def take_turns(connection: Connection) -> None:
    """Let only one transaction at a time decide on what others decide on, too.

    On SQLite nothing is needed: a transaction that writes has the lock from its beginning.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE versions IN SHARE ROW EXCLUSIVE MODE"))


def migrate(engine: Engine, *, may_be_new: bool = True) -> None:
    """Bring the schema to the newest revision; nothing happens when it is there already.

    Raises `NewerSchemaError` when the database has a revision that this misheard does not know, and
    `WorkspaceNotFoundError` when it has no tables and `may_be_new` is off.
    """
    current = _revision(engine)
    if current is None and not may_be_new:
        raise WorkspaceNotFoundError(
            f"'{engine.url.render_as_string()}' has no tables of misheard, so what it held is "
            "lost. Put a backup in its place (misheard.backups.restore)."
        )
    if current == REVISION:
        return
    from alembic import command  # noqa: PLC0415 - 150 ms, and only when there is work
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise NewerSchemaError(
            f"Its schema is '{current}', the newest known here is '{REVISION}'. "
            "Install a newer misheard: pip install --upgrade misheard"
        )
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(engine: Engine) -> str | None:
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DatabaseError as error:
        raise WorkspaceNotFoundError(
            f"'{engine.url.render_as_string()}' is no misheard database: {error.orig}."
        ) from error


def now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """A fresh id that sorts by time: prefix, milliseconds, 40 random bits."""
    return f"{prefix}-{time.time_ns() // 1_000_000:011x}{os.urandom(5).hex()}"


def _configure_sqlite(connection: Any, _: Any) -> None:
    # The driver's own transaction handling is switched off; `_begin_sqlite` begins.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: Any) -> None:
    """Switch the file to WAL, which it then stays in.

    The switch upgrades a lock, for which SQLite calls no busy handler: of several processes that
    open a new file at once all but one are refused at once, whatever the busy timeout is.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
