"""A workspace that trains on rented machines: a double of Compute Engine, an emulated bucket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from misheard.blobs.opening import open_bucket
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.finetune.backends.gce import GceBackend
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.finetune.rented.compute import Compute, Patience
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.rentals import Rentals
from misheard.settings import GceSettings
from misheard.workspace import Workspace
from tests import tiny
from tests.emulators import GcsEmulator
from tests.gce.double import ComputeDouble
from tests.gce.holding import HoldingDouble, HoldingProxy
from tests.gce.simulated import Program

QUICK = Patience(
    first_pause_s=0.01, longest_pause_s=0.1, call_s=60.0, trouble_s=1.0, operation_s=120.0
)
ROOT = Path(__file__).parents[2]


def quick_program(metadata: dict[str, str], _: Path) -> list[str]:
    """All but the training: see `quick_machine`."""
    asked = (metadata[f"misheard-{name}"] for name in ("bucket", "job", "attempt"))
    return [sys.executable, "-m", "tests.gce.quick_machine", *asked]


def held_program(word: Path) -> Program:
    """As `quick_program`; after its first step it waits until there is a file.

    So what a test does while it trains is done by then, however slow the machine is.
    """
    return lambda metadata, disk: [*quick_program(metadata, disk), str(word)]


def real_program(metadata: dict[str, str], directory: Path) -> list[str]:
    """What the start-up script runs, in a hurry."""
    return [
        *(sys.executable, "-m", "misheard.finetune.rented.program"),
        *(metadata["misheard-bucket"], metadata["misheard-job"], str(directory)),
        *("--attempt", metadata["misheard-attempt"], "--every-s", "0.3"),
    ]


@dataclass(frozen=True)
class Scene:
    workspace: Workspace
    double: HoldingDouble
    proxy: HoldingProxy
    gcs: GcsEmulator
    program: Program = quick_program

    @property
    def gce(self) -> GceBackend:
        return self.workspace.gce

    def paths(self, job_id: str) -> JobPaths:
        return self.workspace.jobs.paths(job_id)

    def submit(self, job_id: str) -> None:
        live = self.workspace.deployments.live().version_id
        self.workspace.jobs.submit(job_id, live, self.dataset, Recipe())

    @property
    def dataset(self) -> Dataset:
        found = self.workspace.datasets.latest("prompts")
        assert found is not None
        return found

    def begun(self, paths: JobPaths) -> bool:
        """Whether the machine that is there now has begun."""
        newest = self.workspace.rentals.of_job(paths.root.name)[-1].attempt
        return newest in RentedJob(self.gce.bucket, paths.root.name).attempts()

    def endings(self, job_id: str) -> list[str]:
        """How each of its rentals has ended."""
        return [str(one.ending) for one in self.workspace.rentals.of_job(job_id)]

    def objects(self, below: str = "training/jobs/") -> list[str]:
        return [stored.name for stored in self.gce.bucket.listed(below)]

    def is_clean(self, job_id: str) -> bool:
        """No machine, no open row, nothing of the job left in the bucket."""
        nothing_runs = self.double.names == [] and self.workspace.rentals.still_open() == []
        return nothing_runs and self.objects(f"training/jobs/{job_id}/") == []

    def configured(self, **gce: Any) -> Scene:
        """As another process would see it, under other settings."""
        made = self.workspace.configured({"gce": gce})
        return Scene(with_patience(made, self.double), self.double, self.proxy, self.gcs)

    @contextmanager
    def controller(self, job_id: str) -> Iterator[subprocess.Popen[str]]:
        """A process that submits the job and waits for it; it sees the bucket through the proxy."""
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.gce.controller", str(self.workspace.root), job_id],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"STORAGE_EMULATOR_HOST": self.proxy.url},
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.communicate()


def with_patience(workspace: Workspace, double: ComputeDouble) -> Workspace:
    """Nothing but the clock: the pauses between two looks at an operation are short."""
    ground = workspace.gce._ground
    ground._open_machines = lambda: Compute("my-project", endpoint=double.url, patience=QUICK)
    return workspace


@contextmanager
def serving(
    folder: Path, gcs: GcsEmulator, *, program: Program
) -> Iterator[tuple[HoldingDouble, dict[str, Any]]]:
    """A double of Compute Engine, and the `[gce]` that leads to it and to a new bucket."""
    found = {"STORAGE_EMULATOR_HOST": gcs.url, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    double = HoldingDouble(folder / "machines", program=program, environment=found)
    with double:
        rules = {
            "project_id": "my-project",
            "bucket": f"gs://{gcs.new_bucket()}/models",
            "endpoint": double.url,
            "poll_s": 0.1,
        }
        yield double, rules


@contextmanager
def scene(
    folder: Path,
    gcs: GcsEmulator,
    *,
    program: Program = quick_program,
    sections: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Scene]:
    """`settings` are those of `[gce]`; STORAGE_EMULATOR_HOST is that of `gcs` in here."""
    with serving(folder, gcs, program=program) as (double, rules), HoldingProxy(gcs.url) as proxy:
        plain: dict[str, Any] = {"backend": "gce", "gce": rules | settings, **(sections or {})}
        workspace = tiny.make(folder / "ws", **plain)
        rows = [
            Row(
                audio_sha256=workspace._blobs.put_bytes(tiny.tone(number)),
                reference=tiny.said(number),
                split=Split.VALIDATION if number % 4 == 0 else Split.TRAIN,
                kind="error",
                speaker_group="one",
                duration_s=0.2,
            )
            for number in range(8)
        ]
        workspace.datasets.add("prompts", Purpose.TRAINING, rows)
        yield Scene(with_patience(workspace, double), double, proxy, gcs)


@contextmanager
def place_to_train(
    folder: Path,
    engine: Engine,
    jobs_root: Path,
    gcs: GcsEmulator,
    *,
    through: str = "",
    **settings: Any,
) -> Iterator[tuple[Callable[[], GceBackend], ComputeDouble]]:
    """Makes back ends that train for real, on machines of one double.

    `through`: the address of a proxy by which the machines see the bucket.
    """
    found = {"STORAGE_EMULATOR_HOST": through or gcs.url, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    bucket = f"gs://{gcs.new_bucket()}"
    with ComputeDouble(folder / "machines", program=real_program, environment=found) as double:
        rules = GceSettings(project_id="my-project", poll_s=0.2, **settings)

        def make() -> GceBackend:
            return GceBackend(
                rules,
                Rentals(engine),
                open_bucket=lambda: open_bucket(bucket),
                open_machines=lambda: Compute("my-project", endpoint=double.url, patience=QUICK),
                jobs_root=jobs_root,
            )

        yield make, double


def wait_until(happens: Callable[[], object], *, timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
