"""What follows from what was counted. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from misheard.rollouts.judging import Action, RolloutDecision, judge, verdict_of, weigh
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import TRANSITIONS, Arm, Kind, Rollout, RolloutRules, RolloutState
from tests.rollouts.made import AT, canary, shadow

LIVE, CANDIDATE = Arm.LIVE, Arm.CANDIDATE
LATER = AT + timedelta(minutes=11)


def counts(
    *, live: int = 2_000, candidate: int = 210, step: int = 0, **wrong: tuple[int, int]
) -> dict[tuple[int, str, str], int]:
    """Sessions of each, and by signal how many of the candidate's and of the live one's failed."""
    made = {(step, LIVE, "sessions"): live, (step, CANDIDATE, "sessions"): candidate}
    for name, (hers, its) in wrong.items():
        made |= {(step, CANDIDATE, name): hers, (step, LIVE, name): its}
    return {(at, str(arm), what): count for (at, arm, what), count in made.items()}


def decided(rollout: Rollout, counted: dict[Any, int], moment: Any = LATER) -> RolloutDecision:
    return judge(rollout, weigh(rollout, counted), moment)


def test_nothing_is_done_before_there_were_enough_sessions_for_long_enough() -> None:
    assert decided(canary(), {}).action is Action.WAIT
    few = decided(canary(), counts(candidate=199))
    assert (few.action, few.reason[:11]) == (Action.WAIT, "1 sessions ")
    early = decided(canary(), counts(), AT + timedelta(minutes=9))
    assert early.action is Action.WAIT
    assert "12:10 UTC" in early.reason


def test_a_canary_goes_on_step_by_step_and_then_live() -> None:
    same = {"suspicious": (5, 100)}
    assert decided(canary(), counts(**same)).action is Action.ADVANCE
    assert decided(canary(step=1), counts(step=1, **same)).action is Action.ADVANCE
    assert decided(canary(step=2), counts(step=2, **same)).action is Action.PROMOTE
    # Sessions of earlier steps are not those of this one.
    assert decided(canary(step=2), counts(step=1, **same)).action is Action.WAIT


@pytest.mark.parametrize("signal", list(Signal))
def test_whatever_goes_surely_wrong_takes_a_canary_back_at_once(signal: Signal) -> None:
    found = decided(canary(), counts(candidate=20, **{signal: (8, 10)}), AT)
    assert found.action is Action.ROLL_BACK
    assert found.reason.startswith(
        f"surely worse: {signal} in 8 of 20 sessions of the candidate and in 10 of 2,000 of the "
        "live version, at least "
    )
    (alarm,) = found.evidence.alarms
    assert alarm.signal is signal
    assert alarm.lower > 1.5
    assert alarm.ratio == pytest.approx(8 / 10 * 0.95 / 0.05)


def test_evidence_is_carried_over_the_steps() -> None:
    parts = counts(slow=(3, 1)) | counts(step=1, slow=(8, 3))
    rollout = canary(step=1)
    whole = weigh(rollout, parts)
    assert [one.progress for one in whole.alarms] != []
    for step in (0, 1):
        one_step = {key: count for key, count in parts.items() if key[0] == step}
        assert weigh(rollout, one_step).alarms == ()


def test_no_step_is_taken_while_harm_is_half_proved() -> None:
    found = decided(canary(), counts(empty=(3, 2)))
    assert found.action is Action.WAIT
    assert "not sure yet: empty in 3 of 210 sessions" in found.reason
    worst = found.evidence.worst
    assert worst is not None
    assert 0.5 < worst.progress < 1.0


def test_within_the_tolerance_nothing_is_ever_surely_worse() -> None:
    """A tenth more, of a million sessions."""
    rollout = canary(shares=(0.5,))
    found = decided(rollout, counts(live=500_000, candidate=500_000, suspicious=(55_000, 50_000)))
    assert found.action is Action.PROMOTE
    strict = canary(shares=(0.5,), rules=RolloutRules(tolerance=1.0))
    found = decided(strict, counts(live=500_000, candidate=500_000, suspicious=(55_000, 50_000)))
    assert found.action is Action.ROLL_BACK


def test_the_chance_of_a_false_alarm_is_shared_among_what_is_looked_at() -> None:
    wrong = {"empty": (3, 0)}
    alone = canary(rules=RolloutRules(signals=(Signal.EMPTY,), alpha=0.0014))
    assert decided(alone, counts(**wrong)).action is Action.ROLL_BACK
    all_six = canary(rules=RolloutRules(alpha=0.0014))
    assert decided(all_six, counts(**wrong)).action is Action.WAIT


def test_what_is_not_looked_at_does_not_count() -> None:
    rules = RolloutRules(signals=(Signal.FAILED,))
    found = decided(canary(rules=rules), counts(slow=(90, 0)))
    assert found.action is Action.ADVANCE
    assert [one.signal for one in found.evidence.signals] == [Signal.FAILED]


def test_a_shadow_is_finished_and_never_goes_live() -> None:
    rules = RolloutRules(step_sessions=500)
    one = shadow(rules=rules)
    assert decided(one, counts(live=499, candidate=499)).action is Action.WAIT
    well = decided(one, counts(live=500, candidate=500, suspicious=(9, 11)))
    assert (well.action, well.reason) == (Action.FINISH, "not surely worse in 500 sessions")
    quiet = decided(one, counts(live=500, candidate=500, suspicious=(1, 2)))
    assert quiet.reason == (
        "too little to say: in 500 sessions just 3 went wrong with one of the two alone"
    )
    worse = decided(one, counts(live=60, candidate=60, empty=(30, 1)), AT)
    assert worse.action is Action.FINISH
    assert worse.reason.startswith("surely worse: empty in 30 sessions of the candidate alone")


def test_of_a_shadow_neither_latency_nor_corrections_are_looked_at() -> None:
    evidence = weigh(shadow(), counts(slow=(90, 0), corrected=(90, 0)))
    assert {one.signal for one in evidence.signals} == set(Signal) - {Signal.SLOW, Signal.CORRECTED}
    assert evidence.alarms == ()


def test_a_shadow_may_hear_everything() -> None:
    one = shadow(share=1.0)
    assert verdict_of(one, weigh(one, counts(empty=(40, 0)))).startswith("surely worse")


def test_evidence_of_nothing_is_no_number_and_json_knows_none() -> None:
    evidence = weigh(canary(), {})
    assert all(math.isnan(one.ratio) for one in evidence.signals)
    assert evidence.to_dict()["signals"]["empty"]["ratio"] is None
    assert evidence.worst is not None
    assert evidence.worst.progress == 0.0


@pytest.mark.parametrize("kind", list(Kind))
def test_every_state_but_running_is_final_and_can_be_reached(kind: Kind) -> None:
    table = TRANSITIONS[kind]
    assert set(table) == {state for state in RolloutState if not state.is_final}
    reached = {state for following in table.values() for state in following}
    never = RolloutState.FINISHED if kind is Kind.CANARY else RolloutState.PROMOTED
    assert never not in reached


def test_all_states_are_reached_by_one_kind_or_the_other() -> None:
    reached = {
        to for table in TRANSITIONS.values() for following in table.values() for to in following
    }
    assert reached == set(RolloutState)
