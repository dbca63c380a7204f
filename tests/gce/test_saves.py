"""A state that training goes on from is one of one moment, and of one machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from misheard.blobs.memory import MemoryBucket
from misheard.errors import AttemptOverError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.attempts import begin, newest_attempt, require_newest
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.saves import TRAINED, Taken, restore, saves, send, take
from misheard.finetune.rented.sealed import sealed
from misheard.finetune.written import write_json

MOMENT_NS = 1_000_000_000


class Training:
    """Writes what a training of three steps an epoch does, in the same order."""

    def __init__(self, root: Path) -> None:
        self.paths = JobPaths(root)
        root.mkdir(exist_ok=True)
        self._moment = 1

    def report(self, step: int) -> None:
        with self.paths.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step}) + "\n")

    def step(self, step: int) -> None:
        """With a checkpoint, after which older ones go."""
        self.report(step)
        mark = self.paths.complete_mark(step)
        mark.parent.mkdir(parents=True)
        (mark.parent / "model.safetensors").write_bytes(b"weights of %d" % step)
        state = json.dumps({"epoch": step / 3, "global_step": step})
        (mark.parent / "trainer_state.json").write_text(state)
        mark.touch()
        for other in self.paths.scratch.iterdir():
            if other != mark.parent:
                for path in other.iterdir():
                    path.unlink()
                other.rmdir()

    def keep_best(self, epoch: int) -> None:
        self.paths.best.with_suffix(".partial").write_bytes(b"best of %d" % epoch)
        self.paths.best.with_suffix(".partial").rename(self.paths.best)
        self._date(self.paths.best)

    def add_to_curve(self, epoch: int) -> None:
        write_json(self.paths.curve, {str(n): {} for n in range(1, epoch + 1)})
        self._date(self.paths.curve)

    def end(self) -> None:
        write_json(self.paths.trained, {"best_epoch": 1})

    def _date(self, path: Path) -> None:
        """A moment later than the file before, whatever the clock of the file system."""
        self._moment += 1
        os.utime(path, ns=(self._moment * MOMENT_NS, self._moment * MOMENT_NS))


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path / "training")


@pytest.fixture
def job() -> RentedJob:
    return RentedJob(MemoryBucket(), "job-saved")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def step_of(taken: Taken | None) -> int | None:
    return taken and taken.step


def test_a_checkpoint_is_taken_with_the_best_and_the_curve_of_its_moment(
    training: Training,
) -> None:
    paths = training.paths
    assert take(paths, after=0) is None
    training.step(2)
    early = take(paths, after=0)
    assert early is not None
    assert set(early.files()) == {
        "events.jsonl",
        "scratch/checkpoint-2/complete",
        "scratch/checkpoint-2/model.safetensors",
        "scratch/checkpoint-2/trainer_state.json",
    }
    assert take(paths, after=2) is None, "it is saved already"
    # The end of an epoch: best weights, curve, checkpoint, in this order.
    training.keep_best(1)
    assert take(paths, after=0) is None, "weights of an epoch that no curve knows"
    training.add_to_curve(1)
    assert take(paths, after=0) is None, "the curve is ahead of the checkpoint"
    training.step(3)
    taken = take(paths, after=0)
    assert taken is not None
    assert contents(taken.folder)["best.safetensors"] == b"best of 1"
    assert json.loads(contents(taken.folder)["curve.json"]) == {"1": {}}
    # In the middle of the next, and of one that is not the best.
    training.step(4)
    assert step_of(take(paths, after=3)) == 4
    training.add_to_curve(2)
    assert take(paths, after=3) is None
    training.step(6)
    assert step_of(take(paths, after=3)) == 6


def test_what_was_taken_stays_as_it_was_whatever_comes_next(training: Training) -> None:
    training.keep_best(1)
    training.add_to_curve(1)
    training.step(3)
    taken = take(training.paths, after=0)
    assert taken is not None
    before = contents(taken.folder)
    training.step(4)
    training.keep_best(2)
    training.add_to_curve(2)
    training.step(6)
    assert contents(taken.folder) == before


def test_half_a_line_of_events_is_not_taken(training: Training) -> None:
    training.step(1)
    with training.paths.events.open("a") as file:
        file.write('{"step": 2, "lo')
    taken = take(training.paths, after=0)
    assert taken is not None
    assert contents(taken.folder)["events.jsonl"] == b'{"step": 1}\n'


def test_a_checkpoint_without_its_mark_is_none(training: Training) -> None:
    training.step(1)
    training.paths.complete_mark(1).unlink()
    assert take(training.paths, after=0) is None


def test_trained_is_the_furthest_of_all(training: Training) -> None:
    training.keep_best(1)
    training.add_to_curve(1)
    training.step(3)
    training.end()
    taken = take(training.paths, after=3)
    assert step_of(taken) == TRAINED
    assert taken is not None
    assert set(taken.files()) == {
        "best.safetensors",
        "curve.json",
        "events.jsonl",
        "trained.json",
    }
    assert take(training.paths, after=TRAINED) is None


def save(job: RentedJob, number: int, training: Training, after: int = 0) -> None:
    taken = take(training.paths, after=after)
    assert taken is not None
    send(job.attempt(number), taken)


def test_another_machine_has_the_same_files_and_no_others(
    job: RentedJob, training: Training, tmp_path: Path
) -> None:
    training.keep_best(1)
    training.add_to_curve(1)
    training.step(3)
    save(job, 1, training)
    there = Training(tmp_path / "there")
    there.step(9)
    there.keep_best(7)
    there.end()
    there.paths.weights.mkdir()
    there.paths.result.write_bytes(b"half of it")
    assert restore(job, there.paths) == 3
    assert contents(there.paths.root) == {
        name: data
        for name, data in contents(training.paths.root).items()
        if not name.startswith("saving/")
    }
    assert there.paths.checkpoints() == [3]
    # It can be saved again from there.
    there.step(4)
    save(job, 2, there, after=3)
    assert [(one.attempt, one.step) for one in saves(job)] == [(1, 3), (2, 4)]


def test_at_most_two_are_kept_and_no_file_that_they_do_not_need(
    job: RentedJob, training: Training
) -> None:
    for step in (1, 2, 4, 5):
        training.step(step)
        save(job, 1, training, after=step - 1)
    assert [one.step for one in saves(job)] == [4, 5]
    kept = [job.attempt(1).state.get_bytes(key) for key in job.attempt(1).state]
    assert b"weights of 2" not in kept
    assert {b"weights of 4", b"weights of 5"} <= set(kept)
    training.step(6)
    save(job, 2, training)
    training.step(7)
    save(job, 2, training)
    assert [(one.attempt, one.step) for one in saves(job)] == [(2, 6), (2, 7)]
    assert list(job.attempt(1).state) == []


def test_a_save_that_is_damaged_is_passed_over_for_the_one_before(
    job: RentedJob, training: Training, tmp_path: Path
) -> None:
    for step in (1, 2):
        training.step(step)
        save(job, 1, training, after=step - 1)
    [lost] = [
        key
        for key in job.attempt(1).state
        if job.attempt(1).state.get_bytes(key) == b"weights of 2"
    ]
    job.attempt(1).state.delete(lost)
    said: list[str] = []
    there = JobPaths(tmp_path / "there")
    assert restore(job, there, say=said.append) == 1
    assert "000000000002.json cannot be used" in said[0]
    assert there.checkpoints() == [1]
    for bad in (
        b"{}",
        b"[]",
        sealed({"files": {"../x": "a" * 64}}),
        sealed({"files": {"order.json": "a" * 64}}),
    ):
        job.bucket.put(job.attempt(1).save(1), bad)
        assert restore(job, there) == 0, "anew"
        assert contents(there.root) == {}


def test_a_machine_that_is_taken_for_dead_saves_nothing_more(
    job: RentedJob, training: Training
) -> None:
    begin(job.attempt(1), "one")
    training.step(1)
    taken = take(training.paths, after=0)
    assert taken is not None
    begin(job.attempt(3), "three")
    assert newest_attempt(job) == 3
    with pytest.raises(AttemptOverError, match="attempt 3 has begun"):
        send(job.attempt(1), taken)
    assert saves(job) == []
    with pytest.raises(AttemptOverError):
        begin(job.attempt(2), "two")
    require_newest(job.attempt(3))
    begin(job.attempt(3), "three")
    with pytest.raises(AttemptOverError, match="is that of"):
        begin(job.attempt(3), "another")
