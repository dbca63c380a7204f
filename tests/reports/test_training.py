"""What the page says of a training job, from its result and its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from misheard.cycle.states import Cycle, CycleState
from misheard.finetune.events import TrainingEvent, append_event
from misheard.finetune.jobs import Job, JobState
from misheard.finetune.order import Order
from misheard.finetune.recipe import Recipe
from misheard.reports import training as page
from misheard.reports.figures import NOTHING
from misheard.reports.weights import Sweep, sweep
from tests.reports.conftest import QUOTES, TOLD, Bench, swept

MARGIN = 0.01


def found(
    validation: list[float] | None, general: list[float] | None = None, **values: Any
) -> Sweep:
    """The sweep of these rates, of which `share` is shipped."""
    margin = values.pop("margin", MARGIN)
    share = values.pop("share", 0.75)
    made = sweep({"share": share, "sweep": swept(validation, general, **values)}, margin=margin)
    assert made is not None
    return made


def test_the_best_on_validation_is_shipped_and_the_sentence_says_so() -> None:
    made = found([0.3, 0.28, 0.2, 0.15, 0.17])
    assert made.why == (
        "Shipped is the mean at ¾: three quarters new weights, a quarter old. It hears the "
        "validation split best: 15.0% WER, where the old model has 30.0%."
    )
    assert [row.name for row in made.rows if row.is_shipped] == ["¾"]
    assert made.validation and not made.general and not made.limit
    assert "¾ is shipped" in made.validation


def test_a_point_that_loses_too_much_elsewhere_is_named() -> None:
    made = found([0.3, 0.28, 0.2, 0.15, 0.12], [0.1, 0.1, 0.1, 0.105, 0.2])
    assert "best of those that lose less than 1.0 points on the general set: 15.0%" in made.why
    assert made.why.endswith(
        "With the trained weights it would be 12.0%, but +10.0 pts on the general set."
    )
    assert [row.is_kept for row in made.rows] == [True, True, True, True, False]
    assert [row.rise for row in made.rows] == ["", "+0.0 pts", "+0.0 pts", "+0.5 pts", "+10.0 pts"]
    assert made.limit == "11.0%" and 'class="limit"' in made.general


def test_where_no_point_keeps_the_general_set_the_closest_is_shipped() -> None:
    rates = [0.1, 0.15, 0.2, 0.3, 0.3]
    made = found([0.3, 0.2, 0.2, 0.1, 0.1], rates, share=0.25)
    assert "No point loses less than 1.0 points on the general set" in made.why
    assert "this one loses least there (+5.0 pts)" in made.why
    made = found([0.3, 0.2, 0.2, 0.1, 0.1], rates, share=0.25, margin=0.0)
    assert "Every point loses something on the general set" in made.why


def test_what_decided_between_equal_rates_is_told() -> None:
    made = found([0.3, 0.25, 0.2, 0.2, 0.25])
    assert "½ has the same WER, and it is the nearest to the training." in made.why


def test_an_old_model_that_hears_better_is_not_hidden() -> None:
    made = found([0.05, 0.25, 0.2, 0.15, 0.17])
    assert "The old model hears it better still" in made.why and "for the gates to say" in made.why


def test_the_trained_weights_as_they_are_are_said_to_be_that() -> None:
    made = found([0.3, 0.25, 0.2, 0.15, 0.1], share=1.0)
    assert made.why.startswith("Shipped are the trained weights as they are.")


def test_without_a_validation_split_the_general_set_is_what_is_shown() -> None:
    made = found(None, [0.1, 0.1, 0.1, 0.105, 0.2])
    assert made.general and not made.validation
    assert "nearest to the training of those that lose less than 1.0 points" in made.why


def test_a_margin_that_nobody_knows_any_more_is_not_guessed() -> None:
    made = found([0.3, 0.28, 0.2, 0.15, 0.12], [0.1, 0.1, 0.1, 0.105, 0.2], margin=None)
    assert "by the WER on validation and by what is lost on the general set" in made.why
    assert not made.limit and all(row.is_kept for row in made.rows)


def test_ten_wrong_words_for_each_spoken_one_do_not_flatten_the_chart() -> None:
    made = found([0.09, 8.65, 2.94, 0.064, 0.077])
    assert made.is_cut and made.validation.count('class="beyond"') == 2
    assert ">10%<" in made.validation and "865.0%" in made.validation
    assert not found([0.3, 0.28, 0.2, 0.15, 0.17]).is_cut


def test_a_model_that_is_always_right_has_a_chart_too() -> None:
    made = found([0.0, 0.6, 0.02, 0.0, 0.0], [0.0] * 5, share=1.0)
    assert made.is_cut and made.validation.count('class="beyond"') == 1
    assert made.general


def test_where_nobody_speaks_there_is_no_chart_and_no_number() -> None:
    points = swept([0.1] * 5, silent=[0, 0, 1, 0, 2])
    for point in points:
        point["validation"] |= {"wer": None, "cer": None}
    made = sweep({"share": 0.75, "sweep": points}, margin=MARGIN)
    assert made is not None and made.validation == ""
    assert {row.wer for row in made.rows} == {NOTHING}
    assert "nan" not in made.why


def test_without_a_sweep_that_is_said() -> None:
    made = sweep({"share": 1.0, "sweep": []}, margin=MARGIN)
    assert made is not None and "no mean was tried" in made.why and made.rows == ()
    assert sweep({"training_clips": 3}, margin=MARGIN) is None


def job(epochs: int = 8, **result: Any) -> Job:
    return Job(
        id="job-1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        state=JobState.COMPLETED,
        backend="local",
        base_version_id="v-1",
        dataset_id="ds-1",
        recipe=Recipe(epochs=epochs),
        ended_at=None,
        error=None,
        result={"training_clips": 56, **result},
    )


def epochs(*rates: float) -> list[TrainingEvent]:
    return [
        TrainingEvent(at_s=epoch, phase="train", step=epoch, epoch=epoch, validation_wer=rate)
        for epoch, rate in enumerate(rates, 1)
    ]


def told(made: page.Training) -> dict[str, tuple[str, str]]:
    return {note.name: (note.value, note.detail) for note in made.notes}


def test_the_best_epoch_is_marked_and_an_early_stop_is_told() -> None:
    made = page.training(job(best_epoch=2), epochs(0.3, 0.2, 0.22, 0.24, 0.21), margin=None)
    assert "kept: 20.0%" in made.validation_wer
    assert "the weights of epoch 2 are kept, with 20.0%" in made.validation_wer
    value, detail = told(made)["Kept epoch"]
    assert value == "2 of 5"
    assert detail == "stopped early: 3 epochs brought nothing better, and 8 were planned"


def test_a_training_that_went_to_its_end_did_not_stop_early() -> None:
    made = page.training(job(2, best_epoch=2), epochs(0.3, 0.2), margin=None)
    assert told(made)["Kept epoch"] == (
        "2 of 2",
        "trained to the end; kept is the last epoch that hears as well as any, but for chance",
    )
    assert ">kept<" in made.validation_wer, "its value stands there already"


def test_memory_precision_and_what_was_shown_are_told() -> None:
    notes = told(page.training(job(**TOLD), [], margin=None))
    assert notes["Peak memory"] == ("3.8 GB", "of the training program")
    assert notes["Precision"][0] == "bfloat16"
    assert notes["Shown an epoch"][0] == "77 clips"
    notes = told(page.training(job(**TOLD | {"processes": 2}), [], margin=None))
    assert notes["Peak memory"][1] == "of the first of 2 processes"


def test_epochs_are_known_from_the_result_where_the_events_are_gone() -> None:
    result: dict[str, Any] = {"best_epoch": 2, "validation_wer": [0.4, 0.25, None, 0.3]}
    made = page.training(job(**result), [], margin=None)
    assert made.loss == "" and "from 40.0% to 30.0%" in made.validation_wer
    assert told(made)["Kept epoch"][0] == "2 of 4"


def test_only_the_lengths_that_were_checked_are_told() -> None:
    made = page.training(job(checked={"right_sized": 0.1, "long": 0.2}), [], margin=None)
    assert [(check.name, check.wer) for check in made.checks] == [
        ("Right-sized", "10.0%"),
        ("Over 30 s", "20.0%"),
    ]
    assert page.training(job(checked={}), [], margin=None).checks == ()
    assert page.training(job(), [], margin=None).checks == ()


def trained(bench: Bench, **values: Any) -> Cycle:
    """A cycle whose job has ended."""
    cycle = bench.begin(bench.dataset("held out", ["hello"]))
    training = bench.dataset("training", ["one", "two", "three"], training=True)
    job_id = bench.trained(cycle, training, **values)
    bench.put(cycle, CycleState.CONVERTED, dataset_id=training.id, job_id=job_id)
    return bench.workspace.cycles.get(cycle.id)


def test_refused_rows_are_counted_and_the_first_few_are_listed(bench: Bench) -> None:
    refused = [
        {"audio": f"{number:064d}", "reason": f"{QUOTES}. it is {number} s long"}
        for number in range(100)
    ]
    read = bench.page(trained(bench, told={"left_out": 120, "refused": refused}))
    assert "Refused 120 of 123 rows to train on" in read.words
    assert "95 more refused rows" in read.words and "and 20 more that are not" in read.words
    assert read.count("img") == read.count("b") == 0
    assert f"{QUOTES}. It is 7 s long." in read.words
    read = bench.page(trained(bench, told={"left_out": 2, "refused": refused[:2]}))
    assert "Refused 2 of 5 rows" in read.words and "more" not in read.by_tag.get("summary", [""])[0]
    assert "Refused" not in bench.page(trained(bench, told={"left_out": 0})).words


def test_an_old_job_has_its_page_and_nothing_that_it_did_not_tell(bench: Bench) -> None:
    read = bench.page(trained(bench))
    assert "3 clips in 1 min 23 s; 1 clip set aside" in read.words
    for absent in ("Kept epoch", "Peak memory", "Between old weights", "for every length"):
        assert absent not in read.words
    assert "nan" not in read.words.lower() and "None" not in read.words


def test_a_new_job_has_the_whole_of_it(bench: Bench) -> None:
    cycle = trained(bench, told=TOLD, recipe=Recipe(epochs=6))
    assert cycle.job_id is not None
    Order(
        base_name="v", dataset_id="ds", normalizer="whisper-english", language="en",
        recipe=Recipe(epochs=6), general_margin=0.02,
    ).write(bench.workspace.jobs.paths(cycle.job_id).order)  # fmt: skip
    read = bench.page(cycle)
    assert "lose less than 2.0 points on the general set" in read.words
    assert "dashed: limit 10.2%" in read.words
    assert "Right-sized 6.4%" in read.words and "Over 30 s 10.5%" in read.words
    assert "¾ shipped" in read.words and "beyond the chart" in read.words
    assert "7.77" not in read.words and "777" not in read.words, "no event but of training"


def test_where_a_job_was_killed_and_went_on_its_curve_does_not_begin_anew(bench: Bench) -> None:
    cycle = trained(bench)
    assert cycle.job_id is not None
    path = bench.workspace.jobs.paths(cycle.job_id).events
    events = [
        TrainingEvent(at_s=0, phase="prepare"),
        TrainingEvent(at_s=1, phase="train", step=5, epoch=0.5, loss=3.21),
        TrainingEvent(at_s=2, phase="train", step=10, epoch=1, validation_wer=0.5),
        # Lost with the machine: the last checkpoint was at step 10.
        TrainingEvent(at_s=3, phase="train", step=15, epoch=1.5, loss=2.22),
        TrainingEvent(at_s=4, phase="train", step=20, epoch=2, validation_wer=0.99),
        TrainingEvent(at_s=0, phase="prepare"),
        TrainingEvent(at_s=1, phase="train", step=15, epoch=1.5, loss=2.11),
        TrainingEvent(at_s=2, phase="train", step=20, epoch=2, validation_wer=0.25),
        # Killed again, when all was trained.
        TrainingEvent(at_s=0, phase="prepare"),
        TrainingEvent(at_s=1, phase="sweep", step=1, steps=5, share=0.0, validation_wer=0.88),
        TrainingEvent(at_s=2, phase="done"),
    ]
    path.unlink()
    for event in events:
        append_event(path, event)
    read = bench.page(cycle)
    for shown in ("3.21", "2.11", "50.0%", "25.0%"):
        assert shown in read.words
    for lost in ("2.22", "99.0%", "88.0%"):
        assert lost not in read.words
