"""What an epoch shows, in which batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from misheard.finetune.plan import Clip, Plan, Showing
from misheard.finetune.recipe import Recipe

PLAIN: dict[str, Any] = {
    "speed_range": 0.0,
    "telephone_share": 0.0,
    "joined_share": 0.0,
    "non_speech_share": 0.0,
    "time_share": 0.0,
    "full_window_share": 0.0,
    "replay_ratio": 10.0,
    "round_to": 64,
    "seed": 0,
}
"""Every clip as it is; each test adds what it is about."""


def recipe(**settings: Any) -> Recipe:
    return Recipe(**PLAIN | settings)


def clip(number: int, **values: Any) -> Clip:
    made = {"reference": f"press {number}", "duration_s": 0.5 + 1.28 * (number % 4)}
    return Clip(path=Path(f"{number}.wav"), **made | values)


def shown(plan: Plan, epoch: int, size: int = 10) -> list[Showing]:
    return [showing for batch in plan.batches(epoch, size) for showing in batch]


def singles(showings: Sequence[Showing]) -> Counter[int]:
    return Counter(one.clips[0] for one in showings if len(one.clips) == 1)


CLIPS = [clip(number) for number in range(40)]
MIXED = [clip(number, is_replay=number >= 4) for number in range(40)]


def test_every_clip_is_seen_once_an_epoch_among_clips_of_like_length() -> None:
    plan = Plan(CLIPS, recipe())
    first, second = plan.batches(0, 10), plan.batches(1, 10)
    for batches in (first, second):
        assert singles([one for batch in batches for one in batch]) == dict.fromkeys(range(40), 1)
        for batch in batches:
            assert len({CLIPS[one.clips[0]].duration_s for one in batch}) == 1
    assert [[one.clips for one in batch] for batch in first] != [
        [one.clips for one in batch] for batch in second
    ]


def test_the_same_seed_gives_the_same_batches_in_any_order_of_asking() -> None:
    settings = {"joined_share": 0.3, "non_speech_share": 0.2, "speed_range": 0.1}
    settings |= {"telephone_share": 0.5, "time_share": 0.5, "replay_ratio": 3.0}
    plan = Plan(MIXED, recipe(**settings))
    forwards = [plan.batches(epoch, 4) for epoch in range(3)]
    again = Plan(MIXED, recipe(**settings))
    assert [again.batches(epoch, 4) for epoch in (2, 0, 1, 2)][1:] == [
        forwards[0],
        forwards[1],
        forwards[2],
    ]
    assert forwards[0] != Plan(MIXED, recipe(**settings | {"seed": 1})).batches(0, 4)
    assert forwards[0] != forwards[1]


def test_every_epoch_shows_as_many_as_the_plan_says() -> None:
    weighted = [replace(one, weight=1.7) for one in MIXED[:7]] + MIXED[7:]
    settings = {"joined_share": 0.3, "non_speech_share": 0.15, "replay_ratio": 2.5}
    plan = Plan(weighted, recipe(**settings))
    for epoch in range(5):
        assert len(shown(plan, epoch, 7)) == len(plan)


def test_only_the_last_batch_is_short_so_that_processes_have_as_many_each() -> None:
    plan = Plan([clip(number) for number in range(37)], recipe(non_speech_share=0.1))
    for epoch in range(20):
        *whole, last = plan.batches(epoch, 4)
        assert {len(batch) for batch in whole} == {4}
        assert len(last) == len(plan) % 4 == 1


def test_the_replay_ratio_counts_from_the_corrections_and_draws_anew_each_epoch() -> None:
    plan = Plan(MIXED, recipe(replay_ratio=2.0))
    replayed: Counter[int] = Counter()
    for epoch in range(30):
        seen = singles(shown(plan, epoch))
        assert all(seen[number] == 1 for number in range(4)), "every correction in each epoch"
        of_replay = {number for number in seen if number >= 4}
        assert len(of_replay) == 2 * 4
        replayed.update(of_replay)
    assert set(replayed) == set(range(4, 40))
    assert singles(shown(plan, 0)) != singles(shown(plan, 1))


def test_all_replay_is_shown_where_there_is_less_than_the_ratio_asks_for() -> None:
    assert len(Plan(MIXED, recipe(replay_ratio=9.0))) == 40
    assert len(Plan(MIXED, recipe(replay_ratio=0.0))) == 4


def test_a_dataset_of_confirmations_alone_still_shows_some() -> None:
    confirmed = [replace(one, is_replay=True) for one in CLIPS]
    assert len(Plan(confirmed, recipe(replay_ratio=5.0))) == 5


def test_heavier_clips_are_shown_more_often_and_every_clip_in_each_epoch() -> None:
    weights = [3.0] * 4 + [1.5] * 8 + [1.0] * 28
    weighted = [replace(one, weight=weight) for one, weight in zip(CLIPS, weights, strict=True)]
    plan = Plan(weighted, recipe())
    total: Counter[int] = Counter()
    epochs = 400
    for epoch in range(epochs):
        seen = singles(shown(plan, epoch))
        assert sum(seen.values()) == len(plan) == 40 + 4 * 2 + 8 * 0.5
        assert set(seen) == set(range(40))
        total.update(seen)
    for number, weight in enumerate(weights):
        assert total[number] / epochs == pytest.approx(weight, abs=0.2)
    assert all(total[number] == epochs for number in range(12, 40))


def test_weights_that_add_up_to_less_than_half_a_clip_show_none_twice() -> None:
    plan = Plan([clip(number, weight=1.1) for number in range(4)], recipe())
    assert singles(shown(plan, 0)) == dict.fromkeys(range(4), 1)


def test_batches_hold_clips_of_like_length_whatever_their_weights() -> None:
    short = [clip(0, duration_s=0.2, weight=2.0) for _ in range(10)]
    plan = Plan([*short, *[clip(0, duration_s=1.5) for _ in range(10)]], recipe())
    batches = plan.batches(0, 10)
    assert [len({one.seconds for one in batch}) for batch in batches] == [1, 1, 1]


def test_joined_pairs_are_two_short_spoken_clips_with_a_gap_new_in_each_epoch() -> None:
    silent, long = clip(40, reference=""), clip(41, duration_s=20.0)
    plan = Plan([*CLIPS, silent, long], recipe(joined_share=0.5))
    seen: list[set[tuple[int, ...]]] = []
    for epoch in (0, 1):
        pairs = [one for one in shown(plan, epoch) if len(one.clips) == 2]
        assert len(pairs) == 10
        for pair in pairs:
            assert not {40, 41} & set(pair.clips)
            assert 0.1 <= pair.gap_s <= 0.6
            spoken_s = sum(plan.clips[number].duration_s for number in pair.clips)
            assert pair.seconds == pytest.approx(spoken_s + pair.gap_s)
        seen.append({pair.clips for pair in pairs})
    assert seen[0] != seen[1]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_each_clip_is_shown_once_an_epoch_alone_or_joined(share: float) -> None:
    plan = Plan([*CLIPS, clip(40, duration_s=20.0)], recipe(joined_share=share))
    for epoch in range(3):
        numbers = [number for one in shown(plan, epoch) for number in one.clips]
        assert sorted(numbers) == list(range(41))


def test_of_replay_there_are_as_many_pairs_in_each_epoch_whatever_it_draws() -> None:
    long = [clip(number, is_replay=True, duration_s=20.0) for number in range(40, 60)]
    plan = Plan([*MIXED, *long], recipe(joined_share=0.5, replay_ratio=10.0))
    for epoch in range(20):
        showings = shown(plan, epoch)
        assert len(showings) == len(plan)
        # 44 clips an epoch, of which 4 + 20 are short if it draws every long one.
        assert sum(len(one.clips) == 2 for one in showings) == 11


def test_there_is_nothing_to_join_where_one_clip_alone_is_short() -> None:
    plan = Plan([clip(0), clip(1, duration_s=20.0)], recipe(joined_share=1.0))
    assert {one.clips for one in shown(plan, 0)} == {(0,), (1,)}


def test_non_speech_is_a_share_of_what_is_shown_and_of_many_lengths() -> None:
    plan = Plan(CLIPS, recipe(non_speech_share=0.5))
    empty = [one for one in shown(plan, 0) if not one.clips]
    assert len(empty) == 20
    assert all(0.3 <= one.seconds <= 8.0 and one.speed == 1.0 for one in empty)
    assert len({one.seconds for one in empty}) == len({one.seed for one in empty}) == 20


def test_where_nobody_speaks_there_is_no_time_to_tell() -> None:
    showings = shown(Plan(CLIPS, recipe(non_speech_share=0.5, time_share=1.0)), 0)
    assert {(bool(one.clips), one.times) for one in showings} == {(True, True), (False, False)}


def test_speed_stays_within_its_range_and_changes_how_long_a_clip_is() -> None:
    plan = Plan(CLIPS, recipe(speed_range=0.1))
    showings = shown(plan, 0)
    assert all(0.9 <= one.speed <= 1.1 for one in showings)
    assert len({one.speed for one in showings}) == 40
    for one in showings:
        assert one.seconds == pytest.approx(CLIPS[one.clips[0]].duration_s / one.speed)


@pytest.mark.parametrize("share", ["telephone_share", "time_share", "full_window_share"])
def test_a_share_is_met_on_average_and_its_ends_exactly(share: str) -> None:
    name = {"telephone_share": "telephone", "time_share": "times"}.get(share, "full_window")

    def count(value: float) -> float:
        plan = Plan(CLIPS, recipe(**{share: value}))
        chosen = [getattr(one, name) for epoch in range(25) for one in shown(plan, epoch)]
        return sum(chosen) / len(chosen)

    assert (count(0.0), count(1.0)) == (0.0, 1.0)
    assert count(0.3) == pytest.approx(0.3, abs=0.05)


def test_one_setting_does_not_change_what_others_draw() -> None:
    plain = shown(Plan(CLIPS, recipe(speed_range=0.1)), 0)
    by_phone = shown(Plan(CLIPS, recipe(speed_range=0.1, telephone_share=1.0)), 0)
    assert [replace(one, telephone=False) for one in by_phone] == plain


def test_whole_windows_share_batches() -> None:
    plan = Plan(CLIPS, recipe(full_window_share=0.5))
    mixed = [len({one.full_window for one in batch}) for batch in plan.batches(0, 5)]
    assert mixed.count(2) <= 1
    assert {one.full_window for one in shown(plan, 0)} == {True, False}


def test_every_showing_has_a_seed_of_its_own_over_all_epochs() -> None:
    plan = Plan(CLIPS, recipe(non_speech_share=0.2))
    seeds = [one.seed for epoch in range(4) for one in shown(plan, epoch)]
    assert len(set(seeds)) == len(seeds)
