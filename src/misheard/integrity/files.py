"""Every file that a row points at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from misheard.blobs.store import BlobStore
from misheard.database.schema import (
    datasets,
    forgotten,
    inferences,
    suite_cases,
    validations,
    versions,
)
from misheard.datasets.manifest import from_jsonl
from misheard.errors import BlobCorruptError, BlobNotFoundError, InvalidManifestError

_STREAM = {"yield_per": 10_000}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A file, and who points at it."""

    sha256: str
    owner: str
    """For people: "version v-1, model.bin", "audio of inferences"."""
    is_audio: bool
    is_of_model: bool = False
    """A version's: it may be in a store of its own."""


def references(connection: Connection, blobs: BlobStore) -> Iterator[Reference]:
    """Each file once, in no order; what manifests hold, but for audio that somebody had deleted.

    What stays in memory grows with the datasets, not with the inference log.
    """
    seen: set[str] = set()
    gone = set(connection.scalars(select(forgotten.c.audio_sha256)))
    for reference in (*_of_versions(connection), *_of_verdicts(connection)):
        if reference.sha256 not in seen:
            seen.add(reference.sha256)
            yield reference
    for reference in _of_datasets(connection, blobs):
        is_gone = reference.is_audio and reference.sha256 in gone
        if reference.sha256 not in seen and not is_gone:
            seen.add(reference.sha256)
            yield reference
    tables = ((suite_cases, "permanent cases of suites"), (inferences, "the inference log"))
    for table, name in tables:
        column = table.c.audio_sha256
        query: Select[Any] = select(column).where(column != "").distinct()
        rows = connection.scalars(query, execution_options=_STREAM)
        for key in rows:
            if key not in seen:
                yield Reference(sha256=key, owner=f"audio of {name}", is_audio=True)


def had_deleted(connection: Connection) -> set[str]:
    """Audio that somebody had deleted and nobody has said since, though a row may still name it.

    A run that was killed leaves such rows, and the next one finishes.
    """
    again = (inferences.c.audio_sha256 == forgotten.c.audio_sha256) & (
        inferences.c.created_at > forgotten.c.created_at
    )
    return set(connection.scalars(select(forgotten.c.audio_sha256).where(~exists().where(again))))


def _of_versions(connection: Connection) -> Iterator[Reference]:
    query = select(versions.c.id, versions.c.files).where(versions.c.pruned_at.is_(None))
    for row in connection.execute(query):
        for name, key in row.files.items():
            owner = f"version {row.id}, {name}"
            yield Reference(sha256=key, owner=owner, is_audio=False, is_of_model=True)


def _of_verdicts(connection: Connection) -> Iterator[Reference]:
    for row in connection.execute(select(validations.c.id, validations.c.utterances_sha256)):
        owner = f"utterances of validation {row.id}"
        yield Reference(sha256=row.utterances_sha256, owner=owner, is_audio=False)


def _of_datasets(connection: Connection, blobs: BlobStore) -> Iterator[Reference]:
    for row in connection.execute(select(datasets.c.id, datasets.c.manifest_sha256)).all():
        owner = f"manifest of dataset {row.id}"
        yield Reference(sha256=row.manifest_sha256, owner=owner, is_audio=False)
        try:
            utterances = from_jsonl(blobs.get_bytes(row.manifest_sha256))
        except (BlobNotFoundError, BlobCorruptError, InvalidManifestError):
            continue  # which is found when the manifest itself is looked at
        for one in utterances:
            owner = f"audio of dataset {row.id}"
            yield Reference(sha256=one.audio_sha256, owner=owner, is_audio=True)
