"""Blobs in a directory: `ab/abcdef…`, read-only files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from misheard.errors import BlobCorruptError, BlobNotFoundError, DiskFullError

_CHUNK_BYTES = 1 << 20


class DirectoryBlobs:
    """A `BlobStore` in a local or shared directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        key = hashlib.sha256(data).hexdigest()
        if key in self:
            return key
        with (
            _room_for_more(self._root),
            tempfile.NamedTemporaryFile(dir=self._root, prefix=".put-", delete=False) as file,
        ):
            partial = Path(file.name)
            try:
                file.write(data)
                file.flush()
                self._keep(file.fileno(), partial, key)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return key

    def put_file(self, path: Path) -> str:
        """See `BlobStore`."""
        with (
            _room_for_more(self._root),
            path.open("rb") as source,
            tempfile.NamedTemporaryFile(dir=self._root, prefix=".put-", delete=False) as file,
        ):
            partial, digest = Path(file.name), hashlib.sha256()
            try:
                # Hashed while it is copied, so that key and content agree even if it changes.
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                self._keep(file.fileno(), partial, digest.hexdigest())
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return digest.hexdigest()

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        data = self._existing(key).read_bytes()
        if hashlib.sha256(data).hexdigest() != key:
            raise BlobCorruptError(f"'{self._path(key)}' has changed since it was written.")
        return data

    def fetch(self, key: str, target: Path) -> None:
        """See `BlobStore`; a hard link where the file system allows one."""
        self.verify(key)
        source = self._path(key)
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(self._existing(key), target)

    def verify(self, key: str) -> None:
        """See `BlobStore`."""
        path = self._existing(key)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise BlobNotFoundError(f"{key} has just been deleted.") from error
        with file:
            if hashlib.file_digest(file, "sha256").hexdigest() != key:
                raise BlobCorruptError(f"'{path}' has changed since it was written.")

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError as error:
            raise BlobNotFoundError(f"{key} is not in '{self._root}'.") from error

    def __contains__(self, key: str) -> bool:
        return _is_key(key) and self._path(key).exists()

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self._root.glob("??/*"))

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        if _is_key(key):
            self._path(key).unlink(missing_ok=True)

    def _keep(self, descriptor: int, partial: Path, key: str) -> None:
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
        path = self._path(key)
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_directory(self._root)
        partial.rename(path)
        _sync_directory(path.parent)

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.exists():
            raise BlobNotFoundError(f"{key} is not in '{self._root}'.")
        return path

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise BlobNotFoundError(f"'{key}' is no SHA-256.")
        return self._root / key[:2] / key


def _is_key(key: str) -> bool:
    return len(key) == 64 and set(key) <= set("0123456789abcdef")


def _sync_directory(path: Path) -> None:
    """A rename is only durable once the directory is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _room_for_more(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"'{root}': nothing was added. Make room, then go on.") from error
