"""Error cases and corrections: what a person says was really spoken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from numbers import Real
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, or_, select

from misheard.cases import counting, queries
from misheard.cases.measure import Outcome, compare
from misheard.cases.records import (
    CaseCounts,
    CaseStandings,
    CaseStatus,
    CaseTotals,
    Correction,
    ErrorCase,
    GivenCorrection,
    Labelled,
)
from misheard.cases.review import answer, forget_answers
from misheard.cases.standing import Standing
from misheard.database import audit, tallies
from misheard.database.details import checked_details
from misheard.database.engine import now, writing
from misheard.database.paging import older_than
from misheard.database.schema import (
    case_types,
    corrections,
    error_cases,
    hourly,
    inferences,
    suite_cases,
    traffic_totals,
)
from misheard.database.schema import tallies as tallies_table
from misheard.errors import BadInputError, UnknownIdError
from misheard.scoring.normalize import Normalizer, require_text

_COUNTED = (*CaseStatus, tallies.INFERENCE_ERRORS)


class Cases:
    """Opens cases, takes corrections, and hands out what was learnt."""

    def __init__(
        self,
        engine: Engine,
        *,
        normalizer: Normalizer,
        fetch_audio: Callable[[Sequence[str]], object] = lambda _: None,
    ) -> None:
        """`fetch_audio` is told whose audio will be needed, before anything is corrected."""
        self._engine = engine
        self._normalize = normalizer
        self._fetch_audio = fetch_audio

    def correct(self, given: Sequence[Correction]) -> list[bool]:
        """Store corrections, all or none; for each, whether the transcript was wrong.

        Where text and transcript differ after normalisation there is an error case; where only
        formatting differs, or nothing, it is a confirmation. Nothing is overwritten.
        """
        self._fetch_audio([correction.inference_id for correction in given])
        with writing(self._engine) as connection:
            return self.correct_in(connection, given)

    def correct_once(self, given: Correction) -> GivenCorrection:
        """`correct`, unless its author said the same last of that transcript: then nothing happens.

        So it may be sent again by whoever has seen no answer. What stands is returned.
        """
        self._fetch_audio([given.inference_id])
        c = corrections.c
        theirs = select(corrections).where(
            c.inference_id == given.inference_id, c.author == given.author
        )
        newest = theirs.order_by(c.number.desc()).limit(1)
        with writing(self._engine) as connection:
            known = connection.execute(newest).mappings().first()
            if known is None or (known["reference"], known["method"]) != (
                given.reference,
                given.method,
            ):
                self.correct_in(connection, [given])
                known = connection.execute(newest).mappings().one()
        return GivenCorrection(**known)

    def correct_in(self, connection: Connection, given: Sequence[Correction]) -> list[bool]:
        """`correct` inside the caller's transaction."""
        for correction in given:
            require_text(correction.reference, what=f"the correction of {correction.inference_id}")
            require_text(correction.author, what="the author of a correction")
            require_text(correction.method, what="the method of a correction")
        heard = _texts(connection, {c.inference_id for c in given})
        outcomes = [
            compare(heard[c.inference_id], c.reference, normalize=self._normalize) for c in given
        ]
        rows = [
            {
                **vars(correction),
                "details": checked_details(correction.details, what="a correction"),
                "created_at": now(),
                "is_error": bool(outcome.types),
            }
            for correction, outcome in zip(given, outcomes, strict=True)
        ]
        if rows:
            connection.execute(insert(corrections), rows)
        standing = Standing(connection)
        for correction, outcome in zip(given, outcomes, strict=True):
            # Before the case is decided: an audit asks whether one was open.
            answer(connection, correction, outcome)
            _keep_case(connection, standing, correction.inference_id, outcome)
        standing.write()
        audit.record(connection, *_audit_entries(given, heard, outcomes))
        return [bool(outcome.types) for outcome in outcomes]

    def open(
        self,
        inference_id: str,
        error_types: Sequence[str] = (),
        *,
        actor: str | None = None,
        suspicion: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Mark a transcript as believed wrong; the id of its case.

        `suspicion` is the chance that it is wrong, 0 to 1. A case that exists is left as it is. The
        audit log says that `actor` has opened it, where somebody has.
        """
        with writing(self._engine) as connection:
            return self.open_in(
                connection,
                inference_id,
                error_types,
                actor=actor,
                suspicion=suspicion,
                details=details,
            )

    def open_in(
        self,
        connection: Connection,
        inference_id: str,
        error_types: Sequence[str] = (),
        *,
        actor: str | None = None,
        suspicion: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """`open` inside the caller's transaction."""
        if suspicion is not None and not (isinstance(suspicion, Real) and 0 <= suspicion <= 1):
            raise BadInputError(f"The score of a case must be from 0 to 1, got {suspicion!r}.")
        if isinstance(error_types, str) or not isinstance(error_types, Iterable):
            raise BadInputError(f"Error types are a list of names, got {error_types!r}.")
        for name in error_types:
            require_text(name, what="a type of error")
        _texts(connection, {inference_id})
        case_id = _case_of(connection, inference_id)
        if case_id is not None:
            return case_id
        kept = checked_details(details, what="a case")
        chance = None if suspicion is None else float(suspicion)
        standing = Standing(connection)
        status = queries.status_of(connection, inference_id)
        case_id = standing.opened(inference_id, status, suspicion=chance, details=kept)
        standing.write()
        _insert_types(connection, case_id, error_types, given=True)
        if actor is not None:
            entry = audit.AuditEntry(
                actor=require_text(actor, what="who opens a case"),
                action="open_case",
                subject=inference_id,
                to_value=case_id,
                evidence={"suspicion": chance},
            )
            audit.record(connection, entry)
        return case_id

    def get(self, case_id: str) -> ErrorCase:
        """One case, by its id or by that of its transcript."""
        this = or_(error_cases.c.id == case_id, error_cases.c.inference_id == case_id)
        with self._engine.connect() as connection:
            found = queries.cases(connection, queries.CASES.where(this))
        if not found:
            raise UnknownIdError(f"There is no error case '{case_id}'. See: misheard cases")
        return found[0]

    def listed(
        self,
        *,
        status: CaseStatus | None = None,
        error_type: str | None = None,
        speaker_group: str | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int | None = 50,
        before: str | None = None,
    ) -> list[ErrorCase]:
        """Cases for which all that is given holds, newest first; `limit` None gives all.

        With `before`, those after the case of that id.
        """
        query = queries.CASES.order_by(error_cases.c.created_at.desc(), error_cases.c.id.desc())
        with self._engine.connect() as connection:
            wanted = queries.chosen(
                connection,
                status=status,
                error_type=error_type,
                speaker_group=speaker_group,
                tags=tags or {},
            )
            if before is not None:
                wanted.append(older_than(connection, error_cases, before))
            return queries.cases(connection, query.where(*wanted).limit(limit))

    def corrections(
        self,
        *,
        inference_id: str | None = None,
        limit: int | None = 50,
        before: int | None = None,
    ) -> list[GivenCorrection]:
        """Every correction and confirmation ever given, newest first; `limit` None gives all.

        With `inference_id`, those of one transcript; with `before`, those after that number.
        """
        query = select(corrections).order_by(corrections.c.number.desc()).limit(limit)
        if inference_id is not None:
            query = query.where(corrections.c.inference_id == inference_id)
        if before is not None:
            query = query.where(corrections.c.number < before)
        with self._engine.connect() as connection:
            return [GivenCorrection(**row) for row in connection.execute(query).mappings()]

    def counts(
        self, *, since: datetime | None = None, min_suspicion: float | None = None
    ) -> CaseCounts:
        """Counts of everything, or of what was opened or labelled since then.

        With `min_suspicion`, a case that nobody has corrected counts only if its suspicion reaches
        it, or if its reporter gave none.
        """
        with self._engine.connect() as connection:
            return counting.counts(connection, since=since, min_suspicion=min_suspicion)

    def since_cycle(self, *, min_suspicion: float = 0.0) -> tuple[int, int]:
        """Error cases, and corrected ones, opened or labelled since the newest cycle began.

        Of cases that nobody has corrected those count whose suspicion reaches `min_suspicion`, in
        whole percents, or whose reporter gave none. It costs the same after any time.
        """
        with self._engine.connect() as connection:
            return counting.since_cycle(connection, min_suspicion=min_suspicion)

    def standings(self) -> CaseStandings:
        """How many cases stand how; counted as they came, so that it costs nothing to ask."""
        with self._engine.connect() as connection:
            return counting.standings(connection)

    def totals(self) -> CaseTotals:
        """Everything that was ever kept."""
        with self._engine.connect() as connection:
            return counting.totals(connection)

    def labelled(self) -> Iterator[Labelled]:
        """Every utterance with a correction or a confirmation, the newest word on each."""
        with self._engine.connect() as connection:
            yield from queries.labelled(connection)

    def clear(self, *, actor: str) -> int:
        """Forget every case and correction, for good; how many cases there were.

        What was heard stays in the inference log; datasets stay as they are, those of suites too.
        """
        with writing(self._engine) as connection:
            count = connection.execute(select(func.count()).select_from(error_cases)).scalar_one()
            connection.execute(case_types.delete())
            connection.execute(error_cases.delete())
            connection.execute(suite_cases.delete())
            connection.execute(corrections.delete())
            connection.execute(tallies_table.delete().where(tallies_table.c.kind.in_(_COUNTED)))
            for counted in (hourly, traffic_totals):
                connection.execute(counted.update().values(errors=0, corrected=0))
            forget_answers(connection)
            entry = audit.AuditEntry(
                actor=actor, action="clear", subject="cases", evidence={"cases": count}
            )
            audit.record(connection, entry)
        return int(count)


def _texts(connection: Connection, ids: set[str]) -> dict[str, str]:
    query = select(inferences.c.id, inferences.c.text).where(inferences.c.id.in_(ids))
    found = {row.id: row.text for row in connection.execute(query)}
    if missing := sorted(ids - found.keys()):
        raise UnknownIdError(f"There is no inference '{missing[0]}'.")
    return found


def _case_of(connection: Connection, inference_id: str) -> str | None:
    query = select(error_cases.c.id).where(error_cases.c.inference_id == inference_id)
    found: str | None = connection.execute(query).scalar()
    return found


def _keep_case(
    connection: Connection, standing: Standing, inference_id: str, outcome: Outcome
) -> None:
    case_id = _case_of(connection, inference_id)
    if case_id is None and not outcome.types:
        return
    if case_id is None:
        case_id = standing.opened(inference_id, CaseStatus.CORRECTED, score=outcome.score)
    else:
        status = CaseStatus.CORRECTED if outcome.types else CaseStatus.CONFIRMED
        standing.moved(case_id, status, score=outcome.score)
        measured = (case_types.c.case_id == case_id) & case_types.c.given.is_(False)
        connection.execute(case_types.delete().where(measured))
    _insert_types(connection, case_id, outcome.types, given=False)


def _insert_types(
    connection: Connection, case_id: str, names: Sequence[str], *, given: bool
) -> None:
    rows = [{"case_id": case_id, "name": name, "given": given} for name in dict.fromkeys(names)]
    if rows:
        connection.execute(insert(case_types), rows)


def _audit_entries(
    given: Sequence[Correction], heard: dict[str, str], outcomes: Sequence[Outcome]
) -> list[audit.AuditEntry]:
    return [
        audit.AuditEntry(
            actor=correction.author,
            action="correct" if outcome.types else "confirm",
            subject=correction.inference_id,
            from_value=heard[correction.inference_id],
            to_value=correction.reference,
            reason=correction.method,
        )
        for correction, outcome in zip(given, outcomes, strict=True)
    ]
