"""Blobs in a directory: `ab/abcdef…`, read-only files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import BlobStore, is_key
from misheard.errors import BlobCorruptError, BlobNotFoundError, DiskFullError

_CHUNK_BYTES = 1 << 20
_COPIED_BYTES = 8 << 20
_PARTIAL = ".put-"


class DirectoryBlobs:
    """A `BlobStore` in a local or shared directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    at_once = 1
    """See `BlobStore`."""

    def put_bytes(self, data: bytes) -> str:
        """See `BlobStore`."""
        key = hashlib.sha256(data).hexdigest()
        if key in self:
            return key
        with _room_for_more(self._root), self._partial() as file:
            file.write(data)
            self._keep(file, key)
        return key

    def put_file(self, path: Path, *, sent: Sent = unwatched) -> str:
        """See `BlobStore`."""
        digest = hashlib.sha256()
        with _room_for_more(self._root), path.open("rb") as source, self._partial() as file:
            # Hashed while it is copied, so that key and content agree even if it changes.
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                sent(len(chunk))
            self._keep(file, digest.hexdigest())
        return digest.hexdigest()

    def get_bytes(self, key: str) -> bytes:
        """See `BlobStore`."""
        data = self._existing(key).read_bytes()
        if hashlib.sha256(data).hexdigest() != key:
            raise BlobCorruptError(f"'{self._path(key)}' has changed since it was written.")
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `BlobStore`."""
        with self._opened(key) as file:
            file.seek(start)
            return file.read(length)

    def fetch(self, key: str, target: Path, *, sent: Sent = unwatched) -> None:
        """See `BlobStore`; a hard link where the file system allows one."""
        self.verify(key)
        source = self._path(key)
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:
            shutil.copyfile(self._existing(key), target)
        sent(target.stat().st_size)

    def copy_from(self, store: BlobStore, key: str, *, sent: Sent = unwatched) -> None:
        """Keep a copy of what `store` has under a key; only what has that SHA-256."""
        for _ in range(2):  # what was damaged on its way is whole when it is fetched again
            with suppress(BlobCorruptError):
                self._copy_from(store, key, sent)
                return
        raise BlobCorruptError(f"What arrived is not {key}.")

    def _copy_from(self, store: BlobStore, key: str, sent: Sent) -> None:
        digest, start = hashlib.sha256(), 0
        size_bytes = store.size_bytes(key)
        with _room_for_more(self._root), self._partial() as file:
            while start < size_bytes:
                chunk = store.get_range(key, start, _COPIED_BYTES)
                if not chunk:
                    break
                digest.update(chunk)
                file.write(chunk)
                start += len(chunk)
                sent(len(chunk))
            if digest.hexdigest() != key:
                raise BlobCorruptError(f"What arrived is not {key}.")
            self._keep(file, key)

    def path(self, key: str) -> Path:
        """Where the content of a key is; nothing may be written there."""
        return self._existing(key)

    def verify(self, key: str) -> None:
        """See `BlobStore`."""
        with self._opened(key) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != key:
                raise BlobCorruptError(f"'{self._path(key)}' has changed since it was written.")

    def size_bytes(self, key: str) -> int:
        """See `BlobStore`."""
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError as error:
            raise BlobNotFoundError(f"{key} is not in '{self._root}'.") from error

    def __contains__(self, key: str) -> bool:
        return is_key(key) and self._path(key).exists()

    def __iter__(self) -> Iterator[str]:
        # What a file manager or a copier has left there is no blob.
        return (path.name for path in self._root.glob("??/*") if is_key(path.name))

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        if is_key(key):
            self._path(key).unlink(missing_ok=True)

    def sweep(self) -> int:
        """See `BlobStore`."""
        return sum(_delete_if_left(path) for path in self._root.glob(f"{_PARTIAL}*"))

    @contextmanager
    def _partial(self) -> Iterator[IO[bytes]]:
        """A new file, locked for as long as its writer lives, so that `sweep` leaves it alone."""
        while True:
            with tempfile.NamedTemporaryFile(dir=self._root, prefix=_PARTIAL, delete=False) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not os.fstat(file.fileno()).st_nlink:
                    continue  # swept between its making and its lock
                try:
                    yield file
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
                return

    def _keep(self, file: IO[bytes], key: str) -> None:
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
        path = self._path(key)
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_directory(self._root)
        Path(file.name).rename(path)
        _sync_directory(path.parent)

    def _opened(self, key: str) -> BufferedReader:
        try:
            return self._existing(key).open("rb")
        except FileNotFoundError as error:
            raise BlobNotFoundError(f"{key} has just been deleted.") from error

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.exists():
            raise BlobNotFoundError(f"{key} is not in '{self._root}'.")
        return path

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise BlobNotFoundError(f"'{key}' is no SHA-256.")
        return self._root / key[:2] / key


def _delete_if_left(path: Path) -> bool:
    try:
        # Over NFS only what is open for writing can be locked.
        with path.open("r+b" if os.access(path, os.W_OK) else "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever wrote it may have renamed it since: then this name is gone.
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


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
