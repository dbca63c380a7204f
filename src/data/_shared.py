"""What the guide's classes have in common: finding their workspace, and configurations."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misheard.settings import FILE_NAME
from misheard.workspace import Workspace, workspace_directory
from src.data._cloud import Buckets, created, in_buckets, require_local
from src.data._log import log

if TYPE_CHECKING:
    from src.data.data_manager import DataManager

__all__ = ["Plain", "iso", "log", "open_workspace", "plain", "present"]


def open_workspace(
    storage_dir: str | Path | None,
    use_gcs: bool | None,
    buckets: Buckets,
    *,
    of: DataManager | None = None,
) -> Workspace:
    """The workspace in `storage_dir`, else the one of `of`, else the one that is meant.

    Made where there is none. `use_gcs` left out means what the workspace at hand has; where there
    is none yet, the guide's default holds, which is True.
    """
    if of is not None and storage_dir is None:
        return _opened(of.workspace, use_gcs, buckets)
    directory = Path(storage_dir) if storage_dir is not None else workspace_directory()
    if (directory / FILE_NAME).exists():
        return _opened(Workspace.open(directory), use_gcs, buckets)
    if use_gcs is False:
        return require_local(Workspace.open_or_create(directory))
    return created(directory, buckets)


def _opened(found: Workspace, use_gcs: bool | None, buckets: Buckets) -> Workspace:
    if use_gcs is None:
        return found
    return in_buckets(found, buckets) if use_gcs else require_local(found)


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
