"""How the loop has been going: what runs, how long ago the last cycle was, what training took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from misheard.cycle.states import CycleState
from misheard.database.schema import cycle_steps, cycles, jobs


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What decides whether another cycle may begin now."""

    running: str
    """The oldest cycle that still works or waits for a person, and its state; "" for none."""
    began_at: datetime | None
    """When the newest cycle began; None where there was none yet."""
    ended_at: datetime | None
    """When it last held up others; None where there was none yet."""


def pace(connection: Connection) -> Pace:
    """By indexed look-ups, at the same cost after any number of cycles."""
    holding = [state for state in CycleState if state.holds_up_others]
    oldest = select(cycles.c.id, cycles.c.state).where(cycles.c.state.in_(holding))
    running = connection.execute(oldest.order_by(cycles.c.number).limit(1)).first()
    newest = select(cycles.c.id, cycles.c.created_at).order_by(cycles.c.number.desc()).limit(1)
    last = connection.execute(newest).first()
    if last is None:
        return Pace(running="", began_at=None, ended_at=None)
    # What happens to it once it is live, a rollback say, does not begin its pause anew.
    query = select(func.max(cycle_steps.c.created_at)).where(
        cycle_steps.c.cycle_id == last.id,
        or_(cycle_steps.c.from_state.in_(holding), cycle_steps.c.from_state == ""),
    )
    return Pace(
        running=f"{running.id} is {running.state}" if running else "",
        began_at=last.created_at,
        ended_at=connection.execute(query).scalar_one(),
    )


def training_hours(connection: Connection, moment: datetime) -> float:
    """Hours of training in the calendar month (UTC) of `moment`, of jobs that failed as well.

    A job that began in the month before counts from the first of this one, one that runs up to
    now.
    """
    month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    query = select(jobs.c.created_at, jobs.c.ended_at).where(
        or_(jobs.c.ended_at.is_(None), jobs.c.ended_at > month)
    )
    spent_s: float = sum(
        max(0.0, (min(ended_at or moment, moment) - max(began_at, month)).total_seconds())
        for began_at, ended_at in connection.execute(query)
    )
    return spent_s / 3600
