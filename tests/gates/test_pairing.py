"""Failures count as fully wrong, whatever it is that a candidate would gain by them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.gates.comparison import Comparison
from misheard.gates.hypotheses import Hypothesis
from misheard.gates.pairing import Pairing, pair
from misheard.scoring.normalize import normalizer

FAILED = Hypothesis(text="", compute_s=0.0, error="OSError: no")


def row(number: int, reference: str, *, group: str = "", **tags: str) -> Row:
    return Row(
        audio_sha256=f"{number:064x}",
        reference=reference,
        split=Split.TEST,
        kind="evaluation",
        speaker_group=group or str(number),
        duration_s=2.0,
        tags=tuple(sorted(tags.items())),
    )


def heard(*texts: str) -> list[Hypothesis]:
    return [Hypothesis(text=text, compute_s=1.0) for text in texts]


def paired(rows: list[Row], before: list[Hypothesis], after: list[Hypothesis]) -> Pairing:
    return pair(rows, before, after, normalizer=normalizer("whisper-english"))


def compared(rows: list[Row], before: list[Hypothesis], after: list[Hypothesis]) -> Comparison:
    return paired(rows, before, after).compare(replicates=200, alpha=0.05)


def test_failing_is_never_better_than_babbling() -> None:
    rows = [row(0, "press pound"), row(1, "")]
    babble = heard("thank you thank you thank you thank you", "thanks for watching")
    made = paired(rows, babble, [FAILED, FAILED])
    assert made.after.words.errors.tolist() == made.before.words.errors.tolist() == [8, 3]
    assert (made.after.characters.errors >= made.before.characters.errors).all()
    assert compared(rows, babble, [FAILED, FAILED]).candidate.silent_with_text == 1


def test_a_baseline_that_fails_is_fully_wrong_and_no_more() -> None:
    rows = [row(0, "press pound"), row(1, "")]
    made = paired(rows, [FAILED, FAILED], heard("press pound", ""))
    assert made.before.words.errors.tolist() == [2, 1]
    assert made.before.characters.errors.tolist() == [len("press pound"), 1]


_TEXTS = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=4).map(" ".join)


@given(st.lists(st.tuples(_TEXTS, _TEXTS, _TEXTS, st.booleans()), min_size=1, max_size=8))
def test_no_figure_gets_better_by_failing(clips: list[tuple[str, str, str, bool]]) -> None:
    rows = [row(number, clip[0], must_pass="true") for number, clip in enumerate(clips)]
    before, after = heard(*(clip[1] for clip in clips)), heard(*(clip[2] for clip in clips))
    # It fails exactly where it was no better than what is live: where it would like to fail.
    worst = paired(rows, before, after)
    losing = worst.after.words.errors >= worst.before.words.errors
    failing = [
        FAILED if clip[3] and lost else one
        for clip, lost, one in zip(clips, losing, after, strict=True)
    ]
    gone = np.array([one.error is not None for one in failing])
    dropped = paired(rows, before, failing)
    assert (dropped.after.words.errors[gone] >= dropped.before.words.errors[gone]).all()
    assert (dropped.after.words.errors[gone] >= 1).all()
    assert len(dropped.compare(replicates=100, alpha=0.05).missed) >= gone.sum()


def test_what_must_pass_and_did_not_is_named() -> None:
    rows = [row(0, "emergency", must_pass="true"), row(1, "yes", must_pass="TRUE"), row(2, "no")]
    made = compared(rows, heard("emergency", "yes", "no"), heard("emerging", "Yes.", "know"))
    assert made.must_pass == 2
    assert [one["reference"] for one in made.missed] == ["emergency"]


def test_the_test_that_decides_moves_groups_as_one() -> None:
    # 24 utterances all better, but all of three callers: three coins that fell the same way.
    rows = [row(n, "press pound now", group=f"caller {n % 3}") for n in range(24)]
    made = compared(rows, heard(*["press pond now"] * 24), heard(*["press pound now"] * 24))
    assert made.exact
    assert made.blocks == 3
    assert made.p_value == pytest.approx(0.25)
    assert made.mapsswe_p < 0.001


def test_errors_are_kept_by_type_and_formatting_apart() -> None:
    rows = [row(0, "Dr. Who"), row(1, "press pound"), row(2, "yes")]
    made = compared(rows, heard("doctor who", "press pond", "yes"), heard("Dr. Who", "press", "no"))
    assert (made.baseline.formatting_only, made.candidate.formatting_only) == (1, 0)
    (confused,) = made.baseline.confusions["substituted"]
    assert (confused["reference"], confused["hypothesis"], confused["count"]) == (
        "pound",
        "pond",
        1,
    )
    (deleted,) = made.candidate.confusions["deleted"]
    assert deleted["reference"] == "pound"


def test_fixed_and_broken_are_told_from_better_and_worse() -> None:
    rows = [row(n, "hold the line") for n in range(4)]
    made = compared(
        rows,
        heard("hold the", "hold the line", "hold", "hold the"),
        heard("hold the line", "hold the", "hold the", "hold"),
    )
    assert [one["audio_sha256"] for one in made.fixed] == [rows[0].audio_sha256]
    assert [one["audio_sha256"] for one in made.broken] == [rows[1].audio_sha256]
    assert len(made.changed) == 4


def test_who_fails_is_no_faster_for_it() -> None:
    rows = [row(n, "hold the line") for n in range(4)]
    # Two seconds of compute for each clip of two seconds; it gives up on three of four.
    slow = [Hypothesis(text="hold the line", compute_s=2.0)] * 4
    lazy = [slow[0], FAILED, FAILED, FAILED]
    quick = [Hypothesis(text="hold the line", compute_s=1.0)] * 4
    whole, dropped = compared(rows, quick, slow), compared(rows, quick, lazy)
    assert (whole.real_time_factor, whole.slowdown) == (1.0, 2.0)
    assert (dropped.real_time_factor, dropped.slowdown) == (1.0, 2.0)
    assert dropped.is_slower_than(1.5)
