from __future__ import annotations

from misheard.cycle.states import TRANSITIONS, CycleState


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(CycleState)
    reached = {target for targets in TRANSITIONS.values() for target in targets}
    assert reached == set(CycleState) - {CycleState.PROPOSED}


def test_what_has_ended_stays_so_unless_a_person_takes_it_up_again() -> None:
    taken_up = {
        CycleState.FAILED: {CycleState.TRIGGERED, CycleState.DATASET},
        CycleState.CLOSED: {CycleState.ROLLED_BACK},
        CycleState.ROLLED_BACK: {CycleState.DEPLOYED},
    }
    for state in CycleState:
        if state.is_final:
            assert set(TRANSITIONS[state]) == taken_up.get(state, set())
        else:
            assert TRANSITIONS[state]


def test_what_is_undecided_can_be_cancelled_and_what_is_live_only_rolled_back() -> None:
    for state in CycleState:
        assert (CycleState.CANCELLED in TRANSITIONS[state]) is not state.is_decided
        assert (CycleState.ROLLED_BACK in TRANSITIONS[state]) is state.went_live


def test_nothing_is_deployed_without_both_gates() -> None:
    before = {state for state, targets in TRANSITIONS.items() if CycleState.DEPLOYED in targets}
    assert before == {
        CycleState.REGRESSION,
        CycleState.AWAITING_APPROVAL,
        CycleState.ROLLED_BACK,
    }
    (validated,) = (s for s, targets in TRANSITIONS.items() if CycleState.REGRESSION in targets)
    (converted,) = (s for s, targets in TRANSITIONS.items() if validated in targets)
    assert (validated, converted) == (CycleState.VALIDATED, CycleState.CONVERTED)


def test_only_approvals_wait_for_a_person() -> None:
    waiting = [state for state in CycleState if state.waits_for_person]
    assert waiting == [CycleState.PROPOSED, CycleState.AWAITING_APPROVAL]
