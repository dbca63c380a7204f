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
from functools import cached_property
from pathlib import Path

from misheard.blobs.bucket import Bucket, Sent, unwatched
from misheard.errors import (
    BucketUnavailableError,
    BundleError,
    ComputeUnreachableError,
)
from misheard.finetune.backends.backend import RunState
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.bundle import bundle_bytes, release, send_bundle
from misheard.finetune.rented.ends import Ends, is_over
from misheard.finetune.rented.following import Following
from misheard.finetune.rented.ground import Ground
from misheard.finetune.rented.homecoming import clean
from misheard.finetune.rented.rentals import Ending, Rental, Rentals
from misheard.finetune.rented.renting import Machines, Program, wanted_for
from misheard.finetune.rented.sweep import Standing, Sweep, Swept
from misheard.finetune.rented.wheel import build_wheel
from misheard.settings import GceSettings

_log = logging.getLogger("misheard.gce")
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
        self._ground = Ground(rentals, open_bucket=open_bucket, open_machines=open_machines)
        self._ends = Ends(self._ground)
        self._following = Following(settings, self._ground, self._ends, self.send)
        self._jobs_root = jobs_root
        self._looked_at: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}

    # ---- the contract of every back end

    def start(self, paths: JobPaths) -> None:
        """See `TrainingBackend`.

        Raises `BudgetError`, `NoMachineError` and what else keeps a machine from being rented;
        called again, it goes on.
        """
        if is_over(paths):
            return
        with self._turn(paths, patient=True):
            rows = self._ground.rentals.of_job(paths.root.name)
            if (rows and rows[-1].is_open) or self._following.is_done(paths, rows):
                return
            # First, so that nothing is held back from the budget for machines that are gone.
            self.sweep()
            self.require_budget(paths)
            program = self.send(paths)
            self.release(paths)
            self._following.rent_next(paths, rows, program)

    def state(self, paths: JobPaths) -> RunState:
        """See `TrainingBackend`. What is to be done about the job now is done on the way."""
        if is_over(paths):
            self._ends.settle(paths)
            return _known(paths)
        rows = self._ground.rentals.of_job(paths.root.name)
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
        rows = self._ground.rentals.of_job(paths.root.name)
        # Recordings may be in the bucket though no machine was asked for yet; and what was asked
        # for from another computer left nothing here.
        has_begun = paths.control.exists() or (rows and rows[-1].ending is not Ending.DONE)
        if not has_begun:
            return
        with self._turn(paths, patient=True):
            for row in self._ground.open_rows(paths.root.name):
                self._ground.there(row)  # raises where it is not ours to delete
            if is_over(paths):
                self._ends.settle(paths)
            else:
                self._ends.fail(paths, "cancelled.", Ending.CANCELLED)

    # ---- its steps one by one, for whoever takes them by hand

    def require_budget(self, paths: JobPaths) -> None:
        """Raise `BudgetError` where the worst case of a machine is more than is left.

        A job that has its machine needs no other one.
        """
        if self._ground.open_rows(paths.root.name):
            return
        wanted = wanted_for(self._settings, paths.root.name, 1)
        self._ground.rentals.require_budget(wanted, self._settings.monthly_budget_usd)
        _log.info(
            "%s: a %s costs %.2f USD an hour, and %.2f at most.",
            wanted.job_id,
            wanted.machine_type,
            wanted.usd_per_hour,
            wanted.most_usd,
        )

    def send(self, paths: JobPaths, *, progress: Sent = unwatched) -> Program:
        """Have all that a machine needs in the bucket; only what is missing travels."""
        job = self._ground.job(paths.root.name)
        bundle = send_bundle(paths, job, self._wheel, progress=progress)
        return Program.of(job, bundle)

    def bytes_of(self, paths: JobPaths) -> int:
        """How many bytes `send` sends where nothing of it is there yet."""
        return bundle_bytes(paths) + self._wheel.stat().st_size

    def release(self, paths: JobPaths) -> None:
        """Say that training may begin."""
        release(self._ground.job(paths.root.name))

    def rent(self, paths: JobPaths, program: Program) -> Rental | None:
        """Have a machine for a job: the one that is there, or a new one; None where all is done."""
        with self._turn(paths, patient=True):
            rows = self._ground.rentals.of_job(paths.root.name)
            if self._following.is_done(paths, rows):
                return None
            if not (rows and rows[-1].is_open and self._ground.there(rows[-1])):
                self._following.rent_next(paths, rows, program)
            return self._ground.rentals.of_job(paths.root.name)[-1]

    def has_machine(self, paths: JobPaths) -> bool:
        """Whether a machine is there for a job."""
        return any(self._ground.there(row) for row in self._ground.open_rows(paths.root.name))

    def stop_machine(self, paths: JobPaths) -> list[str]:
        """Switch the machine of a job off; the names of those that were there.

        Its disk stays, and costs; the next one goes on from what it has saved.
        """
        return [
            row.name
            for row in self._ground.open_rows(paths.root.name)
            if self._ground.there(row) and self._ground.machines.stop(row.name, row.zone)
        ]

    def delete_machine(self, paths: JobPaths) -> list[str]:
        """Delete the machine of a job; the names of those that were there.

        What it has saved is left in the bucket, so that the next one goes on from there.
        """
        if not self._ground.open_rows(paths.root.name):
            return []
        with self._turn(paths, patient=True):
            return self._ends.release_machines(paths, Ending.CANCELLED)

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """Delete machines of this workspace that nobody needs, and what their jobs left."""
        swept = self._sweep.run(dry_run=dry_run)
        ended = self._ground.rentals.ended_jobs(one.job_id for one in swept)
        for job_id in ended if not dry_run else ():
            clean(self._ground.job(job_id))
        for one in swept:
            _log.warning("%s in %s: %s.", one.name, one.zone, one.why)
        return swept

    def standing(self) -> list[Standing]:
        """The machines of this workspace that are there now."""
        return self._sweep.standing()

    @property
    def bucket(self) -> Bucket:
        """Where both sides meet."""
        return self._ground.bucket

    @property
    def machines(self) -> Machines:
        """The provider."""
        return self._ground.machines

    # ---- one look

    def _look_patiently(self, paths: JobPaths) -> None:
        """As `Following.look`; what does not answer now is asked again later, for `silent_minutes`.

        That no zone has a machine is raised: whoever waits, waits better without asking all zones
        every few seconds.
        """
        job_id = paths.root.name
        try:
            self._following.look(paths)
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

    # ---- what it stands on

    @cached_property
    def _wheel(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="misheard-wheel-")
        return build_wheel(Path(self._folder.name))

    @cached_property
    def _sweep(self) -> Sweep:
        return Sweep(
            self._ground.rentals,
            self._ground.machines,
            project_id=self._settings.project_id,
            has_ended=lambda job_id: is_over(JobPaths(self._jobs_root / job_id)),
            last_sign=self._ground.last_beat,
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


def _known(paths: JobPaths) -> RunState:
    if paths.result.exists():
        return RunState.SUCCEEDED
    return RunState.STOPPED if paths.failure.exists() else RunState.RUNNING
