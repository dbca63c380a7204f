"""A bucket of Google Cloud Storage."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from misheard.blobs.arriving import arriving
from misheard.blobs.bucket import Sent, Stored, unwatched
from misheard.blobs.checksums import (
    Fingerprint,
    as_google_writes,
    checksum,
    crc32c,
    fingerprint,
)
from misheard.blobs.gcs_errors import GcsErrors
from misheard.blobs.google_login import google_credentials
from misheard.blobs.patience import PATIENT, Patience
from misheard.blobs.resumable import Resumable, Upload
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ObjectChangedError,
    ObjectExistsError,
)
from misheard.optional import optional

_CHUNK_BYTES = 8 << 20
"""What is larger is sent and fetched in pieces of this size."""
_TRIES_IF_DAMAGED = 3
_CONNECTIONS = 64
_CONTENT_TYPE = "application/octet-stream"
_TOKEN = "misheard-put"
"""Of the object's metadata: which attempt to create it was the one that did."""
T = TypeVar("T")


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
        patience: Patience = PATIENT,
    ) -> None:
        """`state`: where unfinished uploads are remembered; without it only while this lives.

        `endpoint`: another server than Google's, such as http://127.0.0.1:4443.
        """
        self._url = f"gs://{bucket}/{folder}".rstrip("/")
        self._folder = f"{folder}/" if folder else ""
        self._patience = patience
        endpoint = endpoint or os.environ.get("STORAGE_EMULATOR_HOST", "")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        credentials = google_credentials(endpoint)
        session = _connection(credentials)
        storage = optional("google.cloud.storage", extra="gcp")
        self._client = storage.Client(
            project=project_id or None,
            credentials=credentials,
            client_options={"api_endpoint": endpoint} if endpoint else None,
            _http=session,
        )
        self._bucket = self._client.bucket(bucket)
        self._errors = GcsErrors(bucket, credentials, project_id)
        self._seen = False
        self._resumable = Resumable(session, patience, state)
        self._retry = _retry(patience)

    @property
    def url(self) -> str:
        """See `Bucket`."""
        return self._url

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
        if isinstance(content, Path) and content.stat().st_size > _CHUNK_BYTES:
            return self._put_large(name, content, create_only, sha256, sent)
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise BlobCorruptError(f"What was to be put at {self._url}/{name} has changed.")
        stored = self._put_small(name, data, create_only)
        sent(len(data))
        return stored

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Bucket`."""
        if length == 0:
            self._there(name)
            return b""
        return self._again_if_damaged(lambda: self._fetched(name, start, length), name)

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """See `Bucket`."""
        with arriving(target) as file:
            for _ in range(_TRIES_IF_DAMAGED):
                # A SHA-256 says enough about what arrives; without one Google has to be asked.
                expected = None if sha256 else self._there(name)
                if self._fetch(name, file, expected, sha256, sent):
                    return
            raise BlobCorruptError(f"{self._url}/{name} is not what was put there.")

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        try:
            return _stored(self._there(name), name)
        except BlobNotFoundError:
            return None

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        pages = self._client.list_blobs(
            self._bucket,
            prefix=self._folder + prefix,
            fields="items(name,size,generation),nextPageToken",
            timeout=self._patience.answer_s,
            retry=self._retry,
        ).pages
        while (page := self._asked(lambda: next(pages, None), prefix)) is not None:
            for blob in page:
                yield _stored(blob, blob.name.removeprefix(self._folder))

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
                raise ObjectChangedError(f"{self._url}/{name}")
        blob = self._blob(name)
        try:
            self._asked(
                lambda: blob.delete(
                    if_generation_match=None if generation is None else int(generation),
                    timeout=self._patience.answer_s,
                    retry=self._retry,
                ),
                name,
            )
        except BlobNotFoundError:
            return False
        return True

    def _put_small(self, name: str, data: bytes, create_only: bool) -> Stored:
        crc, token = crc32c(data), secrets.token_hex(16)
        for _ in range(_TRIES_IF_DAMAGED):
            blob = self._blob(name)
            blob.metadata = {_TOKEN: token}
            try:
                self._asked(
                    lambda blob=blob: blob.upload_from_string(  # type: ignore[misc]
                        data,
                        content_type=_CONTENT_TYPE,
                        checksum="crc32c",
                        if_generation_match=0 if create_only else None,
                        timeout=self._patience.answer_s,
                        retry=self._retry,
                    ),
                    name,
                )
            except ObjectChangedError as error:
                return self._mine(name, token, error)
            except BlobCorruptError:
                continue  # Google has noticed, and kept nothing
            if blob.crc32c == crc:
                return _stored(blob, name)
            self.delete(name, generation=str(blob.generation))
        raise BlobCorruptError(f"{self._url}/{name} does not arrive as it was sent.")

    def _put_large(
        self, name: str, path: Path, create_only: bool, sha256: str | None, sent: Sent
    ) -> Stored:
        seen, token = fingerprint(path), secrets.token_hex(16)
        changed = BlobCorruptError(f"'{path}' has changed while it was put at {self._url}/{name}.")
        if sha256 not in (None, seen.sha256):
            raise changed
        upload = Upload(
            path=path,
            seen=seen,
            address=f"{self._url}/{name}" + (" create" if create_only else ""),
            begin=lambda: self._session(name, seen, token, create_only),
        )
        for _ in range(_TRIES_IF_DAMAGED):
            try:
                described = self._asked(lambda: self._resumable.put(upload, sent), name)
            except ObjectChangedError as error:
                return self._mine(name, token, error)
            except BlobCorruptError:
                described = {}  # Google has noticed, and kept nothing
            if described.get("crc32c") == seen.crc32c:
                return Stored(
                    name=name, size_bytes=seen.size_bytes, generation=str(described["generation"])
                )
            if described:
                self.delete(name, generation=str(described["generation"]))
            if fingerprint(path) != seen:
                raise changed
            sent(-seen.size_bytes)
        raise BlobCorruptError(f"{self._url}/{name} does not arrive as it was sent.")

    def _session(self, name: str, seen: Fingerprint, token: str, create_only: bool) -> str:
        blob = self._blob(name)
        blob.metadata, blob.crc32c = {_TOKEN: token}, seen.crc32c
        return str(
            blob.create_resumable_upload_session(
                content_type=_CONTENT_TYPE,
                size=seen.size_bytes,
                checksum=None,
                if_generation_match=0 if create_only else None,
                timeout=self._patience.answer_s,
                retry=self._retry,
            )
        )

    def _mine(self, name: str, token: str, error: ObjectChangedError) -> Stored:
        """The object that is there already, if it came of an attempt whose answer was lost."""
        there = self._there(name)
        if (there.metadata or {}).get(_TOKEN) != token:
            raise ObjectExistsError(f"{self._url}/{name}") from error
        return _stored(there, name)

    def _fetch(
        self, name: str, file: IO[bytes], expected: Any, sha256: str | None, sent: Sent
    ) -> bool:
        """Fill the file; False where what has arrived is something else."""
        file.seek(0)
        file.truncate()
        whole, crc, arrived = hashlib.sha256(), checksum(), 0
        generation = expected and expected.generation
        while True:
            chunk = self._again_if_damaged(
                lambda start=arrived: self._fetched(name, start, _CHUNK_BYTES, generation),  # type: ignore[misc]
                name,
            )
            for one in (whole, crc):
                one.update(chunk)
            file.write(chunk)
            sent(len(chunk))
            arrived += len(chunk)
            if len(chunk) < _CHUNK_BYTES:
                break
        if whole.hexdigest() == sha256 if sha256 else as_google_writes(crc) == expected.crc32c:
            return True
        sent(-arrived)
        return False

    def _fetched(
        self, name: str, start: int, length: int | None, generation: int | None = None
    ) -> bytes:
        whole = start == 0 and length is None
        blob = self._bucket.blob(self._folder + name, generation=generation)
        try:
            data = blob.download_as_bytes(
                start=None if whole else start,
                end=None if length is None else start + length - 1,
                raw_download=True,
                checksum="auto" if whole else None,
                timeout=self._patience.answer_s,
                retry=self._retry,
            )
        except self._errors.beyond_its_end:
            return b""
        return bytes(data)

    def _again_if_damaged(self, do: Callable[[], bytes], name: str) -> bytes:
        for _ in range(_TRIES_IF_DAMAGED - 1):
            try:
                return self._asked(do, name)
            except BlobCorruptError:
                continue
        return self._asked(do, name)

    def _there(self, name: str) -> Any:
        blob = self._blob(name)
        self._asked(lambda: blob.reload(timeout=self._patience.answer_s, retry=self._retry), name)
        return blob

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(self._folder + name)

    def _asked(self, do: Callable[[], T], name: str) -> T:
        """Do it, with errors of ours."""
        try:
            done = do()
        except self._errors.kinds as error:
            full = self._folder + name
            raise self._errors.translated(error, full, is_there=self._is_there) from error
        self._seen = True
        return done

    def _is_there(self) -> bool:
        """Whether the bucket is: Google says "not found" of it as of an object."""
        if self._seen:
            return True
        try:
            next(
                iter(self._client.list_blobs(self._bucket, max_results=1, retry=self._retry)), None
            )
        except self._errors.kinds as error:
            return not self._errors.is_not_found(error)
        self._seen = True
        return True


def _stored(blob: Any, name: str) -> Stored:
    return Stored(name=name, size_bytes=int(blob.size), generation=str(blob.generation))


def _connection(credentials: Any) -> Any:
    """One session for all requests, with as many connections as there are threads."""
    session = optional("google.auth.transport.requests", extra="gcp").AuthorizedSession(credentials)
    adapter = optional("requests.adapters", extra="gcp").HTTPAdapter
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter(pool_maxsize=_CONNECTIONS))
    return session


def _retry(patience: Patience) -> Any:
    """As Google's client wants to be told."""
    return (
        optional("google.cloud.storage.retry", extra="gcp")
        .DEFAULT_RETRY.with_delay(initial=patience.first_s, maximum=patience.most_s, multiplier=2.0)
        .with_timeout(patience.deadline_s)
    )
