from __future__ import annotations

import json
import math

import pytest

from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.gates.comparison import Comparison, compare
from misheard.gates.hypotheses import Hypothesis


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
    return compare(given, before, after, normalizer_name="whisper-english", replicates=500)


def test_the_figures_by_hand() -> None:
    made = compared(
        rows("press pound now", "goodbye", ""),
        heard("press pond", "Good bye.", "thanks", compute_s=6.0),
        heard("Press pound now!", "good bye", "", compute_s=1.5),
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
        "baseline": "press pond",
        "candidate": "press pound",
        "baseline_errors": 1,
        "candidate_errors": 0,
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
