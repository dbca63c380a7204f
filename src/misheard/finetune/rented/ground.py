"""What each step with a rented machine stands on: our rows, the provider, the bucket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from misheard.blobs.bucket import Bucket
from misheard.errors import NotOursError
from misheard.finetune.rented.attempts import read_heartbeat
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import Instance, owned
from misheard.finetune.rented.rentals import Rental, Rentals
from misheard.finetune.rented.renting import Machines


class Ground:
    """The rows of this workspace; its provider and bucket are opened when they are first needed."""

    def __init__(
        self,
        rentals: Rentals,
        *,
        open_bucket: Callable[[], Bucket],
        open_machines: Callable[[], Machines],
    ) -> None:
        self.rentals = rentals
        self._open_bucket = open_bucket
        self._open_machines = open_machines

    @cached_property
    def bucket(self) -> Bucket:
        """Where both sides meet."""
        return self._open_bucket()

    @cached_property
    def machines(self) -> Machines:
        """The provider."""
        return self._open_machines()

    def job(self, job_id: str) -> RentedJob:
        """What a job has in the bucket."""
        return RentedJob(self.bucket, job_id)

    def open_rows(self, job_id: str) -> list[Rental]:
        """The rows of a job whose machine may be there."""
        return [row for row in self.rentals.of_job(job_id) if row.is_open]

    def there(self, row: Rental) -> Instance | None:
        """The machine of a row; `NotOursError` where it is that of the workspace we are a copy of.

        A copy has the rows too, and names alone would lead it to the machines of the other.
        """
        found = self.machines.get(row.name, row.zone)
        if found and not owned(self.rentals.label(row)).items() <= found.labels.items():
            raise NotOursError(
                f"{row.name} in {row.zone} was rented by a workspace in another directory, of "
                "which this one is a copy. Go on there; or, where that one is no more: gcloud "
                f"compute instances delete {row.name} --zone {row.zone}"
            )
        return found

    def last_sign(self, row: Rental) -> datetime:
        """When anything was last known of a machine."""
        begun = row.running_at or row.asked_at
        return max(begun, self.last_beat(row) or begun)

    def last_beat(self, row: Rental) -> datetime | None:
        """When the program on it last told that it lives; None where it never did."""
        beat = read_heartbeat(self.job(row.job_id).attempt(row.attempt))
        return beat.at if beat else None
