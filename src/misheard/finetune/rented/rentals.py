"""What was rented to train on: one row for each machine, written before it is asked for.

A machine that no row knows of is nobody's, and a row that is open holds its worst price back from
the budget until the machine is known to be gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, or_, select, update

from misheard.database.engine import now, writing
from misheard.database.schema import datasets, jobs, rentals
from misheard.errors import BudgetError, UnknownIdError
from misheard.finetune.recipe import Recipe


class Ending(StrEnum):
    """Why a rental ended."""

    DONE = "done"
    """Training has ended well, and the model is home."""
    FAILED = "failed"
    """Training has failed, and what it says of that is home."""
    PREEMPTED = "preempted"
    """The machine was gone or off, and nothing was finished."""
    SILENT = "silent"
    """It gave no sign of life for too long."""
    CANCELLED = "cancelled"
    NO_MACHINE = "no machine"
    """Its zone had none left."""
    REFUSED = "refused"
    """It was not made: a quota, a permission, or something else that was wrong."""
    SWEPT = "swept"
    """Nobody needed it any more, and the sweep deleted it or found it gone."""

    @property
    def is_free(self) -> bool:
        """Whether there never was a machine."""
        return self in (Ending.NO_MACHINE, Ending.REFUSED)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A machine that is to be rented, as far as its row tells."""

    name: str
    job_id: str
    attempt: int
    project_id: str
    """Of whoever pays."""
    zone: str
    machine_type: str
    accelerator: str
    is_spot: bool
    usd_per_hour: float
    max_hours: float

    @property
    def most_usd(self) -> float:
        """What it costs when it runs until it is deleted by itself."""
        return self.usd_per_hour * self.max_hours


@dataclass(frozen=True, kw_only=True)
class Rental(Wanted):
    """A machine that was asked for."""

    number: int
    owner: str
    asked_at: datetime
    running_at: datetime | None
    """When it was first seen to be there."""
    ended_at: datetime | None
    ending: Ending | None

    @property
    def is_open(self) -> bool:
        """Whether there may be a machine."""
        return self.ended_at is None

    @property
    def key(self) -> str:
        """What makes this asking another than that for the same machine before it."""
        return f"{self.name}/{self.zone}/{self.number}"

    def hours(self, since: datetime | None = None, until: datetime | None = None) -> float:
        """For how long it was there, within a span of time; up to now while it is open."""
        if self.ending is not None and self.ending.is_free:
            return 0.0
        begun = self.running_at or self.asked_at
        ended = min(self.ended_at or now(), begun + timedelta(hours=self.max_hours))
        begun = max(begun, since) if since else begun
        ended = min(ended, until) if until else ended
        return max(0.0, (ended - begun).total_seconds() / 3600)

    def usd(self, since: datetime | None = None, until: datetime | None = None) -> float:
        """What that came to."""
        return self.hours(since, until) * self.usd_per_hour


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How a month's budget stands, in US dollars."""

    spent_usd: float
    """By machines that are gone, in this month."""
    reserved_usd: float
    """What those that may be running cost at most."""

    @property
    def total_usd(self) -> float:
        """What cannot be spent again."""
        return self.spent_usd + self.reserved_usd


class Rentals:
    """The table `rentals`; safe for several processes at once."""

    def __init__(self, engine: Engine, *, place: str = "") -> None:
        """`place` is the directory of a database that is a file: a copy elsewhere is another."""
        self._engine = engine
        self._place = place

    @property
    def owner(self) -> str:
        """What machines of this workspace are labelled by; the same for ever, and nobody else's."""
        with self._engine.connect() as connection:
            return self._labelled(_owner(connection))

    def open_(self, wanted: Wanted, *, budget_usd: float = 0.0) -> Rental:
        """Note that a machine is about to be asked for.

        Where one of this name is asked for already, that one is given: there is one at a time. With
        a budget, raises `BudgetError` where the worst case would exceed what is left of this month.
        """
        with writing(self._engine) as connection:
            this = (rentals.c.name == wanted.name) & rentals.c.ended_at.is_(None)
            known = connection.execute(select(rentals).where(this)).mappings().first()
            if known is not None:
                return _rental(dict(known))
            if budget_usd:
                _require_budget(wanted, _spent(connection, now()), budget_usd)
            values = vars(wanted) | {
                "owner": _owner(connection) or secrets.token_hex(8),
                "asked_at": now(),
                "running_at": None,
                "ended_at": None,
                "reason": "",
            }
            returned = insert(rentals).values(**values).returning(rentals.c.number)
            number = connection.execute(returned).scalar_one()
        return self.get(number)

    def require_budget(self, wanted: Wanted, budget_usd: float) -> None:
        """Raise `BudgetError` where `open_` would; 0 is no limit."""
        if budget_usd:
            _require_budget(wanted, self.spent(), budget_usd)

    def note_running(self, number: int, at: datetime | None = None) -> None:
        """The machine was seen; the first time counts."""
        this = (rentals.c.number == number) & rentals.c.running_at.is_(None)
        with writing(self._engine) as connection:
            connection.execute(update(rentals).where(this).values(running_at=at or now()))

    def end(self, number: int, ending: Ending, at: datetime | None = None) -> None:
        """The machine is gone for good, or never was; what ended before stays as it ended."""
        with writing(self._engine) as connection:
            this = (rentals.c.number == number) & rentals.c.ended_at.is_(None)
            values = {"ended_at": at or now(), "reason": ending}
            connection.execute(update(rentals).where(this).values(**values))

    def get(self, number: int) -> Rental:
        """One of them."""
        found = self._found(rentals.c.number == number)
        if not found:
            raise UnknownIdError(f"There is no rental {number}.")
        return found[0]

    def of_job(self, job_id: str) -> list[Rental]:
        """Those of a job, oldest first."""
        return self._found(rentals.c.job_id == job_id)

    def still_open(self) -> list[Rental]:
        """Those whose machine may be running, oldest first."""
        return self._found(rentals.c.ended_at.is_(None))

    def listed(self, *, since: datetime | None = None) -> list[Rental]:
        """All that were there since a moment, oldest first."""
        if since is None:
            return self._found(rentals.c.number > 0)
        return self._found(or_(rentals.c.ended_at.is_(None), rentals.c.ended_at >= since))

    def spent(self, moment: datetime | None = None) -> Spent:
        """How the budget of a month stands; this one by default."""
        with self._engine.connect() as connection:
            return _spent(connection, moment or now())

    def ended_jobs(self, job_ids: Iterable[str]) -> set[str]:
        """Those of these jobs that have ended, by the table of jobs."""
        these = jobs.c.id.in_(set(job_ids)) & jobs.c.ended_at.is_not(None)
        with self._engine.connect() as connection:
            return set(connection.execute(select(jobs.c.id).where(these)).scalars())

    def hours_by_audio(self, machine_type: str) -> float | None:
        """Hours that past trainings took for an hour of audio and an epoch; None without any."""
        query = (
            select(jobs.c.recipe, datasets.c.duration_s, jobs.c.id)
            .join(datasets, datasets.c.id == jobs.c.dataset_id)
            .where(jobs.c.id.in_(select(rentals.c.job_id).where(rentals.c.reason == Ending.DONE)))
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        hours, work = 0.0, 0.0
        for recipe, duration_s, job_id in found:
            used = [one for one in self.of_job(job_id) if one.machine_type == machine_type]
            if used:
                hours += sum(one.hours() for one in used)
                work += Recipe.from_dict(recipe).epochs * duration_s / 3600
        return hours / work if work else None

    def label(self, rental: Rental) -> str:
        """The owner that the machine of a rental is labelled with."""
        return self._labelled(rental.owner)

    def _labelled(self, owner: str) -> str:
        return f"{owner}|{self._place}" if owner else ""

    def _found(self, condition: Any) -> list[Rental]:
        query = select(rentals).where(condition).order_by(rentals.c.number)
        with self._engine.connect() as connection:
            return [_rental(dict(row)) for row in connection.execute(query).mappings()]


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """When the month of a moment begins, and the next one, in UTC."""
    begins = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begins, (begins + timedelta(days=32)).replace(day=1)


def _owner(connection: Connection) -> str:
    query = select(rentals.c.owner).order_by(rentals.c.number).limit(1)
    return connection.execute(query).scalar() or ""


def _spent(connection: Connection, moment: datetime) -> Spent:
    since, until = month_of(moment)
    ended = (rentals.c.ended_at >= since) & (rentals.c.asked_at < until)
    query = select(rentals).where(ended)
    gone = [_rental(dict(row)) for row in connection.execute(query).mappings()]
    most = func.coalesce(func.sum(rentals.c.usd_per_hour * rentals.c.max_hours), 0.0)
    held = connection.execute(select(most).where(rentals.c.ended_at.is_(None))).scalar_one()
    return Spent(spent_usd=sum(one.usd(since, until) for one in gone), reserved_usd=float(held))


def _require_budget(wanted: Wanted, stands: Spent, budget_usd: float) -> None:
    if stands.total_usd + wanted.most_usd <= budget_usd:
        return
    raise BudgetError(
        f"Up to {wanted.most_usd:.2f} USD ({wanted.usd_per_hour:.2f} an hour for at most "
        f"{wanted.max_hours:g} hours) beside {stands.spent_usd:.2f} spent this month and "
        f"{stands.reserved_usd:.2f} that machines in use may cost is more than "
        f"gce.monthly_budget_usd = {budget_usd:g}. Raise that, lower gce.max_run_hours, or see: "
        "misheard gce costs"
    )


def _rental(row: dict[str, Any]) -> Rental:
    reason = row.pop("reason")
    return Rental(**row, ending=Ending(reason) if reason else None)
