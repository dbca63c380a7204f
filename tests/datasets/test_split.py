from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.datasets.split import Split, SplitShares, split_of
from misheard.errors import InvalidSettingError
from misheard.scoring.normalize import normalizer

SHARES = SplitShares(train_percent=50, validation_percent=10, test_percent=40)
basic = normalizer("basic")


@given(st.text(), st.sampled_from([str.upper, str.title, lambda t: f"  {t} .", lambda t: t + "!"]))
def test_one_sentence_has_one_split_however_it_is_written(text: str, rewrite: object) -> None:
    other = rewrite(text)  # type: ignore[operator]
    if basic(other) == basic(text):
        assert split_of(basic(text), SHARES, fallback="a") is split_of(
            basic(other), SHARES, fallback="a"
        )


@given(st.text(min_size=1), st.text(), st.text())
def test_the_fallback_does_not_matter_where_there_are_words(text: str, one: str, two: str) -> None:
    assert split_of(text, SHARES, fallback=one) is split_of(text, SHARES, fallback=two)


@given(st.text())
def test_a_share_of_nothing_gets_nothing(text: str) -> None:
    only_test = SplitShares(train_percent=0, validation_percent=0, test_percent=100)
    only_train = SplitShares(train_percent=100, validation_percent=0, test_percent=0)
    assert split_of(text, only_test, fallback="a") is Split.TEST
    assert split_of(text, only_train, fallback="a") is Split.TRAIN


def test_silent_clips_are_spread_by_their_fallback() -> None:
    found = {split_of("", SHARES, fallback=str(number)) for number in range(60)}
    assert found == set(Split)


def test_the_shares_are_kept_over_many_sentences() -> None:
    counts = Counter(split_of(f"sentence {n}", SHARES, fallback="") for n in range(20_000))
    assert counts[Split.TRAIN] / 20_000 == pytest.approx(0.5, abs=0.015)
    assert counts[Split.VALIDATION] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts[Split.TEST] / 20_000 == pytest.approx(0.4, abs=0.015)


def test_a_sentence_keeps_its_split_for_ever() -> None:
    """These are promises to datasets that exist already; a change here moves test rows."""
    found = [split_of(text, SHARES, fallback="") for text in ("please hold", "goodbye", "star")]
    assert found == [Split.TEST, Split.TRAIN, Split.TRAIN]


@pytest.mark.parametrize("shares", [(50, 10, 41), (0, 0, 0), (110, -20, 10)])
def test_shares_that_make_no_hundred_are_refused(shares: tuple[int, int, int]) -> None:
    train, validation, test = shares
    with pytest.raises(InvalidSettingError):
        SplitShares(train_percent=train, validation_percent=validation, test_percent=test)


def test_only_the_training_split_may_be_trained_on() -> None:
    assert [split for split in Split if split.may_be_trained_on] == [Split.TRAIN]
