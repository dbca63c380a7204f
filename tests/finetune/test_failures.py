"""A full disk, too little memory, data that cannot be learnt from: each ends with its reason."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from misheard import audio
from misheard.datasets.split import Split
from misheard.errors import InvalidSettingError, JobFailedError
from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.events import read_events
from misheard.finetune.jobs import Job, JobState
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.train import TrainingRun
from tests.conftest import make_wav, write_wav
from tests.finetune.conftest import Workshop, quick, wait_until
from tests.small_disk import MountsDisk
from tests.tiny_speech import ctc_model


def failed(workshop: Workshop, job_id: str) -> Job:
    job = workshop.jobs(LocalBackend()).get(job_id)
    assert job.state is JobState.FAILED
    assert job.ended_at is not None
    assert job.result is None
    return job


def test_a_disk_that_fills_while_it_trains_is_the_reason(
    workshop_in: Callable[[Path], Workshop], tmp_path: Path, mount_disk: MountsDisk
) -> None:
    workshop = workshop_in(tmp_path)
    # The inputs and the weights find room, two checkpoints with Adam's moments do not.
    mount_disk(tmp_path / "jobs", "6m")
    jobs = workshop.jobs(LocalBackend())
    jobs.submit("job-full", workshop.base.id, workshop.dataset, quick(epochs=3))
    with pytest.raises(JobFailedError, match="no room left on the disk"):
        jobs.wait("job-full")
    error = str(failed(workshop, "job-full").error)
    assert "There is no room left on the disk." in error
    assert f"'{jobs.paths('job-full').root}'" in error
    assert "needs room for about" in error
    assert "Make room, then: misheard cycle begin" in error


def test_a_disk_that_is_full_before_it_begins_is_the_reason(
    workshop_in: Callable[[Path], Workshop], tmp_path: Path, mount_disk: MountsDisk
) -> None:
    workshop = workshop_in(tmp_path)
    mount_disk(tmp_path / "jobs", "900k")
    jobs = workshop.jobs(LocalBackend())
    with pytest.raises(JobFailedError, match="no room left on the disk"):
        jobs.submit("job-no-room", workshop.base.id, workshop.dataset, quick())
    error = str(failed(workshop, "job-no-room").error)
    assert "the inputs of a training do not fit" in error
    assert not jobs.paths("job-no-room").root.exists()


def test_too_little_memory_is_the_reason(workshop: Workshop) -> None:
    jobs = workshop.jobs(LocalBackend())
    # Hundreds of whole windows at once.
    recipe = quick(
        epochs=1,
        batch_size=300,
        seconds_at_once=9_000.0,
        non_speech_share=20.0,
        full_window_share=1.0,
    )
    jobs.submit("job-greedy", workshop.base.id, workshop.dataset, recipe)
    paths = jobs.paths("job-greedy")
    wait_until(lambda: list(read_events(paths.events)))
    pid = int(paths.process.read_text(encoding="utf-8").split()[0])
    held = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[0]
    limit = int(held) * resource.getpagesize() + (700 << 20)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    with pytest.raises(JobFailedError, match="not enough memory"):
        jobs.wait("job-greedy")
    error = str(failed(workshop, "job-greedy").error)
    assert "lower recipe.seconds_at_once, or recipe.batch_size" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_the_reason_before_it_trains(
    tiny_base: Path, tmp_path: Path
) -> None:
    for number, base in enumerate((tiny_base, ctc_model(tmp_path / "ctc"))):
        paths = JobPaths(tmp_path / f"job-{number}")
        shutil.copytree(base, paths.base)
        Order(
            base_name="v-1",
            dataset_id="ds-1",
            normalizer="basic",
            language="en",
            recipe=quick(),
            device="cuda",
        ).write(paths.order)
        with pytest.raises(InvalidSettingError, match="there is no NVIDIA GPU here"):
            TrainingRun(paths).run()
        assert not paths.events.exists()


def spoken(workshop: Workshop, number: int = 0) -> tuple[bytes, str]:
    prompt = workshop.prompts[number]
    return prompt.data, prompt.reference


def test_one_row_is_trained_on_and_its_last_epoch_shipped(workshop: Workshop) -> None:
    dataset = workshop.put("one row", [workshop.row(*spoken(workshop))])
    jobs = workshop.jobs(InProcessBackend())
    recipe = quick(sweep=True, learning_rate=1e-2, joined_share=1.0)
    jobs.submit("job-one-row", workshop.base.id, dataset, recipe)
    result = jobs.wait("job-one-row").result
    assert result is not None
    assert (result["training_clips"], result["validation_clips"]) == (1, 0)
    assert (result["best_epoch"], result["validation_wer"], result["sweep"]) == (None, [], [])
    assert result["share"] == 1.0
    old, new = workshop.registry.directory(workshop.base.id), jobs.paths("job-one-row").model
    assert (old / "model.bin").read_bytes() != (new / "model.bin").read_bytes()


def test_only_non_speech_fails_and_says_why(workshop: Workshop) -> None:
    rows = [workshop.row(make_wav(hertz=300 + number), "") for number in range(3)]
    jobs = workshop.jobs(InProcessBackend())
    jobs.submit("job-silent", workshop.base.id, workshop.put("silence", rows), quick())
    with pytest.raises(JobFailedError, match="none of the 3 training rows does anybody speak"):
        jobs.wait("job-silent")
    assert "a model would only learn to say nothing" in str(failed(workshop, "job-silent").error)


def test_what_cannot_be_learnt_is_left_out_and_told_in_the_result(workshop: Workshop) -> None:
    broken = np.full(8_000, 0.1, np.float32)
    broken[4_000] = np.nan
    long = np.zeros(31 * audio.SAMPLE_RATE_HZ, np.float32)
    bad = {
        "long": workshop.row(write_wav(long), "it is long"),
        "broken": workshop.row(write_wav(broken, subtype="FLOAT"), "it is broken"),
        "wordy": workshop.row(make_wav(hertz=555), "far too many words " * 30),
    }
    good = [workshop.row(*spoken(workshop, number)) for number in range(4)]
    held_back = workshop.row(*spoken(workshop, 5), split=Split.VALIDATION)
    dataset = workshop.put("some bad", [*bad.values(), *good, held_back])
    jobs = workshop.jobs(InProcessBackend())
    jobs.submit("job-some-bad", workshop.base.id, dataset, quick(epochs=1))
    result = jobs.wait("job-some-bad").result
    assert result is not None
    assert (result["training_clips"], result["left_out"]) == (4, 3)
    told = {one["audio"]: one["reason"] for one in result["refused"]}
    assert told.keys() == {row.audio_sha256 for row in bad.values()}
    assert "31.0 s long" in told[bad["long"].audio_sha256]
    assert "not finite" in told[bad["broken"].audio_sha256]
    assert "224 fit Whisper's decoder" in told[bad["wordy"].audio_sha256]


def test_validation_that_is_broken_fails_the_job_with_the_file(workshop: Workshop) -> None:
    broken = np.full(8_000, np.inf, np.float32)
    bad = workshop.row(write_wav(broken, subtype="FLOAT"), "no number", split=Split.VALIDATION)
    dataset = workshop.put("bad validation", [workshop.row(*spoken(workshop)), bad])
    jobs = workshop.jobs(InProcessBackend())
    jobs.submit("job-bad-validation", workshop.base.id, dataset, quick(epochs=1))
    with pytest.raises(JobFailedError, match="InvalidSamplesError") as raised:
        jobs.wait("job-bad-validation")
    assert bad.audio_sha256 in str(raised.value)


def test_validation_in_which_nobody_speaks_has_no_rate_and_does_no_harm(workshop: Workshop) -> None:
    silent = workshop.row(make_wav(hertz=321), "", split=Split.VALIDATION)
    dataset = workshop.put("silent validation", [workshop.row(*spoken(workshop)), silent])
    jobs = workshop.jobs(InProcessBackend())
    jobs.submit("job-silent-check", workshop.base.id, dataset, quick(epochs=1, sweep=True))
    result = jobs.wait("job-silent-check").result
    assert result is not None
    assert result["validation_wer"] == [None]
    assert [point["validation"]["wer"] for point in result["sweep"]] == [None] * 5
    assert "right_sized" not in result["checked"]


class GivesUp:
    """A place to train that cannot: it says why, once it is asked to begin."""

    name = "gives up"

    def __init__(self) -> None:
        self.begun = 0

    def start(self, paths: JobPaths) -> None:
        self.begun += 1
        paths.failure.write_text("There is no machine to be had.\n", encoding="utf-8")

    def state(self, paths: JobPaths) -> RunState:
        return RunState.STOPPED

    def cancel(self, paths: JobPaths) -> None:
        pass


def test_a_place_to_train_that_gives_up_is_not_asked_again_and_its_reason_is_told(
    workshop: Workshop,
) -> None:
    backend = GivesUp()
    jobs = workshop.jobs(backend)
    jobs.submit("job-given-up", workshop.base.id, workshop.dataset, quick())
    # What is in the log is older than that.
    jobs.paths("job-given-up").log.write_text("Traceback (most recent call last):\nKeyError\n")
    with pytest.raises(JobFailedError, match="There is no machine to be had"):
        jobs.wait("job-given-up")
    assert failed(workshop, "job-given-up").error == "There is no machine to be had."
    assert backend.begun == 1
