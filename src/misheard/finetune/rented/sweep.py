"""Deletes machines of this workspace that nobody needs, and closes rows whose machine is gone.

Machines are found by the label of the workspace, so those of another are never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from misheard.database.engine import now
from misheard.errors import ComputeUnreachableError
from misheard.finetune.rented.machines import Instance, owned
from misheard.finetune.rented.rentals import Ending, Rental, Rentals
from misheard.finetune.rented.renting import Machines

_log = logging.getLogger("misheard.gce")
_BEING_MADE = timedelta(minutes=15)
"""For so long after its row there may be no machine yet: whoever wrote the row is about to ask."""
_GRACE = timedelta(hours=1)
"""Past the time at which the provider itself should have deleted it."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A machine that nobody needed, or a row without one."""

    name: str
    zone: str
    job_id: str
    why: str
    hours: float
    usd: float
    deleted: bool
    """Whether there was a machine, and it is deleted; with `dry_run`, it would be."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A machine that is there."""

    instance: Instance
    rental: Rental | None
    """Its newest row; None where there is none."""
    needless: str
    """Why nobody needs it; empty where somebody does."""

    @property
    def job_id(self) -> str:
        """The job that it is for, as far as is known."""
        return self.rental.job_id if self.rental else self.instance.job_id

    @property
    def hours(self) -> float:
        """For how long it has been there."""
        begun = self.instance.created_at or (self.rental.asked_at if self.rental else now())
        return max(0.0, (now() - begun).total_seconds() / 3600)

    @property
    def usd(self) -> float:
        """What that came to so far; 0 where its price is not known."""
        return self.hours * self.rental.usd_per_hour if self.rental else 0.0


class Sweep:
    """Finds what is needless, and lets go of it."""

    def __init__(
        self,
        rentals: Rentals,
        machines: Machines,
        *,
        project_id: str,
        has_ended: Callable[[str], bool],
        last_sign: Callable[[Rental], datetime | None],
    ) -> None:
        """Of the machines of one project; `has_ended` says of a job whether its files know an end.

        `last_sign` says when a machine last gave a sign of life; None where it never did.
        """
        self._rentals = rentals
        self._machines = machines
        self._project_id = project_id
        self._has_ended = has_ended
        self._last_sign = last_sign

    def standing(self) -> list[Standing]:
        """Every machine of this workspace that is there, needed or not."""
        owner = self._rentals.owner
        if not owner:
            return []  # nothing was ever rented
        # Machines before rows: a row is there before its machine, so each of these has its own.
        machines = self._machines.listed(owned(owner))
        rows = self._rentals.listed()
        newest = {row.name: row for row in rows}
        attempts = {
            job: max(row.attempt for row in rows if row.job_id == job)
            for job in {row.job_id for row in rows}
        }
        ended = self._rentals.ended_jobs(attempts)
        made = []
        for instance in machines:
            row = newest.get(instance.name)
            why = self._needless(instance, row, attempts, ended)
            made.append(Standing(instance=instance, rental=row, needless=why))
        return made + self._unlisted({one.instance.name for one in made})

    def _unlisted(self, listed: set[str]) -> list[Standing]:
        """What rows know of and no list had: other labels, or a zone that was not in it.

        None of these is needless: it may be another's.
        """
        found = []
        for row in self._rentals.still_open():
            if row.name in listed:
                continue
            try:
                instance = self._machines.get(row.name, row.zone)
            except ComputeUnreachableError as error:
                _log.warning("%s in %s: %s", row.name, row.zone, error)
                continue
            if instance is not None:
                found.append(Standing(instance=instance, rental=row, needless=""))
        return found

    def run(self, *, dry_run: bool = False) -> list[Swept]:
        """Delete what nobody needs; with `dry_run` only tell of it."""
        there = self.standing()
        swept = [self._end(one, dry_run=dry_run) for one in there if one.needless]
        kept = {one.instance.name for one in there}
        for row in self._rentals.still_open():
            if row.project_id != self._project_id:
                continue  # nothing is known of its machine here
            if row.name not in kept and self._is_gone(row):
                if not dry_run:
                    gone_at = ended_at(row, None, self._last_sign(row))
                    self._rentals.end(row.number, Ending.SWEPT, gone_at)
                swept.append(_told(row, "its machine is gone", deleted=False))
        return swept

    def _needless(
        self, instance: Instance, row: Rental | None, attempts: dict[str, int], ended: set[str]
    ) -> str:
        if row is None:
            return "no job is known to have asked for it"
        if row.job_id in ended or self._has_ended(row.job_id):
            return "its job has ended"
        if row.attempt != attempts[row.job_id]:
            return f"attempt {attempts[row.job_id]} has taken its place"
        if not row.is_open:
            return "its attempt was given up"
        begun = instance.created_at or row.asked_at
        if now() - begun > timedelta(hours=row.max_hours) + _GRACE:
            return "it is there for longer than any training may take"
        return ""

    def _end(self, one: Standing, *, dry_run: bool) -> Swept:
        instance, row = one.instance, one.rental
        if not dry_run:
            self._machines.delete(instance.name, instance.zone)
            if row is not None:
                self._rentals.end(row.number, Ending.SWEPT, ended_at(row, instance))
        return Swept(
            name=instance.name,
            zone=instance.zone,
            job_id=one.job_id,
            why=one.needless,
            hours=one.hours,
            usd=one.usd,
            deleted=True,
        )

    def _is_gone(self, row: Rental) -> bool:
        if row.running_at is None and now() - row.asked_at < _BEING_MADE:
            return False
        # Listed by label it may be missing: one made elsewhere, or where a zone does not answer.
        return self._machines.get(row.name, row.zone) is None


def ended_at(row: Rental, instance: Instance | None, sign: datetime | None = None) -> datetime:
    """Until when a machine that is deleted now was paid for.

    `instance` is what it was before: None where it was gone already, and had then surely ended at
    its last sign of life, if there was one, or when the provider itself deletes it.
    """
    if instance is None:
        begun = row.running_at or row.asked_at
        latest = min(now(), begun + timedelta(hours=row.max_hours))
        return min(sign, latest) if sign is not None and sign > begun else latest
    return instance.off_since or now()


def _told(row: Rental, why: str, *, deleted: bool) -> Swept:
    return Swept(
        name=row.name,
        zone=row.zone,
        job_id=row.job_id,
        why=why,
        hours=row.hours(),
        usd=row.usd(),
        deleted=deleted,
    )
