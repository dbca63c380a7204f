"""Whose data it is, and what there is of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.sql import ColumnElement

from misheard.database.discarded import portions
from misheard.database.schema import (
    corrections,
    error_cases,
    inferences,
    selections,
    speaker_norms,
    suite_cases,
    versions,
)
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.errors import BadInputError


class IdKind(StrEnum):
    """What a request to delete names; the names are columns of `inferences`."""

    SPEAKER = "speaker"
    SESSION = "session"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is to be forgotten, by the caller's own id."""

    kind: IdKind
    id: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.id:
            raise BadInputError(f"The id of the {self.kind} is empty.")

    @property
    def digest(self) -> str:
        """What the audit log calls it: the SHA-256 of kind and id."""
        return hashlib.sha256(f"{self.kind}:{self.id}".encode()).hexdigest()

    @property
    def rows(self) -> ColumnElement[bool]:
        """Which inferences name it."""
        return inferences.c[self.kind.value] == self.id

    @property
    def nobody(self) -> ColumnElement[bool]:
        """Which inferences name nobody in its place."""
        return inferences.c[self.kind.value].is_(None)


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What the inference log holds of a person."""

    ids: tuple[str, ...]
    """Inferences of the same recordings that name nobody, then those that name it: it is by these
    that a run that was killed finds the others."""
    recordings: frozenset[str]
    """SHA-256 of its audio that nobody else's transcript refers to."""
    shared: int
    """Recordings that stay, since a transcript of somebody else is of the same bytes."""
    referred_only: int
    """Transcripts whose audio was never here: it is where its owner keeps it."""
    groups: frozenset[str]
    """What it is called in statistics."""
    has_norm: bool
    """Whether it is kept how fast it speaks, as it may be where all of its transcripts are gone."""

    def __bool__(self) -> bool:
        return bool(self.ids) or self.has_norm


def referred_of(connection: Connection, person: Person) -> dict[str, str]:
    """Inferences that name nobody, whose recording is elsewhere under a name that is the person's.

    Each with the SHA-256 of what was copied in since. A `source` that somebody else's has as well
    is no name of one recording; and where both are kept, their bytes say whether they are one.

    The whole log is read for it, so ask before anybody has to wait.
    """
    column = inferences.c[person.kind.value]
    source, key = inferences.c.source, inferences.c.audio_sha256
    theirs = (person.rows, source != "")
    if connection.execute(select(inferences.c.id).where(*theirs).limit(1)).first() is None:
        return {}
    named = select(source).where(*theirs)
    elsewhere = select(source).where(*theirs, key == "")
    others = select(source).where(column.is_not(None), column != person.id, source.in_(named))
    query = select(inferences.c.id, key).where(
        person.nobody,
        source.in_(named),
        source.not_in(others),
        or_(key == "", source.in_(elsewhere)),
    )
    return {row.id: row.audio_sha256 for row in connection.execute(query)}


def traces_of(
    connection: Connection,
    person: Person,
    referred: Mapping[str, str],
    *,
    also: Collection[str] = (),
) -> Traces:
    """What there is of a person.

    `referred` is what `referred_of` has found; `also` are recordings of it whose rows may be gone
    already.
    """
    columns = (
        inferences.c.id,
        inferences.c.audio_sha256,
        inferences.c.speaker_group,
    )
    rows = connection.execute(select(*columns).where(person.rows)).all()
    keys = ({row.audio_sha256 for row in rows} | set(referred.values()) | set(also)) - {""}
    theirs = keys - _of_others(connection, person, keys)
    nameless = {one for one, key in referred.items() if not key or key in theirs}
    for some in portions(sorted(theirs)):
        query = select(inferences.c.id).where(inferences.c.audio_sha256.in_(some), person.nobody)
        nameless.update(connection.scalars(query))
    return Traces(
        ids=(*sorted(nameless), *sorted(row.id for row in rows)),
        recordings=frozenset(theirs),
        shared=len(keys - theirs),
        referred_only=sum(not row.audio_sha256 for row in rows),
        groups=frozenset(row.speaker_group for row in rows),
        has_norm=person.kind is IdKind.SPEAKER and _has_norm(connection, person.id),
    )


def _has_norm(connection: Connection, speaker: str) -> bool:
    query = select(speaker_norms.c.speaker).where(speaker_norms.c.speaker == speaker)
    return connection.execute(query).first() is not None


def _of_others(connection: Connection, person: Person, keys: set[str]) -> set[str]:
    found: set[str] = set()
    for some in portions(sorted(keys)):
        column = inferences.c[person.kind.value]
        query = select(inferences.c.audio_sha256).where(
            inferences.c.audio_sha256.in_(some), column.is_not(None), column != person.id
        )
        found.update(connection.scalars(query))
    return found


def found_of(
    connection: Connection, traces: Traces, named: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """How much there is of it, for whoever asks and for the audit log: fields of `Forgotten`.

    `named` are the rows of each dataset that names one of its recordings.
    """
    return {
        "found": _counts_of(connection, traces),
        "datasets": {dataset_id: len(rows) for dataset_id, rows in named.items()},
        "versions": _versions(connection, named),
    }


def _counts_of(connection: Connection, traces: Traces) -> dict[str, int]:
    found = Counter(
        inferences=len(traces.ids),
        recordings=len(traces.recordings),
        speaker_norms=int(traces.has_norm),
    )
    for name, table in (
        ("cases", error_cases),
        ("corrections", corrections),
        ("selections", selections),
        ("suite_cases", suite_cases),
    ):
        for some in portions(list(traces.ids)):
            query = select(func.count()).where(table.c.inference_id.in_(some))
            found[name] += connection.execute(query).scalar_one()
    return dict(found)


def _versions(connection: Connection, named: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """Versions that were trained on these rows, and all that were made from those."""
    learnt = [
        dataset_id
        for dataset_id, rows in named.items()
        if any(row.split is not Split.TEST for row in rows)
    ]
    found: set[str] = set()
    query = select(versions.c.id, versions.c.parent_id, versions.c.dataset_id)
    rows = connection.execute(query.order_by(versions.c.created_at)).all()
    found.update(row.id for row in rows if row.dataset_id in learnt)
    while more := {row.id for row in rows if row.parent_id in found} - found:
        found |= more
    return tuple(row.id for row in rows if row.id in found)
