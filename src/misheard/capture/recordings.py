"""Recordings on their way into the workspace: announced, put, and named by a row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, Engine

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.blobs.together import put_missing
from misheard.database.discarded import kept, put_announced
from misheard.errors import NotAudioError
from misheard.tags import noise_band


class Recording(Protocol):
    """What can be put."""

    @property
    def sha256(self) -> str: ...  # noqa: D102

    def read(self) -> bytes:
        """Its bytes, once more."""
        ...


@dataclass(frozen=True, kw_only=True)
class File:
    """A recording that is somewhere else; held without its samples, for there may be thousands."""

    path: str
    sha256: str
    size_bytes: int
    duration_s: float
    tags: Mapping[str, str]
    """Those that are measured."""

    def read(self) -> bytes:
        """Its bytes; `NotAudioError` where they are not what they were."""
        data = audio.read_bytes(self.path)
        if audio.sha256_of(data) != self.sha256:
            raise NotAudioError(f"'{self.path}' changed while it was read.")
        return data


class Recordings:
    """Puts audio that rows of the inference log are about to name."""

    def __init__(self, engine: Engine, blobs: BlobStore) -> None:
        self._engine = engine
        self._blobs = blobs

    def copy(self, paths: Sequence[str]) -> list[File]:
        """Copy in the files at `paths`: all or, where one is no audio, none."""
        found = [_measured(path) for path in paths]
        self.put(found)
        return found

    def put(self, recordings: Sequence[Recording]) -> None:
        """Keep them until rows name them; killed before that, they go again."""
        each = {one.sha256: one for one in recordings}
        if not each:
            return
        put_announced(self._engine, each, partial(self._put_missing, each))

    def named(self, connection: Connection, recordings: Sequence[Recording]) -> None:
        """For the transaction that has just written the rows that name them.

        Retention may have deleted, since it was put, what an older row had as well; nobody deletes
        meanwhile.
        """
        each = {one.sha256: one for one in recordings}
        self._put_missing(each)
        kept(connection, each)

    def _put_missing(self, each: Mapping[str, Recording]) -> None:
        put_missing(self._blobs, {key: one.read for key, one in each.items()})


def local_path(source: str) -> str:
    """A source as it is to be kept: a file that is there by its absolute path.

    What is relative to where we are now would be another file elsewhere.
    """
    # Done for every transcript there is: `Path` takes ten times as long, and raises where a name is
    # too long for a file.
    if source.startswith("/") or "://" in source or not os.path.exists(source):  # noqa: PTH110
        return source
    return os.path.abspath(source)  # noqa: PTH100


def _measured(path: str) -> File:
    data = audio.read_bytes(path)
    clip = audio.decode(data, name=path)
    return File(
        path=path,
        sha256=clip.sha256,
        size_bytes=len(data),
        duration_s=clip.duration_s,
        tags=noise_band(clip.samples),
    )
