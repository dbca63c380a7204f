"""The drift chart: what it finds, what it leaves alone, and that looking at it costs nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import BadInputError
from misheard.monitoring.drift import Block, Direction, DriftRules, detect, follow, limit_for

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
RULES = DriftRules()


def series(days: int, *, seed: int = 1, change_at: int = 10**6, factor: float = 1.0) -> list[Block]:
    """Six-hour blocks with a daily cycle and noise of 5 %."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(4 * days):
        mean = (0.2, 0.3, 0.1, 0.4)[number % 4] * (1 + 0.05 * random.standard_normal())
        if number // 4 >= change_at:
            mean *= factor
        start = START + timedelta(hours=6 * number)
        made.append(Block(start=start, total=100 * mean, count=100))
    return made


def test_a_quiet_series_has_not_moved_whatever_its_hours() -> None:
    drift = detect(series(90), RULES)
    assert drift.direction is Direction.NONE
    assert drift.since is None
    assert math.isnan(drift.after)
    # Four times of day, four blocks of each are needed, on weekdays and at weekends.
    assert drift.judged == 4 * (90 - 4 - 4)


def test_a_rise_is_found_with_its_size_and_its_day() -> None:
    drift = detect(series(50, change_at=40, factor=1.3), RULES)
    assert drift.direction is Direction.RISE
    assert drift.since is not None
    assert abs(drift.since - (START + timedelta(days=40))) <= timedelta(days=1)
    assert drift.change == pytest.approx(0.3, abs=0.05)
    # Compared with the same times of day, not with a mean over all of them.
    assert drift.after / drift.before == pytest.approx(1.3, abs=0.05)
    assert drift.rise == pytest.approx(drift.limit)


def test_a_fall_is_a_fall() -> None:
    drift = detect(series(50, change_at=40, factor=0.7), RULES)
    assert drift.direction is Direction.FALL
    assert drift.change == pytest.approx(-0.3, abs=0.05)


def test_what_comes_back_is_over_and_what_stays_is_not() -> None:
    rise = series(60, change_at=40, factor=1.4)
    assert detect(rise, RULES).direction is Direction.RISE
    back = series(60, change_at=40, factor=1.4)[: 4 * 45] + series(60)[4 * 45 :]
    assert detect(back[: 4 * 45], RULES).direction is Direction.RISE
    drift = detect(back, RULES)
    assert drift.direction is Direction.NONE
    # It is told as over within three days.
    ends = [one.direction for one in follow(back, RULES)][4 * 48 :]
    assert set(ends) == {Direction.NONE}


def test_a_single_odd_block_is_no_change() -> None:
    odd = series(40)
    odd[150] = replace(odd[150], total=odd[150].total * 100)
    assert detect(odd, RULES).direction is Direction.NONE


def test_looking_after_each_block_says_the_same_as_looking_once() -> None:
    blocks = series(50, change_at=40, factor=1.3)
    for number, seen in enumerate(follow(blocks, RULES), start=1):
        if number % 17 == 0:
            once = detect(blocks[:number], RULES)
            assert (once.direction, once.since, once.rise) == (
                seen.direction,
                seen.since,
                seen.rise,
            )


@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 1.5]))
def test_only_the_order_of_the_means_counts(seed: int, factor: float) -> None:
    """So its false alarms do not depend on how they are distributed."""
    blocks = series(40, seed=seed, change_at=30, factor=factor)
    bent = [replace(one, total=one.count * math.exp(5 * one.mean)) for one in blocks]
    first, second = detect(blocks, RULES), detect(bent, RULES)
    assert (first.direction, first.since, first.rise) == (
        second.direction,
        second.since,
        second.rise,
    )


def test_blocks_with_little_traffic_are_left_out() -> None:
    blocks = series(40)
    few = [Block(start=one.start, total=one.count, count=29) for one in blocks[::5]]
    assert detect([*blocks[:80], *few], RULES) == detect(blocks[:80], RULES)


def test_a_share_that_is_nearly_always_zero_gives_no_alarm_and_is_found_when_it_is_not() -> None:
    zeros = [replace(one, total=0.0) for one in series(60)]
    assert detect(zeros, RULES).direction is Direction.NONE
    begun = [replace(one, total=20.0) if number >= 160 else one for number, one in enumerate(zeros)]
    drift = detect(begun, RULES)
    assert drift.direction is Direction.RISE
    assert drift.change == math.inf


def test_nothing_is_said_before_there_is_something_to_compare_with() -> None:
    assert detect([], RULES).judged == 0
    assert detect(series(4), RULES).judged == 0


def test_the_limit_is_that_of_the_textbook() -> None:
    # Allowance 0.5, limit 5: 465 between false alarms in both directions, so 930 in one
    # (Montgomery, "Introduction to Statistical Quality Control", on the tabular CUSUM).
    assert limit_for(120 / 930, block_hours=6) == pytest.approx(5.0, abs=0.03)
    # Half the blocks a month, the same rate a month: twice the rate a block.
    assert limit_for(0.01, block_hours=12) < limit_for(0.01, block_hours=6)
    for rate in (0.0, -1.0, 10.0, math.nan):
        with pytest.raises(BadInputError):
            limit_for(rate, block_hours=6)
