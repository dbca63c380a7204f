"""One training on a dataset version outside of cycles, on a rented machine.

Everything about it follows from the dataset, the recipe and the version that is live: who asks for
the same again goes on with the same job.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from misheard.blobs.bucket import Sent, unwatched
from misheard.datasets.datasets import Dataset
from misheard.errors import (
    EmptyDatasetError,
    MachineMissingError,
    ModelNotFoundError,
    NoMachineError,
    UnknownIdError,
)
from misheard.finetune.events import TrainingEvent
from misheard.finetune.jobs import Job, JobState
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.finetune.rented.bundle import release, send_bundle
from misheard.finetune.rented.costs import Estimate
from misheard.finetune.rented.dry import DryCompute
from misheard.finetune.rented.dry_bucket import DryBucket
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import labels
from misheard.finetune.rented.rentals import Rental
from misheard.finetune.rented.renting import Program, machine_for, wanted_for
from misheard.finetune.rented.wheel import build_wheel
from misheard.gatekeeping import Observe, unobserved
from misheard.gates.validation import Validation
from misheard.registry import ModelVersion
from misheard.workspace import Workspace

_log = logging.getLogger("misheard.gce")
_LOOKS_TO_PASS = 6
"""Before machines are asked for again where no zone had one: a minute, unless settings differ."""


def _untold(_: TrainingEvent) -> None:
    """For whoever does not want to know."""


class Tuning:
    """Trains the live version on a dataset; each step may be repeated, and goes on."""

    def __init__(
        self,
        workspace: Workspace,
        dataset_id: str,
        *,
        actor: str,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        name: str = "",
    ) -> None:
        """`settings` override those of the workspace, by section; `name` is for the new version.

        Raises `UnknownIdError` where there is no such dataset.
        """
        self.workspace = workspace.configured({**(settings or {}), "backend": "gce"})
        self.dataset: Dataset = self.workspace.datasets.get(dataset_id)
        self.base = self.workspace.registry.get(self.workspace.deployments.live().version_id)
        self._recipe = Recipe.from_dict(dict(self.workspace.settings.recipe))
        self._actor = actor
        self._name = name or self.base.name
        self._has_sent = False

    @cached_property
    def job_id(self) -> str:
        """Made of what is trained, how, and from what; another one after each that failed."""
        made_of = [self.dataset.id, self.base.id, self._recipe.to_dict()]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        first = f"job-{digest[:16]}"
        attempt, job_id = 1, first
        while self._has_failed(job_id):
            attempt += 1
            job_id = f"{first}-{attempt}"
        return job_id

    @property
    def paths(self) -> JobPaths:
        """The files of the job."""
        return self.workspace.jobs.paths(self.job_id)

    @property
    def job(self) -> Job:
        """The job with its inputs, made where it is not there yet."""
        return self.workspace.jobs.prepare(
            self.job_id,
            self.base.id,
            self.dataset,
            self._recipe,
            general=self.workspace.validations.general_set(self.dataset),
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: it is home, or was given up."""
        is_final = self.job.state.is_final
        return is_final or self.paths.result.exists() or self.paths.failure.exists()

    @property
    def estimate(self) -> Estimate:
        """What it may cost."""
        return self.workspace.estimate_rent(self.dataset.id)

    @property
    def version(self) -> ModelVersion | None:
        """What came of it; None before."""
        found = self.workspace.registry.listed()
        return next((one for one in found if one.job_id == self.job_id), None)

    @property
    def machine(self) -> Rental | None:
        """The machine that is rented for it now; None where none is."""
        rows = self.workspace.rentals.of_job(self.job_id)
        return rows[-1] if rows and rows[-1].is_open else None

    @property
    def usd(self) -> float:
        """What its machines have cost so far, by the list of prices."""
        return sum(one.usd() for one in self.workspace.rentals.of_job(self.job_id))

    def is_live(self, version: ModelVersion) -> bool:
        """Whether a version is what answers now."""
        return self.workspace.deployments.live().version_id == version.id

    def send(self, observe: Observe = unobserved) -> None:
        """Have all that a machine needs in the bucket."""
        if not self.is_over:
            self.workspace.gce.send(self.paths, progress=self._sending(observe))

    def rent(self, observe: Observe = unobserved) -> Rental | None:
        """Have a machine, which waits until it is told to train; None where all is done.

        What it needs to begin is sent before.
        """
        self._take_home()
        if self.is_over:
            return None
        # First, so that what is gone holds nothing of the budget back any more.
        self.workspace.gce.sweep()
        if self.machine is None:
            self.workspace.gce.require_budget(self.paths)
        program = self.workspace.gce.send(self.paths, progress=self._sending(observe))
        return self.workspace.gce.rent(self.paths, program)

    def require_machine(self) -> None:
        """Raise `MachineMissingError` where there is none, and something is left to train."""
        self._take_home()
        if not self.is_over and not self.workspace.gce.has_machine(self.paths):
            raise MachineMissingError(f"For {self.job_id}. Rent one: --create-vm")

    def train(
        self,
        *,
        on_event: Callable[[TrainingEvent], None] = _untold,
        while_waiting: Callable[[], None] = lambda: None,
        observe: Observe = unobserved,
    ) -> ModelVersion:
        """Say that training may begin, wait for the end, and register what came home.

        Where a machine was taken away and no zone has another, it is asked for until one has.
        Raises `JobFailedError` with the reason.
        """
        if not self.is_over:
            self.workspace.gce.send(self.paths, progress=self._sending(observe))
            self.workspace.gce.release(self.paths)
        job = self.job
        while job.state is not JobState.COMPLETED:
            try:
                job = self.workspace.jobs.wait(
                    job.id, on_event=on_event, while_waiting=while_waiting
                )
            except NoMachineError as error:
                _log.warning("%s", error)
                time.sleep(_LOOKS_TO_PASS * self.workspace.settings.gce.poll_s)
        return self.version or self.workspace.registry.register(
            self.paths.model,
            name=self._name,
            source=job.id,
            actor=self._actor,
            parent_id=job.base_version_id,
            dataset_id=job.dataset_id,
            job_id=job.id,
            figures=job.result,
        )

    def judge(self, version: ModelVersion, observe: Observe = unobserved) -> Validation | None:
        """Judge it against what is live by the first gate; None where nothing was held out."""
        try:
            self.workspace.held_out()
        except EmptyDatasetError:
            return None
        return self.workspace.validate(version.id, observe=observe)

    def copy_model(self, target: Path) -> Path:
        """Copy the files of the model into a folder below `target`; where they are."""
        version = self.version or self._newest()
        folder = target / version.id
        shutil.copytree(self.workspace.registry.directory(version.id), folder, dirs_exist_ok=True)
        return folder

    def stop_machine(self) -> list[str]:
        """Switch off what is rented for the dataset; the names of those that were there."""
        gce = self.workspace.gce
        return [name for paths in self._rented_for() for name in gce.stop_machine(paths)]

    def delete_machine(self) -> list[str]:
        """Delete what is rented for the dataset; the names of those that were there."""
        gce = self.workspace.gce
        return [name for paths in self._rented_for() for name in gce.delete_machine(paths)]

    def rehearse(
        self, show: Callable[[str], None], *, machine: bool, inputs: bool, training: bool
    ) -> None:
        """Show each request of these steps, and send none."""
        rules = self.workspace.settings.gce
        bucket = DryBucket(self.workspace.training_address, show=show)
        with tempfile.TemporaryDirectory() as folder:
            paths = JobPaths(Path(folder) / self.job_id)
            draft = self.workspace.jobs.draft(self.job_id, self.base.id, self.dataset, self._recipe)
            general = self.workspace.validations.general_set(self.dataset)
            self.workspace.jobs.write_inputs(draft, paths, general)
            job = RentedJob(bucket, self.job_id)
            wheel = build_wheel(Path(folder))
            bundle = send_bundle(paths, job, wheel) if inputs or training or machine else None
        if machine and bundle is not None:
            wanted = wanted_for(rules, self.job_id, 1)
            made = machine_for(
                rules,
                wanted,
                labels=labels(owner=self.workspace.rentals.owner, job_id=self.job_id, attempt=1),
                metadata=Program.of(job, bundle).metadata(self.job_id, 1),
            )
            self._dry(show).create(made)
        if training:
            release(job)
            bucket.stat(job.manifest)

    def rehearse_end(self, show: Callable[[str], None], *, stop: bool, delete: bool) -> None:
        """Show the requests that end its machine, and send none."""
        machines, wanted = self._dry(show), wanted_for(self.workspace.settings.gce, self.job_id, 1)
        if stop:
            machines.stop(wanted.name, wanted.zone)
        if delete:
            machines.delete(wanted.name, wanted.zone)

    def _dry(self, show: Callable[[str], None]) -> DryCompute:
        rules = self.workspace.settings.gce
        return DryCompute(self.workspace.gce_project, show=show, endpoint=rules.endpoint)

    def _sending(self, observe: Observe) -> Sent:
        # One bar: what a later step sends again is there.
        if observe is unobserved or self._has_sent:
            return unwatched
        self._has_sent = True
        advance, sent = observe("sending, kB", self.workspace.gce.bytes_of(self.paths) // 1000), 0

        def told(size_bytes: int) -> None:
            nonlocal sent
            before = sent // 1000
            sent += size_bytes
            advance(sent // 1000 - before)

        return told

    def _take_home(self) -> None:
        """Take home what a machine has ended with while nobody followed it."""
        job = RentedJob(self.workspace.gce.bucket, self.job_id)
        if not self.is_over and job.bucket.stat(job.manifest) is not None:
            self.workspace.gce.state(self.paths)

    def _rented_for(self) -> list[JobPaths]:
        """The jobs on the dataset that machines are rented for, whatever their recipe and base."""
        jobs = self.workspace.jobs
        rented = {one.job_id for one in self.workspace.rentals.still_open()}
        return [
            jobs.paths(job_id)
            for job_id in sorted(rented)
            if jobs.get(job_id).dataset_id == self.dataset.id
        ]

    def _newest(self) -> ModelVersion:
        """The newest version that was trained on the dataset, by whatever job."""
        for one in self.workspace.registry.listed():
            if one.dataset_id == self.dataset.id:
                return one
        raise ModelNotFoundError(
            f"Nothing has been trained on {self.dataset.id} yet: --create-vm --run-training"
        )

    def _has_failed(self, job_id: str) -> bool:
        try:
            job = self.workspace.jobs.get(job_id)
        except UnknownIdError:
            return False
        return job.state in (JobState.FAILED, JobState.CANCELLED)
