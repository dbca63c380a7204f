"""Model versions: their files, and where each came from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select

from misheard.blobs.store import BlobStore
from misheard.database import audit
from misheard.database.engine import now, writing
from misheard.database.schema import versions
from misheard.errors import ModelNotFoundError, UnknownIdError


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


class Registry:
    """Keeps model versions; files are copied in, the caller's own are never moved."""

    def __init__(self, engine: Engine, blobs: BlobStore, cache: Path) -> None:
        """`cache` holds versions as directories, which is how engines want them."""
        self._engine = engine
        self._blobs = blobs
        self._cache = cache

    def register(
        self,
        directory: Path,
        *,
        name: str,
        source: str,
        actor: str,
        parent_id: str | None = None,
        dataset_id: str | None = None,
        job_id: str | None = None,
        figures: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Keep the files of `directory` as a version; the same files give the same version."""
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        if not paths:
            raise ModelNotFoundError(f"'{directory}' holds no files.")
        files = {str(path.relative_to(directory)): self._blobs.put_file(path) for path in paths}
        made = ModelVersion(
            id=_version_id(files),
            created_at=now(),
            name=name,
            files=files,
            source=source,
            parent_id=parent_id,
            dataset_id=dataset_id,
            job_id=job_id,
            figures=figures or {},
        )
        with writing(self._engine) as connection:
            query = select(versions).where(versions.c.id == made.id)
            known = connection.execute(query).mappings().one_or_none()
            if known is not None:
                return ModelVersion(**known)
            connection.execute(insert(versions).values(**vars(made)))
            entry = audit.AuditEntry(
                actor=actor,
                action="register",
                subject=made.id,
                from_value=parent_id or "",
                to_value=made.id,
                reason=source,
                evidence={"dataset_id": dataset_id, "job_id": job_id},
            )
            audit.record(connection, entry)
        return made

    def get(self, version_id: str) -> ModelVersion:
        """A version by its id."""
        with self._engine.connect() as connection:
            query = select(versions).where(versions.c.id == version_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownIdError(f"There is no version '{version_id}'. See: misheard versions")
        return ModelVersion(**row)

    def listed(self) -> list[ModelVersion]:
        """All versions, newest first."""
        query = select(versions).order_by(versions.c.created_at.desc())
        with self._engine.connect() as connection:
            return [ModelVersion(**row) for row in connection.execute(query).mappings()]

    def directory(self, version_id: str) -> Path:
        """A directory with the version's files, verified; made at the first call."""
        version = self.get(version_id)
        target = self._cache / version.id
        if target.exists():
            return target
        self._cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=self._cache, prefix=".fetch-"))
        try:
            for name, key in version.files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                self._blobs.fetch(key, partial / name)
            os.replace(partial, target)  # noqa: PTH105 - Path.replace would hide that it is atomic
        except FileExistsError:
            pass  # another process was faster
        except OSError:
            if not target.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target


def _version_id(files: dict[str, str]) -> str:
    return "v-" + hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]
