"""A copy of the database before each deployment, or whenever a person wants one, and the way back.

misheard backup                                               a copy, while all goes on
misheard restore data/backups/20260102T030405000000Z-7.db     with the workspace stopped
"""

from __future__ import annotations

import errno
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from misheard.database.copying import (
    PARTIAL,
    Copy,
    Counted,
    copy_database,
    not_counted,
    put_aside,
    require_room,
    restore,
)
from misheard.database.engine import now
from misheard.errors import (
    BackupFailedError,
    BadInputError,
    BlobCorruptError,
    BlobNotFoundError,
    DiskFullError,
)
from misheard.registry import Registry

__all__ = ["Backup", "Backups", "restore"]

_NAME = re.compile(r"\d{8}T\d{12}Z-\d+\.db")
_BY_HAND = "by-hand-"
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
            made = self._copy(target)
            if one_a_number:
                if _is_late(target, number):
                    target.unlink()
                    note = "no copy: another deployment came first"
                    return Backup(version_id=version_id or "", path=None, bytes=0, note=note)
                self._forget_all_but_newest(number)
            self._forget_old(keep)
        except (OSError, sqlite3.Error) as error:
            raise BackupFailedError(f"'{target}': {error}.") from error
        return Backup(version_id=version_id or "", path=target, bytes=made.bytes, note="")

    def make_at(self, target: Path | None = None, *, progress: Counted = not_counted) -> Copy:
        """Copy the database to a file that is not there yet, while others write.

        Without `target`, or with a directory, the file gets a name by the time; such copies are
        never let go of. Raises `BadInputError` where the file is there already or cannot be
        written, or where the database has tools of its own, `DiskFullError`, `BackupFailedError`.
        """
        require_sqlite(self._engine)
        if target is None:
            self._root.mkdir(parents=True, exist_ok=True)
            target = self._root
        if target.is_dir():
            target = target / f"{_BY_HAND}{now():%Y%m%dT%H%M%S%fZ}.db"
        if target.exists():
            raise BadInputError(f"'{target}' is there already. Name another file, or none.")
        if not target.parent.is_dir():
            raise BadInputError(f"'{target.parent}' is no directory.")
        try:
            with closing(self._engine.raw_connection()) as pooled:
                source: Any = pooled.driver_connection
                require_room(source, target.parent)
            return self._copy(target, progress)
        except (OSError, sqlite3.Error) as error:
            if _is_full(error):
                raise DiskFullError(
                    f"'{target}' was not made. Make room, or name a file on another disk."
                ) from error
            raise BackupFailedError(f"'{target}': {error}.") from error

    def listed(self) -> list[Path]:
        """All backups that deployments made, newest first."""
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name)), reverse=True)

    def copies(self) -> list[Path]:
        """Every file that holds the database as it was: of deployments, by hand, put aside.

        Those that are being written are among them, or whose process was killed.
        """
        found = [*self.listed(), *sorted(self._root.glob(f"{_BY_HAND}*.db"))]
        found += sorted(self._root.glob(f"{PARTIAL}*"))
        if self._engine.dialect.name == "sqlite":
            database = Path(self._engine.url.database or "")
            found += [*put_aside(database), *sorted(database.parent.glob(f"{PARTIAL}*"))]
        return found

    def _forget_all_but_newest(self, number: int) -> None:
        for path in [one for one in self.listed() if one.stem.endswith(f"Z-{number}")][1:]:
            path.unlink(missing_ok=True)

    def _copy(self, target: Path, progress: Counted = not_counted) -> Copy:
        with closing(self._engine.raw_connection()) as pooled:
            source: Any = pooled.driver_connection
            return copy_database(source, target, progress=progress)

    def _forget_old(self, keep: int) -> None:
        for path in self.listed()[max(keep, 1) :]:
            path.unlink(missing_ok=True)
        for path in self._root.glob(f"{PARTIAL}*"):
            if path.stat().st_mtime < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)


def require_sqlite(engine: Engine) -> None:
    """Raise `BadInputError`, which says what does it, where the database is no SQLite file."""
    if engine.dialect.name == "sqlite":
        return
    url = engine.url.set(drivername=engine.url.get_backend_name()).render_as_string()
    raise BadInputError(
        "PostgreSQL is backed up and restored with its own tools, while it runs: "
        f"pg_dump --format=custom --file=misheard.dump '{url}', and back with "
        f"pg_restore --clean --if-exists --dbname='{url}' misheard.dump. Where files are in the "
        "directory 'blobs', keep a copy of it that is made after the dump: rows point at it."
    )


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _is_late(copy: Path, number: int) -> bool:
    """Whether a copy has a deployment that came after the one of this number."""
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT 1 FROM deployments WHERE after_number = ? AND ? > 0"
        return connection.execute(query, (number, number)).fetchone() is not None
