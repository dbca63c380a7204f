"""Rents a machine for an attempt at a job: within the budget, in the first zone that has one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from misheard.errors import BudgetError, InvalidSettingError, MisheardError, NoMachineError
from misheard.finetune.rented.machines import (
    IMAGE,
    Instance,
    Machine,
    labels,
    machine_name,
)
from misheard.finetune.rented.prices import usd_per_hour
from misheard.finetune.rented.rentals import Ending, Rental, Rentals, Wanted
from misheard.settings import GceSettings

_log = logging.getLogger("misheard.gce")


class Machines(Protocol):
    """What is asked of a provider: `Compute`, or its double that only prints."""

    def create(self, machine: Machine, *, key: str) -> Instance:
        """Make it; the same key makes it once."""
        ...

    def get(self, name: str, zone: str) -> Instance | None:
        """How it is; None where there is none."""
        ...

    def listed(self, labels: dict[str, str]) -> list[Instance]:
        """Those with all these labels, in every zone."""
        ...

    def stop(self, name: str, zone: str) -> None:
        """Switch it off."""
        ...

    def delete(self, name: str, zone: str) -> None:
        """Have it gone; nothing happens where it is."""
        ...
