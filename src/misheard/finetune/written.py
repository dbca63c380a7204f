"""Files that are written complete or not at all, and by one at a time."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for every other thread and process that is in here with the same file; it stays."""
    # Opened for writing, as network file systems lock no other.
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def finite(number: float | None) -> float | None:
    """The number, or None for what JSON has no word for: NaN and infinity."""
    return number if number is not None and math.isfinite(number) else None


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Store `values` at `path`; a kill leaves what was there before."""
    write_text(path, json.dumps(values, indent=2))


def write_text(path: Path, text: str) -> None:
    """Store `text` at `path`; a kill leaves what was there before."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)
