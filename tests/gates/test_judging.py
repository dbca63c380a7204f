"""What the two gates decide from figures alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from misheard.gates import regression, validation
from misheard.gates.comparison import Comparison, Side
from misheard.gates.regression import RegressionRules, SuiteKind
from misheard.gates.validation import ValidationRules

RULES = ValidationRules(min_wer_improvement=0.0, require_significance=True, alpha=0.05)
TOLERANCE = RegressionRules(
    max_wer_degradation=0.005,
    max_critical_wer_degradation=0.0,
    max_edge_case_wer_degradation=0.02,
)


def side(errors: int, words: int, silent_with_text: int = 0) -> Side:
    return Side(
        wer=errors / words if words else float("nan"),
        cer=0.0,
        errors=errors,
        substitutions=errors,
        deletions=0,
        insertions=0,
        wer_interval=(0.0, 1.0),
        silent_with_text=silent_with_text,
        compute_s=1.0,
    )


def figures(
    before: int, after: int, *, words: int = 1_000, p_value: float = 0.01, **others: Any
) -> Comparison:
    quiet = others.pop("quiet", (0, 0))
    values: dict[str, Any] = {
        "utterances": 100,
        "words": words,
        "silent": others.pop("silent", 0),
        "audio_s": 100.0,
        "normalizer": "none",
        "baseline": side(before, words, quiet[0]),
        "candidate": side(after, words, quiet[1]),
        "reduction_interval": (0.0, 0.1),
        "p_value": p_value,
        "z": 2.0,
        "changed": (),
    }
    return Comparison(**values | others)


def test_fewer_errors_beyond_chance_pass_with_reasons() -> None:
    verdict = validation.judge(figures(62, 39), RULES)
    assert verdict.passed
    assert verdict.reasons == (
        "WER 6.20% → 3.90% on 1000 words, an improvement of 2.30%",
        "p = 0.01 is below 0.05",
    )


@pytest.mark.parametrize(("before", "after"), [(39, 62), (50, 50), (0, 0)])
def test_no_improvement_does_not_pass_however_significant(before: int, after: int) -> None:
    verdict = validation.judge(figures(before, after, p_value=1e-9), RULES)
    assert not verdict.passed
    assert "no improvement" in verdict.reasons[0]


def test_an_improvement_that_may_be_chance_does_not_pass_unless_that_is_allowed() -> None:
    lucky = figures(62, 60, p_value=0.4)
    verdict = validation.judge(lucky, RULES)
    assert not verdict.passed
    assert "p = 0.4 is not below 0.05" in verdict.reasons
    assert validation.judge(lucky, replace(RULES, require_significance=False)).passed


def test_an_improvement_below_the_wanted_one_does_not_pass() -> None:
    assert not validation.judge(figures(62, 53), replace(RULES, min_wer_improvement=0.01)).passed
    assert validation.judge(figures(62, 51), replace(RULES, min_wer_improvement=0.01)).passed


def test_a_set_without_words_does_not_pass() -> None:
    assert not validation.judge(figures(0, 0, words=0, p_value=0.0), RULES).passed


@pytest.mark.parametrize(
    ("kind", "after", "passes"),
    [
        (SuiteKind.BENCHMARK, 105, True),
        (SuiteKind.BENCHMARK, 106, False),
        (SuiteKind.CRITICAL, 100, True),
        (SuiteKind.CRITICAL, 101, False),
        (SuiteKind.CRITICAL, 99, True),
        (SuiteKind.EDGE_CASE, 120, True),
        (SuiteKind.EDGE_CASE, 121, False),
    ],
)
def test_a_suite_passes_up_to_its_tolerance(kind: SuiteKind, after: int, passes: bool) -> None:
    assert regression.judge(figures(100, after), kind, TOLERANCE).passed is passes


def test_the_tolerance_is_absolute_so_that_a_perfect_suite_may_slip_as_far_as_any_other() -> None:
    assert regression.judge(figures(0, 5), SuiteKind.BENCHMARK, TOLERANCE).passed
    assert not regression.judge(figures(0, 6), SuiteKind.BENCHMARK, TOLERANCE).passed
    assert not regression.judge(figures(0, 1), SuiteKind.CRITICAL, TOLERANCE).passed


@pytest.mark.parametrize("words", [10, 30, 70, 290])
def test_a_rise_of_exactly_the_tolerance_passes_despite_rounding(words: int) -> None:
    tenth = replace(TOLERANCE, max_wer_degradation=0.1)
    exact = figures(words // 10, words // 5, words=words)
    assert regression.judge(exact, SuiteKind.BENCHMARK, tenth).passed


def test_what_is_refused_says_by_how_much() -> None:
    (reason,) = regression.judge(figures(100, 130), SuiteKind.EDGE_CASE, TOLERANCE).reasons
    assert reason == (
        "130 word errors where the live version makes 100: WER rises by 3.00%, more than 2.00%"
    )


def test_more_words_on_silence_fail_even_with_fewer_errors() -> None:
    worse = figures(100, 10, silent=8, quiet=(1, 2))
    verdict = regression.judge(worse, SuiteKind.EDGE_CASE, TOLERANCE)
    assert not verdict.passed
    assert any("2 of 8 silent clips" in reason for reason in verdict.reasons)
    same = figures(100, 100, silent=8, quiet=(2, 2))
    assert regression.judge(same, SuiteKind.EDGE_CASE, TOLERANCE).passed


def test_a_silent_suite_is_judged_by_silence_alone() -> None:
    assert regression.judge(
        figures(3, 9, words=0, silent=8, quiet=(3, 0)), SuiteKind.EDGE_CASE, TOLERANCE
    ).passed
