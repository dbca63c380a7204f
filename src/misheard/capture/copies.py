"""Copies at home of what was let go of on another machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Engine, select

from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.store import BlobStore
from misheard.blobs.together import delete_all
from misheard.database.discarded import referred_to
from misheard.database.schema import forgotten


def forgotten_of(connection: Connection, keys: Collection[str]) -> set[str]:
    """Which of these recordings somebody had deleted, and have not come in again since."""
    gone = set(connection.scalars(select(forgotten.c.audio_sha256))).intersection(keys)
    return gone - referred_to(connection, gone)


def drop_forgotten(engine: Engine, stores: Iterable[BlobStore]) -> int:
    """Delete them: whoever deleted the recording has seen the bucket and his own disk only.

    How many there were. Nothing is asked of the bucket.
    """
    dropped = 0
    for store in stores:
        if not isinstance(store, LayeredBlobs) or not (here := set(store.near)):
            continue
        with engine.connect() as connection:
            gone = forgotten_of(connection, here)
        delete_all(store.near, gone)
        dropped += len(gone)
    return dropped
