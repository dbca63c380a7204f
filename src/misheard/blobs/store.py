"""The contract of every blob store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from misheard.blobs.bucket import Sent, unwatched


class BlobStore(Protocol):
    """Files named by the SHA-256 of their content.

    - Putting is atomic and idempotent: a blob is there whole or not at all, and putting it twice
      changes nothing. It is durable when the call returns.
    - A key is 64 lower-case hexadecimal digits.
    - What is read is verified: `BlobCorruptError` rather than wrong bytes, `BlobNotFoundError` for
      a key that is not there.
    - Safe for several processes at once.
    """

    @property
    def at_once(self) -> int:
        """How many calls are worth making at once: 1 where none of them is waited for."""
        ...

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; returns its key."""
        ...

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """Keep a copy of the file at `path`; returns its key."""
        ...

    def get_bytes(self, key: str) -> bytes:
        """The content."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of the content from `start`, fewer where it ends before; not verified."""
        ...

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """Make the content a file at `target`, which must not exist and must not be written to."""
        ...

    def verify(self, key: str) -> None:
        """Read the whole content; raises as reading does, and keeps nothing in memory."""
        ...

    def size_bytes(self, key: str) -> int:
        """How long the content is; it is not read."""
        ...

    def __contains__(self, key: str) -> bool: ...

    def __iter__(self) -> Iterator[str]:
        """All keys, in no order."""
        ...

    def delete(self, key: str) -> None:
        """Forget a blob; nothing happens when it is not there."""
        ...

    def sweep(self) -> int:
        """Delete what writers that were killed left unfinished; those at work lose nothing.

        Returns how many there were.
        """
        ...


def is_key(key: str) -> bool:
    """Whether `key` is a SHA-256 as blobs are named: 64 lower-case hexadecimal digits."""
    return len(key) == 64 and set(key) <= set("0123456789abcdef")
