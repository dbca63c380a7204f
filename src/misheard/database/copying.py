"""Copies of a SQLite database, made while others write, and the way back.

A copy is checked and on disk before it has its name, and it is one file, whatever the original is.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from misheard.database.carrying import carry_tokens
from misheard.database.engine import now
from misheard.database.schema import REVISION
from misheard.errors import BadInputError, DatabaseInUseError, DiskFullError, NewerSchemaError

PARTIAL = ".backup-"
"""How the names of unfinished copies begin."""
_ASIDE = ".before-restore-"
_PRIVATE, _AS_SQLITE_MAKES_IT = 0o600, 0o644
"""Modes of files; the umask takes its part away."""
# Copied between two reports of progress: 1 MiB of SQLite's usual pages.
_PAGES = 256


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of a database, as it was verified."""

    path: Path
    bytes: int
    rows: dict[str, int]
    """Table → rows: as many as there were in the original when the copying began."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was done to put a copy in the place of a database."""

    aside: Path | None
    """Where the database is that was there; None where there was none."""
    revoked: tuple[str, ...] | None
    """Tokens that the copy had as good, and that were revoked since; so they are. None where what
    was there is lost or too damaged to tell: then what was revoked since is good again."""


Counted = Callable[[int, int], None]
"""Called with the pages that are done, and with how many there are."""


def not_counted(_: int, __: int) -> None:
    """For those who need no progress."""


def copy_database(
    source: sqlite3.Connection, target: Path, *, progress: Counted = not_counted
) -> Copy:
    """Copy what `source` sees to the file `target`; others may write meanwhile.

    Raises `sqlite3.Error` or `OSError`, and leaves nothing then.
    """
    with _partial(target.parent) as partial:
        rows = _write(source, partial, progress)
        partial.rename(target)
    _sync(target.parent)
    return Copy(path=target, bytes=target.stat().st_size, rows=rows)


def restore(backup: Path, database: Path, *, progress: Counted = not_counted) -> Restored:
    """Put the copy `backup` in the place of the SQLite file `database`.

    A token that was revoked since stays so, and where there was one, one is required. Raises
    `DatabaseInUseError` while a process has it open, `BadInputError` when the backup is damaged,
    `NewerSchemaError` when a newer misheard made it, `DiskFullError`; nothing has changed then.
    Versions that retention pruned since the backup have no files any more; register them again to
    deploy them.
    """
    if not backup.is_file():
        raise BadInputError(f"'{backup}' is no file.")
    if database.exists() and backup.samefile(database):
        raise BadInputError(f"'{backup}' is the database itself.")
    try:
        with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as source:
            _check(source)
            _check_revision(source, backup)
            require_room(source, database.parent)
            # Where there is one, nobody who may not read it may read what takes its place.
            mode = _PRIVATE if database.exists() else _AS_SQLITE_MAKES_IT
            with _partial(database.parent, mode) as partial:
                _write(source, partial, progress)
                done = _replace(database, partial)
    except (OSError, sqlite3.Error) as error:
        raise BadInputError(f"'{backup}' cannot be restored: {error}.") from error
    _sync(database.parent)
    return done


def require_room(source: sqlite3.Connection, folder: Path) -> None:
    """Raise `DiskFullError` where a copy of `source` cannot fit into `folder`."""
    needed = _pages(source) * source.execute("PRAGMA page_size").fetchone()[0]
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"'{folder}': a copy takes {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free. "
            "Make room, or name a file on another disk."
        )


def put_aside(database: Path) -> list[Path]:
    """What `restore` has put aside so far of the SQLite file `database`."""
    begin = f"{database.name}{_ASIDE}"
    return sorted(path for path in database.parent.iterdir() if path.name.startswith(begin))


def _pages(source: sqlite3.Connection) -> int:
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    return int(pages)


@contextmanager
def _partial(folder: Path, mode: int = _PRIVATE) -> Iterator[Path]:
    """A temporary file, which is gone afterwards unless it was renamed."""
    path = folder / f"{PARTIAL}{secrets.token_hex(8)}"
    path.touch(mode, exist_ok=False)
    try:
        yield path
    finally:
        for suffix in ("", "-journal", "-wal", "-shm", "-turn"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _write(source: sqlite3.Connection, path: Path, progress: Counted) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as copy, _one_moment(source):
        # SQLite's online backup. It would begin anew whenever another process has written, but not
        # while the source's own transaction holds what is read to one moment.
        source.backup(
            copy, pages=_PAGES, progress=lambda _, left, pages: progress(pages - left, pages)
        )
        # Without WAL the copy is one file; a workspace that opens it switches WAL on again.
        copy.execute("PRAGMA journal_mode=DELETE")
        _check(copy)
        rows = _rows(copy)
        if rows != _rows(source):
            raise sqlite3.DatabaseError("the copy has other rows than the original")
    _sync(path)
    return rows


@contextmanager
def _one_moment(source: sqlite3.Connection) -> Iterator[None]:
    source.execute("BEGIN")
    try:
        # The transaction begins to hold with what it reads first.
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
    finally:
        with suppress(sqlite3.Error):
            source.execute("ROLLBACK")


def _rows(connection: sqlite3.Connection) -> dict[str, int]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names = sorted(name for (name,) in connection.execute(query))
    counts = ((name, connection.execute(f'SELECT count(*) FROM "{name}"')) for name in names)
    return {name: count.fetchone()[0] for name, count in counts}


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the integrity check says: {found}")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'versions'").fetchone():
        raise sqlite3.DatabaseError("it is no misheard database")


def _check_revision(connection: sqlite3.Connection, backup: Path) -> None:
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if revision > REVISION:
        raise NewerSchemaError(
            f"'{backup}' has schema '{revision}', the newest known here is '{REVISION}'. "
            "Install a newer misheard: pip install --upgrade misheard"
        )


def _replace(database: Path, partial: Path) -> Restored:
    """Put the present file aside and the other in its place, while nobody can write."""
    if not database.exists():
        _put_aside_leftovers(database, _aside(database))
        partial.rename(database)
        return Restored(aside=None, revoked=None)
    with _unused(database) as present:
        revoked = carry_tokens(present, partial)
        _sync(partial)
        aside = _aside(database)
        try:
            os.link(database, aside)
        except OSError:
            shutil.copyfile(database, aside)
            _sync(aside)
        _put_aside_leftovers(database, aside)
        _as_accessible_as(database, partial)
        partial.replace(database)
    return Restored(aside=aside, revoked=revoked)


def _as_accessible_as(database: Path, partial: Path) -> None:
    """Who could read and write the present file can do so with the other one."""
    present = database.stat()
    # Another's file may be restored by who may not give files away.
    with suppress(PermissionError):
        os.chown(partial, present.st_uid, present.st_gid)
    partial.chmod(stat.S_IMODE(present.st_mode))


def _aside(database: Path) -> Path:
    return database.with_name(f"{database.name}{_ASIDE}{now():%Y%m%dT%H%M%S%fZ}")


def _put_aside_leftovers(database: Path, aside: Path) -> None:
    for suffix in ("-wal", "-journal", "-shm"):
        # What a lost or damaged database left: SQLite would play it into the restored one.
        beside = Path(f"{database}{suffix}")
        if beside.exists():
            beside.rename(f"{aside}{suffix}")


@contextmanager
def _unused(database: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file for oneself alone; what was in its WAL is in it then.

    Leaving WAL needs that, and fails while another has the file open.
    """
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=DELETE")
            # The lock is taken by writing, and kept; nothing is changed.
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise
            raise DatabaseInUseError(
                f"'{database}': stop whatever uses the workspace, then restore again."
            ) from error
        except sqlite3.DatabaseError:
            pass  # too damaged to be in use, which is a reason to restore
        yield connection


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
