"""What the guide's classes have in common: finding their workspace, and configurations."""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from misheard.blobs.cloud import refuse_bucket
from misheard.settings import FILE_NAME
from misheard.workspace import Workspace, workspace_directory

log = logging.getLogger("misheard.guide")
"""Why a call came to nothing is said here, as the guide has it."""


def open_workspace(
    storage_dir: str | Path | None, use_gcs: bool | None, project_id: str | None = None
) -> Workspace:
    """The workspace in `storage_dir`, else the one that is meant; made where there is none.

    `use_gcs` left out means what the workspace at hand has, and it has local files. Where there is
    no workspace yet, the guide's default holds, which is True.
    """
    directory = Path(storage_dir) if storage_dir is not None else workspace_directory()
    if use_gcs or (use_gcs is None and not (directory / FILE_NAME).exists()):
        refuse_bucket(project_id)
    return Workspace.open_or_create(directory)


class Plain:
    """What every configuration and record can do; a dataclass beneath."""

    def to_dict(self) -> dict[str, Any]:
        """Every field and its value."""
        return plain(self)  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """Dicts, lists and ISO times out of records."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return iso(value) if isinstance(value, datetime) else value


def iso(moment: datetime | None) -> str | None:
    """A time as ISO 8601 writes it, in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def present() -> str:
    """The present time, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat()
