"""Killed at any moment, a job goes on and ends with what an undisturbed one ends with."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.events import read_events
from misheard.finetune.jobs import Job, JobState
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from tests.finetune.conftest import (
    Workshop,
    caught,
    processes_of,
    quick,
    wait_until,
    with_a_perfect_start,
)

RECIPE = quick(
    epochs=3,
    batch_size=2,
    joined_share=0.3,
    non_speech_share=0.2,
    telephone_share=0.3,
    sweep=True,
    checkpoint_every_s=0.0,
)
"""A checkpoint after each step, so that a restart goes on in the middle of an epoch."""
SAME = ("validation_wer", "best_epoch", "share", "sweep", "checked", "training_clips")


def ended(workshop: Workshop, job_id: str) -> tuple[Job, JobPaths, dict[str, Any]]:
    jobs = workshop.jobs(LocalBackend())
    job = jobs.wait(job_id)
    assert job.state is JobState.COMPLETED
    assert job.result is not None
    return job, jobs.paths(job_id), job.result


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> tuple[JobPaths, dict[str, Any]]:
    # Without a checkpoint but at the end of each epoch: that must make no difference either.
    recipe = Recipe.from_dict(RECIPE.to_dict() | {"checkpoint_every_s": 600.0})
    workshop.jobs(LocalBackend()).submit(
        "job-undisturbed", workshop.base.id, workshop.dataset, recipe
    )
    _, paths, result = ended(workshop, "job-undisturbed")
    return paths, result


def assert_same(
    paths: JobPaths, result: dict[str, Any], undisturbed: tuple[JobPaths, dict[str, Any]]
) -> None:
    other, wanted = undisturbed
    assert {name: result[name] for name in SAME} == {name: wanted[name] for name in SAME}
    assert (paths.model / "model.bin").read_bytes() == (other.model / "model.bin").read_bytes()
    for one in (paths, other):
        wait_until(lambda paths=one: not processes_of(paths), timeout_s=180)
    left = {path.name for path in paths.root.iterdir()}
    assert left == {path.name for path in other.root.iterdir()}


def kill(paths: JobPaths) -> None:
    for pid in processes_of(paths):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: LocalBackend().state(paths) is not RunState.RUNNING, timeout_s=180)


def has(paths: JobPaths, phase: str) -> bool:
    return any(event.phase == phase for event in read_events(paths.events))


def prepared(paths: JobPaths) -> int:
    return sum(event.phase == "prepare" for event in read_events(paths.events))


def is_within_an_epoch(paths: JobPaths) -> bool:
    steps = {event.steps for event in read_events(paths.events) if event.steps}
    a_epoch = max(steps, default=0) // RECIPE.epochs
    return any(step % a_epoch for step in paths.checkpoints()) if a_epoch else False


def is_writing_a_checkpoint(paths: JobPaths) -> bool:
    begun = {path.name for path in paths.scratch.glob("checkpoint-*")}
    return bool(begun - {f"checkpoint-{step}" for step in paths.checkpoints()})


MOMENTS: dict[str, Callable[[JobPaths], bool]] = {
    "prepare": lambda paths: has(paths, "prepare"),
    "epoch": is_within_an_epoch,
    "checkpoint": is_writing_a_checkpoint,
    "validation": lambda paths: paths.tried.exists() and not paths.trained.exists(),
    "best": lambda paths: paths.best.with_suffix(".partial").exists() or paths.best.exists(),
    "sweep": lambda paths: has(paths, "sweep") and paths.tried.exists(),
}


def test_killed_in_each_phase_it_ends_with_the_same_weights_and_rates(
    workshop: Workshop, undisturbed: tuple[JobPaths, dict[str, Any]]
) -> None:
    backend = LocalBackend()
    jobs = workshop.jobs(backend)

    def killed(number: int) -> JobPaths | None:
        job_id = f"job-killed-often-{number}"
        jobs.submit(job_id, workshop.base.id, workshop.dataset, RECIPE)
        paths = jobs.paths(job_id)
        for has_come in MOMENTS.values():
            backend.start(paths)
            wait_until(lambda come=has_come: come(paths) or paths.result.exists())
            kill(paths)
            if paths.result.exists():
                return None
        return paths

    paths = caught(killed)
    _, _, result = ended(workshop, paths.root.name)
    assert has(paths, "done")
    assert_same(paths, result, undisturbed)


def test_killed_at_random_it_ends_with_the_same_weights_and_rates(
    workshop: Workshop, undisturbed: tuple[JobPaths, dict[str, Any]]
) -> None:
    backend = LocalBackend()
    jobs = workshop.jobs(backend)
    begun = [event.at_s for event in read_events(undisturbed[0].events)]
    chance = random.Random(0)

    def killed(attempt: int) -> JobPaths | None:
        job_id, kills = f"job-killed-at-random-{attempt}", 0
        jobs.submit(job_id, workshop.base.id, workshop.dataset, RECIPE)
        paths = jobs.paths(job_id)
        for number in range(1, 4):
            backend.start(paths)
            wait_until(lambda wanted=number: prepared(paths) >= wanted or paths.result.exists())
            time.sleep(chance.uniform(0.0, 0.5) * max(begun))
            kills += backend.state(paths) is RunState.RUNNING
            kill(paths)
        return paths if kills else None

    paths = caught(killed)
    _, _, result = ended(workshop, paths.root.name)
    assert_same(paths, result, undisturbed)


def test_killed_after_an_early_stop_it_trains_no_step_more(workshop: Workshop) -> None:
    """And the weights of the best epoch are shipped, which are not the last ones."""
    backend = LocalBackend()
    jobs = workshop.jobs(backend)
    recipe = quick(epochs=20, patience=2, learning_rate=1e-2)
    paths = with_a_perfect_start(workshop, "job-stopped-early", recipe)
    backend.start(paths)
    wait_until(lambda: has(paths, "check"))
    kill(paths)
    # As if it had come before the figures were written.
    paths.trained.unlink()
    result = jobs.wait("job-stopped-early").result
    assert result is not None
    assert (len(result["validation_wer"]), result["best_epoch"]) == (3, 0)
    told = [event for event in jobs.events("job-stopped-early") if event.phase == "train"]
    assert max(event.step for event in told) == 2 * 3
    losses = [event.loss for event in told if event.loss is not None]
    assert result["training_loss"] == pytest.approx(sum(losses) / len(losses))
    assert (paths.model / "model.bin").read_bytes() == (paths.base / "model.bin").read_bytes()


def test_a_second_program_waits_for_the_first_and_does_nothing_then(workshop: Workshop) -> None:
    """As when whoever started it was killed before it could write down that it did."""
    first, second = LocalBackend(), LocalBackend()
    jobs = workshop.jobs(second)
    first_jobs = workshop.jobs(first)

    def begun_twice(number: int) -> JobPaths | None:
        job_id = f"job-twice-{number}"
        first_jobs.submit(job_id, workshop.base.id, workshop.dataset, quick(epochs=1))
        paths = jobs.paths(job_id)
        wait_until(lambda: has(paths, "prepare"))
        paths.process.unlink()
        state = second.state(paths)
        second.start(paths)
        running = processes_of(paths)
        if paths.result.exists():
            return None
        assert state is RunState.STOPPED
        assert len(running) == 2
        return paths

    paths = caught(begun_twice)
    job_id = paths.root.name
    assert jobs.wait(job_id).state is JobState.COMPLETED
    wait_until(lambda: not processes_of(paths), timeout_s=180)
    assert [event.phase for event in jobs.events(job_id)].count("prepare") == 1
    assert paths.log.read_text(encoding="utf-8").count("Traceback") == 0
