"""One person's rows, recordings and words, deleted in the order that docs/retention.md gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, select

from misheard.blobs.store import BlobStore
from misheard.blobs.together import absent_from, delete_all, present, require_reachable
from misheard.capture.norms import drop_norms
from misheard.cases.standing import Standing
from misheard.database import tallies
from misheard.database.discarded import delete_discarded, discard, portions
from misheard.database.engine import writing
from misheard.database.schema import (
    case_types,
    corrections,
    error_cases,
    inferences,
    selections,
    suite_cases,
)
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.forgetting import requests
from misheard.forgetting.job_files import erase_from_job, jobs_with
from misheard.forgetting.person import IdKind, Person, Traces, found_of, referred_of, traces_of
from misheard.forgetting.verdicts import Verdicts
from misheard.forgetting.words import Eraser

_ROWS_AT_ONCE = 200


class Deletion:
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
        """What `Forgotten` is told of it; `busy` says what works with some recordings now."""
        asked, traces, evidence = self._begin(person, actor, reason)
        # Others' requests, too: what was still busy then may have ended.
        every = requests.all_marked(self._engine)
        named = self._datasets.naming(every)
        eraser = self._eraser(traces, every, named)
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
        if person.kind is IdKind.SPEAKER:
            with writing(self._engine) as connection:
                drop_norms(connection, [person.id])
        self._discard_left(every)
        # What a process was writing when it was killed may be of anybody.
        changed["unfinished_blobs"] = self._blobs.sweep()
        require_reachable(self._blobs)
        drop = partial(delete_all, self._blobs)
        in_use, absent = self._datasets.in_use, absent_from(self._blobs)
        changed["blobs"] = delete_discarded(self._engine, drop, in_use, absent=absent)
        if asked:
            figures = withdrawn | changed
            with writing(self._engine) as connection:
                requests.finish(connection, person, asked, actor=actor, figures=figures)
        return {
            **evidence,
            "versions": tuple(evidence["versions"]),
            "shared_recordings": traces.shared,
            "referred_only": traces.referred_only,
            "busy": working,
            "changed": changed,
        }

    def _begin(self, person: Person, actor: str, reason: str) -> tuple[int, Traces, dict[str, Any]]:
        """Mark the recordings, with who asked; one that a killed run began with goes on."""
        with self._engine.connect() as connection:
            # The log and manifests are large: nobody need wait until they are read.
            referred = referred_of(connection, person)
            found = traces_of(connection, person, referred)
            named = self._datasets.naming(found.recordings)
        with writing(self._engine) as connection:
            asked = requests.unfinished(connection, person)
            marked = requests.marked_by(connection, asked) if asked else []
            traces = traces_of(connection, person, referred, also=marked)
            if asked:
                evidence = requests.evidence_of(connection, asked)
            else:
                evidence = found_of(connection, traces, named)
                if not traces:
                    return 0, traces, evidence
                asked = requests.begin(
                    connection, person, actor=actor, reason=reason, evidence=evidence
                )
            requests.mark(connection, traces.recordings, asked)
        return asked, traces, evidence

    def _eraser(
        self, traces: Traces, every: frozenset[str], named: Mapping[str, Sequence[Row]]
    ) -> Eraser:
        texts: set[str] = set()
        with self._engine.connect() as connection:
            for some in portions(list(traces.ids)):
                for table in (corrections, suite_cases):
                    query = select(table.c.reference).where(table.c.inference_id.in_(some))
                    texts.update(connection.scalars(query))
        for rows in named.values():
            texts.update(row.reference for row in rows)
        return Eraser(every, frozenset(texts - {""}), traces.groups - {""})

    def _in_evaluation(self, named: Collection[str]) -> bool:
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
            drop_norms(connection, {row.speaker for row in rows if row.speaker})
            standing.write()

    def _discard_left(self, every: frozenset[str]) -> None:
        """What was there before its row was, or was put again since: not told by any row."""
        for some in portions(sorted(present(self._blobs, every))):
            with writing(self._engine) as connection:
                discard(connection, some)
