"""Open the database: SQLite in WAL mode by default, PostgreSQL by its URL."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError

from misheard.database.schema import REVISION
from misheard.errors import NewerSchemaError, StorageBusyError, WorkspaceNotFoundError

_IMMEDIATE = "misheard_immediate"
# How long a process waits for the lock of another before it gives up.
_PATIENCE_S = 30
_POLL_S = 0.0005


def open_engine(url: str | URL, *, telemetry: bool = False) -> Engine:
    """An engine for `url`; SQLite gets full durability, WAL, foreign keys and a fair lock.

    With `telemetry`, what was committed in the last moments before a power cut may be missing
    afterwards: nothing that was committed before it, and no part of a transaction. A process that
    is killed loses nothing either way.
    """
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        synchronous = "NORMAL" if telemetry else "FULL"
        event.listen(engine, "connect", lambda one, _: _configure_sqlite(one, synchronous))
        event.listen(engine, "begin", _SqliteBegin(engine.url.database))
    elif telemetry:
        event.listen(engine, "connect", _acknowledge_early)
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
    with engine.connect().execution_options(**{_IMMEDIATE: True}) as connection:
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


def _configure_sqlite(connection: Any, synchronous: str) -> None:
    # The driver's own transaction handling is switched off; `_SqliteBegin` begins.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000}")
    _use_wal(connection)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA foreign_keys=ON")


def _acknowledge_early(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO off")
    connection.commit()


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


class _SqliteBegin:
    """Begins transactions; those that write queue for it, so that none waits for ever.

    SQLite has no queue: who asks again soonest gets its lock, and with a busy writer or two another
    may wait for seconds. So at most one writer at a time asks SQLite: the one that holds a lock on
    a file beside the database. Whoever has just written has to get that lock first, like everybody.
    The kernel lets go of it when its holder dies.
    """

    def __init__(self, database: str | None) -> None:
        self._file = f"{database}-turn" if database and database != ":memory:" else ""
        self._opened = threading.local()

    def __call__(self, connection: Connection) -> None:
        if not connection.get_execution_options().get(_IMMEDIATE, False):
            connection.exec_driver_sql("BEGIN")
            return
        driver: Any = connection.connection.dbapi_connection
        deadline = time.monotonic() + _PATIENCE_S
        turn = self._turn(deadline)
        try:
            # SQLite's own way to wait sleeps for up to 100 ms, whoever is done meanwhile.
            driver.execute("PRAGMA busy_timeout=0")
            self._begin(driver, deadline)
        finally:
            driver.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000}")
            if turn is not None:
                fcntl.flock(turn, fcntl.LOCK_UN)

    def _begin(self, driver: Any, deadline: float) -> None:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
                if time.monotonic() > deadline:
                    raise StorageBusyError(
                        f"the database was locked for {_PATIENCE_S} s by another program. Is one "
                        "stopped in the middle of writing?"
                    ) from error
            time.sleep(_POLL_S)

    def _turn(self, deadline: float) -> IO[bytes] | None:
        if not self._file:
            return None
        known: IO[bytes] | None = getattr(self._opened, "file", None)
        # A fork shares its parent's locks, so it needs a file of its own.
        if known is None or self._opened.process != os.getpid():
            known = self._opened.file = Path(self._file).open("ab")  # noqa: SIM115 - stays open
            self._opened.process = os.getpid()
        while True:
            try:
                fcntl.flock(known, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return known
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise StorageBusyError(
                        f"'{self._file}' was locked for {_PATIENCE_S} s by another program. Is one "
                        "stopped in the middle of writing?"
                    ) from error
            time.sleep(_POLL_S)
