"""Training on a machine of Google Compute Engine that is rented for it.

Nothing is kept in a process: what was asked for is in `rentals`, what the machine tells and makes
is in the bucket, and names follow from the job's id. So whoever asks how a job stands takes it on
from wherever it was left: machine made, followed, replaced when it was taken away, model brought
home, machine deleted.
"""

from __future__ import annotations

import fcntl
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from misheard.blobs.bucket import Bucket, Sent, unwatched
from misheard.database.engine import now
from misheard.errors import (
    BlobNotFoundError,
    BucketUnavailableError,
    BundleError,
    ComputeUnreachableError,
    HomecomingError,
    InvalidSettingError,
    MachineGoneError,
    MachineMissingError,
    NotOursError,
)
from misheard.finetune.backends.backend import RunState
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import read_heartbeat
from misheard.finetune.rented.bundle import bundle_bytes, release, send_bundle
from misheard.finetune.rented.homecoming import bring_home, clean, clean_inputs, follow
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import Instance, owned
from misheard.finetune.rented.manifest import Outcome
from misheard.finetune.rented.rentals import Ending, Rental, Rentals
from misheard.finetune.rented.renting import Machines, Program, Renting, wanted_for
from misheard.finetune.rented.sweep import Standing, Sweep, Swept, ended_at
from misheard.finetune.rented.wheel import build_wheel
from misheard.finetune.written import write_text
from misheard.settings import GceSettings

_log = logging.getLogger("misheard.gce")
_STILLBORN = 2
"""So many machines in a row on which the program never began: the next would fare no better."""
_TOLD_LINES = 3
_SETTLES = timedelta(minutes=1)
"""So long after its machine a job may not be told to have ended by whoever has ended it."""
_PASSING = (ComputeUnreachableError, BucketUnavailableError)
"""What may be over in a while; the machine goes on meanwhile."""


class GceBackend:
    """A `TrainingBackend` on rented machines; see `[gce]` of the settings."""

    name = "gce"

    def __init__(
        self,
        settings: GceSettings,
        rentals: Rentals,
        *,
        open_bucket: Callable[[], Bucket],
        open_machines: Callable[[], Machines],
        jobs_root: Path,
    ) -> None:
        """The bucket and the provider are opened when they are first needed."""
        self._settings = settings
        self._rentals = rentals
        self._open_bucket = open_bucket
        self._open_machines = open_machines
        self._jobs_root = jobs_root
        self._looked_at: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}

    # ---- the contract of every back end

    def start(self, paths: JobPaths) -> None:
        """See `TrainingBackend`.

        Raises `BudgetError`, `NoMachineError` and what else keeps a machine from being rented;
        called again, it goes on.
        """
        if _is_over(paths):
            return
        with self._turn(paths, patient=True):
            rows = self._rentals.of_job(paths.root.name)
            if (rows and rows[-1].is_open) or self._is_done(paths, rows):
                return
            # First, so that nothing is held back from the budget for machines that are gone.
            self.sweep()
            self.require_budget(paths)
            program = self.send(paths)
            self.release(paths)
            self._next(paths, rows, program)

    def state(self, paths: JobPaths) -> RunState:
        """See `TrainingBackend`. What is to be done about the job now is done on the way."""
        if _is_over(paths):
            self._settle(paths)
            return _known(paths)
        rows = self._rentals.of_job(paths.root.name)
        if not rows:
            return RunState.STOPPED
        since_s = time.monotonic() - self._looked_at.get(paths.root.name, float("-inf"))
        if since_s >= self._settings.poll_s:
            with self._turn(paths) as is_mine:
                # Another process looks after it: that is enough.
                if is_mine:
                    self._look_patiently(paths)
            self._looked_at[paths.root.name] = time.monotonic()
        return _known(paths)

    def cancel(self, paths: JobPaths) -> None:
        """See `TrainingBackend`."""
        rows = self._rentals.of_job(paths.root.name)
        # Recordings may be in the bucket though no machine was asked for yet; and what was asked
        # for from another computer left nothing here.
        has_begun = paths.control.exists() or (rows and rows[-1].ending is not Ending.DONE)
        if not has_begun:
            return
        with self._turn(paths, patient=True):
            for row in self._open_rows(paths):
                self._there(row)  # raises where it is not ours to delete
            if _is_over(paths):
                self._settle(paths)
            else:
                self._fail(paths, "cancelled.", Ending.CANCELLED)

    # ---- its steps one by one, for whoever takes them by hand

    def require_budget(self, paths: JobPaths) -> None:
        """Raise `BudgetError` where the worst case of a machine is more than is left.

        A job that has its machine needs no other one.
        """
        if self._open_rows(paths):
            return
        wanted = wanted_for(self._settings, paths.root.name, 1)
        self._rentals.require_budget(wanted, self._settings.monthly_budget_usd)
        _log.info(
            "%s: a %s costs %.2f USD an hour, and %.2f at most.",
            wanted.job_id,
            wanted.machine_type,
            wanted.usd_per_hour,
            wanted.most_usd,
        )

    def send(self, paths: JobPaths, *, progress: Sent = unwatched) -> Program:
        """Have all that a machine needs in the bucket; only what is missing travels."""
        job = self._job(paths)
        bundle = send_bundle(paths, job, self._wheel, progress=progress)
        return Program.of(job, bundle)

    def bytes_of(self, paths: JobPaths) -> int:
        """How many bytes `send` sends where nothing of it is there yet."""
        return bundle_bytes(paths) + self._wheel.stat().st_size

    def release(self, paths: JobPaths) -> None:
        """Say that training may begin."""
        release(self._job(paths))

    def rent(self, paths: JobPaths, program: Program) -> Rental | None:
        """Have a machine for a job: the one that is there, or a new one; None where all is done."""
        with self._turn(paths, patient=True):
            rows = self._rentals.of_job(paths.root.name)
            if self._is_done(paths, rows):
                return None
            if not (rows and rows[-1].is_open and self._there(rows[-1])):
                self._next(paths, rows, program)
            return self._rentals.of_job(paths.root.name)[-1]

    def has_machine(self, paths: JobPaths) -> bool:
        """Whether a machine is there for a job."""
        return any(self._there(row) for row in self._open_rows(paths))

    def stop_machine(self, paths: JobPaths) -> list[str]:
        """Switch the machine of a job off; the names of those that were there.

        Its disk stays, and costs; the next one goes on from what it has saved.
        """
        return [
            row.name
            for row in self._open_rows(paths)
            if self._there(row) and self.machines.stop(row.name, row.zone)
        ]

    def delete_machine(self, paths: JobPaths) -> list[str]:
        """Delete the machine of a job; the names of those that were there.

        What it has saved is left in the bucket, so that the next one goes on from there.
        """
        if not self._open_rows(paths):
            return []
        with self._turn(paths, patient=True):
            return self._release_machines(paths, Ending.CANCELLED)

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """Delete machines of this workspace that nobody needs, and what their jobs left."""
        swept = self._sweep.run(dry_run=dry_run)
        ended = self._rentals.ended_jobs(one.job_id for one in swept)
        for job_id in ended if not dry_run else ():
            clean(RentedJob(self.bucket, job_id))
        for one in swept:
            _log.warning("%s in %s: %s.", one.name, one.zone, one.why)
        return swept

    def standing(self) -> list[Standing]:
        """The machines of this workspace that are there now."""
        return self._sweep.standing()

    @cached_property
    def bucket(self) -> Bucket:
        """Where both sides meet."""
        return self._open_bucket()

    @cached_property
    def machines(self) -> Machines:
        """The provider."""
        return self._open_machines()

    @cached_property
    def _renting(self) -> Renting:
        return Renting(self._settings, self._rentals, self.machines)

    # ---- one look

    def _look_patiently(self, paths: JobPaths) -> None:
        """As `_look`; what does not answer now is asked again later, for `silent_minutes`.

        That no zone has a machine is raised: whoever waits, waits better without asking all zones
        every few seconds.
        """
        job_id = paths.root.name
        try:
            self._look(paths)
        except FileNotFoundError as error:
            if paths.order.exists():
                raise
            raise BundleError(
                f"The inputs of {job_id} are not on this computer, and its next machine needs "
                "them. Go on where it was begun."
            ) from error
        except _PASSING as error:
            since_s = time.monotonic() - self._failing_since.setdefault(job_id, time.monotonic())
            if since_s > self._settings.silent_minutes * 60:
                raise
            _log.warning("%s: %s It is tried again.", job_id, error)
        else:
            self._failing_since.pop(job_id, None)

    def _look(self, paths: JobPaths) -> None:
        """Do what is to be done about a job that has not ended."""
        if _is_over(paths):
            return
        rows = self._rentals.of_job(paths.root.name)
        if self._has_ended(paths, rows):
            return
        job, row = self._job(paths), rows[-1]
        if row.is_open and row.project_id != self._settings.project_id:
            raise InvalidSettingError(
                f"{row.name} was rented in the project '{row.project_id}': gce.project_id"
            )
        # Asked before the bucket is: of a machine that is gone, nothing comes any more.
        instance = self._there(row) if row.is_open else None
        follow(job, paths)
        if job.bucket.stat(job.manifest) is not None:
            self._finish(paths, job)
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
            self._rentals.note_running(row.number, instance.created_at)
            silent_for = now() - self._last_sign(row)
            if silent_for > timedelta(minutes=self._settings.silent_minutes):
                self._replace(paths, row, instance, Ending.SILENT)

    def _is_done(self, paths: JobPaths, rows: list[Rental]) -> bool:
        """Whether a job needs no machine any more; what waits in the bucket is taken home."""
        job = self._job(paths)
        if _is_over(paths) or self._has_ended(paths, rows):
            return True
        if not rows or job.bucket.stat(job.manifest) is None:
            return False
        self._finish(paths, job)
        return True

    def _has_ended(self, paths: JobPaths, rows: list[Rental]) -> bool:
        """Whether a job that is not home has ended: cancelled, or by another computer."""
        job_id = paths.root.name
        is_told = bool(self._rentals.ended_jobs([job_id]))
        last = rows[-1] if rows else None
        if last is not None and last.ended_at and last.ending in (Ending.DONE, Ending.FAILED):
            # The model, or the reason, went to where its machine was looked after.
            if is_told or now() - last.ended_at > _SETTLES:
                text = f"It has ended on another computer ({last.ending}): misheard versions"
                write_text(paths.failure, text)
            return True
        if is_told:
            self._fail(paths, "It was cancelled, or ended elsewhere.", Ending.CANCELLED)
        return is_told

    def _make(self, paths: JobPaths, row: Rental) -> None:
        try:
            self._renting.make(row, self.send(paths))
        except MachineGoneError:
            self._again(paths)

    def _replace(
        self, paths: JobPaths, row: Rental, instance: Instance | None, ending: Ending
    ) -> None:
        """Give an attempt up, and begin the next one."""
        self.machines.delete(row.name, row.zone)
        self._rentals.end(row.number, ending, ended_at(row, instance, self._last_beat(row)))
        _log.warning("%s: attempt %d was %s.", row.job_id, row.attempt, ending)
        self._again(paths)

    def _again(self, paths: JobPaths) -> None:
        rows = self._rentals.of_job(paths.root.name)
        self._next(paths, rows, None)

    def _next(self, paths: JobPaths, rows: list[Rental], program: Program | None) -> None:
        """Rent a machine for the next attempt, or say that there have been enough."""
        had = {row.attempt: row for row in rows if row.ending and not row.ending.is_free}
        reason = self._reason_to_stop(paths, list(had.values()))
        if reason:
            # What it has saved stays: it may be hours of training.
            job = self._job(paths)
            write_text(paths.failure, f"{reason} What it has saved is left below {_folder(job)}.")
            self._release_machines(paths, Ending.FAILED, before=lambda: clean_inputs(job))
            return
        attempt = max(had, default=0) + 1
        try:
            self._renting.rent(paths.root.name, attempt, program or self.send(paths))
        except MachineGoneError as error:
            _log.warning("%s: attempt %d: %s", paths.root.name, attempt, error)

    def _reason_to_stop(self, paths: JobPaths, had: list[Rental]) -> str:
        if not had:
            return ""
        begun = set(self._job(paths).attempts())
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
        return row.is_spot and self.machines.was_preempted(row.name, row.zone)

    def _installed(self, paths: JobPaths, row: Rental) -> str:
        """What a machine on which nothing began has last told."""
        job = self._job(paths)
        try:
            told = job.bucket.get(job.attempt(row.attempt).install_log)
        except BlobNotFoundError:
            return f"{row.name} in {row.zone} was {row.ending} without a word."
        lines = told.decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-_TOLD_LINES:])

    # ---- the end

    def _finish(self, paths: JobPaths, job: RentedJob) -> None:
        """There is a manifest: take home what it names."""
        try:
            manifest = bring_home(job, paths)
        except HomecomingError as error:
            # What it made is left there: it may be all that is left of hours of training. What
            # people said is not.
            self._release_machines(paths, Ending.FAILED, before=lambda: clean_inputs(job))
            where = _folder(job)
            write_text(
                paths.failure,
                f"{error} What it sent is left in {where}. When nobody needs it: "
                f"gcloud storage rm -r {where}",
            )
            return
        if manifest.outcome is Outcome.FAILED:
            self._fail(paths, manifest.reason, Ending.FAILED)
        else:
            # Not `_settle`: a sweep may have closed the row, and the bucket is still to be cleaned.
            self._clear(paths, Ending.DONE)

    def _fail(self, paths: JobPaths, reason: str, ending: Ending) -> None:
        """The job has ended without a model; why is known before its machine is deleted."""
        write_text(paths.failure, reason)
        self._clear(paths, ending)

    def _settle(self, paths: JobPaths) -> None:
        """Delete the machine of a job that has ended, and what it has in the bucket."""
        if self._open_rows(paths):
            self._clear(paths, Ending.DONE if paths.result.exists() else Ending.FAILED)

    def _clear(self, paths: JobPaths, ending: Ending) -> None:
        # The row is ended last: while it is open, whoever asks does all of this again.
        self._release_machines(paths, ending, before=lambda: clean(self._job(paths)))

    def _release_machines(
        self, paths: JobPaths, ending: Ending, *, before: Callable[[], object] = lambda: None
    ) -> list[str]:
        """Delete its machines and end their rows; the names of those that were there."""
        gone_at, there = {}, []
        for row in self._open_rows(paths):
            instance = self._there(row)
            if self.machines.delete(row.name, row.zone):
                there.append(row.name)
            gone_at[row.number] = ended_at(row, instance, self._last_beat(row))
        before()
        for number, at in gone_at.items():
            self._rentals.end(number, ending, at)
        return there

    # ---- what it stands on

    def _open_rows(self, paths: JobPaths) -> list[Rental]:
        return [row for row in self._rentals.of_job(paths.root.name) if row.is_open]

    def _there(self, row: Rental) -> Instance | None:
        """The machine of a row; `NotOursError` where it is that of the workspace we are a copy of.

        A copy has the rows too, and names alone would lead it to the machines of the other.
        """
        found = self.machines.get(row.name, row.zone)
        if found and not owned(self._rentals.label(row)).items() <= found.labels.items():
            raise NotOursError(
                f"{row.name} in {row.zone} was rented by a workspace in another directory, of "
                "which this one is a copy. Go on there; or, where that one is no more: gcloud "
                f"compute instances delete {row.name} --zone {row.zone}"
            )
        return found

    def _last_sign(self, row: Rental) -> datetime:
        begun = row.running_at or row.asked_at
        return max(begun, self._last_beat(row) or begun)

    def _last_beat(self, row: Rental) -> datetime | None:
        beat = read_heartbeat(RentedJob(self.bucket, row.job_id).attempt(row.attempt))
        return beat.at if beat else None

    def _job(self, paths: JobPaths) -> RentedJob:
        return RentedJob(self.bucket, paths.root.name)

    @cached_property
    def _wheel(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="misheard-wheel-")
        return build_wheel(Path(self._folder.name))

    @cached_property
    def _sweep(self) -> Sweep:
        return Sweep(
            self._rentals,
            self.machines,
            project_id=self._settings.project_id,
            has_ended=lambda job_id: _is_over(JobPaths(self._jobs_root / job_id)),
            last_sign=self._last_beat,
        )

    @contextmanager
    def _turn(self, paths: JobPaths, *, patient: bool = False) -> Iterator[bool]:
        """One process at a time looks after a job; whether it is this one."""
        # Where another computer has begun it, nothing is here yet.
        paths.root.mkdir(parents=True, exist_ok=True)
        with paths.control.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def _is_over(paths: JobPaths) -> bool:
    return paths.result.exists() or paths.failure.exists()


def _folder(job: RentedJob) -> str:
    return f"{job.bucket.url}/{job.folder}"


def _known(paths: JobPaths) -> RunState:
    if paths.result.exists():
        return RunState.SUCCEEDED
    return RunState.STOPPED if paths.failure.exists() else RunState.RUNNING
