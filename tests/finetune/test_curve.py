"""When to stop, by the word error rate, and what a restart finds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from misheard.finetune.curve import Curve
from misheard.finetune.served import Heard


def heard(wer: float, cer: float = 0.0, silent: int = 0) -> Heard:
    return Heard(wer=wer, cer=cer, silent_with_text=silent)


def curve(path: Path, *rates: float | Heard) -> Curve:
    made = Curve(path / "curve.json")
    for epoch, rate in enumerate(rates, 1):
        made.add(epoch, rate if isinstance(rate, Heard) else heard(rate))
    return made


@pytest.mark.parametrize(
    ("rates", "best", "stops"),
    [
        ([], None, False),
        ([0.3], 1, False),
        ([0.3, 0.2, 0.1], 3, False),
        ([0.1, 0.2], 1, False),
        ([0.1, 0.2, 0.3], 1, True),
        ([0.3, 0.1, 0.1, 0.1], 4, False),
        ([0.3, 0.2, 0.25, 0.1], 4, False),
        ([math.nan, math.nan], 2, False),
    ],
)
def test_it_stops_when_so_many_epochs_were_no_better(
    tmp_path: Path, rates: list[float], best: int | None, stops: bool
) -> None:
    made = curve(tmp_path, *rates)
    assert made.best_epoch == best
    assert made.should_stop(len(rates), patience=2) is stops
    assert made.is_over(epochs=20, patience=2) is stops
    assert made.is_over(epochs=max(1, len(rates)), patience=20) is bool(rates)


def test_words_that_tie_are_told_apart_by_characters_and_then_by_silence(tmp_path: Path) -> None:
    made = curve(tmp_path, heard(0.1, 0.05), heard(0.1, 0.04, 3), heard(0.1, 0.04, 2), heard(0.2))
    assert made.best_epoch == 3


@pytest.mark.parametrize(
    ("epoch", "wer", "best"),
    [(1, 0.4, True), (2, 0.05, True), (3, 0.1, True), (3, 0.2, False), (3, 0.05, True)],
)
def test_the_last_of_equals_would_be_best(
    tmp_path: Path, epoch: int, wer: float, best: bool
) -> None:
    made = curve(tmp_path, *([0.1] if epoch == 3 else []))
    assert made.would_be_best(epoch, heard(wer)) is best


def test_a_difference_that_may_be_chance_is_none(tmp_path: Path) -> None:
    """Of 13 and 9 errors the difference is 4 and its standard error 4.7; of 14, 5 and 4.8."""

    def of(errors: int) -> Heard:
        return Heard(wer=errors / 300, cer=0.0, silent_with_text=0, words=300)

    assert of(13).is_as_good_as(of(9))
    assert not of(14).is_as_good_as(of(9))
    made = curve(tmp_path, of(9), of(15), of(12), of(14))
    assert made.best_epoch == 3
    assert Curve(tmp_path / "curve.json").best_epoch == 3
    # No error at all is as uncertain as one.
    assert of(1).is_as_good_as(of(0))
    assert not of(2).is_as_good_as(of(0))


def test_an_epoch_that_a_restart_validates_again_is_as_good_as_it_was(tmp_path: Path) -> None:
    made = curve(tmp_path, 0.3, 0.1, 0.2)
    assert made.would_be_best(2, heard(0.1))
    assert not made.would_be_best(3, heard(0.2))


def test_a_restart_goes_on_with_the_curve_that_was_kept(tmp_path: Path) -> None:
    made = curve(tmp_path, 0.3, heard(math.nan, math.nan, 1), 0.2)
    again = Curve(tmp_path / "curve.json")
    assert again.best_epoch == made.best_epoch == 2
    assert again.rates()[0] == 0.3
    assert math.isnan(again.rates()[1])
    again.add(2, heard(0.5))
    assert again.rates() == [0.3, 0.5, 0.2]
    assert Curve(tmp_path / "curve.json").best_epoch == 3
    assert [path.name for path in tmp_path.iterdir()] == ["curve.json"]
