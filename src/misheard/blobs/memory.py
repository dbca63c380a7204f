"""Blobs in this process's memory, for tests and short-lived tools."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from misheard.errors import BlobNotFoundError


class MemoryBlobs:
    """A `BlobStore` that is gone with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        key = hashlib.sha256(data).hexdigest()
        self._blobs.setdefault(key, bytes(data))
        return key

    def put_file(self, path: Path) -> str:
        """See `BlobStore`."""
        return self.put_bytes(path.read_bytes())

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        if key not in self._blobs:
            raise BlobNotFoundError(f"{key} is not in memory.")
        return self._blobs[key]

    def fetch(self, key: str, target: Path) -> None:
        """See `BlobStore`."""
        data = self.get_bytes(key)
        with target.open("xb") as file:
            file.write(data)

    def verify(self, key: str) -> None:
        """See `BlobStore`."""
        self.get_bytes(key)

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        return len(self.get_bytes(key))

    def __contains__(self, key: str) -> bool:
        return key in self._blobs

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        self._blobs.pop(key, None)
