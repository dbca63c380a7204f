"""Hashes of a file, or of bytes, as they are at one moment."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from misheard.optional import optional

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What there is to send, and when it was so."""

    size_bytes: int
    mtime_ns: int
    """Of a file; 0 of bytes, which do not change."""
    sha256: str
    crc32c: str
    """As Google writes it: base64 of four bytes, the highest first."""


def opened(content: bytes | Path) -> IO[bytes]:
    """To be read from its beginning."""
    return content.open("rb") if isinstance(content, Path) else BytesIO(content)


def fingerprint(content: bytes | Path) -> Fingerprint:
    """Reads it once."""
    whole, crc, size_bytes = hashlib.sha256(), checksum(), 0
    with opened(content) as file:
        mtime_ns = content.stat().st_mtime_ns if isinstance(content, Path) else 0
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
