"""What every place to train promises (`misheard.finetune.backends.backend.TrainingBackend`)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import EmptyDatasetError, JobFailedError
from misheard.finetune.backends.backend import RunState, TrainingBackend
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.jobs import JobState
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from misheard.speech.context import read_card
from misheard.speech.convert import read_variables
from tests.conftest import TUNING
from tests.emulators import GcsEmulator
from tests.gce.scene import place_to_train

pytestmark = pytest.mark.model
BACKENDS = ("gce", "inprocess", "local")
Make = Callable[[], TrainingBackend]
"""Another instance of the same back end, as another process would have it."""


def wait(backend: TrainingBackend, paths: JobPaths, timeout_s: float = 600.0) -> RunState:
    deadline = time.monotonic() + timeout_s
    while not backend.state(paths).is_final:
        assert time.monotonic() < deadline, "the job never ended"
        time.sleep(0.1)
    return backend.state(paths)


def wait_for_event(paths: JobPaths, timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not paths.events.exists():
        assert time.monotonic() < deadline, "the job never said a word"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def rented(studio: Any, gcs: GcsEmulator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Machines of a double of Compute Engine, and a bucket."""
    folder = tmp_path_factory.mktemp("rented")
    with place_to_train(folder, studio.engine, studio.root / "jobs", gcs) as (make, _):
        yield make


def maker(name: str, request: pytest.FixtureRequest) -> Make:
    known: dict[str, Make] = {"inprocess": InProcessBackend, "local": LocalBackend}
    return known[name] if name in known else request.getfixturevalue("rented")


@pytest.fixture(scope="module", params=BACKENDS)
def make(request: pytest.FixtureRequest) -> Make:
    return maker(request.param, request)


@pytest.fixture(scope="module")
def finished(
    make: Make, request: pytest.FixtureRequest, studio: Any, gcs: GcsEmulator
) -> tuple[TrainingBackend, JobPaths]:
    """A dozen clips, one epoch; the in-process one is shared with the rest of the suite."""
    backend = make()
    if backend.name == "inprocess":
        return backend, request.getfixturevalue("tuned")
    jobs, job_id = studio.jobs(backend), f"job-{backend.name}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
        jobs.submit(job_id, studio.base.id, studio.dataset, TUNING)
        jobs.wait(job_id)
    return backend, jobs.paths(job_id)


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest, gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch
) -> TrainingBackend:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return maker(request.param, request)()


@pytest.fixture
def impossible(tmp_path: Path, tuned: JobPaths) -> JobPaths:
    """A job whose base model is not there."""
    paths = JobPaths(tmp_path / "impossible")
    paths.root.mkdir()
    Order.read(tuned.order).write(paths.order)
    shutil.copytree(tuned.data, paths.data)
    return paths


def test_a_finished_job_has_a_model_and_its_figures(
    finished: tuple[TrainingBackend, JobPaths], studio: Any
) -> None:
    backend, paths = finished
    assert backend.state(paths) is RunState.SUCCEEDED
    result = json.loads(paths.result.read_text(encoding="utf-8"))
    assert (result["training_clips"], result["validation_clips"]) == (12, 2)
    assert 0 < result["training_loss"] < 20
    assert result["trained_s"] > 0
    assert len(result["validation_wer"]) == 1
    card = read_card(paths.model)
    assert card is not None
    assert (card.base, card.dataset_id) == (studio.base.id, studio.dataset.id)
    assert card.context == TUNING.context


def test_training_has_changed_the_weights_but_not_their_shapes(
    finished: tuple[TrainingBackend, JobPaths], bundled: Path
) -> None:
    before = read_variables(bundled / "model.bin")
    after = read_variables(finished[1].model / "model.bin")
    name = "decoder/layer_0/self_attention/linear_0/weight"
    assert before[name].shape == after[name].shape
    assert (before[name] != after[name]).any()
    positions = "encoder/position_encodings/encodings"
    assert (before[positions] == after[positions]).all()


def test_events_tell_of_every_phase_and_end_with_done(
    finished: tuple[TrainingBackend, JobPaths], studio: Any
) -> None:
    backend, paths = finished
    events = studio.jobs(backend).events(paths.root.name)
    assert events[0].phase == "prepare"
    assert events[-1].phase == "done"
    assert any(event.validation_wer is not None for event in events)
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)


def test_starting_a_finished_job_again_does_nothing(
    finished: tuple[TrainingBackend, JobPaths],
) -> None:
    backend, paths = finished
    before = {path: path.stat().st_mtime_ns for path in paths.root.rglob("*")}
    backend.start(paths)
    assert backend.state(paths) is RunState.SUCCEEDED
    assert {path: path.stat().st_mtime_ns for path in paths.root.rglob("*")} == before


def test_cancelling_a_finished_job_leaves_it_as_it_is(
    finished: tuple[TrainingBackend, JobPaths],
) -> None:
    backend, paths = finished
    backend.cancel(paths)
    assert backend.state(paths) is RunState.SUCCEEDED


def test_another_instance_reads_the_same_state_from_the_files(
    finished: tuple[TrainingBackend, JobPaths], make: Make
) -> None:
    _, paths = finished
    assert make().state(paths) is RunState.SUCCEEDED


def test_a_job_that_was_never_started_is_stopped(backend: TrainingBackend, tmp_path: Path) -> None:
    paths = JobPaths(tmp_path)
    assert backend.state(paths) is RunState.STOPPED
    backend.cancel(paths)
    assert backend.state(paths) is RunState.STOPPED


def test_a_job_that_fails_is_stopped_and_its_log_says_why(
    backend: TrainingBackend, impossible: JobPaths
) -> None:
    backend.start(impossible)
    assert wait(backend, impossible) is RunState.STOPPED
    log = impossible.log.read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "base" in log.strip().splitlines()[-1]
    assert not impossible.model.exists()


def test_what_an_earlier_attempt_left_behind_does_no_harm(
    tuned: JobPaths, tmp_path: Path, bundled: Path
) -> None:
    """As if the machine had gone down while weights, or the finished model, were being written."""
    backend, paths = InProcessBackend(), JobPaths(tmp_path / "again")
    paths.root.mkdir()
    shutil.copyfile(tuned.order, paths.order)
    shutil.copytree(tuned.data, paths.data)
    paths.base.symlink_to(bundled)
    for folder in (paths.weights / "0", paths.tried, paths.model):
        shutil.copytree(tuned.model, folder)
        (folder / "model.bin").write_bytes(b"half of it")
    for file in (paths.best, paths.best.with_suffix(".partial"), paths.scratch / "checkpoint-1/x"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half of it")
    backend.start(paths)
    assert backend.state(paths) is RunState.SUCCEEDED, paths.log.read_text(encoding="utf-8")
    # It started from the base and not from what was half tuned.
    assert (paths.model / "model.bin").read_bytes() == (tuned.model / "model.bin").read_bytes()


def test_the_same_order_gives_the_same_weights_wherever_it_runs(
    finished: tuple[TrainingBackend, JobPaths], tuned: JobPaths
) -> None:
    """With real speech, every augmentation, and as many threads as the machine has cores."""
    _, paths = finished
    recipe = Order.read(paths.order).recipe
    assert recipe == Order.read(tuned.order).recipe
    assert recipe.threads == 0
    assert (paths.model / "model.bin").read_bytes() == (tuned.model / "model.bin").read_bytes()


def test_a_job_that_is_killed_again_and_again_has_failed_with_a_reason(studio: Any) -> None:
    backend = LocalBackend()
    jobs = studio.jobs(backend)
    jobs.submit("job-killed", studio.base.id, studio.dataset, Recipe(epochs=50))
    paths = jobs.paths("job-killed")
    assert backend.state(paths) is RunState.RUNNING

    def kill() -> None:
        if paths.events.exists():
            os.kill(int(paths.process.read_text(encoding="utf-8").split()[0]), signal.SIGKILL)

    with pytest.raises(JobFailedError, match="job-killed"):
        jobs.wait("job-killed", while_waiting=kill)
    job = jobs.get("job-killed")
    assert job.state is JobState.FAILED
    assert job.error
    assert job.ended_at is not None
    assert "Killed" in job.error or "killed" in job.error


def test_a_job_that_was_killed_is_started_again(studio: Any, tuned: JobPaths) -> None:
    jobs = studio.jobs(LocalBackend())
    jobs.submit("job-again", studio.base.id, studio.dataset, TUNING)
    paths = jobs.paths("job-again")
    wait_for_event(paths)
    os.kill(int(paths.process.read_text(encoding="utf-8").split()[0]), signal.SIGKILL)
    # As after a restart: a back end that has not seen the job before.
    assert studio.jobs(LocalBackend()).wait("job-again").state is JobState.COMPLETED
    assert (paths.model / "model.bin").read_bytes() == (tuned.model / "model.bin").read_bytes()


def test_a_cancelled_job_stops_at_once_and_stays_cancelled(studio: Any) -> None:
    backend = LocalBackend()
    jobs = studio.jobs(backend)
    jobs.submit("job-cancelled", studio.base.id, studio.dataset, Recipe(epochs=50))
    paths = jobs.paths("job-cancelled")
    wait_for_event(paths)
    # Another process sees it running, and may stop it.
    assert LocalBackend().state(paths) is RunState.RUNNING
    assert jobs.cancel("job-cancelled").state is JobState.CANCELLED
    assert backend.state(paths) is RunState.STOPPED
    with pytest.raises(JobFailedError, match="cancelled"):
        jobs.wait("job-cancelled")
    assert jobs.get("job-cancelled").state is JobState.CANCELLED


def test_a_dataset_without_training_rows_is_refused_before_anything_starts(studio: Any) -> None:
    rows = [r for r in studio.datasets.rows(studio.dataset) if not r.split.may_be_trained_on]
    only_validation = studio.datasets.add("few", studio.dataset.purpose, rows)
    jobs = studio.jobs(LocalBackend())
    with pytest.raises(EmptyDatasetError, match="no training rows"):
        jobs.submit("job-empty", studio.base.id, only_validation, Recipe())
    assert not jobs.paths("job-empty").root.exists()
