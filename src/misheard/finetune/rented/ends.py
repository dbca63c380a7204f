"""How a job on rented machines ends: its model or its reason is kept, then all it had is let go."""

from __future__ import annotations

from collections.abc import Callable

from misheard.errors import HomecomingError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.ground import Ground
from misheard.finetune.rented.homecoming import bring_home, clean, clean_inputs
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.manifest import Outcome
from misheard.finetune.rented.rentals import Ending
from misheard.finetune.rented.sweep import ended_at
from misheard.finetune.written import write_text


class Ends:
    """Ends jobs, in an order in which whoever is killed between two steps loses nothing."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def finish(self, paths: JobPaths, job: RentedJob) -> None:
        """There is a manifest: take home what it names."""
        try:
            manifest = bring_home(job, paths)
        except HomecomingError as error:
            # What it made is left there: it may be all that is left of hours of training. What
            # people said is not.
            self.release_machines(paths, Ending.FAILED, before=lambda: clean_inputs(job))
            where = folder_of(job)
            write_text(
                paths.failure,
                f"{error} What it sent is left in {where}. When nobody needs it: "
                f"gcloud storage rm -r {where}",
            )
            return
        if manifest.outcome is Outcome.FAILED:
            self.fail(paths, manifest.reason, Ending.FAILED)
        else:
            # Not `settle`: a sweep may have closed the row, and the bucket is still to be cleaned.
            self._clear(paths, Ending.DONE)

    def fail(self, paths: JobPaths, reason: str, ending: Ending) -> None:
        """The job has ended without a model; why is known before its machine is deleted."""
        write_text(paths.failure, reason)
        self._clear(paths, ending)

    def settle(self, paths: JobPaths) -> None:
        """Delete the machine of a job that has ended, and what it has in the bucket."""
        if self._ground.open_rows(paths.root.name):
            self._clear(paths, Ending.DONE if paths.result.exists() else Ending.FAILED)

    def release_machines(
        self, paths: JobPaths, ending: Ending, *, before: Callable[[], object] = lambda: None
    ) -> list[str]:
        """Delete its machines and end their rows; the names of those that were there."""
        gone_at, there = {}, []
        for row in self._ground.open_rows(paths.root.name):
            instance = self._ground.there(row)
            if self._ground.machines.delete(row.name, row.zone):
                there.append(row.name)
            gone_at[row.number] = ended_at(row, instance, self._ground.last_beat(row))
        before()
        for number, at in gone_at.items():
            self._ground.rentals.end(number, ending, at)
        return there

    def _clear(self, paths: JobPaths, ending: Ending) -> None:
        # The row is ended last: while it is open, whoever asks does all of this again.
        self.release_machines(
            paths, ending, before=lambda: clean(self._ground.job(paths.root.name))
        )


def is_over(paths: JobPaths) -> bool:
    """Whether the files of a job know how it has ended."""
    return paths.result.exists() or paths.failure.exists()


def folder_of(job: RentedJob) -> str:
    """Where a job has what it has in the bucket, as Google's tools write it."""
    return f"{job.bucket.url}/{job.folder}"
