"""Machines that are rented to train on."""

from __future__ import annotations

from functools import cached_property

from misheard.blobs.bucket import Bucket
from misheard.blobs.opening import open_bucket
from misheard.errors import InvalidSettingError
from misheard.finetune.backends.gce import GceBackend
from misheard.finetune.rented.compute import Compute
from misheard.finetune.rented.readiness import Check, readiness
from misheard.finetune.rented.rentals import Rentals
from misheard.finetune.rented.renting import machine_for, wanted_for
from misheard.rooms.opened import Opened

_GOOGLE = "gs://"


class RentedRooms(Opened):
    """Training on Google Compute Engine; nothing of Google's is loaded before it is needed."""

    @cached_property
    def rentals(self) -> Rentals:
        """What was rented, and what it cost."""
        place = "" if self.settings.database.url else str(self.root.resolve())
        return Rentals(self._engine, place=place)

    @cached_property
    def gce(self) -> GceBackend:
        """The place to train where `backend` is "gce"."""
        return GceBackend(
            self.settings.gce,
            self.rentals,
            open_bucket=self._open_training_bucket,
            open_machines=self._open_machines,
            jobs_root=self._jobs_root,
        )

    def check_gce(self) -> list[Check]:
        """Whether a machine could be rented now; nothing is made or changed."""
        rules = self.settings.gce
        machine = machine_for(rules, wanted_for(rules, "check", 1))
        return readiness(machine, self._open_machines, self._open_training_bucket)

    def _open_machines(self) -> Compute:
        return Compute(self.gce_project, endpoint=self.settings.gce.endpoint)

    def _open_training_bucket(self) -> Bucket:
        return open_bucket(
            self.training_address,
            state=self.root / "uploads",
            project_id=self.settings.gce.project_id,
        )

    @property
    def training_address(self) -> str:
        """Of the bucket through which trainings, and what they make, travel."""
        given, models = self.settings.gce.bucket, self.settings.storage.of_models
        if not given and models.startswith(_GOOGLE):
            given = models.removeprefix(_GOOGLE).partition("/")[0]
        given = given or f"{self.gce_project}-models"
        return given if "://" in given else f"{_GOOGLE}{given}"

    @property
    def gce_project(self) -> str:
        """The project that pays; `InvalidSettingError` where none is set."""
        project_id = self.settings.gce.project_id
        if not project_id:
            raise InvalidSettingError(
                "gce.project_id is empty: it names the project of Google Cloud that pays. See: "
                "gcloud projects list"
            )
        return project_id
