"""A folder of a bucket as a bucket of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from misheard.blobs.bucket import Bucket, Sent, Stored, unwatched


class Below:
    """The `Bucket` of all names that begin with a folder's; it goes by the one that it is in."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder.strip("/")

    @property
    def url(self) -> str:
        """See `Bucket`."""
        return f"{self._bucket.url}/{self._folder}"

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
        stored = self._bucket.put(
            self._full(name), content, create_only=create_only, sha256=sha256, sent=sent
        )
        return replace(stored, name=name)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Bucket`."""
        return self._bucket.get(self._full(name), start=start, length=length)

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """See `Bucket`."""
        self._bucket.download(self._full(name), target, sha256=sha256, sent=sent)

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        stored = self._bucket.stat(self._full(name))
        return stored and replace(stored, name=name)

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        for stored in self._bucket.listed(self._full(prefix)):
            yield replace(stored, name=stored.name.removeprefix(f"{self._folder}/"))

    def delete(self, name: str, *, generation: str | None = None) -> bool:
        """See `Bucket`."""
        return self._bucket.delete(self._full(name), generation=generation)

    def _full(self, name: str) -> str:
        return f"{self._folder}/{name}"
