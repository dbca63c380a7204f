"""Moves what a workspace has in its directory to its buckets, or copies all of it home.

Killed anywhere, nothing is lost, and the next run goes on: a file is deleted here only once the
bucket has it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, delete

from misheard.blobs.bucket import Sent
from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.layered import LayeredBlobs
from misheard.blobs.store import BlobStore
from misheard.blobs.together import absent_from, delete_all, each, present, stores_of
from misheard.blobs.transfers import in_threads
from misheard.capture.copies import forgotten_of
from misheard.database import audit
from misheard.database.claims import left_behind, release
from misheard.database.discarded import (
    InUse,
    delete_discarded,
    discard,
    put_announced,
    referred_to,
)
from misheard.database.engine import writing
from misheard.database.schema import discarded
from misheard.errors import BlobCorruptError, BlobNotFoundError, NoBucketError
from misheard.integrity.files import references

_AT_ONCE = 100
"""Files that travel before those here are deleted."""
Watching = Callable[[str, int], Sent]
"""Given what is done, and how many bytes there are; the result is told of each that is done."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What a run came to; a dry run, what it would come to."""

    files: int
    """That travelled."""
    bytes: int
    known: int
    """That were there already."""
    forgotten: int
    """Copies in the directory of recordings that somebody had deleted on another machine: gone."""
    unused: int
    """Files in the directory that no row points at: they stay, and are not sent."""
    failed: tuple[str, ...]
    """Files that are damaged or nowhere, with what is wrong; they kept no other from its way."""
    is_dry_run: bool


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What belongs into one bucket."""

    far: BlobStore
    keys: frozenset[str]
    """Those of a run that rows point at."""
    known: frozenset[str]
    """Of these, what is where it is to be."""

    @property
    def new(self) -> list[str]:
        return sorted(self.keys - self.known)


class Syncing:
    """Between the directory of a workspace and its buckets."""

    def __init__(
        self,
        engine: Engine,
        here: DirectoryBlobs,
        blobs: BlobStore,
        model_blobs: BlobStore,
        *,
        in_use: InUse,
        buckets: Collection[str] = (),
    ) -> None:
        """`blobs` and `model_blobs`: the stores of the workspace; `in_use`: see `discarded`.

        `buckets`: their addresses.
        """
        self._buckets = buckets
        self._engine = engine
        self._here = here
        self._blobs = blobs
        self._model_blobs = model_blobs
        self._in_use = in_use

    def to_bucket(self, *, actor: str, watching: Watching, dry_run: bool = False) -> Synced:
        """Move what is in the directory: sent, looked at there, and only then deleted here.

        What no row points at is not sent. Raises `NoBucketError` where all belongs here.
        """
        here = set(self._here)
        named = self._named()
        parts = []
        for far, keys in self._belonging(named):
            mine = frozenset(keys & here)
            parts.append(_Part(far=far, keys=mine, known=frozenset(present(far, mine))))
        gone = self._forgotten_of(here)
        unused = here - gone - set().union(*named.values())
        size = sum(self._size_here(key) for part in parts for key in part.new)
        failed: list[str] = []
        if not dry_run:
            delete_all(self._here, gone)
            # What is there already is read, which takes as long.
            looked_at = sum(self._size_here(key) for part in parts for key in part.known)
            sent = watching("moving files to the bucket", size + looked_at)
            for part in parts:
                for some in _batches(sorted(part.keys)):
                    failed += self._move(part, some, sent)
            if not left_behind(self._engine, self._buckets):
                absent = absent_from(*stores_of(self._blobs, self._model_blobs))
                delete_discarded(self._engine, self._delete, self._in_use, absent=absent)
        return self._done(actor, "to the bucket", parts, size, gone, unused, failed, dry_run)

    def home(self, *, actor: str, watching: Watching, dry_run: bool = False) -> Synced:
        """Copy all that rows point at into the directory; only what is missing travels.

        The bucket keeps what it has. Raises `NoBucketError` where all is here anyway.
        """
        here = set(self._here)
        named = self._named()
        parts = [
            _Part(far=far, keys=frozenset(keys), known=frozenset(keys & here))
            for far, keys in self._belonging(named)
        ]
        gone = self._forgotten_of(here)
        unused = here - gone - set().union(*named.values())
        sizes = [size for part in parts for size in self._sizes(part)]
        failed: list[str] = []
        if not dry_run:
            delete_all(self._here, gone)
            sent = watching("copying files home", sum(sizes))
            for part in parts:
                for some in _batches(part.new):
                    failed += self._copy(part.far, some, sent)
        return self._done(actor, "home", parts, sum(sizes), gone, unused, failed, dry_run)

    def release(self, address: str, *, actor: str) -> None:
        """Note that a bucket that was used before is empty: nothing is looked for there again.

        Until then nothing is deleted anywhere. Raises `BadInputError` where it is in use.
        """
        release(self._engine, address, self._buckets, actor=actor)

    def _named(self) -> dict[bool, set[str]]:
        """Keys that rows point at; True: those of models' files."""
        found: dict[bool, set[str]] = {False: set(), True: set()}
        with self._engine.connect() as connection:
            for one in references(connection, self._blobs):
                found[one.is_of_model].add(one.sha256)
        return found

    def _belonging(self, named: dict[bool, set[str]]) -> list[tuple[BlobStore, set[str]]]:
        """The buckets, with the keys that belong there."""
        stores = ((self._blobs, named[False]), (self._model_blobs, named[True]))
        found = [(store.far, keys) for store, keys in stores if isinstance(store, LayeredBlobs)]
        if not found:
            raise NoBucketError(
                'Name one in its misheard.toml: [storage] blobs = "gs://BUCKET/FOLDER", or for one '
                "call: MISHEARD_STORAGE__BLOBS=gs://BUCKET/FOLDER misheard sync"
            )
        return found

    def _move(self, part: _Part, keys: Sequence[str], sent: Sent) -> list[str]:
        """Into the bucket, all at once; what could not be stays, and is told."""
        arrived: set[str] = set()
        failed: dict[str, str] = {}

        def send(key: str, sent: Sent) -> None:
            try:
                if key in part.known and _is_whole(part.far, key):
                    sent(self._size_here(key))
                    arrived.add(key)
                    return
                path = self._here.path(key)
                if part.far.put_file(path, sent=sent) != key:
                    raise BlobCorruptError(f"'{path}' has changed since it was written.")
                arrived.add(key)
            except (BlobNotFoundError, FileNotFoundError):
                # Gone, it was moved or let go of by another process; else that is the bucket's.
                if key in self._here:
                    raise
            except BlobCorruptError as error:
                failed[key] = f"{key}: {error}"

        def send_all() -> None:
            # Nobody who stops it waits for what is on its way.
            in_threads(keys, send, sent, part.far.at_once)

        put_announced(self._engine, set(keys) - part.known, send_all)
        done = sorted(set(keys) - failed.keys())
        with writing(self._engine) as connection:
            # What was let go of or forgotten meanwhile may have come after it was deleted there.
            used = referred_to(connection, done) | self._in_use(connection, done)
            discard(connection, set(done) - used)
            connection.execute(delete(discarded).where(discarded.c.sha256.in_(used)))
        delete_all(self._here, arrived)
        return [failed[key] for key in sorted(failed)]

    def _copy(self, far: BlobStore, keys: Sequence[str], sent: Sent) -> list[str]:
        failed: dict[str, str] = {}

        def fetch(key: str, sent: Sent) -> None:
            try:
                self._here.copy_from(far, key, sent=sent)
            except (BlobCorruptError, BlobNotFoundError) as error:
                failed[key] = f"{key}: {error}"

        in_threads(keys, fetch, sent, far.at_once)
        # A person's voice that was deleted on another machine while it was copied.
        delete_all(self._here, self._forgotten_of(set(keys)))
        return [failed[key] for key in sorted(failed)]

    def _sizes(self, part: _Part) -> list[int]:
        """Of what is to be copied; 0 for what is nowhere, which is told when it is copied."""

        def size(key: str) -> int:
            try:
                return part.far.size_bytes(key)
            except BlobNotFoundError:
                return 0

        return [found for _, found in each(part.far, size, part.new)]

    def _size_here(self, key: str) -> int:
        """0 where another process has moved it."""
        try:
            return self._here.size_bytes(key)
        except BlobNotFoundError:
            return 0

    def _forgotten_of(self, keys: Collection[str]) -> set[str]:
        with self._engine.connect() as connection:
            return forgotten_of(connection, keys)

    def _delete(self, keys: Collection[str]) -> None:
        for store in stores_of(self._blobs, self._model_blobs):
            delete_all(store, keys)

    def _done(
        self,
        actor: str,
        where: str,
        parts: Sequence[_Part],
        size: int,
        gone: Collection[str],
        unused: Collection[str],
        failed: Sequence[str],
        dry_run: bool,
    ) -> Synced:
        new = sum(len(part.new) for part in parts)
        done = Synced(
            files=max(0, new - len(failed)),
            bytes=size,
            known=sum(len(part.known) for part in parts),
            forgotten=len(gone),
            unused=len(unused),
            failed=tuple(failed),
            is_dry_run=dry_run,
        )
        if not dry_run:
            figures = {"files": done.files, "bytes": size, "failed": len(failed)}
            entry = audit.AuditEntry(
                actor=actor, action="sync", subject="files", to_value=where, evidence=figures
            )
            with writing(self._engine) as connection:
                audit.record(connection, entry)
        return done


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))


def _is_whole(far: BlobStore, key: str) -> bool:
    """Whether the bucket has it as it was; what is damaged there is deleted, to be sent again."""
    try:
        far.verify(key)
    except BlobNotFoundError:
        return False
    except BlobCorruptError:
        far.delete(key)
        return False
    return True
