"""What a database says is wrong with the machine, said in our words.

Only what its user can mend is translated: no room, a lock that does not come free, a server that is
not there. All else is a mistake of ours and stays as it is.
"""

from __future__ import annotations

import os
import sqlite3

from sqlalchemy.engine import ExceptionContext

from misheard.errors import DatabaseUnreachableError, DiskFullError, MisheardError, StorageBusyError

_AFTER = "What was committed is there, what was being written is not. Make room, then go on."
# SQLSTATE, see PostgreSQL's documentation, "Appendix A. PostgreSQL Error Codes".
_PG_DISK_FULL = "53100"
_PG_LOCK_NOT_AVAILABLE = "55P03"


def translate(context: ExceptionContext) -> BaseException | None:
    """For SQLAlchemy's event `handle_error`: the error to raise instead, or None."""
    error, url = context.original_exception, context.engine.url if context.engine else None
    where = url.render_as_string() if url is not None else "the database"
    if isinstance(error, sqlite3.Error):
        return known_of_sqlite(error, (url.database if url is not None else "") or where)
    state = getattr(error, "sqlstate", None)
    if state == _PG_DISK_FULL:
        return DiskFullError(f"The server of '{where}' says: {error}. {_AFTER}")
    if state == _PG_LOCK_NOT_AVAILABLE:
        return StorageBusyError(f"'{where}' was locked for too long. {_STOPPED}")
    unreachable = context.is_disconnect or context.connection is None
    if unreachable and type(error).__module__.startswith("psycopg"):
        return DatabaseUnreachableError(f"'{where}': {str(error).strip()}")
    return None


_STOPPED = "Is another program stopped in the middle of writing?"


def known_of_sqlite(error: sqlite3.Error, database: str) -> MisheardError | None:
    """The error of ours that one of SQLite's stands for; None where it stands for none."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and not _free_bytes(database)):
        return DiskFullError(f"'{database}': {_AFTER}")
    if name.startswith("SQLITE_IOERR_WRITE"):
        return StorageBusyError(
            f"'{database}': a quota or a limit on the size of files is reached, or the disk fails. "
            "What was committed is there, what was being written is not."
        )
    if name.startswith("SQLITE_BUSY"):
        return StorageBusyError(f"'{database}' was locked for too long. {_STOPPED}")
    return None


def _free_bytes(database: str) -> int:
    """Room on the file system, in whole blocks; 1 where that cannot be known."""
    try:
        found = os.statvfs(os.path.dirname(database) or ".")  # noqa: PTH120 - may be no path
    except OSError:
        return 1
    return found.f_bavail * found.f_frsize
