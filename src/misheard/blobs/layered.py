"""Two stores as one: what a workspace had before it was given a bucket is still found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import BlobStore
from misheard.errors import BlobCorruptError, BlobNotFoundError

_AGAIN = (BlobNotFoundError, BlobCorruptError)


class LayeredBlobs:
    """A `BlobStore` that writes to `far` alone, and reads what is in `near` from there.

    Both have the same content under a key, so it is the same wherever it is read: what is near
    costs no request, and is there while the bucket is not. What is damaged near is read from afar.
    Deleting deletes in both.
    """

    def __init__(self, far: BlobStore, near: BlobStore) -> None:
        self.far = far
        self.near = near

    @property
    def at_once(self) -> int:
        """See `BlobStore`."""
        return max(self.far.at_once, self.near.at_once)

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        return self.far.put_bytes(data)

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """See `BlobStore`."""
        return self.far.put_file(path, sent=sent)

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        with suppress(*_AGAIN):
            return self.near.get_bytes(key)
        return self.far.get_bytes(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `BlobStore`."""
        with suppress(*_AGAIN):
            return self.near.get_range(key, start, length)
        return self.far.get_range(key, start, length)

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """See `BlobStore`."""
        with suppress(*_AGAIN):
            self.near.fetch(key, target, sent=sent)
            return
        self.far.fetch(key, target, sent=sent)

    def verify(self, key: str) -> None:
        """See `BlobStore`; every copy that there is has to be whole."""
        if key in self.near:
            self.near.verify(key)
            if key not in self.far:
                return
        self.far.verify(key)

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        with suppress(BlobNotFoundError):
            return self.near.size_bytes(key)
        return self.far.size_bytes(key)

    def __contains__(self, key: str) -> bool:
        return key in self.near or key in self.far

    def __iter__(self) -> Iterator[str]:
        near = set(self.near)
        yield from near
        yield from (key for key in self.far if key not in near)

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        # What is not near any more would not be looked for again, were the bucket away just now.
        self.far.delete(key)
        self.near.delete(key)

    def sweep(self) -> int:
        """See `BlobStore`."""
        return self.far.sweep() + self.near.sweep()
