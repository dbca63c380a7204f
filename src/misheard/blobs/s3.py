"""A bucket of S3, or of a server that speaks its language."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

from misheard.blobs.arriving import arriving
from misheard.blobs.bucket import PIECE_BYTES, Sent, Stored, unwatched
from misheard.blobs.patience import PATIENT, Patience
from misheard.blobs.s3_errors import S3Errors
from misheard.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ObjectChangedError,
    ObjectExistsError,
)
from misheard.optional import optional

_PARTS_AT_ONCE = 4
_TRIES_IF_DAMAGED = 3
_SHA256, _TOKEN = "sha256", "misheard-put"
_SECONDS = ("first_s", "most_s", "deadline_s", "answer_s")
T = TypeVar("T")


class S3Bucket:
    """A `Bucket` in S3, told where by AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and the like.

    What S3 cannot do as Google does:

    - A large upload goes on within the process alone: its parts are tried again each by itself,
      but those of a process that was killed cannot be found again. S3 keeps them, unseen, and
      bills them. An upload that fails takes its parts away with it; against kills set a rule:
      `aws s3api put-bucket-lifecycle-configuration` with AbortIncompleteMultipartUpload.
    - `create_only` of more than 8 MiB looks whether there is an object before it sends: of two who
      do so at once, both may send.
    - A generation is an ETag: the same content written again has the same. That of a `delete` is
      compared before, with a gap between the two.

    The SHA-256 of each object is kept beside it and checked when the whole of it is read.
    """

    def __init__(
        self,
        bucket: str,
        folder: str = "",
        *,
        endpoint: str = "",
        patience: Patience = PATIENT,
        piece_bytes: int = PIECE_BYTES,
        page_objects: int = 1000,
    ) -> None:
        """`endpoint`: another server than Amazon's, such as http://127.0.0.1:9000.

        `piece_bytes`: of what is larger, so much travels at once; S3 takes no less than 5 MiB.
        `page_objects`: how many a listing takes at once.
        """
        self._url = f"s3://{bucket}/{folder}".rstrip("/")
        self._folder = f"{folder}/" if folder else ""
        self._patience = patience
        self._piece_bytes = piece_bytes
        self._page_objects = page_objects
        self._obstore = optional("obstore", extra="s3")
        self._errors = S3Errors(bucket)
        self._store = self._opened(bucket, endpoint, retries=0)
        self._parts = self._opened(bucket, endpoint, retries=1000)
        self._seen = False

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
        if isinstance(content, Path) and content.stat().st_size > self._piece_bytes:
            with content.open("rb") as file:
                meant = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
            if create_only and self.stat(name) is not None:
                raise ObjectExistsError(f"{self._url}/{name}")
            return self._put_large(name, content, meant, sent)
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        found = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, found):
            raise BlobCorruptError(f"What was to be put at {self._url}/{name} has changed.")
        stored = self._put_small(name, data, found, create_only)
        sent(len(data))
        return stored

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See `Bucket`."""
        if length == 0:
            self._there(name)
            return b""
        if start or length is not None:
            return self._range(name, start, length)
        for _ in range(_TRIES_IF_DAMAGED):
            data, expected = self._asked(lambda: self._whole(name), name)
            if expected in (None, hashlib.sha256(data).hexdigest()):
                return data
        raise BlobCorruptError(f"{self._url}/{name} is not what was put there.")

    def download(
        self, name: str, target: Path, *, sha256: str | None = None, sent: Sent = unwatched
    ) -> None:
        """See `Bucket`."""
        with arriving(target) as file:
            for _ in range(_TRIES_IF_DAMAGED):
                etag, expected = None, sha256
                if expected is None:
                    there = self._there(name)
                    etag, expected = there.meta["e_tag"], there.attributes.get(_SHA256)
                if self._fetch(name, file, etag, expected, sent):
                    return
            raise BlobCorruptError(f"{self._url}/{name} is not what was put there.")

    def stat(self, name: str) -> Stored | None:
        """See `Bucket`."""
        try:
            return _stored(self._there(name).meta, name)
        except BlobNotFoundError:
            return None

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        # obstore lists folders; what the name of an object begins with it does not know.
        folder, last = prefix.rpartition("/")[0] or None, None
        while page := self._asked(lambda: self._page(folder, last), prefix):  # noqa: B023
            for meta in page:
                if meta["path"].startswith(prefix):
                    yield _stored(meta, meta["path"])
            last = page[-1]["path"]

    def delete(self, name: str, *, generation: str | None = None) -> bool:
        """See `Bucket`."""
        there = self.stat(name)
        if there is None:
            return False
        if generation not in (None, there.generation):
            raise ObjectChangedError(f"{self._url}/{name}")
        self._asked(lambda: self._obstore.delete(self._store, name), name)
        return True

    def _put_small(self, name: str, data: bytes, sha256: str, create_only: bool) -> Stored:
        token = secrets.token_hex(16)

        def put() -> Any:
            attributes = {_SHA256: sha256, _TOKEN: token}
            mode = "create" if create_only else "overwrite"
            return self._obstore.put(
                self._store, name, data, attributes=attributes, mode=mode, use_multipart=False
            )

        try:
            done = self._asked(put, name, writes=True)
        except ObjectExistsError:
            there = self._there(name)
            if there.attributes.get(_TOKEN) != token:
                raise
            return _stored(there.meta, name)  # of an attempt whose answer was lost
        return Stored(name=name, size_bytes=len(data), generation=str(done["e_tag"]))

    def _put_large(self, name: str, path: Path, sha256: str, sent: Sent) -> Stored:
        told = 0

        def tell(size_bytes: int) -> None:
            nonlocal told
            told += size_bytes
            sent(size_bytes)

        def put() -> Any:
            tell(-told)  # of an attempt before
            return self._obstore.put(
                self._parts,
                name,
                _pieces(path, sha256, self._piece_bytes, tell),
                attributes={_SHA256: sha256},
                chunk_size=self._piece_bytes,
                max_concurrency=_PARTS_AT_ONCE,
            )

        done = self._asked(put, name, writes=True)
        return Stored(name=name, size_bytes=told, generation=str(done["e_tag"]))

    def _page(self, folder: str | None, last: str | None) -> list[Any]:
        """What comes after the name `last`."""
        # A new listing each time: one that has failed says afterwards that there is no more.
        listing = self._obstore.list(
            self._store, prefix=folder, offset=last, chunk_size=self._page_objects
        )
        return list(next(listing, ()))

    def _whole(self, name: str) -> tuple[bytes, str | None]:
        answer = self._obstore.get(self._store, name)
        return bytes(answer.bytes()), answer.attributes.get(_SHA256)

    def _fetch(
        self, name: str, file: IO[bytes], etag: str | None, sha256: str | None, sent: Sent
    ) -> bool:
        """Fill the file; False where what has arrived is something else."""
        file.seek(0)
        file.truncate()
        digest, arrived = hashlib.sha256(), 0
        try:
            while chunk := self._range(name, arrived, self._piece_bytes, etag):
                digest.update(chunk)
                file.write(chunk)
                sent(len(chunk))
                arrived += len(chunk)
                if len(chunk) < self._piece_bytes:
                    break
        except ObjectChangedError:
            pass  # somebody has written it since we looked: from the beginning
        else:
            if sha256 in (None, digest.hexdigest()):
                return True
        sent(-arrived)
        return False

    def _range(self, name: str, start: int, length: int | None, etag: str | None = None) -> bytes:
        options: dict[str, Any] = {"range": {"offset": start}}
        if length is not None:
            options["range"] = (start, start + length)
        if etag is not None:
            options["if_match"] = etag

        def get() -> bytes:
            try:
                return bytes(self._obstore.get(self._store, name, options=options).bytes())
            except self._errors.kinds as error:
                if self._errors.is_beyond_its_end(error):
                    return b""
                raise

        return self._asked(get, name)

    def _there(self, name: str) -> Any:
        head = {"head": True}
        return self._asked(lambda: self._obstore.get(self._store, name, options=head), name)

    def _asked(self, do: Callable[[], T], name: str, *, writes: bool = False) -> T:
        """Do it, again where that may help, with errors of ours.

        Where it writes, what is not found is the bucket: an object need not be there.
        """
        failed: Exception | None = None
        for _ in self._patience.attempts():
            try:
                done = do()
            except self._errors.exists as error:
                raise ObjectExistsError(f"{self._url}/{name}") from error
            except self._errors.changed as error:
                raise ObjectChangedError(f"{self._url}/{name}") from error
            except self._errors.kinds as error:
                failed = error
                if not self._errors.passes(error):
                    break
            else:
                self._seen = True
                return done
        if failed is None:
            raise ValueError("patience has to allow for one attempt")
        full = self._folder + name
        is_there = _never if writes else self._is_there
        raise self._errors.translated(failed, full, is_there=is_there) from failed

    def _is_there(self) -> bool:
        """Whether the bucket is: S3 does not always say which of the two is not."""
        if self._seen:
            return True
        try:
            next(iter(self._obstore.list(self._store, chunk_size=1)), None)
        except self._errors.kinds as error:
            return not self._errors.is_no_bucket(error)
        self._seen = True
        return True

    def _opened(self, bucket: str, endpoint: str, *, retries: int) -> Any:
        patience = self._patience
        seconds = {name: timedelta(seconds=getattr(patience, name)) for name in _SECONDS}
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
        return optional("obstore.store", extra="s3").S3Store(
            bucket,
            prefix=self._folder or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(hours=1),  # what stalls is what `read_timeout` notices
                "read_timeout": seconds["answer_s"],
            },
            retry_config={
                "max_retries": retries,
                "retry_timeout": seconds["deadline_s"],
                "backoff": {
                    "init_backoff": seconds["first_s"],
                    "max_backoff": seconds["most_s"],
                    "base": 2,
                },
            },
            **({"endpoint": endpoint} if endpoint else {}),
        )


def _never() -> bool:
    return False


def _pieces(path: Path, sha256: str, piece_bytes: int, sent: Sent) -> Iterator[bytes]:
    """A file in pieces; before the end it is an error if it was not the content that was meant."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(piece_bytes):
            digest.update(chunk)
            yield chunk
            sent(len(chunk))
    if digest.hexdigest() != sha256:
        # obstore takes the parts away again.
        raise BlobCorruptError(f"'{path}' has changed, or is not what was meant: {sha256}.")


def _stored(meta: Any, name: str) -> Stored:
    return Stored(name=name, size_bytes=int(meta["size"]), generation=str(meta["e_tag"]))
