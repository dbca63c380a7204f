"""A copy of the database before each deployment, and the way back.

To go back, stop whatever uses the workspace, then:

    from pathlib import Path
    from misheard.backups import restore

    restore(Path("data/backups/20260102T030405000000Z-7.db"), Path("data/misheard.db"))
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from misheard.database.engine import now
from misheard.errors import (
    BackupFailedError,
    BadInputError,
    BlobCorruptError,
    BlobNotFoundError,
    DatabaseInUseError,
)
from misheard.registry import Registry

_NAME = re.compile(r"\d{8}T\d{12}Z-\d+\.db")
_PARTIAL = ".backup-"
# No copy takes this long, so a partial one of this age was left by a killed process.
_ABANDONED_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What was made sure of before a deployment."""

    version_id: str
    """The live version, all of whose files are there and match their hashes; empty: none live."""
    path: Path | None
    """The copy of the database; None where none was made."""
    bytes: int
    note: str
    """Why there is no copy; else empty."""


class Backups:
    """Makes backups in a directory and keeps the newest ones."""

    def __init__(self, engine: Engine, registry: Registry, root: Path) -> None:
        self._engine = engine
        self._registry = registry
        self._root = root

    def make(
        self, *, version_id: str | None, number: int, keep: int, one_a_number: bool = False
    ) -> Backup:
        """Verify the files of the live version and copy the database.

        `version_id` and `number` are of the deployment that is live, None and 0 where nothing is.
        The newest `keep` copies stay, the one just made always. With `one_a_number` only the newest
        of a number does, and none from after the next deployment: one that is tried again, by two
        or by one that was killed, leaves one copy. Only SQLite is copied; other databases have
        their own tools. Raises `BackupFailedError` with the reason.
        """
        if version_id is not None:
            try:
                self._registry.verify(version_id)
            except (BlobNotFoundError, BlobCorruptError) as error:
                raise BackupFailedError(
                    f"{version_id}, which is live, could not be brought back: {error} To deploy "
                    "all the same, set deployment.auto_backup_before_deploy = false."
                ) from error
        if self._engine.dialect.name != "sqlite":
            note = f"no copy: {self._engine.dialect.name} is backed up with its own tools"
            return Backup(version_id=version_id or "", path=None, bytes=0, note=note)
        target = self._root / f"{now():%Y%m%dT%H%M%S%fZ}-{number}.db"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with closing(self._engine.raw_connection()) as pooled:
                source: Any = pooled.driver_connection
                _copy(source, target)
            size = target.stat().st_size
            if one_a_number:
                if _is_late(target, number):
                    target.unlink()
                    note = "no copy: another deployment came first"
                    return Backup(version_id=version_id or "", path=None, bytes=0, note=note)
                self._forget_all_but_newest(number)
            self._forget_old(keep)
        except (OSError, sqlite3.Error) as error:
            raise BackupFailedError(f"'{target}': {error}.") from error
        return Backup(version_id=version_id or "", path=target, bytes=size, note="")

    def listed(self) -> list[Path]:
        """All backups, newest first."""
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name)), reverse=True)

    def _forget_all_but_newest(self, number: int) -> None:
        for path in [one for one in self.listed() if one.stem.endswith(f"Z-{number}")][1:]:
            path.unlink(missing_ok=True)

    def _forget_old(self, keep: int) -> None:
        for path in self.listed()[max(keep, 1) :]:
            path.unlink(missing_ok=True)
        for path in self._root.glob(f"{_PARTIAL}*"):
            if path.stat().st_mtime < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)


def restore(backup: Path, database: Path) -> Path | None:
    """Put the copy `backup` in the place of the SQLite file `database`.

    Returns where the present file was put aside; None where there was none. Raises
    `DatabaseInUseError` while a process has it open, `BadInputError` when the backup is damaged;
    nothing has changed then. Versions that retention pruned since the backup have no files any
    more; register them again to deploy them.
    """
    if not backup.is_file():
        raise BadInputError(f"'{backup}' is no file.")
    try:
        with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as source:
            _check(source)
            with _partial(database.parent) as partial:
                _write(source, partial)
                aside = _put_aside(database)
                partial.replace(database)
    except (OSError, sqlite3.Error) as error:
        raise BadInputError(f"'{backup}' cannot be restored: {error}.") from error
    _sync(database.parent)
    return aside


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """A copy that is whole, checked and on disk before it has its name."""
    with _partial(target.parent) as partial:
        _write(source, partial)
        partial.rename(target)
    _sync(target.parent)


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """The name of a temporary file, which is gone afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PARTIAL)
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        for leftover in (path, Path(f"{path}-journal"), Path(f"{path}-wal"), Path(f"{path}-shm")):
            leftover.unlink(missing_ok=True)


def _write(source: sqlite3.Connection, path: Path) -> None:
    with closing(sqlite3.connect(path)) as copy:
        # SQLite's online backup: one consistent state, while others go on writing.
        source.backup(copy)
        # Without WAL the copy is one file; a workspace that opens it switches WAL on again.
        copy.execute("PRAGMA journal_mode=DELETE")
        _check(copy)
    _sync(path)


def _is_late(copy: Path, number: int) -> bool:
    """Whether a copy has a deployment that came after the one of this number."""
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT 1 FROM deployments WHERE after_number = ? AND ? > 0"
        return connection.execute(query, (number, number)).fetchone() is not None


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the integrity check says: {found}")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'versions'").fetchone():
        raise sqlite3.DatabaseError("it is no misheard database")


def _put_aside(database: Path) -> Path | None:
    """Keep the present file under another name; it stays under its own as well."""
    aside = database.with_name(f"{database.name}.before-restore-{now():%Y%m%dT%H%M%S%fZ}")
    found = database.exists()
    if found:
        _require_unused(database)
        try:
            os.link(database, aside)
        except OSError:
            shutil.copyfile(database, aside)
            _sync(aside)
    for suffix in ("-wal", "-journal", "-shm"):
        # What a lost or damaged database left: SQLite would play it into the restored one.
        beside = Path(f"{database}{suffix}")
        if beside.exists():
            beside.rename(f"{aside}{suffix}")
    return aside if found else None


def _require_unused(database: Path) -> None:
    """Leaving WAL needs the file for oneself alone; it also brings what is in the WAL into it."""
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise DatabaseInUseError(
                    f"'{database}': stop whatever uses the workspace, then restore again."
                ) from error
            raise
        except sqlite3.DatabaseError:
            return  # too damaged to be in use, which is a reason to restore


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
