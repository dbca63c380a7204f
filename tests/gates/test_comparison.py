from __future__ import annotations

import json
import math

import pytest

from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.gates.comparison import Comparison
from misheard.gates.hypotheses import Hypothesis
from misheard.gates.pairing import pair
from misheard.scoring.normalize import normalizer


def rows(*references: str) -> list[Row]:
    return [
        Row(
            audio_sha256=f"{number:064x}",
            reference=reference,
            split=Split.TEST,
            kind="evaluation",
            speaker_group=str(number),
            duration_s=2.0,
        )
        for number, reference in enumerate(references)
    ]


def heard(*texts: str, compute_s: float = 1.0) -> list[Hypothesis]:
    return [Hypothesis(text=text, compute_s=compute_s) for text in texts]


def compared(given: list[Row], before: list[Hypothesis], after: list[Hypothesis]) -> Comparison:
    paired = pair(given, before, after, normalizer=normalizer("whisper-english"))
    return paired.compare(replicates=500, alpha=0.05)


def test_the_figures_by_hand() -> None:
    made = compared(
        rows("press pound now", "goodbye", ""),
        heard("press pond", "Good pie.", "thanks", compute_s=6.0),
        heard("Press pound now!", "good pie", "", compute_s=1.5),
    )
    assert (made.utterances, made.words, made.silent, made.audio_s) == (3, 4, 1, 6.0)
    before, after = made.baseline, made.candidate
    assert (before.errors, before.substitutions, before.deletions, before.insertions) == (
        5,
        2,
        1,
        2,
    )
    assert after.errors == 2
    assert before.wer == pytest.approx(5 / 4)
    assert (before.silent_with_text, after.silent_with_text) == (1, 0)
    assert made.relative_reduction == pytest.approx(0.6)
    assert made.speedup == 4.0


def test_only_utterances_whose_errors_differ_are_listed_as_changed() -> None:
    given = rows("press pound", "goodbye")
    made = compared(given, heard("press pond", "goodbye"), heard("press pound", "Goodbye!"))
    (changed,) = made.changed
    assert changed == {
        "audio_sha256": given[0].audio_sha256,
        "reference": "press pound",
        "words": 2,
        "baseline": "press pond",
        "candidate": "press pound",
        "baseline_errors": 1,
        "candidate_errors": 0,
        "reference_words": "press pound",
        "baseline_words": "press pond",
        "candidate_words": "press pound",
    }


def test_it_survives_storage_as_json() -> None:
    made = compared(rows("a b", "c"), heard("a x", "c"), heard("a b", "d"))
    assert Comparison.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


def test_a_set_without_words_survives_storage_as_well() -> None:
    made = compared(rows("", ""), heard("x", ""), heard("", ""))
    back = Comparison.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert math.isnan(back.baseline.wer)
    assert math.isnan(back.reduction_interval[0])
    assert (back.silent, back.candidate.silent_with_text) == (2, 0)


def test_identical_versions_differ_in_nothing() -> None:
    texts = heard("press pond", "goodbye")
    made = compared(rows("press pound", "goodbye"), texts, texts)
    assert made.changed == ()
    assert (made.p_value, made.relative_reduction) == (1.0, 0.0)
    assert made.reduction_interval == (0.0, 0.0)


def test_a_candidate_that_breaks_a_perfect_baseline_has_no_finite_reduction() -> None:
    made = compared(rows("goodbye"), heard("goodbye"), heard("good pie"))
    assert made.relative_reduction == -math.inf


def test_a_failure_misses_every_word() -> None:
    failed = Hypothesis(text="", compute_s=0.1, error="OSError: no")
    made = compared(rows("press pound", "goodbye"), heard("press pond", "goodbye"), [failed] * 2)
    assert (made.candidate.errors, made.candidate.deletions, made.candidate.wer) == (3, 3, 1.0)
    assert made.candidate.cer == 1.0


def test_a_failure_on_silence_counts_as_one_word_that_nobody_spoke() -> None:
    failed = Hypothesis(text="", compute_s=0.1, error="OSError: no")
    made = compared(rows("goodbye", ""), heard("goodbye", ""), [*heard("goodbye"), failed])
    assert (made.candidate.errors, made.candidate.insertions) == (1, 1)
    assert (made.baseline.silent_with_text, made.candidate.silent_with_text) == (0, 1)
    assert made.candidate.cer == pytest.approx(1 / len("goodbye"))
    assert made.degraded == 1


def test_the_error_stands_with_the_utterance() -> None:
    failed = Hypothesis(text="", compute_s=0.1, error="OSError: no")
    paired = pair(
        rows("a", "b"), [failed, *heard("b")], heard("a", "b"), normalizer=normalizer("none")
    )
    first, second = paired.utterances()
    assert first["baseline_error"] == "OSError: no"
    assert "candidate_error" not in first
    assert "baseline_error" not in second


def test_an_utterance_has_degraded_when_its_wer_rises_by_more_than_a_fifth() -> None:
    five, four = "hold the line please caller", "hold the line please"
    made = compared(
        rows(five, four, four, five, ""),
        heard(five, four, "hold the", "nothing", ""),
        heard("hold the line please", "hold the line", four, five, "thanks"),
    )
    assert [row["reference"] for row in made.worse_by(0.2)] == [four, ""]
    assert [row["reference"] for row in made.worse_by(0.19)] == [five, four, ""]
    assert [row["reference"] for row in made.better_by(0.2)] == [four, five]
    assert [row["reference"] for row in made.better_by(0.5)] == [five]
    assert made.degraded == 2


def test_a_rise_of_exactly_the_threshold_is_none_despite_rounding() -> None:
    # 0.29 times 100 is a little less than 29 in floats.
    words = ["hold"] * 100
    made = compared(rows(" ".join(words)), heard(" ".join(words)), heard(" ".join(words[:71])))
    assert made.worse_by(0.29) == ()
    assert len(made.worse_by(0.289)) == 1


def test_what_was_kept_without_the_newer_keys_loads() -> None:
    made = compared(rows("a b", "c, d"), heard("a x", "c"), heard("a b", "d"))
    values = json.loads(json.dumps(made.to_dict()))
    del values["slices"]
    for row in values["changed"]:
        del row["words"]
    back = Comparison.from_dict(values)
    assert back == Comparison.from_dict(made.to_dict() | {"slices": []})
    assert [row["words"] for row in back.changed] == [2]


def test_slices_survive_storage() -> None:
    given = rows(*["please hold the line for now"] * 6)
    made = compared(given, heard(*["please hold"] * 6), heard(*["please"] * 6))
    (length,) = made.slices
    assert length.p_value is not None
    back = Comparison.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert back.slices == made.slices
    small = compared(rows("a"), heard("a"), heard("b"))
    assert [one.p_value for one in small.slices] == [None]
    assert Comparison.from_dict(json.loads(json.dumps(small.to_dict()))).slices == small.slices
