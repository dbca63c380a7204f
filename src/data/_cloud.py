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

_MODELS_PREFIX = "deployed_models"
_LOCAL = "To keep everything in local files, pass use_gcs=False."


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """What a call of the guide says of Google Cloud."""

    project_id: str | None = None
    bucket_name: str | None = None
    prefix: str = ""
    models_prefix: str = _MODELS_PREFIX
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

    def differs(self, there: StorageSettings) -> str:
        """What says otherwise than settings that are there; what was left out says nothing."""
        blobs, models = there.blobs, there.of_models
        given = {
            "project_id": there.project_id and self.project_id not in (None, there.project_id),
            "gcs_bucket_name": self.named not in ("", blobs),
            "gcs_prefix": self.prefix and not self.named and _folder(blobs) != self.prefix,
            "sync_to_gcs": models and not self.sync_models,
            "gcs_models_prefix": self.sync_models
            and self.models_prefix not in (_MODELS_PREFIX, _folder(models)),
        }
        return ", ".join(name for name, is_other in given.items() if is_other)


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
        if differs := buckets.differs(set_here):
            raise InvalidSettingError(
                f"{differs}: the files of '{found.root}' are in {set_here.place}, as its "
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


def _folder(address: str) -> str:
    return "".join(address.split("/", 3)[3:])


@contextmanager
def _or_local() -> Iterator[None]:
    try:
        yield
    except BucketUnavailableError as error:
        raise type(error)(f"{error.detail} {_LOCAL}") from error
