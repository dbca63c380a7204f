from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from misheard.triggers import TriggerMetrics, TriggerRules, decide

RULES = TriggerRules(
    min_error_cases=10,
    min_corrected_cases=5,
    trigger_on_error_rate=True,
    error_rate_threshold=0.15,
)


def metrics(errors: int, corrected: int, inferences: int) -> TriggerMetrics:
    return TriggerMetrics(
        error_cases=errors,
        corrected_cases=corrected,
        inferences=inferences,
        inference_errors=errors,
    )


def test_many_corrected_errors_trigger_and_the_reasons_say_so() -> None:
    decision = decide(metrics(10, 5, 10_000), RULES)
    assert decision.should_trigger
    assert decision.reasons == (
        "5 corrected cases of 5 wanted",
        "10 error cases of 10 wanted",
    )
    assert decision.objections == ("error rate 0.1% of 15.0% wanted (10000 inferences)",)


def test_frequent_errors_trigger_before_they_are_many() -> None:
    decision = decide(metrics(6, 5, 40), RULES)
    assert decision.should_trigger
    assert "error rate 15.0% of 15.0% wanted (40 inferences)" in decision.reasons


def test_without_corrections_nothing_triggers() -> None:
    decision = decide(metrics(1_000, 4, 1_000), RULES)
    assert not decision.should_trigger
    assert decision.objections == ("4 corrected cases of 5 wanted",)


def test_neither_many_nor_frequent_does_not_trigger() -> None:
    assert not decide(metrics(9, 9, 100), RULES).should_trigger


def test_the_rate_can_be_switched_off() -> None:
    quiet = replace(RULES, trigger_on_error_rate=False)
    decision = decide(metrics(9, 9, 9), quiet)
    assert not decision.should_trigger
    assert not any("rate" in text for text in decision.reasons + decision.objections)


def test_an_empty_log_has_no_rate_and_does_not_trigger() -> None:
    nothing = metrics(0, 0, 0)
    assert math.isnan(nothing.error_rate)
    eager = replace(RULES, min_corrected_cases=0, error_rate_threshold=0.0)
    decision = decide(nothing, eager)
    assert not decision.should_trigger
    assert "no inferences recorded, so there is no error rate" in decision.objections


def test_cases_that_came_without_a_log_count_as_cases_and_not_in_the_rate() -> None:
    """Of what they are a share, nobody knows."""
    reported = TriggerMetrics(
        error_cases=50, corrected_cases=5, inferences=100, inference_errors=10
    )
    assert reported.error_rate == 0.1
    decision = decide(reported, replace(RULES, min_error_cases=51))
    assert not decision.should_trigger
    assert "error rate 10.0% of 15.0% wanted (100 inferences)" in decision.objections
    only_reported = replace(reported, inferences=0, inference_errors=0)
    assert math.isnan(only_reported.error_rate)
    assert decide(only_reported, RULES).should_trigger
    assert not decide(only_reported, replace(RULES, min_error_cases=51)).should_trigger


@given(*[st.integers(0, 20)] * 5, st.booleans())
def test_a_decision_follows_from_its_rules_and_names_each_of_them_once(
    errors: int, corrected: int, inferences: int, wanted: int, share: int, by_rate: bool
) -> None:
    found = TriggerMetrics(
        error_cases=errors,
        corrected_cases=corrected,
        inferences=inferences,
        inference_errors=min(errors, inferences),
    )
    rules = TriggerRules(
        min_error_cases=wanted,
        min_corrected_cases=5,
        trigger_on_error_rate=by_rate,
        error_rate_threshold=share / 20,
    )
    decision = decide(found, rules)
    frequent = by_rate and inferences > 0 and found.error_rate >= share / 20
    assert decision.should_trigger == (corrected >= 5 and (errors >= wanted or frequent))
    assert len(decision.reasons) + len(decision.objections) == 2 + by_rate
    if decision.should_trigger:
        assert decision.reasons
    else:
        assert decision.objections
