from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard import audio
from misheard.speech.long_audio import WINDOW_S, Stretch, _windows, stretches

RATE_HZ = 16_000


def test_a_clip_that_fits_stays_whole() -> None:
    samples = np.zeros(RATE_HZ * 30, np.float32)
    (one,) = stretches(samples)
    assert one.samples is samples
    assert one.on_clip_s(12.34) == 12.34


def test_silence_over_30_s_has_no_stretch() -> None:
    assert stretches(np.zeros(RATE_HZ * 31, np.float32)) == []


@pytest.mark.model
def test_every_part_says_where_it_was(phone_prompts: list) -> None:
    """Real speech with silence around it, three times: each part is found at its place."""
    prompt = next(p for p in phone_prompts if p.id == "demo-echotest")
    spoken = audio.decode(prompt.data).samples
    silence = np.zeros(RATE_HZ * 5, np.float32)
    clip = np.concatenate([silence, spoken, silence, spoken, silence, spoken])
    made = stretches(clip)
    assert len(made) > 1
    assert sum(len(one.cuts) for one in made) > len(made)
    for one in made:
        assert one.duration_s <= WINDOW_S
        ends = [*one.cuts[1:], len(one.samples)]
        for cut, end, at in zip(one.cuts, ends, one.at, strict=True):
            assert np.array_equal(one.samples[cut:end], clip[at : at + end - cut])
            assert one.on_clip_s(cut / RATE_HZ) == pytest.approx(at / RATE_HZ, abs=1e-3)


def test_where_two_parts_meet_an_end_is_in_the_first_and_a_beginning_in_the_second() -> None:
    one = Stretch(samples=np.zeros(2 * RATE_HZ, np.float32), cuts=(0, RATE_HZ), at=(0, 160_000))
    assert one.on_clip_s(1.0, part=one.part_at(1.0, is_end=True)) == 1.0
    assert one.on_clip_s(1.0) == 10.0
    assert one.part_at(0.0, is_end=True) == 0
    assert one.on_clip_s(0.98, part=1) == 9.98


def test_frames_are_10_ms_and_never_none() -> None:
    assert Stretch(samples=np.zeros(RATE_HZ, np.float32)).frames == 100
    assert Stretch(samples=np.zeros(1, np.float32)).frames == 2


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=30))
def test_windows_hold_all_parts_in_order_and_never_more_than_30_s(
    gaps_and_lengths_s: list[tuple[int, int]],
) -> None:
    spoken, now = [], 0
    for gap_s, length_s in gaps_and_lengths_s:
        start = now + gap_s * RATE_HZ
        now = start + length_s * RATE_HZ
        spoken.append((start, now))
    made = list(_windows(spoken))
    assert [part for window in made for part in window] == spoken
    for window in made:
        assert sum(end - start for start, end in window) <= 30 * RATE_HZ
    for before, after in pairwise(made):
        held = sum(end - start for start, end in [*before, after[0]])
        assert held > 30 * RATE_HZ
