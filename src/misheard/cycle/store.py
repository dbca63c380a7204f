"""Cycles in the database: rows, leases, and steps that stand or fall with what they made."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from misheard.cycle.options import CycleOptions
from misheard.cycle.stages import Step
from misheard.cycle.states import TRANSITIONS, Cycle, CycleState, CycleStep
from misheard.database.engine import now, writing
from misheard.database.paging import numbered_before
from misheard.database.schema import cycle_steps, cycles
from misheard.errors import IllegalTransitionError, LeaseLostError, UnknownIdError

# Longer than the longest silence between two reports of progress.
LEASE = timedelta(minutes=2)


class CycleStore:
    """Reads cycles, and moves them under a lease with a fencing number."""

    def __init__(self, engine: Engine, *, lease: timedelta = LEASE) -> None:
        """`lease` is for how long a process that gives no sign of life keeps a cycle."""
        self._engine = engine
        self.lease = lease
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"

    def add(
        self,
        cycle: Cycle,
        *,
        after: str | None = None,
        write: Callable[[Connection], object] = lambda _: None,
    ) -> bool:
        """Keep a new cycle; with `after`, only while the newest one still has that id.

        `write` adds rows that stand or fall with it.
        """
        values = {name: getattr(cycle, name) for name in Cycle.__dataclass_fields__}
        values["options"] = cycle.options.to_dict()
        with writing(self._engine) as connection:
            if after is not None and _newest_id(connection) != after:
                return False
            connection.execute(insert(cycles).values(**values, fence=0))
            _log_step(connection, cycle, "", cycle.state, cycle.detail)
            write(connection)
        return True

    def newest_id(self) -> str:
        """The id of the newest cycle; empty where there is none."""
        with self._engine.connect() as connection:
            return _newest_id(connection)

    def get(self, cycle_id: str) -> Cycle:
        """A cycle by its id."""
        found = self._read(select(cycles).where(cycles.c.id == cycle_id))
        if not found:
            raise UnknownIdError(f"There is no cycle '{cycle_id}'. See: misheard cycle list")
        return found[0]

    def listed(
        self, *, state: CycleState | None = None, limit: int = 20, before: str | None = None
    ) -> list[Cycle]:
        """Cycles, newest first; those after the one with the id `before`."""
        query = select(cycles).order_by(cycles.c.number.desc())
        if state is not None:
            query = query.where(cycles.c.state == state)
        if before is not None:
            with self._engine.connect() as connection:
                query = query.where(numbered_before(connection, cycles, before))
        return self._read(query.limit(limit))

    def unfinished(self) -> list[Cycle]:
        """Every cycle of which something is left to decide, oldest first."""
        return self._in([state for state in CycleState if not state.is_decided])

    def under_watch(self) -> list[Cycle]:
        """Every cycle whose version is live and watched, or has just been, oldest first."""
        return self._in([CycleState.DEPLOYED, CycleState.WATCHED])

    def counts(self) -> dict[CycleState, int]:
        """How many cycles are in each state."""
        query = select(cycles.c.state, func.count()).group_by(cycles.c.state)
        with self._engine.connect() as connection:
            return {CycleState(state): count for state, count in connection.execute(query)}

    def held_until(self, cycle_id: str) -> datetime | None:
        """Until when a process holds the lease on a cycle; None where none does."""
        query = select(cycles.c.lease_until).where(cycles.c.id == cycle_id)
        with self._engine.connect() as connection:
            until: datetime | None = connection.execute(query).scalar()
        return until if until is not None and until > now() else None

    def steps(self, cycle_id: str) -> list[CycleStep]:
        """The steps of a cycle, oldest first."""
        columns = (getattr(cycle_steps.c, name) for name in CycleStep.__dataclass_fields__)
        query = select(*columns).where(cycle_steps.c.cycle_id == cycle_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(cycle_steps.c.number)).mappings()
            return [CycleStep(**row) for row in rows]

    def take_lease(self, cycle_id: str) -> int:
        """Become the one who works on a cycle; the fencing number."""
        moment = now()
        free = (cycles.c.lease_until.is_(None)) | (cycles.c.lease_until < moment)
        ours = cycles.c.lease_owner == self._owner
        with writing(self._engine) as connection:
            taken = connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, free | ours)
                .values(
                    lease_owner=self._owner,
                    lease_until=moment + self.lease,
                    fence=cycles.c.fence + 1,
                )
                .returning(cycles.c.fence)
            ).scalar_one_or_none()
        if taken is None:
            self.get(cycle_id)
            raise LeaseLostError(
                f"{cycle_id} is being worked on; wait two minutes if it was killed."
            )
        return int(taken)

    def renew(self, cycle_id: str, fence: int) -> None:
        """Keep a lease; `LeaseLostError` when somebody else has taken it."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, cycles.c.fence == fence)
                .values(lease_until=now() + self.lease)
            ).rowcount
        if not changed:
            raise LeaseLostError(cycle_id)

    def release(self, cycle_id: str, fence: int) -> None:
        """Give a lease back."""
        with writing(self._engine) as connection:
            connection.execute(
                update(cycles)
                .where(cycles.c.id == cycle_id, cycles.c.fence == fence)
                .values(lease_owner=None, lease_until=None)
            )

    def change(self, cycle: Cycle, options: CycleOptions) -> Cycle:
        """Keep other options; `LeaseLostError` when the cycle has moved on meanwhile."""
        same = (cycles.c.id == cycle.id) & (cycles.c.state == cycle.state)
        with writing(self._engine) as connection:
            query = update(cycles).where(same).values(options=options.to_dict())
            if not connection.execute(query).rowcount:
                raise LeaseLostError(f"{cycle.id} was {cycle.state} and no longer is.")
        return replace(cycle, options=options)

    def tell(self, cycle: Cycle, error: str) -> None:
        """Keep why a cycle cannot go on from where it is, for whoever looks at it."""
        same = (cycles.c.id == cycle.id) & (cycles.c.state == cycle.state)
        with writing(self._engine) as connection:
            connection.execute(update(cycles).where(same).values(error=error))

    def commit(self, cycle: Cycle, step: Step, fence: int | None = None) -> Cycle:
        """The stage's rows and the step to the next state, in one transaction."""
        with writing(self._engine) as connection:
            return self.commit_in(connection, cycle, step, fence)

    def commit_in(
        self, connection: Connection, cycle: Cycle, step: Step, fence: int | None = None
    ) -> Cycle:
        """`commit` inside the caller's transaction."""
        if step.to not in TRANSITIONS[cycle.state]:
            raise IllegalTransitionError(f"{cycle.id} cannot go from {cycle.state} to {step.to}.")
        same = (cycles.c.id == cycle.id) & (cycles.c.state == cycle.state)
        if fence is not None:
            same = same & (cycles.c.fence == fence)
        values = {**step.values, "state": step.to, "detail": step.detail, "error": ""}
        stored = values | ({"options": values["options"].to_dict()} if "options" in values else {})
        changed = connection.execute(
            update(cycles)
            .where(same)
            .values(**stored, lease_owner=None, lease_until=None, fence=cycles.c.fence + 1)
        ).rowcount
        if not changed:
            raise LeaseLostError(f"{cycle.id} was {cycle.state} and no longer is.")
        step.write(connection)
        _log_step(connection, cycle, cycle.state, step.to, step.detail)
        return replace(cycle, **values)

    def _in(self, states: Collection[CycleState]) -> list[Cycle]:
        query = select(cycles).where(cycles.c.state.in_(states))
        return self._read(query.order_by(cycles.c.number))

    def _read(self, query: Any) -> list[Cycle]:
        with self._engine.connect() as connection:
            return [_cycle(dict(row)) for row in connection.execute(query).mappings()]


def newest_of(
    connection: Connection, version_id: str, states: Collection[CycleState]
) -> Cycle | None:
    """The newest cycle that made `version_id` and is in one of `states`."""
    query = select(cycles).where(cycles.c.version_id == version_id, cycles.c.state.in_(states))
    query = query.order_by(cycles.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return _cycle(dict(row)) if row is not None else None


def _newest_id(connection: Connection) -> str:
    query = select(cycles.c.id).order_by(cycles.c.number.desc()).limit(1)
    return connection.execute(query).scalar() or ""


def _log_step(
    connection: Connection, cycle: Cycle, from_state: str, to_state: str, detail: str
) -> None:
    step = CycleStep(created_at=now(), from_state=from_state, to_state=to_state, detail=detail)
    connection.execute(insert(cycle_steps).values(cycle_id=cycle.id, **asdict(step)))


def _cycle(row: dict[str, Any]) -> Cycle:
    kept = {name: row[name] for name in Cycle.__dataclass_fields__}
    kept["options"] = CycleOptions.from_dict(row["options"])
    return Cycle(**kept | {"state": CycleState(row["state"])})
