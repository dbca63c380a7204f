"""Error cases and corrections: what a person says was really spoken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Select, Subquery, func, insert, select

from misheard.database import audit
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import corrections, error_cases, inferences
from misheard.errors import UnknownIdError
from misheard.scoring.alignment import count_errors
from misheard.scoring.normalize import normalizer, require_text


class CaseStatus(StrEnum):
    """Where an error case stands."""

    OPEN = "open"
    """Believed to be wrong; nobody has said what was spoken."""
    CORRECTED = "corrected"
    CONFIRMED = "confirmed"
    """A person found nothing wrong with it."""

    @property
    def is_final(self) -> bool:
        """Whether a person has decided."""
        return self is not CaseStatus.OPEN


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person says of one transcript; the newest of an utterance counts."""

    inference_id: str
    reference: str
    author: str
    method: str = "manual"
    """How it came about: manual, import, feedback, …"""


@dataclass(frozen=True, kw_only=True)
class ErrorCase:
    """An utterance believed or known to be mis-transcribed."""

    id: str
    inference_id: str
    created_at: datetime
    audio_sha256: str
    hypothesis: str
    reference: str | None
    """The newest correction; None while the case is open."""
    status: CaseStatus
    score: float | None
    """Word errors over reference words, at most 1; None while the case is open."""
    error_types: list[str]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """An utterance that a person has corrected or confirmed."""

    inference_id: str
    audio_sha256: str
    duration_s: float
    speaker_group: str
    hypothesis: str
    reference: str
    is_error: bool


@dataclass(frozen=True, kw_only=True)
class CaseCounts:
    """How many cases there are, and of which kind."""

    error_cases: int
    """Open and corrected ones; confirmed ones are no errors."""
    corrected: int
    confirmations: int
    by_type: dict[str, int]

    @property
    def uncorrected(self) -> int:
        """Cases that wait for a person."""
        return self.error_cases - self.corrected


class Cases:
    """Opens cases, takes corrections, and hands out what was learnt."""

    def __init__(self, engine: Engine, *, normalizer_name: str) -> None:
        self._engine = engine
        self._normalize = normalizer(normalizer_name)

    def correct(self, given: Sequence[Correction]) -> list[bool]:
        """Store corrections, all or none; for each, whether the transcript was wrong.

        Where text and transcript differ after normalisation there is an error case; where only
        formatting differs, or nothing, it is a confirmation. Nothing is overwritten.
        """
        for correction in given:
            require_text(correction.reference, what=f"the correction of {correction.inference_id}")
            require_text(correction.author, what="the author of a correction")
            require_text(correction.method, what="the method of a correction")
        with writing(self._engine) as connection:
            heard = _texts(connection, {c.inference_id for c in given})
            outcomes = [self._compare(heard[c.inference_id], c.reference) for c in given]
            rows = [
                {**vars(correction), "created_at": now(), "is_error": bool(outcome.types)}
                for correction, outcome in zip(given, outcomes, strict=True)
            ]
            if rows:
                connection.execute(insert(corrections), rows)
            for correction, outcome in zip(given, outcomes, strict=True):
                if outcome.types:
                    _keep_case(connection, correction.inference_id, outcome)
            audit.record(connection, *_audit_entries(given, heard, outcomes))
        return [bool(outcome.types) for outcome in outcomes]

    def open(self, inference_id: str, error_types: Sequence[str] = ("reported",)) -> None:
        """Mark a transcript as believed wrong; a case that exists is left as it is."""
        with writing(self._engine) as connection:
            _texts(connection, {inference_id})
            known = select(error_cases.c.id).where(error_cases.c.inference_id == inference_id)
            if connection.execute(known).first() is None:
                _insert_case(connection, inference_id, None, list(error_types))

    def listed(self, *, status: CaseStatus | None = None, limit: int = 50) -> list[ErrorCase]:
        """Cases, newest first."""
        newest = _newest()
        query = (
            select(
                error_cases,
                inferences.c.audio_sha256,
                inferences.c.text.label("hypothesis"),
                newest.c.reference,
                newest.c.is_error,
            )
            .join(inferences, inferences.c.id == error_cases.c.inference_id)
            .outerjoin(newest, newest.c.inference_id == error_cases.c.inference_id)
            .order_by(error_cases.c.created_at.desc(), error_cases.c.id.desc())
            .limit(limit)
        )
        if status is not None:
            query = query.where(_HAS_STATUS[status](newest))
        with self._engine.connect() as connection:
            return [_case(dict(row)) for row in connection.execute(query).mappings()]

    def counts(self, *, since: datetime | None = None) -> CaseCounts:
        """Counts of everything, or of what was opened and labelled since then."""
        newest = _newest()
        cases = select(error_cases.c.error_types, newest.c.is_error).outerjoin(
            newest, newest.c.inference_id == error_cases.c.inference_id
        )
        confirmed = select(func.count()).select_from(newest).where(newest.c.is_error.is_(False))
        if since is not None:
            cases = cases.where(error_cases.c.created_at > since)
            confirmed = confirmed.where(newest.c.created_at > since)
        by_type: dict[str, int] = {}
        total = corrected = 0
        with self._engine.connect() as connection:
            for types, is_error in connection.execute(cases):
                if is_error is False:
                    continue
                total += 1
                corrected += bool(is_error)
                for name in types:
                    by_type[name] = by_type.get(name, 0) + 1
            confirmations = connection.execute(confirmed).scalar_one()
        return CaseCounts(
            error_cases=total, corrected=corrected, confirmations=confirmations, by_type=by_type
        )

    def labelled(self) -> Iterator[Labelled]:
        """Every utterance with a correction or a confirmation, the newest word on each."""
        newest = _newest()
        query: Select[Any] = (
            select(
                inferences.c.id.label("inference_id"),
                inferences.c.audio_sha256,
                inferences.c.duration_s,
                inferences.c.speaker_group,
                inferences.c.text.label("hypothesis"),
                newest.c.reference,
                newest.c.is_error,
            )
            .join(newest, newest.c.inference_id == inferences.c.id)
            .order_by(newest.c.number)
        )
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                yield Labelled(**row)

    def _compare(self, hypothesis: str, reference: str) -> _Outcome:
        spoken, heard = self._normalize(reference).split(), self._normalize(hypothesis).split()
        counts = count_errors([spoken], [heard])
        named = {
            "substitution": counts.substitutions,
            "deletion": counts.deletions,
            "insertion": counts.insertions,
        }
        types = [name for name, count in named.items() if count[0]]
        if heard and not spoken:
            types = ["hallucination"]
        return _Outcome(types, min(1.0, float(counts.errors[0]) / max(1, len(spoken))))


@dataclass(frozen=True)
class _Outcome:
    types: list[str]
    score: float


def _newest() -> Subquery:
    """The newest correction of each utterance."""
    last = select(func.max(corrections.c.number)).group_by(corrections.c.inference_id)
    return select(corrections).where(corrections.c.number.in_(last)).subquery("newest")


_HAS_STATUS = {
    CaseStatus.OPEN: lambda newest: newest.c.is_error.is_(None),
    CaseStatus.CORRECTED: lambda newest: newest.c.is_error.is_(True),
    CaseStatus.CONFIRMED: lambda newest: newest.c.is_error.is_(False),
}


def _texts(connection: Connection, ids: set[str]) -> dict[str, str]:
    query = select(inferences.c.id, inferences.c.text).where(inferences.c.id.in_(ids))
    found = {row.id: row.text for row in connection.execute(query)}
    if missing := sorted(ids - found.keys()):
        raise UnknownIdError(f"There is no inference '{missing[0]}'.")
    return found


def _keep_case(connection: Connection, inference_id: str, outcome: _Outcome) -> None:
    this = error_cases.c.inference_id == inference_id
    change = error_cases.update().where(this)
    values = {"score": outcome.score, "error_types": outcome.types}
    if connection.execute(change.values(**values)).rowcount == 0:
        _insert_case(connection, inference_id, outcome.score, outcome.types)


def _insert_case(
    connection: Connection, inference_id: str, score: float | None, types: list[str]
) -> None:
    values = {
        "id": new_id("case"),
        "inference_id": inference_id,
        "created_at": now(),
        "score": score,
        "error_types": types,
    }
    connection.execute(insert(error_cases).values(**values))


def _audit_entries(
    given: Sequence[Correction], heard: dict[str, str], outcomes: Sequence[_Outcome]
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


def _case(row: dict[str, Any]) -> ErrorCase:
    is_error = row.pop("is_error")
    status = {None: CaseStatus.OPEN, True: CaseStatus.CORRECTED, False: CaseStatus.CONFIRMED}
    return ErrorCase(**row, status=status[is_error])
