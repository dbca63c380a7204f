from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.scoring.expected_gain import ExpectedGain, Live, Provable, WordErrors, expect
from misheard.scoring.survey import Estimate
from misheard.settings import TriggerSettings
from misheard.triggers import Circumstances, Drift, TriggerMetrics, decide

RULES = TriggerSettings(min_error_cases=10, min_corrected_cases=5)


def but(rules: TriggerSettings, **changed: Any) -> TriggerSettings:
    return TriggerSettings(**rules.model_dump() | changed)


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
    quiet = but(RULES, trigger_on_error_rate=False)
    decision = decide(metrics(9, 9, 9), quiet)
    assert not decision.should_trigger
    assert not any("rate" in text for text in decision.reasons + decision.objections)


def test_an_empty_log_has_no_rate_and_does_not_trigger() -> None:
    nothing = metrics(0, 1, 0)
    assert math.isnan(nothing.error_rate)
    eager = but(RULES, min_corrected_cases=1, error_rate_threshold=0.0)
    decision = decide(nothing, eager)
    assert not decision.should_trigger
    assert "no inferences recorded, so there is no error rate" in decision.objections


def test_cases_that_came_without_a_log_count_as_cases_and_not_in_the_rate() -> None:
    """Of what they are a share, nobody knows."""
    reported = TriggerMetrics(
        error_cases=50, corrected_cases=5, inferences=100, inference_errors=10
    )
    assert reported.error_rate == 0.1
    decision = decide(reported, but(RULES, min_error_cases=51))
    assert not decision.should_trigger
    assert "error rate 10.0% of 15.0% wanted (100 inferences)" in decision.objections
    only_reported = replace(reported, inferences=0, inference_errors=0)
    assert math.isnan(only_reported.error_rate)
    assert decide(only_reported, RULES).should_trigger
    assert not decide(only_reported, but(RULES, min_error_cases=51)).should_trigger


@given(*[st.integers(0, 20)] * 3, st.integers(1, 20), st.integers(0, 20), st.booleans())
def test_a_decision_follows_from_its_rules_and_names_each_of_them_once(
    errors: int, corrected: int, inferences: int, wanted: int, share: int, by_rate: bool
) -> None:
    found = TriggerMetrics(
        error_cases=errors,
        corrected_cases=corrected,
        inferences=inferences,
        inference_errors=min(errors, inferences),
    )
    rules = TriggerSettings(
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


CALM = but(RULES, min_error_cases=1_000, error_rate_threshold=1.0)
"""Rules that give no cause to `metrics(10, 5, 10_000)`."""


def audited(share: float, low: float, n: int = 200) -> Circumstances:
    high = min(1.0, 2 * share - low)
    return Circumstances(audited=Estimate(n=n, groups=40, estimate=share, low=low, high=high))


def expected(answer: Provable) -> ExpectedGain:
    made = expect(
        WordErrors(utterances=0, words=0, kinds=Counter()),
        traffic_h=None,
        corrected_cases=0,
        live=Live(),
        gate_set=None,
        past=[],
    )
    return replace(made, answer=answer, told=answer)


def test_an_audit_with_enough_labels_takes_the_place_of_what_was_reported() -> None:
    """Of 10,000 transcripts 10 are known to be wrong; of 200 drawn at random every fifth is."""
    decision = decide(metrics(10, 5, 10_000), CALM, audited(0.2, 0.15))
    assert not decision.should_trigger
    rules = but(CALM, error_rate_threshold=0.15)
    decision = decide(metrics(10, 5, 10_000), rules, audited(0.2, 0.15))
    assert decision.should_trigger
    assert decision.reasons[-1] == (
        "audited error rate at least 15.0% of 15.0% wanted "
        "(20.0% to the best of our knowledge, 200 labels drawn at random, of 40 speakers, calls or "
        "sessions)"
    )
    # Nobody is sure enough yet, and what people report says nothing against it.
    unsure = decide(metrics(6, 5, 40), rules, audited(0.2, 0.14))
    assert not unsure.should_trigger
    few = decide(metrics(6, 5, 40), rules, audited(0.2, 0.14, n=99))
    assert few.should_trigger
    assert few.reasons[-1] == "error rate 15.0% of 15.0% wanted (40 inferences)"


def test_many_corrections_are_a_cause_where_that_is_set() -> None:
    assert not decide(metrics(10, 5, 10_000), CALM).should_trigger
    rules = but(CALM, corrected_cases_alone=5)
    decision = decide(metrics(10, 5, 10_000), rules)
    assert decision.should_trigger
    assert "5 corrected cases of 5 that are a cause by themselves" in decision.reasons
    assert not decide(metrics(10, 4, 10_000), but(rules, min_corrected_cases=1)).should_trigger


@pytest.mark.parametrize(
    ("drift", "drifted"),
    [
        (None, False),
        (Drift(detail="0.2 to 0.3", has_drifted=True), True),
        (Drift(detail="0.2 to 0.3", has_drifted=False), False),
    ],
)
def test_a_drift_of_suspicion_is_a_cause_where_that_is_set(
    drift: Drift | None, drifted: bool
) -> None:
    found = Circumstances(drift=drift)
    assert not decide(metrics(10, 5, 10_000), CALM, found).should_trigger
    decision = decide(metrics(10, 5, 10_000), but(CALM, trigger_on_drift=True), found)
    assert decision.should_trigger is drifted
    assert any("drift of suspicion" in one for one in decision.reasons + decision.objections)


@pytest.mark.parametrize(("days", "due"), [(None, True), (29.9, False), (30.0, True)])
def test_a_schedule_is_a_cause(days: float | None, due: bool) -> None:
    rules = but(CALM, every_days=30)
    found = Circumstances(days_since_begin=days)
    assert decide(metrics(10, 5, 10_000), rules, found).should_trigger is due
    # Without corrections there would be nothing new to learn.
    assert not decide(metrics(10, 4, 10_000), rules, found).should_trigger


@pytest.mark.parametrize(
    ("rules", "found", "objection"),
    [
        (
            but(RULES, cooldown_hours=24),
            Circumstances(hours_since_end=23.96),
            "24.0 h since the last cycle ended, of 24 h between two",
        ),
        (
            but(RULES, max_training_hours_per_month=10),
            Circumstances(training_hours=10.0),
            "10.0 of 10 training hours of this month are spent",
        ),
        (
            but(RULES, max_cost_per_month=100, price_per_hour=2.5),
            Circumstances(training_hours=40.0),
            "100.00 of this month's 100 for training are spent",
        ),
        (RULES, Circumstances(running="cycle-1 is training"), "cycle-1 is training"),
    ],
)
def test_what_forbids_a_training_now(
    rules: TriggerSettings, found: Circumstances, objection: str
) -> None:
    assert decide(metrics(10, 5, 10_000), rules).should_trigger
    decision = decide(metrics(10, 5, 10_000), rules, found)
    assert not decision.should_trigger
    assert objection in decision.objections


def test_a_cycle_beside_another_can_be_allowed() -> None:
    found = Circumstances(running="cycle-1 is training")
    assert decide(metrics(10, 5, 10_000), but(RULES, one_at_a_time=False), found).should_trigger


def test_an_unproven_gain_forbids_nothing_unless_that_is_set() -> None:
    strict = but(RULES, require_provable=True)
    for answer in Provable:
        told = expected(answer)
        assert decide(metrics(10, 5, 10_000), RULES, expected=told).should_trigger
        decision = decide(metrics(10, 5, 10_000), strict, expected=told)
        assert decision.should_trigger is (answer is Provable.PROVABLE)
        assert decision.expected == told


_COUNT = st.integers(0, 300)
_AT_LEAST_ONE = st.integers(1, 300)
_SHARE = st.floats(0, 1)
_NUMBER = st.floats(0, 1_000)
_RULES = st.builds(
    TriggerSettings,
    min_error_cases=_AT_LEAST_ONE,
    min_corrected_cases=_AT_LEAST_ONE,
    trigger_on_error_rate=st.booleans(),
    error_rate_threshold=_SHARE,
    min_audited=_AT_LEAST_ONE,
    corrected_cases_alone=_COUNT,
    one_at_a_time=st.booleans(),
    trigger_on_drift=st.booleans(),
    every_days=_NUMBER,
    cooldown_hours=_NUMBER,
    max_training_hours_per_month=_NUMBER,
    max_cost_per_month=_NUMBER,
    price_per_hour=st.floats(0.01, 1_000),
)
_METRICS = st.builds(
    TriggerMetrics,
    error_cases=_COUNT,
    corrected_cases=_COUNT,
    inferences=_COUNT,
    inference_errors=_COUNT,
)
_FOUND = st.builds(
    Circumstances,
    audited=st.none()
    | st.builds(Estimate, n=_COUNT, groups=_COUNT, estimate=_SHARE, low=_SHARE, high=_SHARE),
    drift=st.none() | st.builds(Drift, detail=st.just("d"), has_drifted=st.booleans()),
    running=st.sampled_from(["", "c is training"]),
    hours_since_end=st.none() | _NUMBER,
    days_since_begin=st.none() | _NUMBER,
    training_hours=_NUMBER,
)


@given(_METRICS, _RULES, _FOUND, st.data())
def test_the_trigger_is_monotone_in_every_figure(
    found: TriggerMetrics, rules: TriggerSettings, around: Circumstances, data: st.DataObject
) -> None:
    """More of what speaks for a training never makes a yes a no."""
    more = data.draw(_NUMBER)
    changes = [
        (replace(found, error_cases=found.error_cases + int(more)), around),
        (replace(found, corrected_cases=found.corrected_cases + int(more)), around),
        (replace(found, inference_errors=found.inference_errors + int(more)), around),
        (found, replace(around, running="")),
        (found, replace(around, training_hours=max(0.0, around.training_hours - more))),
    ]
    if around.audited is not None:
        higher = replace(around.audited, low=min(1.0, around.audited.low + more))
        changes.append((found, replace(around, audited=higher)))
    if around.drift is not None:
        changes.append((found, replace(around, drift=replace(around.drift, has_drifted=True))))
    if around.hours_since_end is not None:
        later = replace(around, hours_since_end=around.hours_since_end + more)
        changes.append((found, later))
    if around.days_since_begin is not None:
        later = replace(around, days_since_begin=around.days_since_begin + more)
        changes.append((found, later))
    before = decide(found, rules, around)
    for figures, circumstances in changes:
        after = decide(figures, rules, circumstances)
        assert after.should_trigger >= before.should_trigger


@given(_METRICS, _RULES, _FOUND)
def test_the_answer_follows_from_the_conditions_it_names(
    found: TriggerMetrics, rules: TriggerSettings, around: Circumstances
) -> None:
    decision = decide(found, rules, around)
    causes = [one.is_met for one in decision.conditions if one.is_cause]
    rest = [one.is_met for one in decision.conditions if not one.is_cause]
    assert decision.should_trigger == (any(causes) and all(rest))
    assert len({one.name for one in decision.conditions}) == len(decision.conditions)
    assert len(decision.reasons) + len(decision.objections) == len(decision.conditions)


@given(_METRICS, _FOUND)
def test_where_nothing_new_is_set_only_the_guides_rule_holds(
    found: TriggerMetrics, around: Circumstances
) -> None:
    quiet = replace(around, audited=None, running="")
    decision = decide(found, RULES, quiet)
    frequent = found.inferences > 0 and found.error_rate >= 0.15
    assert decision.should_trigger == (
        found.corrected_cases >= 5 and (found.error_cases >= 10 or frequent)
    )
    assert len(decision.conditions) == 3
