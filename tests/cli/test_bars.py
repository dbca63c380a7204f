"""The bars of a training, as they are drawn on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.progress import Progress

from misheard.cli import output
from misheard.cli.output import Bars
from misheard.finetune.events import TrainingEvent

PREPARE = TrainingEvent(at_s=0.0, phase="prepare")


def step(number: int, **values: float) -> TrainingEvent:
    return TrainingEvent(at_s=1.0, phase="train", step=number, steps=40, **values)  # type: ignore[arg-type]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    made = io.StringIO()
    monkeypatch.setattr(output, "err", Console(file=made, width=100, force_terminal=False))
    return made


def draw(drawn: io.StringIO, events: Sequence[TrainingEvent]) -> tuple[list[str], Progress]:
    """The lines that stay, with each bar as it is last drawn, and the bars themselves."""
    seen: list[Progress] = []

    def make(progress: Progress) -> Bars:
        seen.append(progress)
        return Bars(progress)

    with output.bars(make) as made:
        for event in events:
            made.training(event)
    return [line.rstrip() for line in drawn.getvalue().splitlines()], seen[0]


def test_training_tells_its_loss_its_steps_and_the_time_left(drawn: io.StringIO) -> None:
    lines, progress = draw(drawn, [PREPARE, step(10, loss=1.25, left_s=3_725)])
    assert lines[0] == "  training: prepare"
    assert lines[-1].startswith("training, loss 1.250 ")
    assert lines[-1].endswith(" 10/40 1:02:05")
    assert [task.completed for task in progress.tasks] == [10]


def test_the_rate_of_each_epoch_stays_and_the_loss_stays_beside_the_bar(
    drawn: io.StringIO,
) -> None:
    events = [step(20, loss=0.5), step(20, epoch=1.0, validation_wer=0.0421, left_s=0.0)]
    lines, _ = draw(drawn, events)
    assert "  epoch 1: validation WER 4.21%" in lines
    assert lines[-1].startswith("training, loss 0.500 ")


def test_every_phase_has_a_bar_of_its_own(drawn: io.StringIO) -> None:
    sweep = [
        TrainingEvent(
            at_s=2.0, phase="sweep", step=n, steps=5, share=n / 4 - 0.25, validation_wer=n / 100
        )
        for n in range(1, 6)
    ]
    check = [TrainingEvent(at_s=3.0, phase="check", step=n, steps=3) for n in (1, 2)]
    done = TrainingEvent(at_s=4.0, phase="done")
    lines, progress = draw(drawn, [PREPARE, step(40, loss=0.5), *sweep, *check, done])
    assert [(task.description, task.completed, task.total) for task in progress.tasks] == [
        ("training, loss 0.500", 40, 40),
        ("mixing old and new weights", 5, 5),
        ("checking", 2, 3),
    ]
    assert "  25% of the new weights: validation WER 2.00%" in lines
    assert "  100% of the new weights: validation WER 5.00%" in lines
    assert not any("epoch" in line for line in lines)
    assert "  training: done" in lines


def test_a_training_that_was_started_again_goes_on_where_it_was(drawn: io.StringIO) -> None:
    before = [PREPARE, step(10, loss=1.5), step(20, loss=1.25), step(30, loss=1.0, left_s=100)]
    lines, progress = draw(drawn, [*before, PREPARE, step(22, loss=1.2, left_s=180)])
    (task,) = progress.tasks
    assert (task.completed, task.total) == (22, 40)
    assert "  training: started again, from its last checkpoint" in lines
    assert lines[-1].endswith(" 22/40 0:03:00")


def test_a_rate_that_is_not_known_is_not_told(drawn: io.StringIO) -> None:
    lines, _ = draw(drawn, [TrainingEvent(at_s=0.0, phase="sweep", step=1, steps=5, share=0.0)])
    assert not any("WER" in line for line in lines)
    assert lines[-1].startswith("mixing old and new weights ")
    assert " 1/5 " in lines[-1]
