"""Every evaluation of the trigger that was made to act on it, and what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from misheard.database.engine import now, writing
from misheard.database.schema import trigger_evaluations
from misheard.gates.plain import without_nan
from misheard.scoring.expected_gain import ExpectedGain
from misheard.triggers import TriggerDecision


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One answer of the trigger, for as long as it and its reasons stayed the same in kind."""

    number: int
    created_at: datetime
    """When it came to this first."""
    last_at: datetime
    """When it came to this last."""
    times: int
    """How often in a row."""
    should_trigger: bool
    decision: dict[str, Any]
    """Reasons, objections and figures as they were at first."""
    cycle_id: str | None
    """The cycle that it began, or that a person began in spite of it."""

    def is_of(self, decision: TriggerDecision) -> bool:
        """Whether `decision` is the same for the same kinds of reasons, whatever its figures."""
        # What began a cycle stands by itself.
        if self.cycle_id is not None or self.should_trigger != decision.should_trigger:
            return False
        kinds = {(one["name"], one["is_met"]) for one in self.decision["conditions"]}
        return kinds == {(one.name, one.is_met) for one in decision.conditions}


class Evaluations:
    """Keeps them: a row for each change, so that a look every minute for years stays small."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, decision: TriggerDecision, *, expect: Callable[[], ExpectedGain]) -> None:
        """Remember an evaluation that begins nothing.

        `expect` is asked for what a training may buy where the answer has changed in kind.
        """
        known = self.latest()
        if decision.expected is None and not (known and known.is_of(decision)):
            # Asked before the database is locked, since it takes longer than the rest.
            decision = replace(decision, expected=expect())
        column = trigger_evaluations.c
        with writing(self._engine) as connection:
            newest = _newest(connection, limit=1)
            if not (newest and newest[0].is_of(decision)):
                self.add_in(connection, decision, None)
                return
            connection.execute(
                update(trigger_evaluations)
                .where(column.number == newest[0].number)
                .values(times=column.times + 1, last_at=now())
            )

    def add_in(
        self, connection: Connection, decision: TriggerDecision, cycle_id: str | None
    ) -> None:
        """Remember one in the caller's transaction, such as the one that begins its cycle."""
        moment = now()
        connection.execute(
            insert(trigger_evaluations).values(
                created_at=moment,
                last_at=moment,
                times=1,
                should_trigger=decision.should_trigger,
                decision=told(decision),
                cycle_id=cycle_id,
            )
        )

    def latest(self) -> Evaluation | None:
        """The newest one."""
        return next(iter(self.listed(limit=1)), None)

    def listed(self, *, limit: int = 20, before: int | None = None) -> list[Evaluation]:
        """Newest first; with `before`, those after the one of that number."""
        with self._engine.connect() as connection:
            return _newest(connection, limit=limit, before=before)


def told(decision: TriggerDecision) -> dict[str, Any]:
    """A decision as JSON stores it."""
    values: dict[str, Any] = without_nan(asdict(decision))
    return values


def _newest(connection: Connection, *, limit: int, before: int | None = None) -> list[Evaluation]:
    query = select(trigger_evaluations).order_by(trigger_evaluations.c.number.desc())
    if before is not None:
        query = query.where(trigger_evaluations.c.number < before)
    return [Evaluation(**row) for row in connection.execute(query.limit(limit)).mappings()]
