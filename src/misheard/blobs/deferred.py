"""A store that is opened when it is first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import BlobStore
from misheard.errors import MisheardError

AGAIN_S = 2.0
"""Long enough for all who wait together, short for who has mended it and comes again."""


class DeferredBlobs:
    """A `BlobStore` in front of one that `opening` gives.

    A workspace whose bucket cannot be reached still says what is live, and one that needs no file
    loads no cloud library. What `opening` raises is raised by whatever needs the store within
    `again_s`, by those, too, who waited for it: each attempt may take long. Then it is tried again.
    """

    at_once = 32
    """See `BlobStore`; as buckets have it, so that nothing is opened to be asked."""

    def __init__(self, opening: Callable[[], BlobStore], *, again_s: float = AGAIN_S) -> None:
        self._opening = opening
        self._again_s = again_s
        self._lock = threading.Lock()
        self._failed: tuple[float, MisheardError] | None = None
        """When, and how."""

    @cached_property
    def _opened(self) -> BlobStore:
        if self._failed is not None and time.monotonic() - self._failed[0] < self._again_s:
            raise self._failed[1]
        try:
            return self._opening()
        except MisheardError as error:
            self._failed = (time.monotonic(), error)
            raise

    @property
    def _store(self) -> BlobStore:
        with self._lock:
            return self._opened

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        return self._store.put_bytes(data)

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """See `BlobStore`."""
        return self._store.put_file(path, sent=sent)

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        return self._store.get_bytes(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `BlobStore`."""
        return self._store.get_range(key, start, length)

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """See `BlobStore`."""
        self._store.fetch(key, target, sent=sent)

    def verify(self, key: str) -> None:
        """See `BlobStore`."""
        self._store.verify(key)

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        return self._store.size_bytes(key)

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        self._store.delete(key)

    def sweep(self) -> int:
        """See `BlobStore`."""
        return self._store.sweep()
