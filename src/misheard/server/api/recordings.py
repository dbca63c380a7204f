"""What kind of file a recording is, by its first bytes: never by what its sender called it."""

from __future__ import annotations

_MAGIC = (
    (0, b"RIFF", "audio/wav", ".wav"),
    (0, b"fLaC", "audio/flac", ".flac"),
    (0, b"OggS", "audio/ogg", ".ogg"),
    (0, b"ID3", "audio/mpeg", ".mp3"),
    (0, b"\xff\xfb", "audio/mpeg", ".mp3"),
    (4, b"ftyp", "audio/mp4", ".m4a"),
    (0, b"\x1aE\xdf\xa3", "audio/webm", ".webm"),
)


def media_type_of(data: bytes) -> tuple[str, str]:
    """Media type and suffix of a recording; of one that is none of the usual, any file's.

    >>> media_type_of(b"RIFF....WAVE")
    ('audio/wav', '.wav')
    >>> media_type_of(b"<html>")
    ('application/octet-stream', '')
    """
    for start, magic, media_type, suffix in _MAGIC:
        if data[start : start + len(magic)] == magic:
            return media_type, suffix
    return "application/octet-stream", ""
