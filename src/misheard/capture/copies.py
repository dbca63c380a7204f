"""Copies at home of what was let go of on another machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Engine, select

from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.store import BlobStore
from misheard.blobs.together import delete_all
from misheard.database.discarded import (
    InUse,
    portions,
    referred_to,
    unknown_blobs,
    unknown_of,
)
from misheard.database.engine import writing
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


def drop_unknown(engine: Engine, stores: Collection[BlobStore], in_use: InUse) -> int:
    """Delete what nothing names any more: audio, and manifests and utterances that were replaced.

    How many there were. With a bucket nothing is written at home; where models are, what is being
    added comes before its row, and nothing is deleted.
    """
    layered = [store for store in stores if isinstance(store, LayeredBlobs)]
    if len(layered) < len(stores):
        return 0
    dropped = 0
    for store in layered:
        for some in portions(sorted(unknown_blobs(engine, store.near, in_use))):
            # Looked at once more while nobody writes a row that may name it.
            with writing(engine) as connection:
                unknown = unknown_of(connection, some, in_use)
                delete_all(store.near, unknown)
            dropped += len(unknown)
    return dropped
