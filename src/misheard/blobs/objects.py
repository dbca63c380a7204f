"""Blobs in a bucket: objects `ab/abcdef…`, named as in a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from misheard.blobs.bucket import PIECE_BYTES, Bucket, Sent, unwatched
from misheard.blobs.store import is_key
from misheard.errors import BlobCorruptError, BlobNotFoundError, ObjectExistsError

_SENT_UNASKED_BYTES = 1 << 20
"""Up to here sending what may be there already costs less than asking first."""


class BucketBlobs:
    """A `BlobStore` in any `Bucket`.

    In a bucket nothing half-written is ever seen, so `sweep` has nothing to do. What S3 keeps, out
    of sight, of uploads that were cut off ends by a lifecycle rule: see `misheard.blobs.s3`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @property
    def url(self) -> str:
        """Where the blobs are."""
        return self._bucket.url

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        data = bytes(data)
        key = hashlib.sha256(data).hexdigest()
        self._put(key, data, len(data), unwatched)
        return key

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """See `BlobStore`; `BlobCorruptError` where the file changes while it is sent."""
        size_bytes = path.stat().st_size
        if size_bytes <= PIECE_BYTES:
            # Read once, so that key and content agree even if it changes.
            data = path.read_bytes()
            key = hashlib.sha256(data).hexdigest()
            self._put(key, data, len(data), sent)
            return key
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
        self._put(key, path, size_bytes, sent)
        return key

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        for _ in range(2):  # what was damaged on its way is whole when it is fetched again
            data = self._bucket.get(_name(key))
            if hashlib.sha256(data).hexdigest() == key:
                return data
        raise self._corrupt(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `BlobStore`."""
        return self._bucket.get(_name(key), start=start, length=length)

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """See `BlobStore`."""
        self._bucket.download(_name(key), target, sha256=key, sent=sent)

    def verify(self, key: str) -> None:
        """See `BlobStore`."""
        for _ in range(2):
            if self._digest(key) == key:
                return
        raise self._corrupt(key)

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        stored = self._bucket.stat(_name(key))
        if stored is None:
            raise BlobNotFoundError(f"{key} is not in {self.url}.")
        return stored.size_bytes

    def __contains__(self, key: str) -> bool:
        return is_key(key) and self._bucket.stat(_name(key)) is not None

    def __iter__(self) -> Iterator[str]:
        for stored in self._bucket.listed():
            folder, _, key = stored.name.partition("/")
            if is_key(key) and folder == key[:2]:
                yield key

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        if is_key(key):
            self._bucket.delete(_name(key))

    def sweep(self) -> int:
        """See `BlobStore`; always 0."""
        return 0

    def _put(self, key: str, content: bytes | Path, size_bytes: int, sent: Sent) -> None:
        if size_bytes > _SENT_UNASKED_BYTES and key in self:
            sent(size_bytes)
            return
        try:
            self._bucket.put(_name(key), content, create_only=True, sha256=key, sent=sent)
        except ObjectExistsError:
            sent(size_bytes)

    def _digest(self, key: str) -> str:
        digest, read, name = hashlib.sha256(), 0, _name(key)
        while chunk := self._bucket.get(name, start=read, length=PIECE_BYTES):
            digest.update(chunk)
            read += len(chunk)
            if len(chunk) < PIECE_BYTES:
                break
        return digest.hexdigest()

    def _corrupt(self, key: str) -> BlobCorruptError:
        return BlobCorruptError(f"{self.url}/{_name(key)} has changed since it was written.")


def _name(key: str) -> str:
    if not is_key(key):
        raise BlobNotFoundError(f"'{key}' is no SHA-256.")
    return f"{key[:2]}/{key}"
