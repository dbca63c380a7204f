from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.scoring.expected_gain import (
    REMOVED_AT_FIRST,
    ExpectedGain,
    GateSet,
    Live,
    PastGain,
    Provable,
    WordErrors,
    expect,
    word_errors,
)
from misheard.scoring.normalize import normalizer

BASIC = normalizer("basic")
CORRECTED = WordErrors(
    utterances=40,
    words=200,
    kinds=Counter({("misheard", "pound"): 30, ("inserted", "a"): 9, ("misheard", "fax"): 1}),
)
HEARD = WordErrors(
    utterances=208,
    words=1_104,
    kinds=Counter({("misheard", "pound"): 40, ("misheard", "voicemail"): 40}),
)
LIVE = Live(wer=80 / 1_104, source="on 'held-out'", heard=HEARD)
SET = GateSet(name="held-out", words=1_104, groups=31)


def estimate(**changed: Any) -> ExpectedGain:
    given: dict[str, Any] = {
        "traffic_h": 20.0,
        "corrected_cases": 80,
        "live": LIVE,
        "gate_set": SET,
        "past": [],
    }
    corrected = changed.pop("corrected", CORRECTED)
    return expect(corrected, **given | changed)


def past(before: int, after: int, words: int = 1_000, error: float = 0.01) -> PastGain:
    return PastGain(words=words, errors_before=before, errors_after=after, standard_error=error)


def test_errors_are_counted_by_the_word_they_concern() -> None:
    made = word_errors(
        ["Press pound now", "press pound", "the fax", "right"],
        ["press pond", "press the pound", "the facts", "Right."],
        normalizer=BASIC,
    )
    assert (made.utterances, made.words, made.errors) == (4, 8, 4)
    assert made.kinds == {
        ("misheard", "pound"): 1,
        ("misheard", "now"): 1,
        ("inserted", "the"): 1,
        ("misheard", "fax"): 1,
    }
    assert made.repeated_share == 0.0
    assert made.share_of([("misheard", "pound"), ("misheard", "fax"), ("misheard", "x")]) == 0.5
    nothing = word_errors([], [], normalizer=BASIC)
    assert math.isnan(nothing.repeated_share)
    assert math.isnan(nothing.share_of([]))


def test_the_demos_own_figures() -> None:
    """The base model's 80 errors in 1,104 words; half of them are of a kind that was corrected."""
    made = estimate()
    assert made.wer == pytest.approx(0.0725, abs=1e-4)
    assert (made.covered, made.removed, made.trainings) == (0.5, REMOVED_AT_FIRST, 0)
    assert made.bound == pytest.approx(40 / 1_104)
    assert made.gain == pytest.approx(40 / 1_104)
    assert made.removed_interval is made.gain_interval is None
    # 40 errors in 40 of 80 cases, in 20 hours.
    assert made.errors_per_hour == pytest.approx(4.0)
    assert made.answer is Provable.PROVABLE
    assert made.words_needed == 0
    assert made.power is not None
    assert made.power > 0.9


def test_a_small_set_does_not_show_it_and_it_is_said_how_many_words_are_missing() -> None:
    small = replace(SET, words=300)
    made = estimate(gate_set=small)
    assert made.answer is Provable.NOT_PROVABLE
    assert made.words_needed
    assert f"about {made.words_needed:,} more words of audited speech are needed" in made.told
    # With so many more there are enough.
    larger = replace(SET, words=300 + made.words_needed)
    assert estimate(gate_set=larger).answer is Provable.PROVABLE
    fewer = replace(SET, words=290 + made.words_needed)
    assert estimate(gate_set=fewer).answer is Provable.NOT_PROVABLE


def test_a_few_speakers_show_nothing_however_much_they_say() -> None:
    made = estimate(gate_set=replace(SET, words=10**6, groups=5))
    assert made.answer is Provable.NOT_PROVABLE
    assert "5 groups are too few" in made.told


def test_what_was_not_corrected_is_not_counted_on() -> None:
    one_kind = replace(CORRECTED, kinds=Counter({("misheard", "fax"): 9}))
    made = estimate(corrected=one_kind)
    assert (made.covered, made.bound, made.gain) == (0.0, 0.0, 0.0)
    assert made.answer is Provable.NOT_PROVABLE
    assert made.words_needed is None


def test_a_gain_below_what_the_gate_wants_is_not_provable_by_any_set() -> None:
    made = estimate(min_gain=0.05, gate_set=replace(SET, words=10**7))
    assert made.answer is Provable.NOT_PROVABLE
    assert "is not more than the 5.00% wanted" in made.told


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"corrected": WordErrors(utterances=0, words=0, kinds=Counter())}, "no new correction"),
        ({"gate_set": None}, "no test set"),
        ({"live": Live()}, "label what the audit draws"),
    ],
)
def test_what_nobody_knows_is_said(changed: dict[str, Any], why: str) -> None:
    made = estimate(**changed)
    assert made.answer is Provable.UNKNOWN
    assert made.told.startswith("unknown: ")
    assert why in made.told
    assert made.words_needed is None


def test_a_set_on_which_nothing_is_wrong_shows_no_gain() -> None:
    made = estimate(live=Live(wer=0.0, heard=replace(HEARD, kinds=Counter())))
    assert made.answer is Provable.NOT_PROVABLE
    assert "makes no error on 'held-out'" in made.told


def test_where_the_set_was_not_heard_it_goes_by_how_often_kinds_come_again() -> None:
    made = estimate(live=Live(wer=0.08, source="by 200 labels of the random audit"))
    # One of forty errors was seen once.
    assert made.covered == pytest.approx(39 / 40)
    assert made.gain == pytest.approx(0.04)


def test_earlier_trainings_say_how_much_is_removed() -> None:
    made = estimate(past=[past(100, 80, error=0.001), past(50, 30, error=0.001)])
    assert made.removed == pytest.approx(0.3)
    assert made.trainings == 2
    assert made.removed_interval is not None
    low, high = made.removed_interval
    # Two values 0.2 apart: standard deviation 0.1414, so 0.1 of their mean; within them it is less.
    assert low == pytest.approx(0.3 - 0.196, abs=1e-3)
    assert high == pytest.approx(0.3 + 0.196, abs=1e-3)
    assert made.gain == pytest.approx(0.3 * 80 / 1_104)
    one = estimate(past=[past(100, 80)])
    assert one.removed_interval is not None
    # 0.01 of WER is a tenth of the 100 errors in 1,000 words.
    assert one.removed_interval[0] == pytest.approx(0.2 - 1.96 * 0.1, abs=1e-3)
    unknown = estimate(past=[past(100, 80, error=math.nan)])
    assert unknown.removed_interval is None


def test_trainings_that_made_it_worse_promise_nothing() -> None:
    made = estimate(past=[past(100, 130), past(100, 110)])
    assert made.gain is not None
    assert made.gain < 0
    assert made.answer is Provable.NOT_PROVABLE


def test_where_gains_were_more_uncertain_more_words_are_needed() -> None:
    sure = estimate(past=[past(100, 60, error=0.008)], gate_set=replace(SET, words=200))
    unsure = estimate(past=[past(100, 60, error=0.02)], gate_set=replace(SET, words=200))
    assert sure.words_needed is not None
    assert unsure.words_needed is not None
    assert unsure.words_needed > sure.words_needed
    # Nobody is as sure as to have no error at all.
    assert estimate(past=[past(100, 60, error=0.0)]).power != 1.0


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 5_000),
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 300)), max_size=4),
)
def test_the_figures_hang_together(
    same: int, other: int, words: int, groups: int, trainings: list[tuple[int, int]]
) -> None:
    heard = WordErrors(
        utterances=9,
        words=max(words, 1),
        kinds=Counter({("misheard", "pound"): same, ("misheard", "voicemail"): other}),
    )
    made = estimate(
        live=Live(wer=heard.errors / heard.words, heard=heard),
        gate_set=GateSet(name="s", words=words, groups=groups),
        past=[past(before, after) for before, after in trainings],
    )
    if made.gain is not None:
        assert made.bound is not None
        assert made.wer is not None
        assert made.gain <= made.bound <= made.wer + 1e-12
    if made.gain_interval is not None:
        assert made.gain_interval[0] <= made.gain_interval[1]
    if made.answer is Provable.PROVABLE:
        assert made.power is not None
        assert made.power >= 0.8 - 1e-6
        assert made.words_needed == 0
    assert made.told.startswith(str(made.answer))
