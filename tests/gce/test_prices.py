"""What a machine costs."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest

import misheard.finetune.rented
from misheard.finetune.rented.prices import Price, price
from tests.gce.conftest import machine

LISTED: dict[str, Any] = tomllib.loads(
    (Path(misheard.finetune.rented.__file__).parent / "prices.toml").read_text("utf-8")
)


def known(**changed: Any) -> Price:
    found = price(machine(**changed))
    assert found is not None
    return found


def test_an_hour_is_the_machine_its_disk_and_its_address() -> None:
    found = known(machine_type="g2-standard-8", disk_gb=100)
    assert found.machine_usd_per_hour == pytest.approx(0.85362)
    assert found.disk_usd_per_hour == pytest.approx(100 * 0.10 / 730)
    assert found.address_usd_per_hour == pytest.approx(0.005)
    assert found.usd_per_hour == pytest.approx(0.85362 + 10 / 730 + 0.005)
    assert found.usd(6) == pytest.approx(6 * found.usd_per_hour)
    assert found.usd(0) == pytest.approx(found.usd_per_hour / 60), "a minute is the least"


def test_a_spot_machine_costs_less() -> None:
    for kind, each in LISTED["machines"].items():
        if "spot" in each:
            assert known(machine_type=kind, is_spot=True).usd(1) < known(machine_type=kind).usd(1)


def test_gpus_that_are_attached_are_paid_for_each() -> None:
    plain = known(machine_type="n1-standard-8")
    two = known(machine_type="n1-standard-8", accelerator="nvidia-tesla-t4", accelerator_count=2)
    assert two.machine_usd_per_hour == pytest.approx(plain.machine_usd_per_hour + 2 * 0.35)
    named = known(machine_type="g2-standard-8", accelerator="nvidia-l4")
    assert named == known(machine_type="g2-standard-8"), "it comes with the machine"


def test_without_an_address_none_is_paid_for() -> None:
    assert known(external_ip=False).address_usd_per_hour == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"machine_type": "g2-standard-96"},
        {"zone": "asia-northeast1-a"},
        {"machine_type": "n1-standard-8", "accelerator": "nvidia-tesla-v100"},
        {"machine_type": "c3-standard-4", "is_spot": True},
        {"disk_type": "pd-extreme"},
    ],
)
def test_what_is_not_known_is_not_guessed(changed: dict[str, Any]) -> None:
    assert price(machine(**changed)) is None
    told = price(machine(**changed), usd_per_hour=2.5)
    assert told is not None
    assert told.machine_usd_per_hour == 2.5
    assert (told.source, told.read_on) == ("gce.usd_per_hour", None)


def test_the_list_says_where_it_is_from_and_of_when() -> None:
    found = known()
    assert found.source.startswith("https://cloud.google.com/")
    assert isinstance(found.read_on, dt.date)


def test_the_list_has_no_slips_of_the_pen() -> None:
    for each in (*LISTED["machines"].values(), *LISTED["accelerators"].values()):
        assert set(each) <= {"on_demand", "spot"}
        assert 0.01 < each.get("spot", 0.02) < each["on_demand"] < 20
    # As many processors again, half as much again at most for the rest.
    for family in ("g2-standard", "n1-standard", "e2-standard", "c3-standard"):
        half, whole = (LISTED["machines"][f"{family}-{n}"]["on_demand"] for n in (4, 8))
        assert half < whole <= 2.001 * half
