"""Parts of a set: which are looked at, and which are worse by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.gates.slices import GROUP, LENGTH, MAX_SLICES, Slice, holm, slices


def clip(number: int, *, group: str = "ann", duration_s: float = 2.0) -> Row:
    return Row(
        audio_sha256=f"{number:064x}",
        reference="not looked at",
        split=Split.TEST,
        kind="evaluation",
        speaker_group=group,
        duration_s=duration_s,
    )


def sliced(
    rows: Sequence[Row],
    before: Sequence[int],
    after: Sequence[int],
    words: Sequence[int] | None = None,
    *,
    alpha: float = 0.05,
) -> tuple[Slice, ...]:
    counts = [np.array(one, np.int64) for one in (before, after, words or [10] * len(rows))]
    return slices(rows, *counts, alpha=alpha)


def groups(found: Sequence[Slice]) -> list[str]:
    return [one.name for one in found if one.kind == GROUP]


def test_the_figures_of_a_group_by_hand() -> None:
    rows = [clip(n, group="ann" if n < 6 else "bob") for n in range(12)]
    found = sliced(rows, [0] * 12, [1, 1, 1, 1, 1, 2] + [0] * 6)
    ann, bob, length = found
    assert replace(ann, p_value=0.0) == Slice(
        name="ann",
        kind=GROUP,
        utterances=6,
        words=60,
        baseline_errors=0,
        candidate_errors=7,
        p_value=0.0,
        worse=True,
    )
    assert (bob.name, bob.candidate_errors, bob.p_value, bob.worse) == ("bob", 0, 1.0, False)
    assert (length.name, length.utterances, length.candidate_errors) == ("1–3 s", 12, 7)


def test_better_by_more_than_chance_is_not_worse() -> None:
    (ann, _) = sliced([clip(n) for n in range(12)], [1] * 11 + [2], [0] * 12)
    assert ann.p_value == 1.0
    assert not ann.worse


def test_worse_within_chance_is_not_worse() -> None:
    (ann, _) = sliced([clip(n) for n in range(12)], [0] * 12, [1] + [0] * 11)
    assert ann.candidate_errors > ann.baseline_errors
    assert not ann.worse


@pytest.mark.parametrize(
    ("utterances", "words_each", "tested"), [(5, 6, True), (4, 100, False), (29, 1, False)]
)
def test_a_slice_needs_30_words_and_5_utterances(
    utterances: int, words_each: int, tested: bool
) -> None:
    rows = [clip(n) for n in range(utterances)]
    found = sliced(rows, [0] * utterances, [3] * utterances, [words_each] * utterances)
    assert groups(found) == (["ann"] if tested else [])
    (length,) = [one for one in found if one.kind == LENGTH]
    assert (length.p_value is not None) is tested
    assert tested or not length.worse


def test_only_the_groups_with_most_words_are_looked_at() -> None:
    rows = [clip(n, group=f"g{n // 5:02d}") for n in range(5 * (MAX_SLICES + 3))]
    words = [10 + n // 5 for n in range(len(rows))]
    found = groups(sliced(rows, [0] * len(rows), [0] * len(rows), words))
    assert found == [f"g{n:02d}" for n in range(MAX_SLICES + 2, 2, -1)]


def test_every_length_has_its_band() -> None:
    lengths = (0.5, 0.999, 1.0, 2.999, 3.0, 9.99, 10.0, 30.0, 30.001, 300.0)
    rows = [clip(n, duration_s=length) for n, length in enumerate(lengths)]
    found = sliced(rows, [0] * 10, [0] * 10)
    bands = [one for one in found if one.kind == LENGTH]
    assert [(one.name, one.utterances) for one in bands] == [
        ("under 1 s", 2),
        ("1–3 s", 2),
        ("3–10 s", 2),
        ("10–30 s", 2),
        ("over 30 s", 2),
    ]


def test_a_silent_set_and_an_empty_one_have_nothing_to_test() -> None:
    (silent,) = sliced([clip(n) for n in range(9)], [0] * 9, [1] * 9, [0] * 9)
    assert (silent.p_value, silent.worse) == (None, False)
    assert sliced([], [], []) == ()


def test_the_more_slices_the_stronger_each_must_be() -> None:
    # One group in which 6 of 10 clips get worse: p = 1 / 64 by itself.
    def of(others: int) -> Slice:
        rows = [clip(n, group=f"g{n // 10}") for n in range(10 * (others + 1))]
        after = [1] * 6 + [0] * (len(rows) - 6)
        found = sliced(rows, [0] * len(rows), after)
        return next(one for one in found if one.name == "g0")

    assert of(0).p_value == of(9).p_value == pytest.approx(1 / 64)
    assert of(0).worse
    assert not of(9).worse


def test_the_level_decides() -> None:
    rows = [clip(n) for n in range(10)]
    after = [1] * 6 + [0] * 4
    assert sliced(rows, [0] * 10, after, alpha=0.05)[0].worse
    assert not sliced(rows, [0] * 10, after, alpha=0.01)[0].worse


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], []),
        ([0.049], [True]),
        ([0.05], [False]),
        ([0.024, 0.049], [True, True]),
        ([0.026, 0.001], [True, True]),
        ([0.026, 0.030], [False, False]),
        # The first that fails stops all that follow.
        ([0.040, 0.030, 0.001], [False, False, True]),
    ],
)
def test_holm_by_hand(p_values: list[float], expected: list[bool]) -> None:
    assert holm(p_values, 0.05) == expected


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_lies_between_bonferroni_and_no_correction(p_values: list[float]) -> None:
    found = holm(p_values, 0.05)
    for p_value, rejected in zip(p_values, found, strict=True):
        assert rejected or not p_value < 0.05 / len(p_values)
        assert not rejected or p_value < 0.05


def test_every_tag_is_a_kind_of_slice_but_must_pass() -> None:
    rows = [
        replace(clip(n), tags=(("channel", "mobile" if n < 6 else "desk"), ("must_pass", "true")))
        for n in range(12)
    ]
    found = sliced(rows, [0] * 12, [1] * 6 + [0] * 6)
    named = {(one.kind, one.name): one for one in found}
    assert named["channel", "mobile"].candidate_errors == 6
    assert named["channel", "desk"].candidate_errors == 0
    assert not [one for one in found if one.kind == "must_pass"]


def test_what_is_worse_by_less_than_its_limit_is_allowed() -> None:
    rows = [replace(clip(n, group=f"g{n}"), tags=(("channel", "mobile"),)) for n in range(40)]
    counts = [np.array(one, np.int64) for one in ([0] * 40, [1, 0] * 20, [10] * 40)]

    def worse(limits: dict[str, float]) -> list[tuple[str, float]]:
        found = slices(rows, *counts, alpha=0.05, limits=limits)
        return [(one.kind, one.limit) for one in found if one.worse]

    # 20 more errors in 400 words: a rise of 5 %.
    assert worse({}) == [("length", 0.0), ("channel", 0.0)]
    assert worse({"channel": 0.1}) == [("length", 0.0)]
    assert worse({"channel=mobile": 0.1, "channel": 0.0}) == [("length", 0.0)]
    assert worse({"": 0.1}) == []
    assert worse({"": 0.02}) == [("length", 0.02), ("channel", 0.02)]
    assert worse({"": 0.05}) == []


def test_groups_stand_for_themselves_only_where_there_are_enough() -> None:
    # All of one caller's clips get worse, and none of five others': no six groups say it.
    rows = [replace(clip(n, group=f"g{n // 8}"), tags=(("line", "a"),)) for n in range(48)]
    after = [1] * 8 + [0] * 40
    named = {one.name: one for one in sliced(rows, [0] * 48, after)}
    assert named["g0"].worse
    assert named["a"].p_value == pytest.approx(0.5)
    few = {one.name: one for one in sliced(rows[:40], [0] * 40, after[:40])}
    assert few["a"].p_value == pytest.approx(2.0**-8)
