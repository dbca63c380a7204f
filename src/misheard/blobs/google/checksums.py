"""Hashes of a file as it is at one moment."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misheard.optional import optional

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A file's content, and when it had it."""

    size_bytes: int
    mtime_ns: int
    sha256: str
    crc32c: str
    """As Google writes it: base64 of four bytes, the highest first."""


def fingerprint(path: Path) -> Fingerprint:
    """Reads the file once."""
    whole, crc, size_bytes = hashlib.sha256(), checksum(), 0
    with path.open("rb") as file:
        mtime_ns = path.stat().st_mtime_ns
        while chunk := file.read(_CHUNK_BYTES):
            whole.update(chunk)
            crc.update(chunk)
            size_bytes += len(chunk)
    return Fingerprint(
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        sha256=whole.hexdigest(),
        crc32c=as_google_writes(crc),
    )


def crc32c(data: bytes) -> str:
    """Of bytes, as Google writes it."""
    crc = checksum()
    crc.update(data)
    return as_google_writes(crc)


def checksum() -> Any:
    """A CRC32C to be updated."""
    return optional("google_crc32c", extra="gcp").Checksum()


def as_google_writes(crc: Any) -> str:
    """Base64 of four bytes, the highest first."""
    return base64.b64encode(crc.digest()).decode()
