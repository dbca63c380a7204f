"""Delete one person's data from every room; see docs/retention.md for what is done in which order.

First the person's recordings are marked, in the transaction that writes down who asked: from then
on no dataset gives them out. The rows of its transcripts go last, since it is by them that a run
that was killed finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from misheard.blobs.store import BlobStore
from misheard.database.claims import require_known
from misheard.database.engine import now
from misheard.database.schema import cycles, jobs
from misheard.datasets.datasets import Datasets
from misheard.errors import BadInputError
from misheard.forgetting.deletion import Deletion
from misheard.forgetting.erasing import Rewritten, erasing_engine, rewrite
from misheard.forgetting.job_files import jobs_with
from misheard.forgetting.person import Person, found_of, referred_of, traces_of


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What was found of a person and what became of it; with a dry run, what would."""

    person_sha256: str
    is_dry_run: bool
    found: dict[str, int]
    """Rows of each kind, and recordings."""
    datasets: dict[str, int]
    """Dataset → its utterances that are withdrawn."""
    versions: tuple[str, ...]
    """Model versions that were trained on any of it, or descend from one that was. Their weights
    stay as they are."""
    shared_recordings: int
    """They stay, since a transcript of somebody else is of the same bytes."""
    referred_only: int
    """Transcripts whose audio was never here: delete it where it is kept."""
    backups: tuple[str, ...]
    """Copies of the database that may hold all of it still."""
    busy: tuple[str, ...]
    """Jobs that train on it now, and cycles that somebody works on: ask again once they have
    ended."""
    changed: dict[str, int] = field(default_factory=dict)
    """What else was changed or deleted."""
    rewritten: Rewritten | None = None
    """What became of the database's file; None without SQLite, and in a dry run."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is left in this workspace, its backups included."""
        clean = self.rewritten is None or self.rewritten.is_clean
        return clean and not self.busy and not self.backups and not self.is_dry_run


class Forgetting:
    """Deletes what belongs to a person; killed anywhere and asked again, it ends the same."""

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        *,
        jobs_root: Path,
        copies: Callable[[], Sequence[Path]],
        buckets: Collection[str] = (),
    ) -> None:
        """`copies` lists what else holds the whole database, as files.

        `buckets`: addresses of those that the stores are in.
        """
        self._buckets = buckets
        self._plain_engine = engine
        self._blobs = blobs
        self._jobs_root = jobs_root
        self._copies = copies

    def look(self, person: Person) -> Forgotten:
        """What there is of a person; nothing is changed."""
        with self._plain_engine.connect() as connection:
            traces = traces_of(connection, person, referred_of(connection, person))
            named = Datasets(self._plain_engine, self._blobs).naming(traces.recordings)
            return Forgotten(
                **found_of(connection, traces, named),
                person_sha256=person.digest,
                is_dry_run=True,
                shared_recordings=traces.shared,
                referred_only=traces.referred_only,
                backups=tuple(map(str, self._copies())),
                busy=self._busy(connection, traces.recordings),
            )

    def forget(
        self,
        person: Person,
        *,
        actor: str,
        reason: str,
        delete_backups: bool = False,
        rewrite_file: bool | None = None,
    ) -> Forgotten:
        """Delete all of it, and say what that was.

        `rewrite_file`: whether SQLite's file is written anew, without what deleted rows may have
        left in it; it takes a while, in which nobody else can write. By default up to 500 MB.
        """
        if not reason.strip():
            raise BadInputError("Say why it is deleted: it stands in the audit log.")
        require_known(self._plain_engine, self._buckets)
        engine = erasing_engine(self._plain_engine)
        try:
            done = Deletion(engine, self._blobs, self._jobs_root).forget(
                person, actor=actor, reason=reason, busy=self._busy
            )
        finally:
            engine.dispose()
        rewritten = rewrite(self._plain_engine, wanted=rewrite_file)
        if delete_backups:
            for path in self._copies():
                path.unlink(missing_ok=True)
        return Forgotten(
            **done,
            person_sha256=person.digest,
            is_dry_run=False,
            backups=tuple(map(str, self._copies())),
            rewritten=rewritten,
        )

    def _busy(self, connection: Connection, recordings: frozenset[str]) -> tuple[str, ...]:
        """What works with these recordings at this moment."""
        running = set(connection.scalars(select(jobs.c.id).where(jobs.c.ended_at.is_(None))))
        # One that nobody works on has nothing in memory, and will read what is there then.
        going = cycles.c.lease_until > now()
        found = running.intersection(jobs_with(self._jobs_root, recordings))
        if recordings:
            found.update(connection.scalars(select(cycles.c.id).where(going)))
        return tuple(sorted(found))
