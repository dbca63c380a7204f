"""What `use_gcs` means: under which buckets a workspace is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from misheard.blobs.google.project import project_of
from misheard.errors import BucketUnavailableError, InvalidSettingError
from misheard.rooms.opened import require_buckets
from misheard.settings import FILE_NAME, StorageSettings
from misheard.settings.storage import LOCAL
from misheard.workspace import Workspace
from src.data._log import log

_LOCAL = "To keep everything in local files, pass use_gcs=False."


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """What a call of the guide says of Google Cloud."""

    project_id: str | None = None
    bucket_name: str | None = None
    prefix: str = ""
    models_prefix: str = "deployed_models"
    sync_models: bool = True
    """Whether the files of models are in a bucket, too."""

    @property
    def named(self) -> str:
        """The address of the bucket that was named; empty where none was."""
        return f"gs://{self.bucket_name}/{self.prefix}".rstrip("/") if self.bucket_name else ""

    def storage(self, known_project: str = "") -> StorageSettings:
        """The section `[storage]` that this comes to."""
        models, project = LOCAL, self.project_id or ""
        if self.sync_models or not self.named:
            project = project_of(self.project_id, known_project)
        if self.sync_models:
            models = f"gs://{project}-models/{self.models_prefix}"
        blobs = self.named or f"gs://{project}-datasets/{self.prefix}"
        return StorageSettings(blobs=blobs, models=models, project_id=project)


def created(directory: Path, buckets: Buckets) -> Workspace:
    """A new workspace whose files are in buckets; nothing is made where these cannot be used."""
    with _or_local():
        storage = buckets.storage()
        require_buckets(storage)
    return Workspace.open_or_create(directory, settings={"storage": storage.model_dump()})


def in_buckets(found: Workspace, buckets: Buckets) -> Workspace:
    """A workspace that is there, with its files in buckets; its `misheard.toml` stays as it is."""
    set_here = found.settings.storage
    if set_here.buckets:
        if buckets.named not in ("", set_here.blobs):
            raise InvalidSettingError(
                f"gcs_bucket_name: the files of '{found.root}' are in {set_here.blobs}, as its "
                f"{FILE_NAME} says. To move them: misheard sync --home, the new address in that "
                "file, misheard sync."
            )
        with _or_local():
            require_buckets(set_here)
        return found
    with _or_local():
        storage = buckets.storage(set_here.project_id)
        require_buckets(storage)
    log.warning(
        "New files of '%s' go to %s, and its %s does not say so: programs that read it, such as "
        'misheard serve, do not find them. For all: [storage] blobs = "%s" and models = "%s" '
        "there, then: misheard sync",
        found.root,
        " and ".join(storage.buckets),
        FILE_NAME,
        storage.blobs,
        storage.models,
    )
    return found.configured({"storage": storage.model_dump()})


def require_local(found: Workspace) -> Workspace:
    """The same workspace; `InvalidSettingError` where its files are in a bucket."""
    storage = found.settings.storage
    if storage.buckets:
        raise InvalidSettingError(
            f"use_gcs=False: the files of '{found.root}' are in {' and '.join(storage.buckets)}, "
            "as its settings say. Pass use_gcs=True, or leave it out. To have them here instead: "
            f"misheard -w {found.root} sync --home, then take [storage] out of its {FILE_NAME}."
        )
    return found


@contextmanager
def _or_local() -> Iterator[None]:
    try:
        yield
    except BucketUnavailableError as error:
        raise type(error)(f"{error.detail} {_LOCAL}") from error
