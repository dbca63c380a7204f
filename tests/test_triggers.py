from __future__ import annotations

import math
from dataclasses import replace

from misheard.triggers import TriggerMetrics, TriggerRules, decide

RULES = TriggerRules(
    min_error_cases=10,
    min_corrected_cases=5,
    trigger_on_error_rate=True,
    error_rate_threshold=0.15,
)


def metrics(errors: int, corrected: int, inferences: int) -> TriggerMetrics:
    return TriggerMetrics(error_cases=errors, corrected_cases=corrected, inferences=inferences)


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
