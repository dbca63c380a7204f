"""Writing objects to Google, so that one content is kept or nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from misheard.blobs.bucket import Sent, Stored
from misheard.blobs.google.checksums import Fingerprint, crc32c, fingerprint
from misheard.blobs.google.client import GcsClient
from misheard.blobs.google.resumable import Resumable, Upload
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ObjectChangedError,
    ObjectExistsError,
)

TRIES_IF_DAMAGED = 3
_CONTENT_TYPE = "application/octet-stream"
_TOKEN = "misheard-put"
"""Of the object's metadata: which attempt to create it was the one that did."""


class GcsUploads:
    """Puts objects, small ones in one request, large ones through a session.

    Google compares the CRC32C that is sent ahead with what arrives; we compare what it answers,
    for those servers that do not.
    """

    def __init__(
        self, client: GcsClient, resumable: Resumable, drop: Callable[[str, str], object]
    ) -> None:
        """`drop` deletes an object by name and generation."""
        self._client = client
        self._resumable = resumable
        self._drop = drop

    def put_bytes(self, name: str, data: bytes, *, create_only: bool) -> Stored:
        """In one request."""
        crc, token = crc32c(data), secrets.token_hex(16)
        for _ in range(TRIES_IF_DAMAGED):
            blob = self._client.blob(name)
            blob.metadata = {_TOKEN: token}
            try:
                self._client.asked(
                    lambda: self._upload(blob, data, create_only),  # noqa: B023
                    name,
                    writes=True,
                )
            except ObjectChangedError as error:
                return self._mine(name, token, error)
            except BlobCorruptError:
                continue  # Google has noticed, and kept nothing
            if blob.crc32c == crc:
                return stored(blob, name)
            self._drop(name, str(blob.generation))
        raise self._damaged(name)

    def put_large(
        self, name: str, content: bytes | Path, *, create_only: bool, sha256: str | None, sent: Sent
    ) -> Stored:
        """In pieces that go on where they were."""
        seen, token = fingerprint(content), secrets.token_hex(16)
        address = f"{self._client.url}/{name}"
        what = f"'{content}'" if isinstance(content, Path) else "Something"
        changed = BlobCorruptError(f"{what} has changed while it was put at {address}.")
        if sha256 not in (None, seen.sha256):
            raise changed
        upload = Upload(
            content=content,
            seen=seen,
            address=f"{address} create" if create_only else address,
            begin=lambda: self._session(name, seen, token, create_only),
            is_there=lambda generation: self._is_there(name, generation),
        )
        for _ in range(TRIES_IF_DAMAGED):
            try:
                made = self._client.asked(
                    lambda: self._resumable.put(upload, sent), name, writes=True
                )
            except ObjectChangedError as error:
                return self._mine(name, token, error)
            except BlobCorruptError:
                made = {}  # Google has noticed, and kept nothing
            generation = str(made.get("generation", ""))
            if made.get("crc32c") == seen.crc32c:
                return Stored(name=name, size_bytes=seen.size_bytes, generation=generation)
            if made:
                self._drop(name, generation)
                sent(-seen.size_bytes)
            if fingerprint(content) != seen:
                raise changed
        raise self._damaged(name)

    def _upload(self, blob: Any, data: bytes, create_only: bool) -> None:
        blob.upload_from_string(
            data,
            content_type=_CONTENT_TYPE,
            checksum="crc32c",
            if_generation_match=0 if create_only else None,
            **self._client.how,
        )

    def _session(self, name: str, seen: Fingerprint, token: str, create_only: bool) -> str:
        blob = self._client.blob(name)
        blob.metadata, blob.crc32c = {_TOKEN: token}, seen.crc32c
        address = blob.create_resumable_upload_session(
            content_type=_CONTENT_TYPE,
            size=seen.size_bytes,
            checksum=None,
            if_generation_match=0 if create_only else None,
            **self._client.how,
        )
        return str(address)

    def _is_there(self, name: str, generation: str) -> bool:
        try:
            return str(self._client.there(name).generation) == generation
        except BlobNotFoundError:
            return False

    def _mine(self, name: str, token: str, error: ObjectChangedError) -> Stored:
        """The object that is there already, if it came of an attempt whose answer was lost."""
        there = self._client.there(name)
        if (there.metadata or {}).get(_TOKEN) != token:
            raise ObjectExistsError(f"{self._client.url}/{name}") from error
        return stored(there, name)

    def _damaged(self, name: str) -> BlobCorruptError:
        return BlobCorruptError(f"{self._client.url}/{name} does not arrive as it was sent.")


def stored(blob: Any, name: str) -> Stored:
    """Google's object in our words."""
    return Stored(name=name, size_bytes=int(blob.size), generation=str(blob.generation))
