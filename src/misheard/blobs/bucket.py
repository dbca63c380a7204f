"""The contract of every bucket: named objects, as Google Cloud Storage and S3 have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PIECE_BYTES = 8 << 20
"""What is larger is sent and fetched in pieces of this size."""

Sent = Callable[[int], None]
"""Called with how many bytes have travelled since the last call, from any thread.

Less than none where something has to travel again.
"""


def unwatched(_: int) -> None:
    """For whoever does not want to know."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object in a bucket."""

    name: str
    size_bytes: int
    generation: str
    """Which content the name stands for: another one for each time that it is written."""


class Bucket(Protocol):
    """Objects by name, below one address such as gs://bucket/folder.

    - Names are relative to the address: "a/b.json". An object is there whole or not at all, and
      durable when the call returns.
    - What passes by itself (429, 5xx, connections that break) is tried again with growing pauses;
      large uploads and downloads go on from where they were.
    - `BucketUnavailableError` says what to do, with the command, where credentials or the bucket
      are missing, a permission is, or a quota is used up; its subclass
      `BucketUnreachableError` where it would pass by itself, only not soon enough.
    - `BlobNotFoundError` for an object that is not there; `BlobCorruptError` where what arrives is
      not what was sent.
    - Safe for several threads and processes at once.
    """

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        ...

    def put(
        self,
        name: str,
        content: bytes | Path,
        *,
        create_only: bool = False,
        sha256: str | None = None,
        sent: Sent = unwatched,
    ) -> Stored:
        """Write an object: bytes, or the content of a file.

        What is kept is one content, as the file had it at one moment, or nothing:
        `BlobCorruptError` where it changes meanwhile, or has another SHA-256 than the one given.

        With `create_only`, raises `ObjectExistsError` where there is one: of several who write at
        once, one wins. Over 8 MiB that holds with Google alone: S3, and emulators, look first
        whether there is one, and of two at once both may write.
        """
        ...

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The content, or `length` bytes of it from `start`; fewer where it ends before."""
        ...

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """Make the content a file at `target`, which must not exist; nothing is left of half.

        With a `sha256`, only what has it: else `BlobCorruptError`.
        """
        ...

    def stat(self, name: str) -> Stored | None:
        """What is there under a name; None where nothing is."""
        ...

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """All objects whose names begin with `prefix`, by name."""
        ...

    def delete(self, name: str, *, generation: str | None = None) -> bool:
        """Delete an object; False where there is none.

        With a `generation`, only that one: `ObjectChangedError` where it is another.
        """
        ...
