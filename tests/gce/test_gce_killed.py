"""Whoever looks after a rented machine is killed at each step; the next process ends the job.

The process is a real one, killed by SIGKILL while a request of its own is being answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from misheard.finetune.jobs import JobState
from tests.emulators import GcsEmulator
from tests.gce.quick_machine import MODEL
from tests.gce.scene import Scene, scene


@dataclass(frozen=True)
class Step:
    """A request that is kept waiting, and what there is at that moment."""

    of: str
    """bucket or machines."""
    method: str
    word: str
    machines: int
    open_rows: int


STEPS = {
    "while it sends the bundle": Step("bucket", "POST", "/inputs/", 0, 0),
    "between the row and the request for a machine": Step("machines", "POST", "/instances", 0, 1),
    "when the machine is made, before it is told so": Step("machines", "GET", "/operations/", 1, 1),
    "while it follows": Step("bucket", "GET", "attempts/1/events", 1, 1),
    "between the manifest and the model": Step("bucket", "GET", "/outputs/", 1, 1),
    "between the model and the end of the machine": Step("machines", "DELETE", "/instances/", 1, 1),
    "when the machine is gone, before that is noted": Step("bucket", "DELETE", "/inputs/", 0, 1),
}


@pytest.fixture
def here(gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with scene(tmp_path, gcs) as made:
        yield made


@pytest.mark.parametrize("when", STEPS)
def test_killed_at_any_step_another_process_goes_on(here: Scene, when: str) -> None:
    step = STEPS[when]
    hold = here.proxy.hold if step.of == "bucket" else here.double.hold
    hold.wait_for(step.method, step.word)
    with here.controller("job-1") as killed:
        assert hold.reached.wait(300), killed.poll()
        killed.kill()
        killed.wait()
    there = len(here.double.names), len(here.workspace.rentals.still_open())
    hold.let_go()
    assert there == (step.machines, step.open_rows)
    # What another process does: submit again (nothing happens where it runs), and wait.
    here.submit("job-1")
    assert here.workspace.jobs.wait("job-1").state is JobState.COMPLETED
    assert (here.paths("job-1").model / "model.bin").read_bytes() == MODEL
    assert here.is_clean("job-1")
    # It was one and the same machine, whoever looked after it.
    assert len(here.double.history) == 1
    assert here.endings("job-1") == ["done"]
    assert len(here.paths("job-1").events.read_text(encoding="utf-8").splitlines()) == 4
