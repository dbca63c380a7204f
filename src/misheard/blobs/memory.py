"""Blobs and a bucket in this process's memory, for tests and short-lived tools."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Lock

from misheard.blobs.arriving import arriving
from misheard.blobs.bucket import Sent, Stored, unwatched
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ObjectChangedError,
    ObjectExistsError,
)


class MemoryBlobs:
    """A `BlobStore` that is gone with the process."""

    at_once = 1
    """See `BlobStore`."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        key = hashlib.sha256(data).hexdigest()
        self._blobs.setdefault(key, bytes(data))
        return key

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """See `BlobStore`."""
        data = path.read_bytes()
        sent(len(data))
        return self.put_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        if key not in self._blobs:
            raise BlobNotFoundError(f"{key} is not in memory.")
        return self._blobs[key]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `BlobStore`."""
        return self.get_bytes(key)[start : start + length]

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """See `BlobStore`."""
        data = self.get_bytes(key)
        with target.open("xb") as file:
            file.write(data)
        sent(len(data))

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

    def sweep(self) -> int:
        """See `BlobStore`; always 0."""
        return 0


class MemoryBucket:
    """A `Bucket` that is gone with the process."""

    def __init__(self, name: str = "bucket") -> None:
        self._name = name
        self._objects: dict[str, tuple[bytes, str]] = {}
        self._generations = count(1)
        self._lock = Lock()

    @property
    def url(self) -> str:
        """See `Bucket`."""
        return f"memory://{self._name}"

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
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        _refuse_other(data, sha256, f"What was to be put at {self.url}/{name}")
        with self._lock:
            if create_only and name in self._objects:
                raise ObjectExistsError(f"{self.url}/{name}")
            generation = str(next(self._generations))
            self._objects[name] = (data, generation)
        sent(len(data))
        return Stored(name=name, size_bytes=len(data), generation=generation)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Bucket`."""
        return self._there(name)[start : None if length is None else start + length]

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """See `Bucket`."""
        data = self._there(name)
        _refuse_other(data, sha256, f"{self.url}/{name}")
        with arriving(target) as file:
            file.write(data)
        sent(len(data))

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        found = self._objects.get(name)
        return found and Stored(name=name, size_bytes=len(found[0]), generation=found[1])

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        for name, (data, generation) in sorted(self._objects.items()):
            if name.startswith(prefix):
                yield Stored(name=name, size_bytes=len(data), generation=generation)

    def delete(self, name: str, *, generation: str | None = None) -> bool:
        """See `Bucket`."""
        with self._lock:
            if name not in self._objects:
                return False
            if generation not in (None, self._objects[name][1]):
                raise ObjectChangedError(f"{self.url}/{name}")
            del self._objects[name]
            return True

    def _there(self, name: str) -> bytes:
        if name not in self._objects:
            raise BlobNotFoundError(f"{self.url}/{name}")
        return self._objects[name][0]


def _refuse_other(data: bytes, sha256: str | None, what: str) -> None:
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BlobCorruptError(f"{what} does not have the SHA-256 {sha256}.")
