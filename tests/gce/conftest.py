"""Machines that are rented from a double of Compute Engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from misheard.finetune.rented.compute import Compute, Patience
from misheard.finetune.rented.machines import Machine, labels, machine_name
from tests.gce.double import ComputeDouble

ZONE = "us-central1-a"
QUICK = Patience(
    first_pause_s=0.01, longest_pause_s=0.05, call_s=10.0, trouble_s=1.0, operation_s=10.0
)
WAITS = "import time; print('on', flush=True); time.sleep(600)"


def python(code: str) -> Callable[[dict[str, str], Path], list[str]]:
    """A program of a machine: some Python."""
    return lambda _metadata, _directory: [sys.executable, "-c", code]


@pytest.fixture
def double(tmp_path: Path) -> Iterator[ComputeDouble]:
    """Its machines do nothing and go on with it."""
    with ComputeDouble(tmp_path / "machines", program=python(WAITS)) as made:
        yield made


@pytest.fixture
def compute(double: ComputeDouble) -> Compute:
    return Compute("my-project", endpoint=double.url, patience=QUICK)


def machine(job_id: str = "job-1", *, attempt: int = 1, **changed: Any) -> Machine:
    """A machine as a training rents it."""
    fields: dict[str, Any] = {
        "name": machine_name(job_id, attempt),
        "zone": ZONE,
        "machine_type": "g2-standard-8",
        "max_run_s": 3600.0,
        "labels": labels(owner="me", job_id=job_id, attempt=attempt),
        "metadata": {"misheard-job": job_id, "misheard-attempt": str(attempt)},
    }
    return Machine(**fields | changed)
