from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.serving.waiting import BatchingRules, Lane, Piece, Waiting
from misheard.speech.decoding import DecodingOptions
from misheard.speech.long_audio import Stretch

RATE_HZ = 16_000
_numbers = count()


def piece(
    duration_s: float = 2.0,
    *,
    lane: Lane = Lane.SHORT,
    owner: int | None = None,
    window: int = 0,
    arrived_s: float = 0.0,
    options: DecodingOptions | None = None,
) -> Piece:
    return Piece(
        owner=next(_numbers) if owner is None else owner,
        number=0,
        stretch=Stretch(samples=np.zeros(round(duration_s * RATE_HZ), np.float32)),
        options=options,
        window=window,
        lane=lane,
        arrived_s=arrived_s,
    )


def waiting(*pieces: Piece, **rules: float) -> Waiting:
    made = Waiting(replace(BatchingRules(), **rules))
    made.add(pieces)
    return made


def drained(line: Waiting, *, idle: int = 1) -> list[list[Piece]]:
    batches = []
    while batch := line.take(idle=idle):
        batches.append(batch)
    return batches


def test_a_batch_is_whoever_is_due_and_the_nearest_in_length() -> None:
    lengths_s = [5.0, 1.0, 5.5, 20.0, 4.0]
    line = waiting(*map(piece, lengths_s), max_batch=3)
    assert [one.duration_s for one in line.take(idle=1)] == [4.0, 5.0, 5.5]
    assert [one.duration_s for one in line.take(idle=1)] == [1.0, 20.0]
    assert line.take(idle=1) == []


def test_other_windows_and_other_options_are_heard_apart() -> None:
    beam = DecodingOptions(beam_size=5)
    pieces = [piece(window=96), piece(window=64), piece(window=96, options=beam), piece(window=96)]
    assert drained(waiting(*pieces)) == [[pieces[0], pieces[3]], [pieces[1]], [pieces[2]]]


def test_no_batch_takes_long_since_others_wait_for_it() -> None:
    line = waiting(*[piece(25.0) for _ in range(5)], piece(24.0))
    assert [len(batch) for batch in drained(line)] == [2, 2, 2]
    assert [len(batch) for batch in drained(waiting(piece(2.0), piece(31.0), piece(2.0)))] == [2, 1]


def test_idle_threads_share_what_waits() -> None:
    line = waiting(*[piece() for _ in range(5)])
    assert [len(line.take(idle=idle)) for idle in (2, 1)] == [3, 2]


def test_company_is_waited_for_until_the_batch_is_full_or_the_time_is_up() -> None:
    line = waiting(max_wait_ms=10.0, max_batch=2)
    assert line.ripe_in_s(0.0) is None
    line.add([piece(arrived_s=1.0)])
    assert line.ripe_in_s(1.004) == pytest.approx(0.006)
    assert line.ripe_in_s(1.5) == 0.0
    line.add([piece(arrived_s=1.004)])
    assert line.ripe_in_s(1.004) == 0.0


def test_long_clips_wait_for_short_ones_but_get_their_share() -> None:
    long = [piece(30.0, lane=Lane.LONG, owner=-1) for _ in range(4)]
    short = [piece(2.0) for _ in range(200)]
    line = waiting(*long, *short, max_batch=5, long_share=0.25)
    lanes = [batch[0].lane for batch in drained(line)]
    assert lanes[0] is Lane.SHORT
    heard_s = {Lane.SHORT: 0.0, Lane.LONG: 0.0}
    for lane in lanes[: lanes.index(Lane.LONG, 30)]:
        heard_s[lane] += 30.0 if lane is Lane.LONG else 10.0
        assert heard_s[Lane.LONG] <= 0.25 * sum(heard_s.values()) + 30.0
    assert heard_s[Lane.LONG] == 90.0
    assert lanes.count(Lane.LONG) == 4


def test_no_share_is_saved_up_while_the_others_are_away() -> None:
    line = waiting(*[piece(30.0, lane=Lane.LONG, owner=-1) for _ in range(9)])
    for _ in range(5):
        line.take(idle=1)
    line.add([piece(10.0) for _ in range(12)])
    lanes = [batch[0].lane for batch in drained(line)]
    # Of the 150 s that were heard before, only the last 30 s, which may be under way, count.
    assert lanes[:3] == [Lane.SHORT, Lane.SHORT, Lane.LONG]


def test_long_clips_take_turns() -> None:
    line = waiting(*[piece(30.0, lane=Lane.LONG, owner=who) for who in (1, 1, 1, 2, 2, 3)])
    assert [batch[0].owner for batch in drained(line)] == [1, 2, 3, 1, 2, 1]


def test_what_nobody_waits_for_goes_when_there_is_nothing_else() -> None:
    shadow = piece(lane=Lane.BACKGROUND)
    line = waiting(shadow, piece(), piece(30.0, lane=Lane.LONG), shadow)
    assert [line.take(idle=1)[0].lane for _ in range(2)] == [Lane.SHORT, Lane.LONG]
    assert line.take(idle=1, is_background_allowed=False) == []
    assert line.take(idle=1)[0].lane is Lane.BACKGROUND


def test_after_a_failure_each_is_heard_alone_and_before_the_others() -> None:
    failed = [piece(), piece()]
    line = waiting(*failed, piece(), piece())
    line.drop(failed[0].owner)
    line.drop(failed[1].owner)
    line.put_back(failed)
    owners = [[one.owner for one in batch] for batch in drained(line)]
    assert owners[:2] == [[failed[0].owner], [failed[1].owner]]
    assert [len(batch) for batch in owners] == [1, 1, 2]


def test_whoever_has_gone_waits_no_longer() -> None:
    gone, left = piece(), piece()
    line = waiting(gone, left)
    line.drop(gone.owner)
    assert list(line) == [left]


LANES = st.sampled_from(list(Lane))
PIECES = st.lists(
    st.builds(
        piece,
        st.sampled_from([0.1, 1.0, 7.0, 29.0]),
        lane=LANES,
        owner=st.integers(0, 5),
        window=st.integers(0, 2),
    ),
    max_size=40,
)


@given(PIECES, st.integers(1, 3), st.integers(1, 8))
def test_everything_is_heard_once_and_the_oldest_before_all_that_fits_it(
    pieces: list[Piece], idle: int, max_batch: int
) -> None:
    line = waiting(*pieces, max_batch=max_batch)
    due = {lane: [one for one in pieces if one.lane is lane] for lane in Lane}
    heard: list[Piece] = []
    while batch := line.take(idle=idle):
        lane = batch[0].lane
        assert len(batch) <= max_batch
        assert all(one.lane is lane and one.fits(batch[0]) for one in batch)
        if lane is not Lane.LONG:  # whose owners take turns
            assert due[lane][0] in batch or any(one.owner == due[lane][0].owner for one in heard)
        due[lane] = [one for one in due[lane] if one not in batch]
        heard += batch
    assert len(heard) == len(pieces)
    assert set(map(id, heard)) == set(map(id, pieces))
    assert list(line) == []
