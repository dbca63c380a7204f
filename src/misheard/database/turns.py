"""How transactions that write on SQLite take turns, so that none waits for ever.

SQLite has no queue: who asks again soonest gets its lock, and with a busy writer or two another may
wait for seconds. So at most one writer at a time asks SQLite: the one that holds a lock on a file
beside the database. Whoever has just written has to get that lock first, like everybody. The kernel
lets go of it when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection

from misheard.database.trouble import known_of_sqlite
from misheard.errors import StorageBusyError

IMMEDIATE = "misheard_immediate"
"""The execution option of a connection whose transactions write."""
_POLL_S = 0.0005


class SqliteBegin:
    """Begins transactions; those that write queue for it."""

    def __init__(self, database: str | None, *, patience_s: float) -> None:
        """`patience_s` is how long a writer waits for others before it gives up."""
        self._name = database or ":memory:"
        self._file = f"{database}-turn" if database and database != ":memory:" else ""
        self._patience_s = patience_s
        self._opened = threading.local()

    def __call__(self, connection: Connection) -> None:
        """For SQLAlchemy's event `begin`."""
        if not connection.get_execution_options().get(IMMEDIATE, False):
            connection.exec_driver_sql("BEGIN")
            return
        self.begin_writing(connection.connection.dbapi_connection)

    def begin_writing(self, driver: Any) -> None:
        """Begin a transaction that writes on the driver's own connection, when it is its turn."""
        deadline = time.monotonic() + self._patience_s
        turn = self._turn(deadline)
        try:
            # Whoever is at the head waits as SQLite does, which looks again ever more rarely, up to
            # ten times a second.
            self._begin(driver, deadline)
        finally:
            if turn is not None:
                fcntl.flock(turn, fcntl.LOCK_UN)

    def _begin(self, driver: Any, deadline: float) -> None:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    known = known_of_sqlite(error, self._name)
                    raise known or error from error
                if time.monotonic() > deadline:
                    raise self._gave_up("the database") from error
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
                    raise self._gave_up(f"'{self._file}'") from error
            time.sleep(_POLL_S)

    def _gave_up(self, what: str) -> StorageBusyError:
        return StorageBusyError(
            f"{what} was locked for {self._patience_s:g} s by another program. Is one stopped in "
            "the middle of writing?"
        )
