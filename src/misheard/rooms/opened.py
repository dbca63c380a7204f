"""What every room is built on: settings, database and blobs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from sqlalchemy import URL, create_engine

from misheard.backups import require_sqlite
from misheard.blobs.bucket import Bucket
from misheard.blobs.deferred import DeferredBlobs
from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.objects import BucketBlobs
from misheard.blobs.opening import open_bucket
from misheard.blobs.patience import FIRST_LOOK
from misheard.blobs.store import BlobStore
from misheard.database.engine import migrate, open_engine
from misheard.errors import WorkspaceNotFoundError
from misheard.rooms.claiming import MARKER, claim
from misheard.scoring.normalize import Normalizer, normalizer
from misheard.settings import Settings, StorageSettings

_TOKEN_PATIENCE_S = 5.0
"""When a token was used is noted a minute later where the database is busy so long."""


class Opened:
    """Opens database and blobs of a workspace."""

    def __init__(self, root: Path, settings: Settings, *, is_new: bool = False) -> None:
        """Use `open` or `create`."""
        self.root = root
        self.settings = settings
        self._jobs_root = root / "jobs"
        self._backups_root = root / "backups"
        file = _own_file(root)
        # SQLite would make an empty database of a file that is lost or was cut to nothing.
        if not (is_new or settings.database.url or (file.exists() and file.stat().st_size)):
            raise WorkspaceNotFoundError(
                f"'{file}' is missing or empty, so what it held is lost. Put a backup in its "
                f"place, one of '{self._backups_root}': misheard -w {root} restore FILE"
            )
        in_workspace = URL.create("sqlite", database=str(file))
        url = settings.database.url or in_workspace
        self._engine = open_engine(url)
        # What production heard comes by the thousand, and is telemetry; all else is control state.
        self._log_engine = open_engine(url, telemetry=not settings.capture.durable)
        # Whoever waits to write holds connections of the others; who asks is known all the same.
        self._token_engine = open_engine(url, telemetry=True, patience_s=_TOKEN_PATIENCE_S)
        migrate(self._engine, may_be_new=is_new)
        self._directory_blobs = DirectoryBlobs(root / "blobs")

    @cached_property
    def _blobs(self) -> BlobStore:
        """Audio, manifests, and what versions made of utterances."""
        return self._store(self.settings.storage.blobs)

    @cached_property
    def _model_blobs(self) -> BlobStore:
        """The files of model versions; the same store where they have one address."""
        storage = self.settings.storage
        is_same = storage.of_models == storage.blobs
        return self._blobs if is_same else self._store(storage.of_models)

    def _store(self, address: str) -> BlobStore:
        if not address:
            return self._directory_blobs
        far = DeferredBlobs(lambda: BucketBlobs(self._open_bucket(address)))
        # What was here before there was a bucket stays in the directory until it is moved.
        return LayeredBlobs(far, self._directory_blobs)

    def _open_bucket(self, address: str) -> Bucket:
        project_id, state = self.settings.storage.project_id, self.root / "uploads"
        claim(self._engine, open_bucket(address, project_id=project_id, patience=FIRST_LOOK))
        return open_bucket(address, state=state, project_id=project_id)

    @cached_property
    def normalizer(self) -> Normalizer:
        """What references and transcripts go through before they are compared."""
        scoring = self.settings.scoring
        return normalizer(scoring.normalizer, scoring.equivalents)


def require_buckets(storage: StorageSettings) -> None:
    """See that the buckets can be read, before anything is made that would need them."""
    for address in storage.buckets:
        looked_at = open_bucket(address, project_id=storage.project_id, patience=FIRST_LOOK)
        looked_at.stat(MARKER)


def database_file(root: Path, settings: Settings) -> Path:
    """The SQLite file of the workspace in `root`; `BadInputError` where it is on a server."""
    if not settings.database.url:
        return _own_file(root)
    engine = create_engine(settings.database.url)
    require_sqlite(engine)
    return Path(engine.url.database or "")


def _own_file(root: Path) -> Path:
    return root / "misheard.db"
