"""What would be written to a bucket, shown and not sent: `--dry-run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from misheard.blobs.bucket import Sent, Stored, unwatched
from misheard.errors import BlobNotFoundError


class DryBucket:
    """A `Bucket` that looks empty, and shows what would be put there; it needs no credentials."""

    def __init__(self, url: str, *, show: Callable[[str], None]) -> None:
        """`show` gets each request as JSON."""
        self._url = url.rstrip("/")
        self._show = show

    @property
    def url(self) -> str:
        """See `Bucket`."""
        return self._url

    def put(
        self,
        name: str,
        content: bytes | Path,
        *,
        create_only: bool = False,
        sha256: str | None = None,
        sent: Sent = unwatched,
    ) -> Stored:
        """See `Bucket`."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self._tell("PUT", name, size_bytes=size, sha256=sha256, create_only=create_only)
        sent(size)
        return Stored(name=name, size_bytes=size, generation="dry")

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:  # noqa: ARG002
        """See `Bucket`."""
        self._tell("GET", name)
        raise BlobNotFoundError(f"{self._url}/{name}")

    def download(
        self,
        name: str,
        target: Path,  # noqa: ARG002
        *,
        sha256: str | None = None,  # noqa: ARG002
        sent: Sent = unwatched,  # noqa: ARG002
    ) -> None:
        """See `Bucket`."""
        self._tell("GET", name)
        raise BlobNotFoundError(f"{self._url}/{name}")

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        self._tell("STAT", name)
        return None

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        self._tell("LIST", prefix)
        return iter(())

    def delete(self, name: str, *, generation: str | None = None) -> bool:  # noqa: ARG002
        """See `Bucket`."""
        self._tell("DELETE", name)
        return False

    def _tell(self, method: str, name: str, **values: object) -> None:
        told = {"method": method, "url": f"{self._url}/{name}", **values}
        self._show(json.dumps(told, indent=2))
