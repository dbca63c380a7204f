"""What a file lacks, told from its lengths."""

from __future__ import annotations

SEVERAL = "it holds several recordings, one after the other"


class NotWholeError(Exception):
    """What is missing or wrong in a file."""


def require_name(kind: bytes, at: int) -> None:
    """Refuse what should be the name of a part and is no text."""
    if not all(0x20 <= byte < 0x7F for byte in kind):
        raise NotWholeError(f"what follows byte {at} is no part of it")


def require_bytes(data: bytes, at: int, size: int, what: str) -> None:
    """Refuse a part that begins here and ends beyond the file."""
    if size > len(data) - at:
        there = max(0, len(data) - at)
        raise NotWholeError(f"{what} should have {size} bytes, and {there} are there")
