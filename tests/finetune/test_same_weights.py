"""The same dataset version and the same recipe give the same weights, to the bit."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from misheard.datasets.split import Split
from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from tests.finetune.conftest import Workshop, caught, processes_of, quick, wait_until

EVERYTHING: dict[str, Any] = {
    "joined_share": 0.5,
    "non_speech_share": 0.3,
    "telephone_share": 0.5,
    "time_share": 0.5,
    "mask_time_share": 0.1,
    "mask_frequency_share": 0.1,
    "threads": 1,
}
"""Whatever draws at random. That threads change nothing is seen with the real model, whose products
are large enough to be shared out: tests/contract/test_training_backends.py."""


def weights(workshop: Workshop, job_id: str, recipe: Recipe) -> bytes:
    jobs = workshop.jobs(InProcessBackend())
    jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe)
    jobs.wait(job_id)
    return (jobs.paths(job_id).model / "model.bin").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "float32"},
        {"precision": "bfloat16"},
        {"method": "lora", "lora_rank": 4, "gradient_accumulation": 2, "batch_size": 2},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_two_jobs_of_one_recipe_have_the_same_weights(
    workshop: Workshop, settings: dict[str, Any]
) -> None:
    recipe = quick(**EVERYTHING | settings)
    name = "-".join(map(str, settings.values()))
    first = weights(workshop, f"job-first-{name}", recipe)
    assert weights(workshop, f"job-second-{name}", recipe) == first


def test_another_seed_has_other_weights(workshop: Workshop) -> None:
    made = [weights(workshop, f"job-seed-{seed}", quick(epochs=1, seed=seed)) for seed in (1, 2)]
    assert made[0] != made[1]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_without_validation_too_a_killed_job_ends_with_the_same_weights(
    workshop: Workshop, method: str
) -> None:
    """Then there is no best epoch: the last one counts, and the average of its checkpoint."""
    rows = [r for r in workshop.datasets.rows(workshop.dataset) if r.split is Split.TRAIN]
    dataset = workshop.put("training alone", rows)
    backend = LocalBackend()
    jobs = workshop.jobs(backend)
    recipe = quick(method=method, lora_rank=4, checkpoint_every_s=0.0)

    def killed(number: int) -> JobPaths | None:
        job_id = f"job-alone-{method}-killed-{number}"
        jobs.submit(job_id, workshop.base.id, dataset, recipe)
        paths = jobs.paths(job_id)

        def has_come_to(step: int) -> bool:
            return max(paths.checkpoints(), default=0) >= step or paths.result.exists()

        # In the middle of the first epoch, and once all steps are done.
        for at_step in (1, 6):
            backend.start(paths)
            wait_until(lambda wanted=at_step: has_come_to(wanted))
            for pid in processes_of(paths):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: backend.state(paths) is not RunState.RUNNING, timeout_s=180)
        return None if paths.result.exists() else paths

    whole = f"job-alone-{method}-whole"
    jobs.submit(whole, workshop.base.id, dataset, recipe)
    made = []
    for job_id in (whole, caught(killed).root.name):
        jobs.wait(job_id)
        made.append((jobs.paths(job_id).model / "model.bin").read_bytes())
    assert made[0] == made[1]
