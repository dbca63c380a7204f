"""A bucket of Google Cloud Storage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from misheard.blobs.arriving import arriving
from misheard.blobs.bucket import PIECE_BYTES, Sent, Stored, unwatched
from misheard.blobs.google.checksums import as_google_writes, checksum
from misheard.blobs.google.client import GcsClient
from misheard.blobs.google.resumable import Resumable
from misheard.blobs.google.uploads import TRIES_IF_DAMAGED, GcsUploads, stored
from misheard.blobs.patience import PATIENT, Patience
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ObjectChangedError,
    ObjectExistsError,
)


class GcsBucket:
    """A `Bucket` in Google Cloud Storage.

    Where STORAGE_EMULATOR_HOST is set, that server is used, without credentials. Each write is
    checked by the CRC32C of what was sent, and so is each read of a whole object; a range is not.
    """

    def __init__(
        self,
        bucket: str,
        folder: str = "",
        *,
        state: Path | None = None,
        project_id: str = "",
        endpoint: str = "",
        credentials: Any = None,
        patience: Patience = PATIENT,
        piece_bytes: int = PIECE_BYTES,
        page_objects: int = 1000,
    ) -> None:
        """Raises `BucketUnavailableError` without credentials.

        `state`: where unfinished uploads are remembered; without it only while a `put` lasts.
        `project_id` pays where the bucket's owner lets others pay. `endpoint`: another server than
        Google's, such as http://127.0.0.1:4443. `credentials`: of google-auth; else they are
        looked for. `piece_bytes`: of what is larger, so much travels at once, a multiple of
        256 KiB. `page_objects`: how many a listing asks for at once.
        """
        self._piece_bytes = piece_bytes
        self._client = GcsClient(
            bucket,
            folder,
            project_id=project_id,
            endpoint=endpoint,
            credentials=credentials,
            patience=patience,
            page_objects=page_objects,
        )
        self._uploads = GcsUploads(
            self._client,
            Resumable(self._client.connection, patience, state, piece_bytes=piece_bytes),
            lambda name, generation: self.delete(name, generation=generation),
        )

    @property
    def url(self) -> str:
        """See `Bucket`."""
        return self._client.url

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
        size_bytes = content.stat().st_size if isinstance(content, Path) else len(content)
        if size_bytes > self._piece_bytes:
            if create_only and self.stat(name) is not None:  # Google would say so, emulators not
                raise ObjectExistsError(f"{self.url}/{name}")
            return self._uploads.put_large(
                name, content, create_only=create_only, sha256=sha256, sent=sent
            )
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise BlobCorruptError(f"What was to be put at {self.url}/{name} has changed.")
        put = self._uploads.put_bytes(name, data, create_only=create_only)
        sent(len(data))
        return put

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Bucket`."""
        if length == 0:
            self._client.there(name)
            return b""
        return self._again_if_damaged(lambda: self._fetched(name, start, length), name)

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """See `Bucket`."""
        with arriving(target) as file:
            for _ in range(TRIES_IF_DAMAGED):
                # A SHA-256 says enough about what arrives; without one Google has to be asked.
                expected = None if sha256 else self._client.there(name)
                if self._fetch(name, file, expected, sha256, sent):
                    return
            raise BlobCorruptError(f"{self.url}/{name} is not what was put there.")

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        try:
            return stored(self._client.there(name), name)
        except BlobNotFoundError:
            return None

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        token: str | None = None
        while True:
            page, token = self._client.page(prefix, token)
            for blob in page:
                yield stored(blob, blob.name.removeprefix(self._client.folder))
            if token is None:
                return

    def delete(self, name: str, *, generation: str | None = None) -> bool:
        """See `Bucket`.

        The generation is compared first and given along with the request; an emulator that ignores
        it there leaves a gap between the two.
        """
        if generation is not None:
            there = self.stat(name)
            if there is None:
                return False
            if there.generation != generation:
                raise ObjectChangedError(f"{self.url}/{name}")
        blob = self._client.blob(name)
        only = None if generation is None else int(generation)
        try:
            self._client.asked(
                lambda: blob.delete(if_generation_match=only, **self._client.how), name
            )
        except BlobNotFoundError:
            return False
        return True

    def _fetch(
        self, name: str, file: IO[bytes], expected: Any, sha256: str | None, sent: Sent
    ) -> bool:
        """Fill the file; False where what has arrived is something else."""
        file.seek(0)
        file.truncate()
        whole, crc, arrived = hashlib.sha256(), checksum(), 0
        generation = expected and expected.generation
        try:
            while True:
                chunk = self._client.asked(
                    lambda: self._fetched(name, arrived, self._piece_bytes, generation),  # noqa: B023
                    name,
                )
                whole.update(chunk)
                crc.update(chunk)
                file.write(chunk)
                sent(len(chunk))
                arrived += len(chunk)
                if len(chunk) < self._piece_bytes:
                    break
        except BlobNotFoundError:
            if expected is None:
                raise
            # Another generation was written since; or it is gone, which the next look says.
        else:
            found = whole.hexdigest() if sha256 else as_google_writes(crc)
            if found == (sha256 or expected.crc32c):
                return True
        sent(-arrived)
        return False

    def _fetched(
        self, name: str, start: int, length: int | None, generation: int | None = None
    ) -> bytes:
        whole = start == 0 and length is None
        try:
            data = self._client.blob(name, generation=generation).download_as_bytes(
                start=None if whole else start,
                end=None if length is None else start + length - 1,
                raw_download=True,
                checksum="auto" if whole else None,
                **self._client.how,
            )
        except self._client.errors.beyond_its_end:
            return b""
        return bytes(data)

    def _again_if_damaged(self, do: Callable[[], bytes], name: str) -> bytes:
        for _ in range(TRIES_IF_DAMAGED - 1):
            try:
                return self._client.asked(do, name)
            except BlobCorruptError:
                continue
        return self._client.asked(do, name)
