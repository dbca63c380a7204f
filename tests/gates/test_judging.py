"""What the two gates decide from figures alone."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from misheard.gates import judging, regression
from misheard.gates.comparison import Comparison, Side
from misheard.gates.judging import ValidationRules
from misheard.gates.slices import GROUP, Slice
from misheard.gates.suites import Baseline, RegressionRules, Suite, SuiteKind
from misheard.gates.verdict import Answer, Criterion, Verdict
from misheard.settings import RegressionSettings, ValidationSettings

RULES = ValidationRules(**ValidationSettings().model_dump())
TOLERANCE = RegressionRules(
    **RegressionSettings(
        max_wer_degradation=0.005,
        max_critical_wer_degradation=0.0,
        max_edge_case_wer_degradation=0.02,
    ).model_dump()
)


def suite(kind: SuiteKind = SuiteKind.BENCHMARK, **figures: float | None) -> Suite:
    return Suite(
        id="suite-1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        name="all",
        kind=kind,
        dataset_id="ds-1",
        description="",
        **figures,  # type: ignore[arg-type]
    )


def side(errors: int, words: int, silent_with_text: int = 0, cer: float = 0.0) -> Side:
    return Side(
        wer=errors / words if words else float("nan"),
        cer=cer if words else float("nan"),
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
    quiet, cer = others.pop("quiet", (0, 0)), others.pop("cer", (0.0, 0.0))
    values: dict[str, Any] = {
        "utterances": 100,
        "words": words,
        "silent": others.pop("silent", 0),
        "audio_s": 100.0,
        "normalizer": "none",
        "baseline": side(before, words, quiet[0], cer[0]),
        "candidate": side(after, words, quiet[1], cer[1]),
        "reduction_interval": (0.0, 0.1),
        "p_value": p_value,
        "changed": (),
    }
    return Comparison(**values | others)


def rows(before: int, after: int, count: int, *, words: int = 5) -> tuple[dict[str, Any], ...]:
    """So many utterances with these errors before and after."""
    one = {"words": words, "baseline_errors": before, "candidate_errors": after}
    return (one,) * count


def of(verdict: Verdict, name: str) -> Criterion:
    """The one criterion of a name."""
    (found,) = [one for one in verdict.criteria if one.name == name]
    return found


def part(*, worse: bool, name: str = "ann") -> Slice:
    return Slice(
        name=name,
        kind=GROUP,
        utterances=20,
        words=100,
        baseline_errors=5,
        candidate_errors=19,
        p_value=0.001,
        worse=worse,
    )


def test_fewer_errors_beyond_chance_pass_with_reasons() -> None:
    verdict = judging.judge(figures(62, 39), RULES)
    assert verdict.passed
    assert verdict.reasons == (
        "WER 6.20% → 3.90% on 1000 words, an improvement of 2.30%",
        "p = 0.01 is below 0.05",
        "CER 0.00% → 0.00%",
        "WER rises by more than 0.2 on 0 of 100 utterances",
        "0.010 s of compute for a second of audio",
        "takes 1.00 times as long as the live version",
    )
    assert verdict.failures == ()


@pytest.mark.parametrize(("before", "after"), [(39, 62), (50, 50), (0, 0)])
def test_no_improvement_does_not_pass_however_significant(before: int, after: int) -> None:
    verdict = judging.judge(figures(before, after, p_value=1e-9), RULES)
    assert not verdict.passed
    assert "no improvement" in verdict.reasons[0]


def test_an_improvement_that_may_be_chance_does_not_pass_unless_that_is_allowed() -> None:
    lucky = figures(62, 60, p_value=0.4)
    verdict = judging.judge(lucky, RULES)
    assert not verdict.passed
    assert verdict.answer is Answer.INCONCLUSIVE
    assert any(reason.startswith("p = 0.4 is not below 0.05") for reason in verdict.reasons)
    assert judging.judge(lucky, replace(RULES, require_significance=False)).passed


def test_an_improvement_below_the_wanted_one_does_not_pass() -> None:
    assert not judging.judge(figures(62, 53), replace(RULES, min_wer_improvement=0.01)).passed
    assert judging.judge(figures(62, 51), replace(RULES, min_wer_improvement=0.01)).passed


def test_an_improvement_of_exactly_the_wanted_one_does_not_pass_despite_rounding() -> None:
    # 0.062 - 0.052 is a little more than 0.01 in floats.
    assert not judging.judge(figures(62, 52), replace(RULES, min_wer_improvement=0.01)).passed


def test_a_set_without_words_does_not_pass() -> None:
    assert not judging.judge(figures(0, 0, words=0, p_value=0.0), RULES).passed
    lenient = replace(
        RULES, min_wer_improvement=-1.0, min_cer_improvement=-1.0, require_significance=False
    )
    verdict = judging.judge(figures(0, 0, words=0), lenient)
    assert verdict.failures == ("the set holds no word, so there is no WER",)


@pytest.mark.parametrize(
    ("cer", "wanted", "passes"),
    [
        ((0.05, 0.05), 0.0, True),
        ((0.05, 0.051), 0.0, False),
        # 0.03 - 0.02 is a little less than 0.01 in floats.
        ((0.03, 0.02), 0.01, True),
        ((0.03, 0.021), 0.01, False),
        ((0.03, 0.04), -0.01, True),
    ],
)
def test_the_cer_must_not_miss_the_wanted_improvement(
    cer: tuple[float, float], wanted: float, passes: bool
) -> None:
    verdict = judging.judge(figures(62, 39, cer=cer), replace(RULES, min_cer_improvement=wanted))
    assert verdict.passed is passes
    if not passes:
        (failure,) = verdict.failures
        assert failure.startswith("CER ")
        assert f"no improvement of at least {wanted:.2%}" in failure


@pytest.mark.parametrize(
    ("degraded", "rate", "passes"),
    [(10, 0.1, True), (11, 0.1, False), (29, 0.29, True), (30, 0.29, False), (1, 0.0, False)],
)
def test_only_so_many_utterances_may_get_worse(degraded: int, rate: float, passes: bool) -> None:
    changed = rows(0, 2, degraded) + rows(0, 1, 50) + rows(4, 0, 30)
    verdict = judging.judge(
        figures(62, 39, changed=changed), replace(RULES, max_wer_degradation_rate=rate)
    )
    assert verdict.passed is passes
    text = f"WER rises by more than 0.2 on {degraded} of 100 utterances"
    assert (text if passes else f"{text}, more than {rate:.2%}") in verdict.reasons
    assert len(verdict.failures) == (0 if passes else 1)


def test_no_slice_may_be_worse_by_more_than_chance_unless_that_is_allowed() -> None:
    fine = figures(62, 39, slices=(part(worse=False), part(worse=False)))
    verdict = judging.judge(fine, RULES)
    assert verdict.passed
    assert "none of 2 slices is worse by more than chance" in verdict.reasons
    broken = figures(62, 39, slices=(part(worse=False), part(worse=True, name="bob")))
    verdict = judging.judge(broken, RULES)
    assert verdict.failures == (
        "worse by more than chance on bob (5 → 19 word errors in 100 words)",
    )
    lenient = replace(RULES, require_no_major_degradation=False)
    assert judging.judge(broken, lenient).passed


def test_every_rule_that_fails_has_its_own_reason() -> None:
    worst = figures(
        39,
        62,
        p_value=0.4,
        cer=(0.1, 0.2),
        changed=rows(0, 5, 30),
        slices=(part(worse=True),),
        reduction_interval=(-0.1, 0.0),
        silent=5,
        quiet=(1, 2),
        must_pass=3,
        missed=({"reference": "press pound"},),
        audio_s=0.5,
    )
    worst = replace(worst, candidate=replace(worst.candidate, compute_s=2.0))
    verdict = judging.judge(
        worst, RULES, general=figures(10, 30, reduction_interval=(-0.04, -0.02))
    )
    assert verdict.answer is Answer.FAIL
    assert verdict.failures == verdict.reasons
    assert [one.name for one in verdict.criteria] == [
        "wer",
        "cer",
        "utterances",
        "must_pass",
        "slices",
        "hallucination",
        "real_time_factor",
        "slowdown",
        "general",
    ]


def test_the_word_count_that_would_settle_it_follows_from_what_was_seen() -> None:
    # A gain of 0.5 % with a standard error of 0.4 %: z = 1.25, and 2.8 is wanted.
    verdict = judging.judge(figures(62, 57, p_value=0.21, reduction_se=0.004), RULES)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert verdict.words_needed == pytest.approx(1_000 * ((2.8016 / 1.25) ** 2 - 1), abs=2)
    assert f"{verdict.words_needed:,} more test words" in verdict.failures[0]


def test_a_loss_that_may_be_chance_is_inconclusive_and_one_that_is_not_fails() -> None:
    near = figures(60, 61, p_value=0.8, reduction_interval=(-0.006, 0.004), reduction_se=0.0025)
    verdict = judging.judge(near, RULES)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert verdict.words_needed is not None
    far = figures(39, 62, reduction_interval=(-0.03, -0.01))
    assert judging.judge(far, RULES).answer is Answer.FAIL


def test_without_a_wish_for_significance_nothing_is_inconclusive() -> None:
    near = figures(60, 61, p_value=0.8, reduction_interval=(-0.006, 0.004))
    rules = replace(RULES, require_significance=False)
    assert judging.judge(near, rules).answer is Answer.FAIL


def test_too_few_groups_are_told_to_be_too_few() -> None:
    verdict = judging.judge(figures(62, 39, p_value=0.0625, blocks=5), RULES)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert verdict.words_needed is None
    assert "5 groups are too few" in verdict.failures[0]


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        # Of the gain; so the WER rises by at most its lower end's size.
        ((-0.009, 0.02), Answer.PASS),
        ((-0.01, 0.0), Answer.PASS),
        ((-0.011, 0.0), Answer.INCONCLUSIVE),
        ((-0.03, -0.011), Answer.FAIL),
    ],
)
def test_the_general_set_is_held_to_the_upper_end_of_the_interval(
    interval: tuple[float, float], answer: Answer
) -> None:
    general = figures(30, 34, reduction_interval=interval, reduction_se=0.004)
    verdict = judging.judge(figures(62, 39), RULES, general=general)
    assert verdict.answer is answer
    (criterion,) = [one for one in verdict.criteria if one.name == "general"]
    assert (criterion.answer, criterion.limit) == (answer, 0.01)
    assert criterion.figure == pytest.approx(-interval[0])


def test_a_general_set_of_few_groups_settles_nothing() -> None:
    few = figures(30, 30, reduction_interval=(-0.001, 0.001), blocks=7)
    verdict = judging.judge(figures(62, 39), RULES, general=few)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "7 groups" in verdict.failures[0]
    assert judging.judge(figures(62, 39), RULES, general=replace(few, blocks=8)).passed


def test_what_nobody_looked_at_is_said() -> None:
    alone = judging.judge(figures(62, 39), RULES)
    assert len(alone.unjudged) == 3
    whole = judging.judge(figures(62, 39, silent=3, must_pass=2), RULES, general=figures(10, 10))
    assert whole.unjudged == ()


def test_words_on_silence_fail_even_a_better_candidate() -> None:
    assert judging.judge(figures(62, 39, silent=5, quiet=(2, 2)), RULES).passed
    assert not judging.judge(figures(62, 39, silent=5, quiet=(2, 3)), RULES).passed
    strict = replace(RULES, max_hallucination_rate=0.2)
    assert judging.judge(figures(62, 39, silent=5, quiet=(2, 1)), strict).passed
    assert not judging.judge(figures(62, 39, silent=5, quiet=(2, 2)), strict).passed


def test_a_must_pass_utterance_that_is_wrong_fails() -> None:
    missed = ({"reference": "emergency"},)
    verdict = judging.judge(figures(62, 39, must_pass=2, missed=missed), RULES)
    assert verdict.failures == ("1 of 2 must-pass utterances are right; not “emergency”",)
    assert judging.judge(figures(62, 39, must_pass=2), RULES).passed


@pytest.mark.parametrize(
    ("baseline_s", "candidate_s", "audio_s", "passes"),
    [
        (10.0, 15.0, 100.0, True),
        (10.0, 15.1, 100.0, False),
        # Slower by less than a hundredth of the audio: nobody notices.
        (0.1, 1.0, 100.0, True),
        (90.0, 99.0, 100.0, True),
        (90.0, 101.0, 100.0, False),
    ],
)
def test_a_slow_candidate_fails(
    baseline_s: float, candidate_s: float, audio_s: float, passes: bool
) -> None:
    given = figures(62, 39, audio_s=audio_s)
    given = replace(
        given,
        baseline=replace(given.baseline, compute_s=baseline_s),
        candidate=replace(given.candidate, compute_s=candidate_s),
    )
    assert judging.judge(given, RULES).passed is passes


def test_being_better_than_a_live_version_that_fails_says_little() -> None:
    given = figures(62, 39)
    failing = replace(given, baseline=replace(given.baseline, failed=11))
    verdict = judging.judge(failing, RULES)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "fails on 11 of 100" in verdict.failures[0]
    few = replace(given, baseline=replace(given.baseline, failed=10))
    assert judging.judge(few, RULES).passed


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
    assert regression.judge(figures(100, after), suite(kind), TOLERANCE).passed is passes


def test_the_tolerance_is_absolute_so_that_a_perfect_suite_may_slip_as_far_as_any_other() -> None:
    assert regression.judge(figures(0, 5), suite(SuiteKind.BENCHMARK), TOLERANCE).passed
    assert not regression.judge(figures(0, 6), suite(SuiteKind.BENCHMARK), TOLERANCE).passed
    assert not regression.judge(figures(0, 1), suite(SuiteKind.CRITICAL), TOLERANCE).passed


@pytest.mark.parametrize("words", [10, 30, 70, 290])
def test_a_rise_of_exactly_the_tolerance_passes_despite_rounding(words: int) -> None:
    tenth = replace(TOLERANCE, max_wer_degradation=0.1)
    exact = figures(words // 10, words // 5, words=words)
    assert regression.judge(exact, suite(SuiteKind.BENCHMARK), tenth).passed


def test_rates_that_differ_by_exactly_what_is_allowed_pass_despite_rounding() -> None:
    # 0.4 - 0.3 is a little more than 0.1 in floats.
    assert 0.4 - 0.3 > 0.1
    exact = figures(300, 400, cer=(0.3, 0.4))
    held = suite(max_wer_degradation=0.1, max_cer_degradation=0.1)
    assert regression.judge(exact, held, TOLERANCE).passed


def test_what_is_refused_says_by_how_much() -> None:
    (reason,) = regression.judge(figures(100, 130), suite(SuiteKind.EDGE_CASE), TOLERANCE).failures
    assert reason == (
        "130 word errors where the live version makes 100: WER rises by 3.00%, more than 2.00%"
    )


def test_more_words_on_silence_fail_even_with_fewer_errors() -> None:
    worse = figures(100, 10, silent=8, quiet=(1, 2))
    verdict = regression.judge(worse, suite(SuiteKind.EDGE_CASE), TOLERANCE)
    assert not verdict.passed
    assert any("2 of 8 silent clips" in reason for reason in verdict.reasons)
    same = figures(100, 100, silent=8, quiet=(2, 2))
    assert regression.judge(same, suite(SuiteKind.EDGE_CASE), TOLERANCE).passed


def test_a_silent_suite_is_judged_by_silence_alone() -> None:
    assert regression.judge(
        figures(3, 9, words=0, silent=8, quiet=(3, 0)), suite(SuiteKind.EDGE_CASE), TOLERANCE
    ).passed


@pytest.mark.parametrize(
    ("kind", "own", "after", "passes"),
    [
        # The live version makes 150 of 1000; what counts is the 10 % that was given.
        (SuiteKind.BENCHMARK, None, 105, True),
        (SuiteKind.BENCHMARK, None, 106, False),
        (SuiteKind.CRITICAL, None, 101, False),
        (SuiteKind.CRITICAL, 0.03, 130, True),
        (SuiteKind.CRITICAL, 0.03, 131, False),
        (SuiteKind.BENCHMARK, 0.0, 100, True),
        (SuiteKind.BENCHMARK, 0.0, 101, False),
    ],
)
def test_a_suite_with_a_given_wer_is_held_to_it(
    kind: SuiteKind, own: float | None, after: int, passes: bool
) -> None:
    held = suite(kind, baseline_wer=0.1, max_wer_degradation=own)
    assert regression.judge(figures(150, after), held, TOLERANCE).passed is passes


def test_a_given_tolerance_counts_without_given_figures() -> None:
    own = suite(max_wer_degradation=0.02)
    assert regression.judge(figures(100, 120), own, TOLERANCE).passed
    assert not regression.judge(figures(100, 121), own, TOLERANCE).passed


@pytest.mark.parametrize(
    ("held", "after", "passes"),
    [
        ({"baseline_cer": 0.1}, 0.105, True),
        ({"baseline_cer": 0.1}, 0.106, False),
        ({"baseline_cer": 0.1, "max_cer_degradation": 0.05}, 0.15, True),
        ({"baseline_cer": 0.1, "max_cer_degradation": 0.05}, 0.151, False),
        # Without a figure of its own it is the live version's, here 20 %.
        ({"max_cer_degradation": 0.05}, 0.25, True),
        ({"max_cer_degradation": 0.05}, 0.251, False),
        ({}, 0.251, True),
    ],
)
def test_a_suite_with_a_given_cer_is_held_to_it(
    held: dict[str, float | None], after: float, passes: bool
) -> None:
    verdict = regression.judge(figures(9, 9, cer=(0.2, after)), suite(**held), TOLERANCE)
    assert verdict.passed is passes
    if not passes:
        assert "CER rises by" in verdict.failures[0]


def test_a_suite_with_given_figures_says_so() -> None:
    held = suite(baseline_wer=0.1, baseline_cer=0.1)
    verdict = regression.judge(figures(0, 130, cer=(0.0, 0.08)), held, TOLERANCE)
    assert verdict.reasons == (
        "WER 13.00% where 10.00% was given: WER rises by 3.00%, more than 0.50%",
        "CER 8.00% where 10.00% is held to",
        "WER changes by +3.00%, CER by -2.00%; up to 10.00% is not critical",
        "0 of 100 utterances fail, with WER up by more than 0.2, and 0 recover",
    )
    assert verdict.failures == verdict.reasons[:1]


@pytest.mark.parametrize(
    ("after", "cer", "passes"),
    [
        (100, (0.1, 0.1), True),
        (99, (0.1, 0.09), True),
        (101, (0.1, 0.1), False),
        (100, (0.1, 0.1001), False),
        (90, (0.1, 0.1001), False),
    ],
)
def test_any_degradation_may_be_forbidden(
    after: int, cer: tuple[float, float], passes: bool
) -> None:
    strict = replace(TOLERANCE, fail_on_any_degradation=True)
    worse = figures(100, after, cer=cer)
    verdict = regression.judge(worse, suite(), strict)
    assert verdict.passed is passes
    assert regression.judge(worse, suite(), TOLERANCE).passed
    if not passes:
        assert "no degradation is tolerated" in verdict.failures[0]


def test_any_degradation_is_one_from_what_the_suite_is_held_to() -> None:
    strict = replace(TOLERANCE, fail_on_any_degradation=True)
    held = suite(baseline_wer=0.2, baseline_cer=0.2)
    assert regression.judge(figures(100, 200, cer=(0.1, 0.2)), held, strict).passed
    assert not regression.judge(figures(100, 201, cer=(0.1, 0.2)), held, strict).passed


@pytest.mark.parametrize(
    ("after", "cer", "passes"),
    [
        (200, (0.0, 0.0), True),
        (201, (0.0, 0.0), False),
        (100, (0.2, 0.3), True),
        (100, (0.2, 0.301), False),
    ],
)
def test_a_critical_degradation_fails_whatever_the_suite_tolerates(
    after: int, cer: tuple[float, float], passes: bool
) -> None:
    tolerant = suite(max_wer_degradation=1.0)
    worse = figures(100, after, cer=cer)
    verdict = regression.judge(worse, tolerant, TOLERANCE)
    assert verdict.passed is passes
    if not passes:
        assert "more than 10.00% is critical" in verdict.failures[0]
    off = replace(TOLERANCE, fail_on_critical_degradation=False)
    assert regression.judge(worse, tolerant, off).passed
    wider = replace(TOLERANCE, critical_degradation_threshold=0.2)
    assert regression.judge(worse, tolerant, wider).passed


@pytest.mark.parametrize(
    ("utterances", "failed", "rate", "passes"),
    [
        (100, 5, 0.05, True),
        (100, 6, 0.05, False),
        # One may always fail, unless none may.
        (14, 1, 0.05, True),
        (14, 2, 0.05, False),
        (14, 1, 0.0, False),
        (14, 0, 0.0, True),
    ],
)
def test_only_so_many_utterances_may_fail(
    utterances: int, failed: int, rate: float, passes: bool
) -> None:
    rules = replace(TOLERANCE, max_failed_samples_rate=rate)
    worse = figures(62, 39, utterances=utterances, changed=rows(0, 2, failed))
    verdict = regression.judge(worse, suite(), rules)
    assert verdict.passed is passes
    assert of(verdict, "utterances").reason.startswith(f"{failed} of {utterances} utterances fail")
    assert len(verdict.failures) == (0 if passes else 1)


def test_an_utterance_fails_above_the_threshold_of_the_rules() -> None:
    fifth = figures(62, 39, changed=rows(0, 1, 50))
    assert regression.judge(fifth, suite(), TOLERANCE).passed
    strict = replace(TOLERANCE, sample_degradation_threshold=0.19)
    assert not regression.judge(fifth, suite(), strict).passed


def test_utterances_that_recover_make_up_for_those_that_fail() -> None:
    def judged(failed: int, recovered: int, *, slightly: int = 0) -> bool:
        changed = rows(0, 5, failed) + rows(5, 0, recovered) + rows(1, 0, slightly)
        return regression.judge(figures(62, 39, changed=changed), suite(), TOLERANCE).passed

    assert judged(13, 8)
    assert not judged(13, 7)
    assert not judged(13, 0, slightly=50)


def test_silent_clips_are_no_failed_utterances_and_no_recovered_ones() -> None:
    quiet = {"silent": 50, "quiet": (50, 50)}
    changed = rows(0, 3, 40, words=0)
    assert regression.judge(figures(62, 39, changed=changed, **quiet), suite(), TOLERANCE).passed
    changed = rows(0, 3, 3) + rows(3, 0, 40, words=0)
    verdict = regression.judge(figures(62, 39, changed=changed, **quiet), suite(), TOLERANCE)
    # 5 % of the 50 that are spoken.
    assert not verdict.passed
    assert verdict.failures[0].startswith("3 of 50 utterances fail")


def test_an_empty_suite_does_not_pass() -> None:
    verdict = regression.judge(figures(0, 0, words=0, utterances=0), suite(), TOLERANCE)
    assert verdict.failures == ("there is nothing to judge by",)


def test_the_rates_of_a_silent_suite_are_not_judged() -> None:
    strict = replace(TOLERANCE, fail_on_any_degradation=True, critical_degradation_threshold=0.0)
    quiet = figures(3, 9, words=0, silent=8, quiet=(3, 3))
    held = suite(baseline_wer=0.0, baseline_cer=0.0)
    assert regression.judge(quiet, held, strict).passed


def test_every_suite_rule_that_fails_has_its_own_reason() -> None:
    strict = replace(TOLERANCE, fail_on_any_degradation=True)
    worst = figures(100, 400, cer=(0.1, 0.4), changed=rows(0, 5, 30), silent=2, quiet=(0, 1))
    verdict = regression.judge(worst, suite(max_cer_degradation=0.0), strict)
    assert verdict.failures == verdict.reasons
    assert len(set(verdict.failures)) == 6


def baseline(errors: int, *, cer: float = 0.0, silent_with_text: int = 0) -> Baseline:
    """What a version made of a thousand words."""
    return Baseline(
        version_id="v-0",
        wer=errors / 1_000,
        cer=cer,
        silent_with_text=silent_with_text,
        actor="misheard",
        reason="the first run",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("live", [50, 100, 300])
@pytest.mark.parametrize(("after", "passes"), [(105, True), (106, False)])
def test_a_suite_with_a_baseline_is_held_to_it_whatever_is_live(
    live: int, after: int, passes: bool
) -> None:
    verdict = regression.judge(figures(live, after), suite(), TOLERANCE, baseline=baseline(100))
    assert verdict.passed is passes
    told = of(verdict, "wer")
    assert told.reason.startswith(f"{after} word errors where the baseline v-0 makes 100")
    assert (told.figure, told.limit) == (pytest.approx((after - 100) / 1_000), 0.005)


def test_small_losses_do_not_add_up() -> None:
    live, held = 100, baseline(100)
    for candidate in (105, 110, 115):
        verdict = regression.judge(figures(live, candidate), suite(), TOLERANCE, baseline=held)
        assert verdict.passed is (candidate == 105)
        assert regression.judge(figures(live, candidate), suite(), TOLERANCE).passed
        live = candidate


def test_a_baseline_that_was_moved_counts_more_than_figures_that_were_given() -> None:
    given = suite(baseline_wer=0.0, baseline_cer=0.0)
    held = baseline(100, cer=0.1)
    assert regression.judge(figures(0, 100, cer=(0.0, 0.1)), given, TOLERANCE, baseline=held).passed


@pytest.mark.parametrize(
    ("kind", "own", "after", "passes"),
    [
        (SuiteKind.BENCHMARK, None, 0.105, True),
        (SuiteKind.BENCHMARK, None, 0.106, False),
        # A wrong word of a critical suite may be wrong in a few more letters.
        (SuiteKind.CRITICAL, None, 0.105, True),
        (SuiteKind.CRITICAL, None, 0.106, False),
        (SuiteKind.EDGE_CASE, None, 0.12, True),
        (SuiteKind.EDGE_CASE, None, 0.121, False),
        (SuiteKind.EDGE_CASE, 0.0, 0.101, False),
    ],
)
def test_the_cer_is_held_to_the_baseline_too(
    kind: SuiteKind, own: float | None, after: float, passes: bool
) -> None:
    verdict = regression.judge(
        figures(100, 100, cer=(0.3, after)),
        suite(kind, max_cer_degradation=own),
        TOLERANCE,
        baseline=baseline(100, cer=0.1),
    )
    assert verdict.passed is passes
    assert of(verdict, "cer").figure == pytest.approx(after - 0.1)


def test_a_suite_that_tolerates_more_wrong_words_tolerates_more_wrong_letters() -> None:
    wide = suite(max_wer_degradation=0.05)
    held = baseline(100, cer=0.1)
    assert regression.judge(figures(100, 140, cer=(0, 0.14)), wide, TOLERANCE, baseline=held).passed


@pytest.mark.parametrize(("allowed", "passes"), [(1, False), (2, True)])
def test_silence_is_held_to_the_baseline_whatever_is_live(allowed: int, passes: bool) -> None:
    heard = figures(0, 0, words=0, silent=8, quiet=(8, 2))
    held = replace(baseline(0, silent_with_text=allowed), wer=math.nan, cer=math.nan)
    verdict = regression.judge(heard, suite(), TOLERANCE, baseline=held)
    assert verdict.passed is passes
    told = of(verdict, "hallucination")
    assert told.reason == f"words on 2 of 8 silent clips (the baseline v-0: {allowed})"
    assert (told.figure, told.limit) == (2, allowed)


def test_every_criterion_of_a_suite_has_its_figure_and_limit() -> None:
    strict = replace(TOLERANCE, fail_on_any_degradation=True)
    whole = figures(100, 100, silent=2, changed=rows(0, 5, 3) + rows(5, 0, 2), must_pass=4)
    verdict = regression.judge(whole, suite(baseline_cer=0.0), strict)
    assert {one.name: (one.figure, one.limit) for one in verdict.criteria} == {
        "wer": (0.0, 0.005),
        "cer": (0.0, 0.005),
        "any_degradation": (0.0, 0.0),
        "critical_degradation": (0.0, 0.1),
        "utterances": (1.0, pytest.approx(4.9)),
        "must_pass": (0.0, 0.0),
        "hallucination": (0.0, 0.0),
    }


def test_a_must_pass_utterance_that_is_missed_fails_the_suite_even_where_nothing_changed() -> None:
    missed = ({"audio_sha256": "ab" * 32, "reference": "pin two four"},)
    verdict = regression.judge(figures(9, 9, must_pass=3, missed=missed), suite(), TOLERANCE)
    assert verdict.failures == ("2 of 3 must-pass utterances are right; not “pin two four”",)
    assert regression.judge(figures(9, 9, must_pass=3), suite(), TOLERANCE).passed


def test_a_flaky_case_is_named_and_counts_all_the_same() -> None:
    failed = tuple(
        row | {"audio_sha256": f"{number:064x}"} for number, row in enumerate(rows(0, 5, 6))
    )
    worse = figures(62, 39, changed=failed)
    verdict = regression.judge(worse, suite(), TOLERANCE, flaky={f"{3:064x}", "ff" * 32})
    assert verdict.failures == (
        "6 of 100 utterances fail, with WER up by more than 0.2, and 0 recover "
        "(of them 1 flaky: 000000000000): more than 5.00% are lost",
    )
    every = {row["audio_sha256"] for row in failed}
    assert not regression.judge(worse, suite(), TOLERANCE, flaky=every).passed
