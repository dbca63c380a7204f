"""What a machine costs, as far as it is known beforehand: see prices.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from misheard.finetune.rented.machines import Machine


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a machine costs while it is switched on, in USD an hour, before tax and discounts.

    A spot machine's changes from day to day: it is an estimate, not an offer.
    """

    machine_usd_per_hour: float
    """With its GPUs."""
    disk_usd_per_hour: float
    """This much goes on while the machine is off, until it is deleted."""
    address_usd_per_hour: float
    is_spot: bool
    source: str
    """Where the price of the machine is from."""
    read_on: date | None = None
    """When it was looked up; None for what was set by whoever uses this."""

    @property
    def usd_per_hour(self) -> float:
        """All together."""
        return self.machine_usd_per_hour + self.disk_usd_per_hour + self.address_usd_per_hour

    def usd(self, hours: float) -> float:
        """What so many hours cost; less than a minute is charged as one."""
        return self.usd_per_hour * max(hours, 1 / 60)


def price(machine: Machine, *, usd_per_hour: float = 0.0) -> Price | None:
    """The price of a machine; None where it is not known.

    `usd_per_hour` above 0 is what the machine itself costs, for whoever knows better.
    """
    listed = _listed()
    disk = listed["disks"].get(machine.boot_disk_type)
    own = usd_per_hour or _of_machine(machine)
    if own is None or (disk is None and not usd_per_hour):
        return None
    way = "spot" if machine.is_spot else "on_demand"
    return Price(
        machine_usd_per_hour=own,
        disk_usd_per_hour=(disk or 0.0) * machine.disk_gb / listed["hours_of_a_month"],
        address_usd_per_hour=listed["address"][way] if machine.external_ip else 0.0,
        is_spot=machine.is_spot,
        source="gce.usd_per_hour" if usd_per_hour else listed["source"],
        read_on=None if usd_per_hour else listed["read"],
    )


def _of_machine(machine: Machine) -> float | None:
    """By the list, with the GPUs that are attached."""
    listed = _listed()
    way = "spot" if machine.is_spot else "on_demand"
    if machine.region not in listed["regions"]:
        return None
    total: float | None = listed["machines"].get(machine.machine_type, {}).get(way)
    if total is None or not machine.attached_accelerator:
        return total
    each: float | None = listed["accelerators"].get(machine.attached_accelerator, {}).get(way)
    return None if each is None else total + each * machine.accelerator_count


@cache
def _listed() -> dict[str, Any]:
    text = resources.files("misheard.finetune.rented").joinpath("prices.toml").read_text("utf-8")
    return tomllib.loads(text)
