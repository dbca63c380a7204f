"""Orders, events and paths: what a job writes and reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from threading import Barrier

import pytest

from misheard.finetune.events import TrainingEvent, append_event, course, read_events
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.recipe import Recipe
from tests.finetune.conftest import Waiting, Workshop, quick


def test_events_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    given = [
        TrainingEvent(at_s=0.0, phase="prepare"),
        TrainingEvent(at_s=1.5, phase="train", step=5, steps=20, epoch=0.5, loss=1.25, left_s=9.0),
        TrainingEvent(at_s=9.0, phase="train", step=20, steps=20, epoch=1.0, validation_wer=0.05),
    ]
    for event in given:
        append_event(path, event)
    assert list(read_events(path)) == given


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, TrainingEvent(at_s=0.0, phase="prepare"))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"at_s": 1.0, "ph')
    assert [event.phase for event in read_events(path)] == ["prepare"]


def test_what_is_no_number_is_left_out_so_that_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = TrainingEvent(at_s=0.0, phase="train", loss=math.nan, validation_wer=math.inf)
    append_event(path, event)
    values = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "loss" not in values and "validation_wer" not in values
    assert [event.loss for event in read_events(path)] == [None]


def test_the_course_of_a_training_has_each_step_once() -> None:
    def loss(step: int, value: float) -> TrainingEvent:
        return TrainingEvent(at_s=0.0, phase="train", step=step, loss=value)

    def wer(step: int, value: float) -> TrainingEvent:
        return TrainingEvent(at_s=0.0, phase="train", step=step, validation_wer=value)

    def of(phase: str) -> TrainingEvent:
        return TrainingEvent(at_s=0.0, phase=phase, validation_wer=9.0)

    before = [of("prepare"), loss(2, 1.0), loss(4, 0.9), wer(4, 0.5), loss(6, 0.8)]
    # Killed, and gone on from step 3: step 4 comes again, and what was at 6 is not yet there.
    assert course([*before, of("prepare"), loss(4, 0.91)]) == [
        loss(2, 1.0),
        loss(4, 0.91),
        wer(4, 0.5),
    ]
    after = [loss(4, 0.91), wer(4, 0.5), loss(5, 0.7), loss(6, 0.6), of("sweep"), of("done")]
    assert course([*before, of("prepare"), *after]) == [
        loss(2, 1.0),
        loss(4, 0.91),
        wer(4, 0.5),
        loss(5, 0.7),
        loss(6, 0.6),
    ]
    assert course([of("prepare")]) == []


def test_before_the_first_event_there_is_none(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "events.jsonl")) == []


def test_an_order_comes_back_and_leaves_no_partial_file(tmp_path: Path) -> None:
    values = {"base_name": "v-1", "dataset_id": "ds-1", "normalizer": "basic"}
    values["equivalents"] = (("pbx", "p b x"), ("ok", "okay"))
    values |= {
        "language": "de",
        "compute_type": "float32",
        "device": "cuda",
        "general_margin": 0.01,
    }
    values |= {"decoding": {"beam_size": 5, "temperatures": [0.0, 0.2]}}
    assert {field.name for field in fields(Order)} == {*values, "recipe"}
    order = Order(**values, recipe=Recipe(epochs=2, margin_s=0.5))  # type: ignore[arg-type]
    order.write(tmp_path / "order.json")
    assert Order.read(tmp_path / "order.json") == order
    assert [path.name for path in tmp_path.iterdir()] == ["order.json"]


@pytest.mark.parametrize(("device", "threads"), [("cpu", 3), ("cuda", 0)])
def test_threads_of_the_processor_are_not_taken_for_batches_on_a_gpu(
    device: str, threads: int
) -> None:
    order = Order(
        base_name="v-1",
        dataset_id="ds-1",
        normalizer="basic",
        language="en",
        recipe=Recipe(threads=3),
        device=device,
    )
    assert order.serving_threads == threads


def test_every_path_of_a_job_lies_inside_it_under_a_name_of_its_own() -> None:
    names = [name for name, value in vars(JobPaths).items() if isinstance(value, property)]
    paths = [getattr(JobPaths(Path("/jobs/job-1")), name) for name in names]
    assert len(set(paths)) == len(paths) >= 9
    assert all(path.is_relative_to("/jobs/job-1/") for path in paths)


def test_many_who_prepare_one_job_at_once_write_its_inputs_once(
    workshop_in: Callable[[Path], Workshop], tmp_path: Path
) -> None:
    workshop = workshop_in(tmp_path)
    jobs = workshop.jobs(Waiting())
    together = Barrier(6)

    def prepare(number: int) -> Path:
        together.wait()
        jobs.prepare("job-1", workshop.base.id, workshop.dataset, quick())
        begun = jobs.paths("job-1").root / f"begun-{number}"
        begun.touch()
        return begun

    with ThreadPoolExecutor(6) as pool:
        begun = list(pool.map(prepare, range(6)))
    assert [path.name for path in begun if not path.exists()] == []
    assert jobs.paths("job-1").order.exists()
