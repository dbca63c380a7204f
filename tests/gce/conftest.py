"""Jobs and machines that are rented for them: a double of Compute Engine, a bucket, the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.bucket import Bucket
from misheard.blobs.gcs import GcsBucket
from misheard.blobs.opening import open_bucket
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.finetune.rented.bundle import release, send_bundle
from misheard.finetune.rented.compute import Compute, Patience
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import Machine, labels, machine_name
from misheard.finetune.rented.saves import Save, saves
from misheard.finetune.rented.wheel import build_wheel
from tests.emulators import GcsEmulator
from tests.faults import FaultProxy, faults
from tests.finetune.conftest import Waiting, Workshop, quick, tiny_base, wait_until, workshop
from tests.gce.double import ComputeDouble

__all__ = ["tiny_base", "workshop"]
SHORT = quick(epochs=3, checkpoint_every_s=0.0)
"""Nine steps, and a checkpoint after each."""


@dataclass(frozen=True)
class Rented:
    """A job that has been sent, and the machines that work on it: processes here."""

    job: RentedJob
    home: JobPaths
    folder: Path
    """Below it, a directory for each machine."""
    environment: dict[str, str]
    machines: list[subprocess.Popen[bytes]]

    def begin(self, attempt: int, *, wait_s: float = 600, **others: str) -> subprocess.Popen[bytes]:
        """A machine of its own, with nothing on its disk unless this attempt has begun before."""
        program = [sys.executable, "-m", "misheard.finetune.rented.program"]
        options = [
            f"--attempt={attempt}",
            "--every-s=0.2",
            "--patience-s=300",
            f"--wait-s={wait_s}",
        ]
        place = [self.job.bucket.url, self.job.job_id, str(self.directory(attempt))]
        machine = subprocess.Popen(
            [*program, *place, *options],
            env=os.environ | self.environment | others,
            stderr=subprocess.PIPE,
        )
        self.machines.append(machine)
        return machine

    def directory(self, attempt: int) -> Path:
        return self.folder / f"machine-{attempt}"

    def furthest(self) -> Save | None:
        return max(saves(self.job), default=None)

    def wait_for_save(self, past: int = 0) -> Save:
        """The first save there is beyond a step."""

        def is_there() -> bool:
            assert any(machine.poll() is None for machine in self.machines), "none is at work"
            return (found := self.furthest()) is not None and found.step > past

        wait_until(is_there, timeout_s=300)
        found = self.furthest()
        assert found is not None
        return found


def left(machine: subprocess.Popen[bytes], timeout_s: float = 300.0) -> tuple[int, str]:
    """What a machine's program left with, and what it had to say."""
    _, said = machine.communicate(timeout=timeout_s)
    return machine.returncode, said.decode()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def bucket(gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A folder of a bucket that no test has had before."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return open_bucket(f"gs://{gcs.new_bucket()}/models")


@pytest.fixture
def behind(gcs: GcsEmulator) -> Iterator[tuple[Bucket, FaultProxy]]:
    """A bucket behind a proxy, which counts and can do harm."""
    with faults(gcs.url) as proxy:
        yield GcsBucket(gcs.new_bucket(), "models", endpoint=proxy.url), proxy


@pytest.fixture
def ordered(workshop: Workshop) -> Callable[..., JobPaths]:
    """The files of a job at home, before it begins."""

    def make(job_id: str, recipe: Recipe = SHORT, **others: Any) -> JobPaths:
        jobs = workshop.jobs(Waiting())
        jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe, **others)
        return jobs.paths(job_id)

    return make


@pytest.fixture
def rent(
    bucket: Bucket, gcs: GcsEmulator, ordered: Callable[..., JobPaths], wheel: Path, tmp_path: Path
) -> Iterator[Callable[..., Rented]]:
    """Send a job, so that machines can work on it; they end with the test."""
    machines: list[subprocess.Popen[bytes]] = []

    def make(
        job_id: str,
        recipe: Recipe = SHORT,
        *,
        prepare: Callable[[JobPaths], object] = lambda _: None,
        released: bool = True,
    ) -> Rented:
        home = ordered(job_id, recipe)
        prepare(home)
        job = RentedJob(bucket, job_id)
        send_bundle(home, job, wheel)
        if released:
            release(job)
        return Rented(job, home, tmp_path / "machines", gcs.environment, machines)

    yield make
    for machine in machines:
        if machine.poll() is None:
            machine.send_signal(signal.SIGKILL)
            machine.wait()
        if machine.stderr is not None:
            machine.stderr.close()


@pytest.fixture(scope="session")
def undisturbed(workshop: Workshop) -> JobPaths:
    """What the job comes to that is trained here, in one go."""
    jobs = workshop.jobs(LocalBackend())
    jobs.submit("job-at-home", workshop.base.id, workshop.dataset, SHORT)
    jobs.wait("job-at-home")
    return jobs.paths("job-at-home")


# Machines without a job: those of a double of Compute Engine.

ZONE = "us-central1-a"
QUICK = Patience(
    first_pause_s=0.01, longest_pause_s=0.05, call_s=60.0, trouble_s=60.0, operation_s=120.0
)
"""Asks again at once, and for long: a busy machine may stand still for seconds."""
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
