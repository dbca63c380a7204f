"""Model versions: their files, and where each came from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, null, select, update

from misheard.blobs.store import BlobStore
from misheard.blobs.together import present, written_to
from misheard.blobs.transfers import fetch_all, put_all
from misheard.database import audit
from misheard.database.details import checked_details
from misheard.database.engine import now, writing
from misheard.database.paging import older_than
from misheard.database.schema import versions
from misheard.errors import (
    BadInputError,
    BlobNotFoundError,
    ModelCorruptError,
    ModelNotFoundError,
    UnknownIdError,
    VersionExistsError,
    VersionPrunedError,
)

_GONE = ".gone-"
_log = logging.getLogger("misheard")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A model that can be served, and its lineage."""

    id: str
    created_at: datetime
    name: str
    files: dict[str, str]
    """File name → SHA-256 of its blob."""
    source: str
    """Where the files were when it was registered: a model's name or a job."""
    parent_id: str | None
    """The version that it was trained from."""
    dataset_id: str | None
    job_id: str | None
    figures: dict[str, Any]
    """What training reported."""
    verdict: dict[str, Any] | None = None
    """A verdict that was reached elsewhere."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever its owner wants remembered."""
    pruned_at: datetime | None = None
    """When retention let go of its files; it cannot be deployed any more."""


class Registry:
    """Keeps model versions; files are copied in, the caller's own are never moved."""

    def __init__(self, engine: Engine, blobs: BlobStore, cache: Path) -> None:
        """`cache` holds versions as directories, which is how engines want them."""
        self._engine = engine
        self._blobs = blobs
        self._cache = cache

    def register(  # noqa: PLR0913 - what is known of a version is what its row holds
        self,
        path: Path,
        *,
        name: str,
        source: str,
        actor: str,
        version_id: str | None = None,
        parent_id: str | None = None,
        dataset_id: str | None = None,
        job_id: str | None = None,
        figures: dict[str, Any] | None = None,
        verdict: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Keep the files under `path`, a directory or one file, as a version.

        Without `version_id` the id is the hash of the files. A version that is kept already is
        returned; a `verdict` or `details` given with it take the place of the earlier ones, and
        one that retention had let go of has its files again. `VersionExistsError` when the id
        stands for other files.
        """
        found = _files_under(path)
        keys = put_all(self._blobs, list(found.values()), threads=self._blobs.at_once)
        files = dict(zip(found, keys, strict=True))
        made = ModelVersion(
            id=_hash_id(files) if version_id is None else _checked_id(version_id),
            created_at=now(),
            name=name,
            files=files,
            source=source,
            parent_id=parent_id,
            dataset_id=dataset_id,
            job_id=job_id,
            figures=figures or {},
            verdict=None if verdict is None else checked_details(verdict, what="a verdict"),
            details=checked_details(details, what="a version"),
        )
        with writing(self._engine) as connection:
            # Retention may have deleted them since: a version that it pruned had the same files.
            there = present(written_to(self._blobs), files.values())
            for file, where in found.items():
                if files[file] not in there and self._blobs.put_file(where) != files[file]:
                    raise ModelCorruptError(f"'{where}' changed while it was registered.")
            query = select(versions).where(versions.c.id == made.id)
            known = connection.execute(query).mappings().one_or_none()
            if known is not None:
                return _renewed(connection, ModelVersion(**known), made, actor)
            # A plain None would be kept as JSON's null, which is no NULL.
            values = vars(made) | {"verdict": null() if made.verdict is None else made.verdict}
            connection.execute(insert(versions).values(**values))
            _record(connection, made, actor, {"dataset_id": dataset_id, "job_id": job_id})
        return made

    def get(self, version_id: str) -> ModelVersion:
        """A version by its id."""
        with self._engine.connect() as connection:
            query = select(versions).where(versions.c.id == version_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no version '{version_id}'. See: misheard versions")
        return ModelVersion(**row)

    def listed(self, *, limit: int | None = None, before: str | None = None) -> list[ModelVersion]:
        """Versions, newest first; all of them without a `limit`.

        With `before`, those after the one with that id.
        """
        query = select(versions).order_by(versions.c.created_at.desc(), versions.c.id.desc())
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(older_than(connection, versions, before))
            rows = connection.execute(query.limit(limit)).mappings()
            return [ModelVersion(**row) for row in rows]

    def verify(self, version_id: str) -> None:
        """Read every file of a version; raises unless each is there and matches its hash."""
        for key in self._with_files(version_id).files.values():
            self._blobs.verify(key)

    def directory(self, version_id: str) -> Path:
        """A directory with the version's files, each matching its hash; made at the first call.

        One in which a file is damaged, missing or too many is made anew. Raises
        `VersionPrunedError` when retention has let go of the files, `BlobNotFoundError` or
        `BlobCorruptError` when what it is made of is damaged.
        """
        version = self._with_files(version_id)
        target = self._cache / version.id
        if target.exists():
            wrong = _difference(target, version.files)
            if not wrong:
                return target
            _log.warning("'%s' is made anew, for %s.", target, wrong)
            self.drop_directory(version_id)
            self.sweep()
        self._cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=self._cache, prefix=".fetch-"))
        try:
            wanted = {partial / name: key for name, key in version.files.items()}
            fetch_all(self._blobs, wanted, threads=self._blobs.at_once)
            os.replace(partial, target)  # noqa: PTH105 - Path.replace would hide that it is atomic
        except FileExistsError:
            pass  # another process was faster
        except OSError:
            if not target.exists():
                raise
        except BlobNotFoundError:
            self._with_files(version_id)  # says so if it was pruned meanwhile
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        try:
            self._with_files(version_id)
        except VersionPrunedError:
            # Retention looked for the directory before it was there.
            self.drop_directory(version_id)
            self.sweep()
            raise
        return target

    def drop_directory(self, version_id: str) -> None:
        """Take the version's directory out of use, at once and whole; `sweep` frees the space."""
        directory = self._cache / _checked_id(version_id)
        gone = self._cache / f"{_GONE}{os.urandom(8).hex()}"
        # It may never have been made, or another process was faster.
        with contextlib.suppress(FileNotFoundError):
            directory.rename(gone)

    def sweep(self) -> None:
        """Delete the directories that were dropped, those of a killed process too."""
        for path in self._cache.glob(f"{_GONE}*"):
            if path.is_symlink():
                path.unlink(missing_ok=True)  # what it points at is not ours
            else:
                shutil.rmtree(path, ignore_errors=True)

    def _with_files(self, version_id: str) -> ModelVersion:
        version = self.get(version_id)
        require_files(version.id, version.pruned_at)
        return version


def require_files(version_id: str, pruned_at: datetime | None) -> None:
    """Raise `VersionPrunedError`, with what to do, when the version has no files any more."""
    if pruned_at is not None:
        raise VersionPrunedError(
            f"{version_id} was pruned on {pruned_at:%Y-%m-%d}. Register its files again, or choose "
            "another: misheard versions. More are kept with deployment.keep_previous_versions."
        )


def _difference(directory: Path, files: dict[str, str]) -> str:
    """What of a directory is not as `files` (name → SHA-256) have it; empty where all is."""
    found = {str(p.relative_to(directory)): p for p in directory.rglob("*") if not p.is_dir()}
    for name in sorted(found.keys() ^ files.keys()):
        return f"'{name}' is {'missing' if name in files else 'none of its files'}"
    for name, path in sorted(found.items()):
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"'{name}' cannot be read ({error.strerror})"
        if digest != files[name]:
            return f"'{name}' has changed"
    return ""


def _files_under(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise ModelNotFoundError(f"'{path}' is neither a directory nor a file.")
    found = {str(p.relative_to(path)): p for p in sorted(path.rglob("*")) if p.is_file()}
    if not found:
        raise ModelNotFoundError(f"'{path}' holds no files.")
    return found


def _renewed(
    connection: Connection, known: ModelVersion, made: ModelVersion, actor: str
) -> ModelVersion:
    """The version that is kept already, with what the new registration adds to it."""
    if known.files != made.files:
        raise VersionExistsError(
            f"'{known.id}' was registered with other files. Give another id, or none."
        )
    changes: dict[str, Any] = {}
    if made.verdict is not None and made.verdict != known.verdict:
        changes["verdict"] = made.verdict
    if made.details and made.details != known.details:
        changes["details"] = made.details
    if known.pruned_at is not None:
        changes["pruned_at"] = None
    if changes:
        row = versions.c.id == known.id
        connection.execute(update(versions).where(row).values(**changes))
        _record(connection, made, actor, changes)
    return replace(known, **changes)


def _record(
    connection: Connection, made: ModelVersion, actor: str, evidence: dict[str, Any]
) -> None:
    entry = audit.AuditEntry(
        actor=actor,
        action="register",
        subject=made.id,
        from_value=made.parent_id or "",
        to_value=made.id,
        reason=made.source,
        evidence=evidence,
    )
    audit.record(connection, entry)


def _hash_id(files: dict[str, str]) -> str:
    return "v-" + hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]


def _checked_id(version_id: str) -> str:
    """An id that was chosen; a directory is called by it."""
    plain = version_id.isprintable() and not set(version_id) & set("/\\")
    if not plain or not 0 < len(version_id.encode()) <= 200 or version_id.startswith("."):
        raise BadInputError(
            f"{version_id!r} cannot be a version's id: 1 to 200 printable characters without "
            "slashes, the first no dot."
        )
    return version_id
