"""Large uploads to Google that go on where they were, also in another process.

Google keeps what has arrived of an upload for a week, under an address of its own ("resumable
session", https://cloud.google.com/storage/docs/resumable-uploads). That address is remembered in a
file, locked while its process lives, and deleted when the upload is done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from misheard.blobs.bucket import Sent
from misheard.blobs.google.checksums import Fingerprint, opened
from misheard.blobs.patience import Patience
from misheard.errors import BlobCorruptError
from misheard.optional import optional

_KEPT_S = 7 * 24 * 3600
_PASSES = (408, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_GOES_ON = 308


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file, or what would be a large one, on its way to a name in a bucket."""

    content: bytes | Path
    seen: Fingerprint
    address: str
    """gs://bucket/name, with whatever else makes it another upload."""
    begin: Callable[[], str]
    """Opens a session; returns its address."""
    is_there: Callable[[str], bool]
    """Whether the object is, of a generation."""


class _ExpiredError(Exception):
    """The session is no more."""


class Resumable:
    """Sends files in pieces through a session of requests."""

    def __init__(
        self, session: Any, patience: Patience, state: Path | None, *, piece_bytes: int
    ) -> None:
        """Google takes pieces of a multiple of 256 KiB."""
        self._session = session
        self._patience = patience
        self._state = state
        self._piece_bytes = piece_bytes
        self._api = optional("google.api_core.exceptions", extra="gcp")
        self._passing = (
            optional("requests", extra="gcp").RequestException,
            optional("urllib3", extra="gcp").exceptions.HTTPError,
            optional("google.auth.exceptions", extra="gcp").TransportError,
            ConnectionError,
        )

    def put(self, upload: Upload, sent: Sent) -> dict[str, Any]:
        """Send the file; returns the object as Google describes it."""
        with self._memory(upload) as memory:
            for address, arrived in self._sessions(memory, upload):
                try:
                    made = self._send(address, arrived, upload, sent)
                except _ExpiredError:
                    memory.forget()
                    continue
                except _PassingError as failure:
                    raise failure.error from failure  # what has arrived stays, and is remembered
                except self._api.GoogleAPIError:
                    memory.forget()
                    raise
                # A session that was done before says so, even if its object was deleted since.
                if arrived is not None or upload.is_there(str(made.get("generation", ""))):
                    return made
                sent(-upload.seen.size_bytes)
                memory.forget()
        raise self._api.ServiceUnavailable("Google has dropped the upload several times.")

    def _sessions(self, memory: _Memory, upload: Upload) -> Iterator[tuple[str, int | None]]:
        """The remembered one, then new ones; and what has arrived, where that is known."""
        if remembered := memory.read():
            yield remembered, None
        for _ in range(3):
            address = upload.begin()
            memory.write(address)
            yield address, 0

    def _send(
        self, address: str, arrived: int | None, upload: Upload, sent: Sent
    ) -> dict[str, Any]:
        told, attempts = _Told(sent), self._attempts()
        with opened(upload.content) as file, told:
            while True:
                try:
                    answer = self._step(address, file, arrived, upload.seen.size_bytes)
                    if isinstance(answer, dict):
                        told.arrived(upload.seen.size_bytes)
                        return answer
                    if arrived is not None and answer <= arrived:
                        stuck = f"Google says that {answer} bytes have arrived, and no more do."
                        raise _PassingError(self._api.ServiceUnavailable(stuck))
                except _PassingError:
                    if next(attempts, None) is None:
                        raise
                    arrived = None
                    continue
                if answer > told.size_bytes:
                    attempts = self._attempts()
                told.arrived(answer)
                # Where all has arrived, and Google does not make an object of it yet, it is asked.
                arrived = answer if answer < upload.seen.size_bytes else None

    def _attempts(self) -> Iterator[int]:
        """Those after the first."""
        attempts = self._patience.attempts()
        next(attempts)
        return attempts

    def _step(
        self, address: str, file: IO[bytes], arrived: int | None, size_bytes: int
    ) -> dict[str, Any] | int:
        """Send the next piece, or ask how much has arrived where that is not known.

        Returns that, or the object when all of it has.
        """
        data, what = b"", "*"
        if arrived is not None:
            file.seek(arrived)
            data = file.read(min(self._piece_bytes, size_bytes - arrived))
            if not data:
                raise BlobCorruptError("A file has become shorter while it was sent.")
            what = f"{arrived}-{arrived + len(data) - 1}"
        try:
            answer = self._session.put(
                address,
                data=data,
                headers={"Content-Range": f"bytes {what}/{size_bytes}"},
                timeout=self._patience.answer_s,
                allow_redirects=False,  # 308 is none here
            )
        except self._passing as error:
            raise _PassingError(error) from error
        return self._understood(answer)

    def _understood(self, answer: Any) -> dict[str, Any] | int:
        if answer.status_code in (200, 201):
            return dict(answer.json())
        if answer.status_code == _GOES_ON:
            found = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
            return int(found[1]) + 1 if found else 0
        if answer.status_code in _GONE:
            raise _ExpiredError
        error = self._api.from_http_response(answer)
        if answer.status_code in _PASSES:
            raise _PassingError(error)
        raise error

    @contextmanager
    def _memory(self, upload: Upload) -> Iterator[_Memory]:
        """The file of this upload; of a twin, which sends the same just now, nothing is known."""
        if self._state is None:
            yield _Memory(None)
            return
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_old(self._state)
        path = self._state / f"{_key(upload)}.session"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield _Memory(None)
                return
            yield _Memory(file)
            path.unlink(missing_ok=True)  # done; after an error it stays

    def _forget_old(self, state: Path) -> None:
        for path in state.glob("*.session"):
            try:
                if path.stat().st_mtime < time.time() - _KEPT_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process was first


class _Memory:
    """The address of a session, in a file that is locked; or in none."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file

    def read(self) -> str:
        return self._file.read().decode(errors="replace") if self._file else ""

    def write(self, address: str) -> None:
        if self._file is None:
            return
        self._file.seek(0)
        self._file.truncate()
        self._file.write(address.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def forget(self) -> None:
        self.write("")


class _Told:
    """What has been said of an upload; taken back where it ends in an error."""

    def __init__(self, sent: Sent) -> None:
        self.size_bytes = 0
        self._sent = sent

    def arrived(self, size_bytes: int) -> None:
        more, self.size_bytes = size_bytes - self.size_bytes, size_bytes
        self._sent(more)

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self.arrived(0)


class _PassingError(Exception):
    """Something that passes by itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _key(upload: Upload) -> str:
    seen = upload.seen
    what = [upload.address, seen.size_bytes, seen.mtime_ns, seen.sha256]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
