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
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, DisconnectionError

from misheard.database.schema import REVISION
from misheard.database.trouble import known_of_sqlite, translate
from misheard.database.turns import IMMEDIATE, SqliteBegin
from misheard.errors import NewerSchemaError, WorkspaceNotFoundError

PATIENCE_S = 30.0
"""How long a process waits for the lock of another before it gives up."""
_WRITERS = 7_266_001
"""The advisory lock that writers on PostgreSQL take; any number that is the same for all."""
_BEGINS: WeakKeyDictionary[Engine, SqliteBegin] = WeakKeyDictionary()


def open_engine(
    url: str | URL, *, telemetry: bool = False, patience_s: float = PATIENCE_S
) -> Engine:
    """An engine for `url`; SQLite gets full durability, WAL, foreign keys and a fair lock.

    With `telemetry`, what was committed in the last moments before a power cut may be missing
    afterwards: nothing that was committed before it, and no part of a transaction. A process that
    is killed loses nothing either way. Who has waited `patience_s` for another to finish writing
    gets `StorageBusyError`; a full disk is a `DiskFullError`, and loses nothing that was committed.
    """
    on_postgresql = str(url).startswith("postgresql")
    # What is read in one go is of one moment on SQLite, and so it is here.
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if on_postgresql else {}
    # What people said and who they are is in no traceback.
    engine = create_engine(url, hide_parameters=True, **options)
    event.listen(engine, "handle_error", translate, retval=True)
    if engine.dialect.name == "sqlite":
        synchronous = "NORMAL" if telemetry else "FULL"

        def configure(connection: Any, _: Any) -> None:
            _configure_sqlite(connection, synchronous, patience_s)

        event.listen(engine, "connect", configure)
        begin = _BEGINS[engine] = SqliteBegin(engine.url.database, patience_s=patience_s)
        event.listen(engine, "begin", begin)
    elif on_postgresql:
        event.listen(
            engine, "connect", lambda one, _: _configure_postgresql(one, telemetry, patience_s)
        )
    _survive_forks(engine)
    return engine


@contextmanager
def writing(engine: Engine, *, together: bool = False) -> Iterator[Connection]:
    """One transaction that writes: all of it is kept, or nothing.

    At most one is under way, so that what it has read still holds when it writes. On SQLite the
    write lock is taken at once: a transaction that reads first and asks for it later would be
    refused when another process has written in between. On PostgreSQL a lock of ours stands for it.

    `together` is for what only adds to the log, by the thousand: on PostgreSQL such transactions
    run beside each other, but not beside others; so a number of the log that is not there yet when
    a later one is read is one that never comes.
    """
    options: dict[str, Any] = {IMMEDIATE: True}
    if engine.dialect.name == "postgresql":
        # What was committed while it waited for its turn has to be seen.
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            kind = "_shared" if together else ""
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{kind}({_WRITERS})")
        yield connection


@contextmanager
def adding_to_sqlite(engine: Engine) -> Iterator[Any]:
    """`writing` on the driver's own connection, for single rows that come by the thousand.

    SQLAlchemy's share of a transaction of one row is as much as half of what a disk takes to keep
    it.
    """
    pooled = engine.raw_connection()
    driver: Any = pooled.driver_connection
    try:
        _BEGINS[engine].begin_writing(driver)
        yield driver
        driver.commit()
    except sqlite3.Error as error:
        known = known_of_sqlite(error, str(engine.url.database))
        raise known or error from error
    finally:
        # Rolls back what was not committed.
        pooled.close()


def migrate(engine: Engine, *, may_be_new: bool = True) -> None:
    """Bring the schema to the newest revision; nothing happens when it is there already.

    Raises `NewerSchemaError` when the database has a revision that this misheard does not know, and
    `WorkspaceNotFoundError` when it has no tables and `may_be_new` is off.
    """
    current = _revision(engine)
    if current is None and not may_be_new:
        raise WorkspaceNotFoundError(
            f"'{engine.url.render_as_string()}' has no tables of misheard, so what it held is "
            "lost. Put a backup in its place: misheard restore FILE"
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
    with _moving_tables(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _moving_tables(engine: Engine) -> Iterator[Connection]:
    """`writing`, in which SQLite lets a table be made anew that others refer to.

    As its documentation has it (lang_altertable.html, "Making other kinds of table schema
    changes"): foreign keys are off, which they can only be outside a transaction, and are looked at
    before the end.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    with engine.connect().execution_options(**{IMMEDIATE: True}) as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                    raise RuntimeError(f"a row refers to one that is not there: {broken[0]}")
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


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
    return new_ids(prefix, 1)[0]


def new_ids(prefix: str, count: int) -> list[str]:
    """`count` fresh ids."""
    start = f"{prefix}-{time.time_ns() // 1_000_000:011x}"
    drawn = os.urandom(5 * count).hex()
    return [start + drawn[i : i + 10] for i in range(0, 10 * count, 10)]


def _configure_sqlite(connection: Any, synchronous: str, patience_s: float) -> None:
    # The driver's own transaction handling is switched off; `SqliteBegin` begins.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={round(patience_s * 1000)}")
    _use_wal(connection, patience_s)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA foreign_keys=ON")


def _configure_postgresql(connection: Any, telemetry: bool, patience_s: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout TO {round(patience_s * 1000)}")
        # Hours begin where UTC has them, whatever zone the server is in.
        cursor.execute("SET TIME ZONE 'UTC'")
        if telemetry:
            cursor.execute("SET synchronous_commit TO off")
    connection.commit()


def _use_wal(connection: Any, patience_s: float) -> None:
    """Switch the file to WAL, which it then stays in.

    The switch upgrades a lock, for which SQLite calls no busy handler: of several processes that
    open a new file at once all but one are refused at once, whatever the busy timeout is.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


_left_by_parents: list[Any] = []


def _survive_forks(engine: Engine) -> None:
    """A child never uses a connection of its parent, whose locks and whose place in the talk it has
    not; and never closes it, which would end things for both.

    After SQLAlchemy's documentation, "Using Connection Pools with Multiprocessing".
    """
    if engine.url.database in (None, "", ":memory:"):
        return

    def connected(_: Any, record: Any) -> None:
        record.info["process"] = os.getpid()

    def checked_out(_: Any, record: Any, proxy: Any) -> None:
        if record.info["process"] != os.getpid():
            _left_by_parents.append(record.dbapi_connection)
            record.dbapi_connection = proxy.dbapi_connection = None
            raise DisconnectionError("a connection of the process that this one was forked from")

    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", checked_out)
