"""Rents a machine for an attempt at a job: within the budget, in the first zone that has one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
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
from misheard.finetune.rented.machines import (
    IMAGE,
    Instance,
    Machine,
    labels,
    machine_name,
    startup_metadata,
)
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
                _log.warning("%s has no machine: %s", rental.zone, error.detail)
                refused.append(f"{rental.zone}: {error.detail}")
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
            metadata=startup_metadata(
                bucket_url=program.bucket_url,
                job_id=rental.job_id,
                attempt=rental.attempt,
                wheel_url=program.wheel_url,
                wheel_name=program.wheel_name,
            ),
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
    return Wanted(
        name=name_of(settings, job_id, attempt),
        job_id=job_id,
        attempt=attempt,
        zone=zone or settings.zones[0],
        machine_type=settings.machine_type,
        accelerator=settings.accelerator,
        is_spot=settings.spot,
        usd_per_hour=price_of(settings),
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
    return Machine(
        name=wanted.name,
        zone=wanted.zone,
        machine_type=wanted.machine_type,
        max_run_s=wanted.max_hours * 3600,
        accelerator=wanted.accelerator,
        accelerator_count=settings.accelerator_count,
        is_spot=wanted.is_spot,
        image=settings.image or IMAGE,
        disk_gb=settings.disk_gb,
        service_account=settings.service_account,
        network=settings.network or _NETWORK,
        external_ip=settings.external_ip,
        labels=labels or {},
        metadata=metadata or {},
    )


def name_of(settings: GceSettings, job_id: str, attempt: int) -> str:
    """What the machine of an attempt is called."""
    if not settings.vm_name:
        return machine_name(job_id, attempt)
    return settings.vm_name if attempt == 1 else f"{settings.vm_name}-{attempt}"


def price_of(settings: GceSettings) -> float:
    """US dollars an hour of a machine as the settings have it; 0 where nobody knows or asks."""
    from misheard.finetune.rented.prices import usd_per_hour

    return settings.usd_per_hour or usd_per_hour(settings)
