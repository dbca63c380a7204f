"""Takes a job on from wherever it was left: machine made, followed, replaced, model taken home."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property

from misheard.database.engine import now
from misheard.errors import (
    BlobNotFoundError,
    InvalidSettingError,
    MachineGoneError,
    MachineMissingError,
)
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.ends import Ends, folder_of, is_over
from misheard.finetune.rented.ground import Ground
from misheard.finetune.rented.homecoming import clean_inputs, follow
from misheard.finetune.rented.machines import Instance
from misheard.finetune.rented.rentals import Ending, Rental
from misheard.finetune.rented.renting import Program, Renting
from misheard.finetune.rented.sweep import ended_at
from misheard.finetune.written import write_text
from misheard.settings import GceSettings

_log = logging.getLogger("misheard.gce")
_STILLBORN = 2
"""So many machines in a row on which the program never began: the next would fare no better."""
_TOLD_LINES = 3
_SETTLES = timedelta(minutes=1)
"""So long after its machine a job may not be told to have ended by whoever has ended it."""


class Following:
    """Decides what is to be done about a job now, and does it."""

    def __init__(
        self,
        settings: GceSettings,
        ground: Ground,
        ends: Ends,
        send: Callable[[JobPaths], Program],
    ) -> None:
        """`send` has all that a machine needs in the bucket."""
        self._settings = settings
        self._ground = ground
        self._ends = ends
        self._send = send

    @cached_property
    def _renting(self) -> Renting:
        return Renting(self._settings, self._ground.rentals, self._ground.machines)

    def look(self, paths: JobPaths) -> None:
        """Do what is to be done about a job that has not ended."""
        if is_over(paths):
            return
        rows = self._ground.rentals.of_job(paths.root.name)
        if self._has_ended(paths, rows):
            return
        job, row = self._ground.job(paths.root.name), rows[-1]
        if row.is_open and row.project_id != self._settings.project_id:
            raise InvalidSettingError(
                f"{row.name} was rented in the project '{row.project_id}': gce.project_id"
            )
        # Asked before the bucket is: of a machine that is gone, nothing comes any more.
        instance = self._ground.there(row) if row.is_open else None
        follow(job, paths)
        if job.bucket.stat(job.manifest) is not None:
            self._ends.finish(paths, job)
        elif row.ending is Ending.CANCELLED:
            # Whoever waits must not undo that; to start the job again is another thing.
            raise MachineMissingError(
                f"{row.name} for {row.job_id} was deleted by hand. What it has saved is kept: "
                "start the same again, and it goes on from there."
            )
        elif not row.is_open:
            self._again(paths)
        elif instance is None and row.running_at is None and row.attempt not in job.attempts():
            # Killed between the row and the request, or before the answer was there.
            self._make(paths, row)
        elif instance is None or instance.state.is_off:
            self._replace(paths, row, instance, Ending.PREEMPTED)
        else:
            self._ground.rentals.note_running(row.number, instance.created_at)
            silent_for = now() - self._ground.last_sign(row)
            if silent_for > timedelta(minutes=self._settings.silent_minutes):
                self._replace(paths, row, instance, Ending.SILENT)

    def is_done(self, paths: JobPaths, rows: list[Rental]) -> bool:
        """Whether a job needs no machine any more; what waits in the bucket is taken home."""
        job = self._ground.job(paths.root.name)
        if is_over(paths) or self._has_ended(paths, rows):
            return True
        if not rows or job.bucket.stat(job.manifest) is None:
            return False
        self._ends.finish(paths, job)
        return True

    def rent_next(self, paths: JobPaths, rows: list[Rental], program: Program | None) -> None:
        """Rent a machine for the next attempt, or say that there have been enough."""
        had = {row.attempt: row for row in rows if row.ending and not row.ending.is_free}
        reason = self._reason_to_stop(paths, list(had.values()))
        if reason:
            # What it has saved stays: it may be hours of training.
            job = self._ground.job(paths.root.name)
            write_text(paths.failure, f"{reason} What it has saved is left below {folder_of(job)}.")
            self._ends.release_machines(paths, Ending.FAILED, before=lambda: clean_inputs(job))
            return
        attempt = max(had, default=0) + 1
        try:
            self._renting.rent(paths.root.name, attempt, program or self._send(paths))
        except MachineGoneError as error:
            _log.warning("%s: attempt %d: %s", paths.root.name, attempt, error)

    def _has_ended(self, paths: JobPaths, rows: list[Rental]) -> bool:
        """Whether a job that is not home has ended: cancelled, or by another computer."""
        job_id = paths.root.name
        is_told = bool(self._ground.rentals.ended_jobs([job_id]))
        last = rows[-1] if rows else None
        if last is not None and last.ended_at and last.ending in (Ending.DONE, Ending.FAILED):
            # The model, or the reason, went to where its machine was looked after.
            if is_told or now() - last.ended_at > _SETTLES:
                text = f"It has ended on another computer ({last.ending}): misheard versions"
                write_text(paths.failure, text)
            return True
        if is_told:
            self._ends.fail(paths, "It was cancelled, or ended elsewhere.", Ending.CANCELLED)
        return is_told

    def _make(self, paths: JobPaths, row: Rental) -> None:
        try:
            self._renting.make(row, self._send(paths))
        except MachineGoneError:
            self._again(paths)

    def _replace(
        self, paths: JobPaths, row: Rental, instance: Instance | None, ending: Ending
    ) -> None:
        """Give an attempt up, and begin the next one."""
        self._ground.machines.delete(row.name, row.zone)
        self._ground.rentals.end(
            row.number, ending, ended_at(row, instance, self._ground.last_beat(row))
        )
        _log.warning("%s: attempt %d was %s.", row.job_id, row.attempt, ending)
        self._again(paths)

    def _again(self, paths: JobPaths) -> None:
        rows = self._ground.rentals.of_job(paths.root.name)
        self.rent_next(paths, rows, None)

    def _reason_to_stop(self, paths: JobPaths, had: list[Rental]) -> str:
        if not had:
            return ""
        begun = set(self._ground.job(paths.root.name).attempts())
        last = had[-_STILLBORN:]
        if len(last) == _STILLBORN and not any(
            row.attempt in begun or self._was_taken(row) for row in last
        ):
            return (
                f"{_STILLBORN} machines in a row have not begun to train: "
                f"{self._installed(paths, last[-1])}"
            )
        if len(had) >= self._settings.max_attempts:
            return (
                f"{len(had)} machines were not enough (gce.max_attempts): "
                f"the last one, {last[-1].name} in {last[-1].zone}, was {last[-1].ending}."
            )
        return ""

    def _was_taken(self, row: Rental) -> bool:
        """Whether somebody took a machine away, which says nothing of what ran on it."""
        if row.ending is Ending.CANCELLED:
            return True
        return row.is_spot and self._ground.machines.was_preempted(row.name, row.zone)

    def _installed(self, paths: JobPaths, row: Rental) -> str:
        """What a machine on which nothing began has last told."""
        job = self._ground.job(paths.root.name)
        try:
            told = job.bucket.get(job.attempt(row.attempt).install_log)
        except BlobNotFoundError:
            return f"{row.name} in {row.zone} was {row.ending} without a word."
        lines = told.decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-_TOLD_LINES:])
