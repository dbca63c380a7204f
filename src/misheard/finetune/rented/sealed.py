"""Small records (JSON) in the bucket that carry a SHA-256 of all the rest of themselves.

A bucket checks what it keeps, but not all that is read: what comes in two pieces, because the
connection broke between them, is not checked as a whole.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from misheard.blobs.bucket import Bucket
from misheard.errors import BlobCorruptError

_SEAL = "sha256"
_TRIES = 2


def sealed(values: dict[str, Any]) -> bytes:
    """As it is kept."""
    return json.dumps(values | {_SEAL: _digest(values)}, indent=2).encode()


def read_sealed(bucket: Bucket, name: str) -> dict[str, Any]:
    """What `sealed` was given; what was damaged on its way comes again.

    Raises `BlobNotFoundError`, and `BlobCorruptError` where it is not what was sealed.
    """
    for _ in range(_TRIES):
        try:
            values = json.loads(bucket.get(name))
            if values.pop(_SEAL) == _digest(values):
                return dict(values)
        except (ValueError, TypeError, KeyError, AttributeError, BlobCorruptError):
            continue
    raise BlobCorruptError(f"{bucket.url}/{name} is not what the SHA-256 in it tells.")


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
