"""Delete one person's data from every room; see docs/retention.md for what is done in which order.

First the person's recordings are marked, in the transaction that writes down who asked: from then
on no dataset gives them out. The rows of its transcripts go last, since it is by them that a run
that was killed finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from misheard.blobs.store import BlobStore
from misheard.cases.standing import Standing
from misheard.database import audit, tallies
from misheard.database.discarded import delete_discarded, discard, hold_blobs, portions
from misheard.database.engine import now, writing
from misheard.database.schema import audit as audit_table
from misheard.database.schema import (
    case_types,
    corrections,
    cycles,
    error_cases,
    forgotten,
    inferences,
    jobs,
    selections,
    speaker_norms,
    suite_cases,
    versions,
)
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.split import Split
from misheard.errors import BadInputError
from misheard.forgetting.erasing import Rewritten, erasing_engine, rewrite
from misheard.forgetting.job_files import erase_from_job, jobs_with
from misheard.forgetting.person import (
    Person,
    Traces,
    all_forgotten,
    counts_of,
    marked_by,
    traces_of,
)
from misheard.forgetting.verdicts import Verdicts
from misheard.forgetting.words import Eraser

_ASKED = "forget"
_DONE = "forgotten"
_ROWS_AT_ONCE = 200


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
    ) -> None:
        """`copies` lists what else holds the whole database, as files."""
        self._plain_engine = engine
        self._blobs = blobs
        self._jobs_root = jobs_root
        self._copies = copies

    def look(self, person: Person) -> Forgotten:
        """What there is of a person; nothing is changed."""
        with self._plain_engine.connect() as connection:
            traces = traces_of(connection, person)
            found = counts_of(connection, traces)
            rows = Datasets(self._plain_engine, self._blobs).naming(traces.recordings)
            return Forgotten(
                person_sha256=person.digest,
                is_dry_run=True,
                found=found,
                datasets={key: len(some) for key, some in rows.items()},
                versions=_versions(connection, rows),
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
        engine = erasing_engine(self._plain_engine)
        try:
            done = _Run(engine, self._blobs, self._jobs_root).forget(
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


class _Run:
    """One request, on connections that overwrite what they delete."""

    def __init__(self, engine: Engine, blobs: BlobStore, jobs_root: Path) -> None:
        self._engine = engine
        self._blobs = blobs
        self._jobs_root = jobs_root
        self._datasets = Datasets(engine, blobs)
        self._verdicts = Verdicts(engine, blobs)

    def forget(
        self,
        person: Person,
        *,
        actor: str,
        reason: str,
        busy: Callable[[Connection, frozenset[str]], tuple[str, ...]],
    ) -> dict[str, Any]:
        asked, traces, evidence = self._begin(person, actor, reason)
        # Others' requests, too: what was still busy then may have ended.
        every = all_forgotten(self._engine)
        named = self._datasets.naming(every)
        eraser = self._eraser(traces, every)
        changed = self._verdicts.erase(eraser, general=self._in_evaluation(named))
        changed["audit_entries"] = self._verdicts.erase_said(frozenset(traces.ids), eraser)
        changed["observations"] = self._verdicts.erase_observed(self._names(traces))
        withdrawn = self._datasets.withdraw(every)
        with self._engine.connect() as connection:
            working = busy(connection, every)
        changed["job_copies"] = sum(
            erase_from_job(self._jobs_root, job_id, Eraser(every))
            for job_id in jobs_with(self._jobs_root, every)
            if job_id not in working
        )
        for start in range(0, len(traces.ids), _ROWS_AT_ONCE):
            self._delete(traces.ids[start : start + _ROWS_AT_ONCE])
        self._forget_norm(person.id)
        self._discard_left(every)
        # What a process was writing when it was killed may be of anybody.
        changed["unfinished_blobs"] = self._blobs.sweep()
        changed["blobs"] = delete_discarded(self._engine, self._blobs.delete, self._datasets.in_use)
        if asked:
            self._finish(person, actor, asked, withdrawn | changed)
        return {
            "found": evidence["found"],
            "datasets": evidence["datasets"],
            "versions": tuple(evidence["versions"]),
            "shared_recordings": traces.shared,
            "referred_only": traces.referred_only,
            "busy": working,
            "changed": changed,
        }

    def _begin(self, person: Person, actor: str, reason: str) -> tuple[int, Traces, dict[str, Any]]:
        """Mark the recordings, with who asked; one that a killed run began with goes on."""
        with self._engine.connect() as connection:
            # Manifests are large: nobody need wait until they are read.
            rows = self._datasets.naming(traces_of(connection, person).recordings)
        with writing(self._engine) as connection:
            hold_blobs(connection, alone=True)
            asked = _unfinished(connection, person)
            marked = marked_by(connection, asked) if asked else []
            traces = traces_of(connection, person, also=marked)
            evidence = {
                "found": counts_of(connection, traces),
                "datasets": {key: len(some) for key, some in rows.items()},
                "versions": list(_versions(connection, rows)),
            }
            if asked:
                evidence = _evidence(connection, asked)
            elif not traces:
                return 0, traces, evidence
            else:
                entry = audit.AuditEntry(
                    actor=actor,
                    action=_ASKED,
                    subject=person.digest,
                    reason=reason,
                    evidence=evidence,
                )
                audit.record(connection, entry)
                asked = _unfinished(connection, person)
            _mark(connection, traces.recordings, asked)
        return asked, traces, evidence

    def _eraser(self, traces: Traces, every: frozenset[str]) -> Eraser:
        texts: set[str] = set()
        with self._engine.connect() as connection:
            for some in portions(list(traces.ids)):
                for table in (corrections, suite_cases):
                    query = select(table.c.reference).where(table.c.inference_id.in_(some))
                    texts.update(connection.scalars(query))
        for rows in self._datasets.naming(every).values():
            texts.update(row.reference for row in rows)
        return Eraser(every, frozenset(texts - {""}), traces.groups - {""})

    def _in_evaluation(self, named: dict[str, Any]) -> bool:
        return any(
            self._datasets.get(dataset_id).purpose is Purpose.EVALUATION for dataset_id in named
        )

    def _names(self, traces: Traces) -> frozenset[str]:
        """What figures that were told of a recording may call it."""
        names = set(traces.ids) | traces.recordings
        with self._engine.connect() as connection:
            for some in portions(list(traces.ids)):
                query = select(inferences.c.source, inferences.c.client_id)
                for row in connection.execute(query.where(inferences.c.id.in_(some))):
                    names.update(name for name in row if name)
        return frozenset(names)

    def _delete(self, ids: Sequence[str]) -> None:
        """Transcripts and all that hangs on them, in one transaction."""
        with writing(self._engine) as connection:
            standing = Standing(connection)
            these = inferences.c.id.in_(ids)
            rows = connection.execute(select(inferences).where(these)).all()
            tallies.let_go(connection, rows)
            of_cases = error_cases.c.inference_id.in_(ids)
            for case in connection.execute(select(error_cases).where(of_cases)).all():
                standing.removed(case.since_cycle, case.status, case.suspicion)
            case_ids = select(error_cases.c.id).where(of_cases)
            connection.execute(delete(case_types).where(case_types.c.case_id.in_(case_ids)))
            for table in (suite_cases, corrections, error_cases, selections):
                connection.execute(delete(table).where(table.c.inference_id.in_(ids)))
            connection.execute(delete(inferences).where(these))
            discard(connection, (row.audio_sha256 for row in rows))
            for speaker in {row.speaker for row in rows if row.speaker}:
                _drop_norm(connection, speaker)
            standing.write()

    def _forget_norm(self, name: str) -> None:
        with writing(self._engine) as connection:
            _drop_norm(connection, name)

    def _discard_left(self, every: frozenset[str]) -> None:
        """What was there before its row was, or was put again since: not told by any row."""
        left = [key for key in sorted(every) if key in self._blobs]
        for some in portions(left):
            with writing(self._engine) as connection:
                discard(connection, some)

    def _finish(self, person: Person, actor: str, asked: int, figures: dict[str, int]) -> None:
        with writing(self._engine) as connection:
            if _unfinished(connection, person) != asked:
                return  # another process was faster
            entry = audit.AuditEntry(
                actor=actor, action=_DONE, subject=person.digest, evidence=figures
            )
            audit.record(connection, entry)


def _unfinished(connection: Connection, person: Person) -> int:
    """The number of the request that was begun and not finished; 0 where there is none."""

    def last(action: str) -> int:
        query = select(func.coalesce(func.max(audit_table.c.number), 0)).where(
            audit_table.c.action == action, audit_table.c.subject == person.digest
        )
        return int(connection.execute(query).scalar_one())

    asked = last(_ASKED)
    return asked if asked > last(_DONE) else 0


def _evidence(connection: Connection, number: int) -> dict[str, Any]:
    query = select(audit_table.c.evidence).where(audit_table.c.number == number)
    found: dict[str, Any] = connection.execute(query).scalar_one()
    return found


def _mark(connection: Connection, recordings: frozenset[str], asked: int) -> None:
    made = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(forgotten)
    rows = [
        {"audio_sha256": key, "created_at": now(), "audit_number": asked}
        for key in sorted(recordings)
    ]
    if rows:
        # Asked for again after the recording came in again: this request is the one that counts.
        newest = made.on_conflict_do_update(
            index_elements=["audio_sha256"], set_={"audit_number": asked}
        )
        connection.execute(newest, rows)


def _drop_norm(connection: Connection, speaker: str) -> None:
    """How fast a speaker speaks, unless another session of it is kept."""
    there = select(inferences.c.id).where(inferences.c.speaker == speaker).limit(1)
    if connection.execute(there).first() is None:
        connection.execute(delete(speaker_norms).where(speaker_norms.c.speaker == speaker))


def _versions(connection: Connection, named: dict[str, Any]) -> tuple[str, ...]:
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
