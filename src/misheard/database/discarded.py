"""Blobs that may go: noted in the transaction that lets go of them, deleted in a later one.

A blob is a file, which no transaction can bring back. So what is to be deleted is a row first, and
deletes are done by whoever comes next, as often as need be: what a killed process leaves is found.
That is done while no other transaction writes, so a blob that is there when a row comes to name it
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from itertools import islice

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from misheard.database.engine import now, writing
from misheard.database.schema import (
    datasets,
    discarded,
    inferences,
    suite_cases,
    validations,
    versions,
)

AT_ONCE = 500
"""Keys a query: every database takes so many."""
_FILES_AT_ONCE = 200
"""A few hundredths of a second, for which other writers wait."""

_UNDER_WAY = timedelta(hours=1)
"""How long what was announced may take to arrive."""

InUse = Callable[[Connection, Collection[str]], set[str]]
"""Which of some keys are in use in ways that no row tells, such as in the manifest of a dataset."""


def discard(connection: Connection, keys: Iterable[str]) -> None:
    """Note blobs that one reference fewer names; whether it was the last is looked at later."""
    rows = [{"sha256": key, "created_at": now()} for key in sorted(set(keys) - {""})]
    if rows:
        made = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(discarded)
        newest = {"created_at": made.excluded.created_at}
        noted = made.on_conflict_do_update(index_elements=[discarded.c.sha256], set_=newest)
        connection.execute(noted, rows)


def put_announced(engine: Engine, keys: Iterable[str], put: Callable[[], object]) -> None:
    """Put blobs that rows will name in a later transaction; killed before that, they go again.

    In that transaction, look whether they are still there: nothing named them until then. Those
    that rows name are off the list once that transaction calls `kept`, or `delete_discarded` has
    looked at them.
    """
    with writing(engine) as connection:
        discard(connection, keys)
    put()


def kept(connection: Connection, keys: Iterable[str]) -> None:
    """Take recordings off the list that a row of the inference log names."""
    for some in portions(sorted(set(keys))):
        named = select(inferences.c.audio_sha256).where(inferences.c.audio_sha256.in_(some))
        query = delete(discarded).where(discarded.c.sha256.in_(some))
        connection.execute(query.where(discarded.c.sha256.in_(named)))


def unknown_blobs(engine: Engine, keys: Iterable[str], in_use: InUse) -> Iterator[str]:
    """Which of the blobs that are there nothing names, and nobody has noted as one that may go.

    Each portion is looked up after it was found, so what is announced first is always known.
    """
    found = iter(keys)
    while some := list(islice(found, AT_ONCE)):
        with engine.connect() as connection:
            yield from sorted(unknown_of(connection, some, in_use))


def unknown_of(connection: Connection, keys: list[str], in_use: InUse) -> set[str]:
    """Which of at most `AT_ONCE` keys nothing names, and nobody has noted."""
    noted = select(discarded.c.sha256).where(discarded.c.sha256.in_(keys))
    known = set(connection.scalars(noted)) | referred_to(connection, keys)
    return set(keys) - known - in_use(connection, keys)


def delete_discarded(
    engine: Engine,
    drop: Callable[[Collection[str]], object],
    in_use: InUse,
    *,
    absent: Callable[[Collection[str]], set[str]] = lambda _: set(),
) -> int:
    """Delete what was noted and is named by nothing; how many blobs that were.

    `absent` says which of some keys are not there, and may be on their way to a bucket: those that
    were noted within the hour are left alone, and noted, for a later run.
    """
    deleted, after = 0, ""
    while True:
        with engine.connect() as connection:
            query = select(discarded.c.sha256).order_by(discarded.c.sha256)
            query = query.where(discarded.c.sha256 > after)
            keys = list(connection.scalars(query.limit(_FILES_AT_ONCE)))
            if not keys:
                return deleted
            after = keys[-1]
            # Before the lock is taken: manifests are large, and are read only once.
            in_use(connection, keys)
        coming = absent(keys)
        with writing(engine) as connection:
            query = select(discarded.c.sha256).where(discarded.c.sha256.in_(coming))
            query = query.where(discarded.c.created_at > now() - _UNDER_WAY)
            keys = sorted(set(keys) - set(connection.scalars(query)))
            used = referred_to(connection, keys) | in_use(connection, keys)
            unused = sorted(set(keys) - used)
            drop(unused)
            deleted += len(unused)
            connection.execute(delete(discarded).where(discarded.c.sha256.in_(keys)))


def referred_to(connection: Connection, keys: Collection[str]) -> set[str]:
    """Which of `keys` a row points at; what manifests hold is in none."""
    kept = select(versions.c.files).where(versions.c.pruned_at.is_(None))
    found = {key for files in connection.scalars(kept) for key in files.values()}
    for column in (
        datasets.c.manifest_sha256,
        inferences.c.audio_sha256,
        suite_cases.c.audio_sha256,
        validations.c.utterances_sha256,
    ):
        for some in portions(list(keys)):
            found.update(connection.scalars(select(column).where(column.in_(some)).distinct()))
    return found & set(keys)


def portions(keys: list[str]) -> Iterable[list[str]]:
    """At most `AT_ONCE` of them at a time."""
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]
