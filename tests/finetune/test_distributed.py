"""Two processes on this machine train one model together, through torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from misheard.errors import JobFailedError
from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.events import read_events
from misheard.finetune.jobs import JobState
from misheard.finetune.paths import JobPaths
from tests.finetune.conftest import (
    Workshop,
    caught,
    processes_of,
    quick,
    wait_until,
    with_a_perfect_start,
)

TOGETHER = {"processes": 2, "batch_size": 2, "precision": "float32"}
KEEPS_WEIGHTS = """
import hashlib, os, sys
from pathlib import Path
from misheard.finetune.paths import JobPaths
from misheard.finetune.train import TrainingRun

class Kept(TrainingRun):
    families = []

    def open_family(self):
        self.families.append(super().open_family())
        return self.families[-1]

run = Kept(JobPaths(Path(sys.argv[1])))
run.run()
made = hashlib.sha256()
for value in run.families[0].model.state_dict().values():
    made.update(value.numpy().tobytes())
(run.paths.root / f"weights-of-{os.environ['RANK']}").write_text(made.hexdigest())
"""


@pytest.fixture(scope="module")
def together(workshop: Workshop) -> JobPaths:
    jobs = workshop.jobs(LocalBackend())
    recipe = quick(epochs=3, **TOGETHER)
    jobs.submit("job-together", workshop.base.id, workshop.dataset, recipe)
    jobs.wait("job-together")
    return jobs.paths("job-together")


def test_two_processes_end_with_one_model(workshop: Workshop, together: JobPaths) -> None:
    job = workshop.jobs(LocalBackend()).get("job-together")
    assert job.state is JobState.COMPLETED
    assert job.result is not None
    assert job.result["processes"] == 2
    assert job.result["training_clips"] == job.result["shown_an_epoch"] == 12
    assert (together.model / "model.bin").exists()
    assert not any("nccl" in line for line in together.log.read_text().splitlines())


def test_the_loss_is_that_of_one_process_with_twice_the_batch(
    workshop: Workshop, together: JobPaths
) -> None:
    jobs = workshop.jobs(LocalBackend())
    recipe = quick(epochs=3, **TOGETHER | {"processes": 1, "batch_size": 4})
    jobs.submit("job-alone", workshop.base.id, workshop.dataset, recipe)
    alone = jobs.wait("job-alone").result
    result = json.loads(together.result.read_text(encoding="utf-8"))
    assert alone is not None
    losses, steps = {}, {}
    for name, paths in (("alone", jobs.paths("job-alone")), ("together", together)):
        told = [event for event in read_events(paths.events) if event.loss is not None]
        losses[name] = [event.loss for event in told]
        steps[name] = {event.steps for event in told}
    # Twelve clips, four a step, three times.
    assert steps == {"alone": {9}, "together": {9}}
    assert losses["together"] == pytest.approx(losses["alone"], rel=0.02)
    assert losses["together"][-1] < losses["together"][0] - 0.3
    assert result["validation_wer"] == pytest.approx(alone["validation_wer"], abs=0.5)


def test_both_hold_the_same_weights_afterwards(workshop: Workshop, together: JobPaths) -> None:
    root = together.root.with_name("job-kept")
    root.mkdir()
    paths = JobPaths(root)
    for name in ("data", "base"):
        (root / name).symlink_to((together.root / name).resolve())
    paths.order.write_bytes(together.order.read_bytes())
    program = root.with_suffix(".py")
    program.write_text(KEEPS_WEIGHTS, encoding="utf-8")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [sys.executable, "-m", *torchrun, str(program), str(root)], check=True, timeout=900
    )
    weights = {path.name: path.read_text() for path in root.glob("weights-of-*")}
    assert weights.keys() == {"weights-of-0", "weights-of-1"}
    assert len(set(weights.values())) == 1
    again = json.loads(paths.result.read_text(encoding="utf-8"))
    once = json.loads(together.result.read_text(encoding="utf-8"))
    assert again["training_loss"] == once["training_loss"]
    assert (paths.model / "model.bin").read_bytes() == (together.model / "model.bin").read_bytes()


def test_an_early_stop_ends_both(workshop: Workshop) -> None:
    recipe = quick(epochs=30, patience=2, **TOGETHER)
    paths = with_a_perfect_start(workshop, "job-stops-together", recipe)
    LocalBackend().start(paths)
    result = workshop.jobs(LocalBackend()).wait("job-stops-together").result
    assert result is not None
    assert result["best_epoch"] == 0
    # The one it began with, and two that were no better.
    assert len(result["validation_wer"]) == 3
    wait_until(lambda: not processes_of(paths), timeout_s=180)


def test_whichever_is_killed_they_go_on_and_end_with_the_same_weights(
    workshop: Workshop, together: JobPaths
) -> None:
    backend = LocalBackend()
    jobs = workshop.jobs(backend)
    recipe = quick(epochs=3, checkpoint_every_s=0.0, **TOGETHER)

    def killed(attempt: int) -> JobPaths | None:
        job_id = f"job-killed-together-{attempt}"
        jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe)
        paths = jobs.paths(job_id)

        def has_come_to(step: int) -> bool:
            return max(paths.checkpoints(), default=0) >= step or paths.trained.exists()

        # torchrun itself, the second process, the first.
        for number, at_step in ((0, 1), (2, 4), (1, 7)):
            backend.start(paths)
            wait_until(lambda wanted=at_step: has_come_to(wanted))
            running = processes_of(paths)
            if paths.trained.exists():
                wait_until(lambda: not processes_of(paths))
                return None
            assert len(running) == 3
            os.kill(running[number], signal.SIGKILL)
            wait_until(lambda: not processes_of(paths), timeout_s=180)
            wait_until(lambda: backend.state(paths) is not RunState.RUNNING, timeout_s=180)
        return None if paths.trained.exists() else paths

    paths = caught(killed)
    # Whoever waits starts it again by itself: this was no error of its own.
    job = jobs.wait(paths.root.name)
    assert job.state is JobState.COMPLETED
    assert [event.phase for event in jobs.events(job.id)].count("prepare") == 4
    assert (paths.model / "model.bin").read_bytes() == (together.model / "model.bin").read_bytes()
    once = json.loads(together.result.read_text(encoding="utf-8"))
    assert job.result is not None
    assert job.result["validation_wer"] == once["validation_wer"]


def test_a_cancel_leaves_no_process_behind(workshop: Workshop) -> None:
    jobs = workshop.jobs(LocalBackend())
    recipe = quick(epochs=200, patience=200, **TOGETHER)
    jobs.submit("job-cancelled-together", workshop.base.id, workshop.dataset, recipe)
    paths = jobs.paths("job-cancelled-together")
    wait_until(lambda: any(event.loss is not None for event in read_events(paths.events)))
    assert len(processes_of(paths)) == 3
    assert jobs.cancel("job-cancelled-together").state is JobState.CANCELLED
    # Where torchrun had no time to end the others, they end with it.
    wait_until(lambda: not processes_of(paths), timeout_s=180)


def test_an_error_of_the_second_is_the_reason_of_the_job(workshop: Workshop) -> None:
    jobs = workshop.jobs(LocalBackend())
    recipe = quick(frozen_encoder_layers=7, **TOGETHER)
    jobs.submit("job-fails-together", workshop.base.id, workshop.dataset, recipe)
    with pytest.raises(JobFailedError, match="frozen_encoder_layers is 7, and the encoder has 2"):
        jobs.wait("job-fails-together")
    job = jobs.get("job-fails-together")
    assert job.state is JobState.FAILED
    assert str(job.error).startswith("misheard.errors.InvalidSettingError: ")
