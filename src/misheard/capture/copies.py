"""Copies at home of recordings that somebody had deleted on another machine."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, select

from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.store import BlobStore
from misheard.blobs.together import delete_all
from misheard.database.schema import forgotten


def drop_forgotten(engine: Engine, stores: Iterable[BlobStore]) -> int:
    """Delete them: whoever deleted the recording has seen the bucket and his own disk only.

    How many there were. Nothing is asked of the bucket.
    """
    dropped = 0
    for store in stores:
        if not isinstance(store, LayeredBlobs) or not (here := set(store.near)):
            continue
        with engine.connect() as connection:
            gone = here.intersection(connection.scalars(select(forgotten.c.audio_sha256)))
        delete_all(store.near, gone)
        dropped += len(gone)
    return dropped
