"""Rents a machine for an attempt at a job: within the budget, in the first zone that has one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from misheard.errors import (
    ComputeRefusedError,
    ImageNotFoundError,
    InvalidSettingError,
    MachineGoneError,
    NoMachineError,
    NotOursError,
    QuotaError,
)
from misheard.finetune.rented.bundle import Bundle
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import (
    IMAGE,
    Instance,
    Machine,
    labels,
    machine_name,
    startup_metadata,
)
from misheard.finetune.rented.pins import pins
from misheard.finetune.rented.prices import price
from misheard.finetune.rented.rentals import Ending, Rental, Rentals, Wanted
from misheard.settings import GceSettings

_log = logging.getLogger("misheard.gce")
_NEVER_MADE = (
    QuotaError,
    ComputeRefusedError,
    ImageNotFoundError,
    InvalidSettingError,
    NotOursError,
)
"""After these there surely is no machine."""
_NETWORK = "default"


class Machines(Protocol):
    """What is asked of a provider: `Compute`, or the one that only tells what it would ask."""

    def create(self, machine: Machine, *, attempt: int) -> Instance:
        """Make it and wait until it runs; asked again with the same number, it is made once."""
        ...

    def get(self, name: str, zone: str) -> Instance | None:
        """How it is; None where there is none."""
        ...

    def listed(self, labels: Mapping[str, str]) -> list[Instance]:
        """Those with all these labels, in every zone."""
        ...

    def was_preempted(self, name: str, zone: str) -> bool:
        """Whether the provider took it back."""
        ...

    def stop(self, name: str, zone: str) -> bool:
        """Switch it off, and wait until it is; False where there is none."""
        ...

    def delete(self, name: str, zone: str) -> bool:
        """Delete it, and wait until it is gone; False where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a machine runs: where our own wheel is, and below which address the jobs are."""

    bucket_url: str
    wheel_url: str
    wheel_name: str

    @classmethod
    def of(cls, job: RentedJob, bundle: Bundle) -> Program:
        """What the bundle of a job needs."""
        return cls(
            bucket_url=job.bucket.url,
            wheel_url=f"{job.bucket.url}/{job.shared_name(bundle.wheel_sha256)}",
            wheel_name=bundle.wheel_name,
        )

    def metadata(self, job_id: str, attempt: int) -> dict[str, str]:
        """What the machine of an attempt is told."""
        return startup_metadata(
            bucket_url=self.bucket_url,
            job_id=job_id,
            attempt=attempt,
            wheel_url=self.wheel_url,
            wheel_name=self.wheel_name,
            constraints=pins(),
        )


class Renting:
    """Asks for machines; a row of `rentals` is there before each request."""

    def __init__(self, settings: GceSettings, rentals: Rentals, machines: Machines) -> None:
        self._settings = settings
        self._rentals = rentals
        self._machines = machines

    def rent(self, job_id: str, attempt: int, program: Program) -> Rental:
        """Have a machine run for an attempt; one that was asked for before is not made twice.

        Raises `BudgetError` before anything is asked for, `NoMachineError` where no zone has one,
        `MachineGoneError` where it was made and is gone again, and what else the provider refuses.
        """
        refused = []
        for zone in self._settings.zones:
            wanted = wanted_for(self._settings, job_id, attempt, zone)
            rental = self._rentals.open_(wanted, budget_usd=self._settings.monthly_budget_usd)
            if rental.job_id != job_id:
                raise InvalidSettingError(
                    f"The machine '{rental.name}' is in use by '{rental.job_id}'. Choose another "
                    "gce.vm_name, or none."
                )
            try:
                self.make(rental, program)
            except NoMachineError as error:
                _log.warning("%s", error)
                refused.append(error.detail)
                continue
            return self._rentals.get(rental.number)
        raise NoMachineError(
            f"{' '.join(refused)} It is tried again by itself; other zones, or another machine: "
            "gce.zones, gce.machine_type"
        )

    def make(self, rental: Rental, program: Program) -> Instance:
        """Ask for the machine of a row, and note that it is there, or that there is none."""
        label = self._rentals.label(rental)
        machine = machine_for(
            self._settings,
            rental,
            labels=labels(owner=label, job_id=rental.job_id, attempt=rental.attempt),
            metadata=program.metadata(rental.job_id, rental.attempt),
        )
        try:
            made = self._machines.create(machine, attempt=rental.number)
        except NoMachineError:
            self._rentals.end(rental.number, Ending.NO_MACHINE)
            raise
        except _NEVER_MADE:
            self._rentals.end(rental.number, Ending.REFUSED)
            raise
        except MachineGoneError:
            self._rentals.end(rental.number, Ending.PREEMPTED)
            raise
        self._rentals.note_running(rental.number, made.created_at)
        return made


def wanted_for(settings: GceSettings, job_id: str, attempt: int, zone: str = "") -> Wanted:
    """The machine of an attempt, and what it costs.

    Raises `InvalidSettingError` where a budget is set and nobody knows the price.
    """
    machine = _machine(settings, name_of(settings, job_id, attempt), zone or settings.zones[0])
    return Wanted(
        name=machine.name,
        job_id=job_id,
        attempt=attempt,
        project_id=settings.project_id,
        zone=machine.zone,
        machine_type=machine.machine_type,
        accelerator=machine.accelerator,
        is_spot=machine.is_spot,
        usd_per_hour=_usd_per_hour(settings, machine),
        max_hours=settings.max_run_hours,
    )


def machine_for(
    settings: GceSettings,
    wanted: Wanted,
    *,
    labels: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Machine:
    """The machine that is wanted, as the provider is asked for it."""
    return replace(
        _machine(settings, wanted.name, wanted.zone),
        machine_type=wanted.machine_type,
        accelerator=wanted.accelerator,
        is_spot=wanted.is_spot,
        max_run_s=wanted.max_hours * 3600,
        labels=labels or {},
        metadata=metadata or {},
    )


def name_of(settings: GceSettings, job_id: str, attempt: int) -> str:
    """What the machine of an attempt is called."""
    if not settings.vm_name:
        return machine_name(job_id, attempt)
    return settings.vm_name if attempt == 1 else f"{settings.vm_name}-{attempt}"


def _machine(settings: GceSettings, name: str, zone: str) -> Machine:
    return Machine(
        name=name,
        zone=zone,
        machine_type=settings.machine_type,
        max_run_s=settings.max_run_hours * 3600,
        accelerator=settings.accelerator,
        accelerator_count=settings.accelerator_count,
        is_spot=settings.spot,
        image=settings.image or IMAGE,
        disk_gb=settings.disk_gb,
        service_account=settings.service_account,
        network=settings.network or _NETWORK,
        external_ip=settings.external_ip,
    )


def _usd_per_hour(settings: GceSettings, machine: Machine) -> float:
    found = price(machine, usd_per_hour=settings.usd_per_hour)
    if found is not None:
        return found.usd_per_hour
    if not settings.monthly_budget_usd:
        return 0.0
    way = " (spot)" if machine.is_spot else ""
    raise InvalidSettingError(
        f"What a {machine.machine_type}{way} costs in {machine.region} is not known here, so no "
        "budget can be kept: set gce.usd_per_hour, or gce.monthly_budget_usd = 0 for no budget."
    )
