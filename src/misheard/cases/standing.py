"""How a case stands: its status, and every count that moves with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from misheard.cases.records import CaseStatus
from misheard.database import tallies
from misheard.database.engine import new_id, now
from misheard.database.schema import error_cases, hourly, inferences
from misheard.database.tallies import Era, Tally
from misheard.database.totals import Totals

_ERRORS = frozenset({CaseStatus.OPEN, CaseStatus.CORRECTED})
"""What counts as an error until a person finds nothing wrong."""


class Standing:
    """Moves cases within one transaction, and writes what that changes in the counts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._era: Era = tallies.current_era(connection)
        self._digested_to = tallies.digested_to(connection)
        self._tally = Tally()
        self._totals = Totals()

    def opened(
        self,
        inference_id: str,
        status: CaseStatus,
        *,
        suspicion: float | None = None,
        **values: Any,
    ) -> str:
        """Put a case that was not there before; its id."""
        case_id = new_id("case")
        row = {
            "id": case_id,
            "inference_id": inference_id,
            "created_at": now(),
            "status": status,
            "suspicion": suspicion,
            "since_cycle": self._era.cycle_id,
            **values,
        }
        self._connection.execute(insert(error_cases).values(**row))
        percent = tallies.percent_of(suspicion)
        self._tally.add(self._era.cycle_id, status, 1, percent=percent)
        corrected = status is CaseStatus.CORRECTED
        self._traffic(inference_id, errors=int(status in _ERRORS), corrected=int(corrected))
        return case_id

    def moved(self, case_id: str, to: CaseStatus, *, score: float) -> None:
        """A case that somebody has corrected or confirmed."""
        columns = (
            error_cases.c.inference_id,
            error_cases.c.status,
            error_cases.c.suspicion,
            error_cases.c.since_cycle,
        )
        this = error_cases.c.id == case_id
        before = self._connection.execute(select(*columns).where(this)).one()
        percent = tallies.percent_of(before.suspicion)
        self._tally.add(before.since_cycle, before.status, -1, percent=percent)
        self._tally.add(self._era.cycle_id, to, 1, percent=percent)
        values = {"status": to, "since_cycle": self._era.cycle_id, "score": score}
        self._connection.execute(update(error_cases).where(this).values(**values))
        was = CaseStatus(before.status)
        self._traffic(
            before.inference_id,
            errors=(to in _ERRORS) - (was in _ERRORS),
            corrected=(to is CaseStatus.CORRECTED) - (was is CaseStatus.CORRECTED),
        )

    def removed(self, since_cycle: str, status: str, suspicion: float | None) -> None:
        """A case that is deleted: it waits for nobody and is no reason to train any more.

        What the traffic was counted as stays: so many of it were wrong.
        """
        percent = tallies.percent_of(suspicion)
        self._tally.add(since_cycle, status, -1, percent=percent)

    def write(self) -> None:
        """Write what it comes to since ever; the last thing in the transaction."""
        self._tally.write(self._connection)
        self._totals.write(self._connection)

    def _traffic(self, inference_id: str, *, errors: int, corrected: int) -> None:
        """Change what the digest has counted of the traffic; what it has not, it will count so."""
        if not errors and not corrected:
            return
        columns = (
            inferences.c.number,
            inferences.c.created_at,
            inferences.c.version_id,
            inferences.c.tags,
        )
        query = select(*columns).where(
            inferences.c.id == inference_id, inferences.c.reported.is_(False)
        )
        heard = self._connection.execute(query).first()
        if heard is None or heard.number > self._digested_to:
            return
        if self._era.holds(heard.created_at):
            self._tally.add(self._era.cycle_id, tallies.INFERENCE_ERRORS, errors)
        rows = (
            (hourly.c.hour == tallies.hour_of(heard.created_at))
            & (hourly.c.version_id == heard.version_id)
            & hourly.c.slice.in_(tallies.slices_of(heard.tags))
        )
        more = {
            "errors": hourly.c.errors + errors,
            "corrected": hourly.c.corrected + corrected,
        }
        self._connection.execute(update(hourly).where(rows).values(**more))
        self._totals.add(heard.version_id, errors=errors, corrected=corrected)
