"""Error cases and corrections: what a person says was really spoken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from numbers import Real
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, insert, literal, or_, select

from misheard.cases import queries
from misheard.cases.measure import Outcome, compare
from misheard.cases.records import (
    AUDIT_METHOD,
    UNASKED_METHODS,
    CaseCounts,
    CaseStandings,
    CaseStatus,
    CaseTotals,
    Correction,
    ErrorCase,
    GivenCorrection,
    Labelled,
)
from misheard.cases.standing import Standing
from misheard.database import audit, tallies
from misheard.database.details import checked_details
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import (
    UtcDateTime,
    case_types,
    corrections,
    error_cases,
    hourly,
    inferences,
    selections,
    suite_cases,
)
from misheard.database.schema import tallies as tallies_table
from misheard.errors import BadInputError, UnknownIdError
from misheard.scoring.normalize import Normalizer, require_text

_COUNTED = (*CaseStatus, tallies.INFERENCE_ERRORS)
_NO_LABEL = dict.fromkeys(("labelled_at", "is_error", "words", "word_errors"))


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
            _label_selection(connection, correction, outcome)
            _keep_case(connection, standing, correction.inference_id, outcome)
        standing.write()
        audit.record(connection, *_audit_entries(given, heard, outcomes))
        return [bool(outcome.types) for outcome in outcomes]

    def open(
        self,
        inference_id: str,
        error_types: Sequence[str] = (),
        *,
        suspicion: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Mark a transcript as believed wrong; the id of its case.

        `suspicion` is the chance that it is wrong, 0 to 1. A case that exists is left as it is.
        """
        with writing(self._engine) as connection:
            return self.open_in(
                connection, inference_id, error_types, suspicion=suspicion, details=details
            )

    def open_in(
        self,
        connection: Connection,
        inference_id: str,
        error_types: Sequence[str] = (),
        *,
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
        known = select(error_cases.c.id).where(error_cases.c.inference_id == inference_id)
        case_id: str | None = connection.execute(known).scalar()
        if case_id is not None:
            return case_id
        kept = checked_details(details, what="a case")
        chance = None if suspicion is None else float(suspicion)
        standing = Standing(connection)
        status = queries.status_of(connection, inference_id)
        case_id = _insert_case(
            connection, standing, inference_id, status, suspicion=chance, details=kept
        )
        standing.write()
        _insert_types(connection, case_id, error_types, given=True)
        return case_id

    def get(self, case_id: str) -> ErrorCase:
        """One case by its id."""
        with self._engine.connect() as connection:
            found = queries.cases(connection, queries.CASES.where(error_cases.c.id == case_id))
        if not found:
            raise UnknownIdError(f"There is no error case '{case_id}'. See: misheard cases")
        return found[0]

    def listed(
        self,
        *,
        status: CaseStatus | None = None,
        error_type: str | None = None,
        limit: int | None = 50,
    ) -> list[ErrorCase]:
        """Cases, newest first; `limit` None gives all."""
        query = queries.CASES.order_by(error_cases.c.created_at.desc(), error_cases.c.id.desc())
        if status is not None:
            query = query.where(error_cases.c.status == status)
        if error_type is not None:
            named = select(case_types.c.case_id).where(case_types.c.name == error_type)
            query = query.where(error_cases.c.id.in_(named))
        with self._engine.connect() as connection:
            return queries.cases(connection, query.limit(limit))

    def corrections(self, *, limit: int | None = 50) -> list[GivenCorrection]:
        """Every correction and confirmation ever given, newest first; `limit` None gives all."""
        query = select(corrections).order_by(corrections.c.number.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [GivenCorrection(**row) for row in connection.execute(query).mappings()]

    def counts(
        self, *, since: datetime | None = None, min_suspicion: float | None = None
    ) -> CaseCounts:
        """Counts of everything, or of what was opened or labelled since then.

        With `min_suspicion`, a case that nobody has corrected counts only if its suspicion reaches
        it, or if its reporter gave none.
        """
        newest = queries.NEWEST
        not_confirmed = or_(newest.c.is_error.is_(None), newest.c.is_error.is_(True))
        counted: list[Any] = [not_confirmed]
        if min_suspicion is not None:
            suspicion = error_cases.c.suspicion
            sure = or_(suspicion.is_(None), suspicion >= min_suspicion)
            counted.append(or_(newest.c.is_error.is_(True), sure))
        window: list[Any] = [] if since is None else [queries.touched(since)]
        cases = queries.CASES_WITH_NEWEST
        total: Any = (
            select(func.count(), func.count().filter(newest.c.is_error.is_(True)))
            .select_from(cases)
            .where(*counted, *window)
        )
        confirmed: Select[Any] = select(func.count()).select_from(cases)
        confirmed = confirmed.where(newest.c.is_error.is_(False), *window)
        named = select(case_types.c.case_id, case_types.c.name).distinct().subquery()
        types: Select[Any] = (
            select(named.c.name, func.count())
            .select_from(cases.join(named, named.c.case_id == error_cases.c.id))
            .where(*counted, *window)
            .group_by(named.c.name)
        )
        with self._engine.connect() as connection:
            error_count, corrected = connection.execute(total).one()
            return CaseCounts(
                error_cases=error_count,
                corrected=corrected,
                confirmations=connection.execute(queries.confirmations(since)).scalar_one(),
                confirmed_cases=connection.execute(confirmed).scalar_one(),
                by_type=dict(sorted((name, n) for name, n in connection.execute(types))),
            )

    def since_cycle(self, *, min_suspicion: float = 0.0) -> tuple[int, int]:
        """Error cases, and corrected ones, opened or labelled since the newest cycle began.

        Of cases that nobody has corrected those count whose suspicion reaches `min_suspicion`, in
        whole percents, or whose reporter gave none. It costs the same after any time.
        """
        with self._engine.connect() as connection:
            cycle_id = tallies.current_era(connection).cycle_id
            counts = tallies.tallied(connection, cycle_id)
        corrected = sum(n for (kind, _), n in counts.items() if kind == CaseStatus.CORRECTED)
        least = math.ceil(min_suspicion * 100 - 1e-9)
        still_open = sum(
            n
            for (kind, percent), n in counts.items()
            if kind == CaseStatus.OPEN and (percent == tallies.NO_SUSPICION or percent >= least)
        )
        return still_open + corrected, corrected

    def standings(self) -> CaseStandings:
        """How many cases stand how; counted as they came, so that it costs nothing to ask."""
        column = tallies_table.c
        query = select(column.kind, func.sum(column.count)).group_by(column.kind)
        with self._engine.connect() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        corrected = found.get(CaseStatus.CORRECTED, 0)
        return CaseStandings(
            error_cases=found.get(CaseStatus.OPEN, 0) + corrected,
            corrected=corrected,
            confirmed=found.get(CaseStatus.CONFIRMED, 0),
        )

    def totals(self) -> CaseTotals:
        """Everything that was ever kept."""
        labelled = select(corrections.c.inference_id).distinct()
        types: Any = select(case_types.c.name, func.count(case_types.c.case_id.distinct()))
        with self._engine.connect() as connection:

            def one(query: Any) -> Any:
                return connection.execute(query).scalar_one()

            newest = [
                one(select(func.max(table.c.created_at))) for table in (error_cases, corrections)
            ]
            all_cases = select(func.count()).select_from(error_cases)
            return CaseTotals(
                cases=one(all_cases),
                labelled_cases=one(all_cases.where(error_cases.c.inference_id.in_(labelled))),
                corrections=one(select(func.count()).select_from(corrections)),
                by_type=dict(
                    sorted(
                        (name, count)
                        for name, count in connection.execute(types.group_by(case_types.c.name))
                    )
                ),
                last_changed=max((at for at in newest if at is not None), default=None),
            )

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
            tallies.hold_digest(connection)
            connection.execute(tallies_table.delete().where(tallies_table.c.kind.in_(_COUNTED)))
            connection.execute(hourly.update().values(errors=0, corrected=0))
            labelled = selections.c.labelled_at.is_not(None)
            connection.execute(selections.update().where(labelled).values(**_NO_LABEL))
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


def _keep_case(
    connection: Connection, standing: Standing, inference_id: str, outcome: Outcome
) -> None:
    known = select(error_cases.c.id).where(error_cases.c.inference_id == inference_id)
    case_id: str | None = connection.execute(known).scalar()
    if case_id is None and not outcome.types:
        return
    if case_id is None:
        case_id = _insert_case(
            connection, standing, inference_id, CaseStatus.CORRECTED, score=outcome.score
        )
    else:
        this = error_cases.c.id == case_id
        connection.execute(error_cases.update().where(this).values(score=outcome.score))
        standing.moved(case_id, CaseStatus.CORRECTED if outcome.types else CaseStatus.CONFIRMED)
        measured = (case_types.c.case_id == case_id) & case_types.c.given.is_(False)
        connection.execute(case_types.delete().where(measured))
    _insert_types(connection, case_id, outcome.types, given=False)


def _label_selection(connection: Connection, correction: Correction, outcome: Outcome) -> None:
    """What the audit, or the queue, came to; most corrections are of neither.

    An audit is answered only by who was asked. Were it answered by those who came because something
    is wrong, too, then what is labelled would be wrong more often than what was drawn. It stays in
    the queue then, and somebody else hears it once more.
    """
    this = selections.c.inference_id == correction.inference_id
    if correction.method != AUDIT_METHOD:
        open_case = select(error_cases.c.id).where(
            error_cases.c.inference_id == correction.inference_id,
            error_cases.c.status == CaseStatus.OPEN,
        )
        # Once it is labelled, the newest word counts, whoever says it.
        answers = or_(selections.c.stream != "audit", selections.c.labelled_at.is_not(None))
        if correction.method not in UNASKED_METHODS:
            answers = or_(answers, ~open_case.exists())
        this = this & answers
    connection.execute(
        selections.update()
        .where(this)
        .values(
            # When it was labelled first: what is wrong is more often labelled twice, and would be
            # most of what was labelled last.
            labelled_at=func.coalesce(selections.c.labelled_at, literal(now(), UtcDateTime)),
            is_error=bool(outcome.types),
            words=outcome.words,
            word_errors=outcome.errors,
        )
    )


def _insert_case(
    connection: Connection,
    standing: Standing,
    inference_id: str,
    status: CaseStatus,
    *,
    suspicion: float | None = None,
    **values: Any,
) -> str:
    case_id = new_id("case")
    row = {
        "id": case_id,
        "inference_id": inference_id,
        "created_at": now(),
        "status": status,
        "suspicion": suspicion,
        "since_cycle": standing.since_cycle,
        **values,
    }
    connection.execute(insert(error_cases).values(**row))
    standing.opened(inference_id, status, suspicion)
    return case_id


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
