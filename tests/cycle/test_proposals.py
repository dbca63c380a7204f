"""Where training needs a person's yes: a proposal waits, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from misheard.cycle.cycles import Cycles
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleState
from misheard.database.audit import AuditLog
from misheard.errors import BadInputError, IllegalTransitionError

S = CycleState
LoopOf = Callable[..., Any]


@pytest.fixture
def asking(loop_of: LoopOf) -> Any:
    return loop_of(require_training_approval=True)


def propose(loop: Any, **given: Any) -> Cycle:
    cycle = loop.cycles.begin(actor="watch", **given)
    assert cycle is not None
    return cycle


def states(loop: Any, cycle: Cycle) -> list[str]:
    return [step.to_state for step in loop.cycles.steps(cycle.id)]


def test_nothing_happens_to_a_proposal_before_a_person_says_yes(asking: Any) -> None:
    cycle = propose(asking)
    assert cycle.state is S.PROPOSED
    assert cycle.state.waits_for_person
    assert not cycle.state.is_final
    assert asking.cycles.run(cycle.id) == cycle
    with pytest.raises(IllegalTransitionError, match="nothing follows by itself"):
        asking.cycles.advance(cycle.id)
    assert (cycle.dataset_id, cycle.job_id) == (None, None)
    assert asking.backend.starts == []


def test_a_yes_begins_it_and_is_audited(asking: Any) -> None:
    cycle = asking.cycles.approve(propose(asking).id, actor="boss")
    assert cycle.state is S.TRIGGERED
    assert cycle.detail == "approved by boss"
    (entry,) = AuditLog(asking.engine).entries(subject=cycle.id)
    assert (entry.action, entry.actor) == ("approve", "boss")
    cycle = asking.cycles.run(cycle.id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert states(asking, cycle)[:3] == ["proposed", "triggered", "dataset"]


def test_a_no_ends_it_and_every_case_stays_as_it_was(asking: Any) -> None:
    before = asking.cases.listed(limit=None), list(asking.cases.labelled())
    cycle = asking.cycles.reject(propose(asking).id, actor="boss", reason="too expensive")
    assert cycle.state is S.REJECTED
    assert cycle.detail == "rejected by boss: too expensive"
    (entry,) = AuditLog(asking.engine).entries(subject=cycle.id)
    assert (entry.action, entry.actor, entry.reason) == ("reject", "boss", "too expensive")
    assert (asking.cases.listed(limit=None), list(asking.cases.labelled())) == before
    with pytest.raises(IllegalTransitionError):
        asking.cycles.approve(cycle.id, actor="boss")


def test_a_proposal_can_be_cancelled(asking: Any) -> None:
    cycle = asking.cycles.cancel(propose(asking).id, actor="ann")
    assert cycle.state is S.CANCELLED
    assert states(asking, cycle) == ["proposed", "cancelled"]


def test_one_proposal_waits_at_a_time(asking: Any) -> None:
    first = propose(asking, reason="enough errors")
    assert propose(asking, reason="again") == first
    assert len(asking.cycles.listed()) == 1
    asking.cycles.reject(first.id, actor="boss", reason="no")
    # What came since is nothing, so nothing is proposed until there is more.
    assert asking.cycles.begin(actor="watch") is None


def test_whoever_begins_with_a_yes_approves_the_one_that_waits(asking: Any) -> None:
    waiting = propose(asking)
    begun = asking.cycles.begin(actor="boss", approved=True)
    assert begun == replace(waiting, state=S.TRIGGERED, detail="approved by boss")
    assert len(asking.cycles.listed()) == 1


def test_options_that_come_with_the_yes_are_those_of_the_cycle(asking: Any) -> None:
    waiting = propose(asking)
    options = CycleOptions(auto_deploy=False, recipe={"epochs": 7})
    begun = asking.cycles.begin(actor="boss", approved=True, options=options)
    assert begun.id == waiting.id
    assert begun.options == asking.cycles.get(waiting.id).options == options


def test_with_a_yes_at_once_nothing_waits(asking: Any) -> None:
    assert propose(asking, approved=True).state is S.TRIGGERED


def test_where_no_yes_is_wanted_nothing_waits(loop: Any) -> None:
    assert propose(loop).state is S.TRIGGERED


def test_force_overrides_the_trigger_and_not_the_person(loop_of: LoopOf) -> None:
    loop = loop_of(require_training_approval=True, min_error_cases=100)
    assert loop.cycles.begin(actor="ann") is None
    assert loop.cycles.begin(actor="ann", approved=True) is None
    forced = propose(loop, force=True)
    assert forced.state is S.PROPOSED
    assert forced.decision["forced"]
    assert "6 error cases of 100 wanted" in forced.decision["objections"]
    assert propose(loop, force=True, approved=True).state is S.TRIGGERED


def test_force_begins_a_cycle_of_its_own_beside_a_proposal(asking: Any) -> None:
    waiting = propose(asking)
    forced = propose(asking, force=True, approved=True)
    assert forced.id != waiting.id
    assert asking.cycles.get(waiting.id) == waiting
    assert {one.id for one in asking.cycles.listed(state=S.PROPOSED)} == {waiting.id}


def test_a_forced_cycle_that_the_trigger_wanted_anyway_was_not_forced(loop: Any) -> None:
    assert propose(loop, force=True).decision["forced"] is False


def test_reasons_and_evidence_of_the_caller_stand_beside_those_of_the_trigger(loop: Any) -> None:
    cycle = propose(loop, reason="the boss asked", evidence={"ticket": 7, "seen": ("a", "b")})
    kept = loop.cycles.get(cycle.id).decision
    assert (kept["reason"], kept["evidence"]) == (
        "the boss asked",
        {"ticket": 7, "seen": ["a", "b"]},
    )
    assert kept["error_cases"] == 6
    assert "6 error cases of 3 wanted" in kept["reasons"]
    assert cycle.detail == "the boss asked"


def test_evidence_that_is_no_json_begins_nothing(loop: Any) -> None:
    with pytest.raises(BadInputError, match="details of a cycle"):
        loop.cycles.begin(actor="ann", evidence={"audio": b"bytes"})
    assert loop.cycles.listed() == []


def test_a_case_of_little_suspicion_does_not_trigger_unless_a_person_corrected_it(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(min_error_cases=3, corrected=2)
    rules = loop.cycles._stages.rules
    stages = replace(
        loop.cycles._stages,
        rules=replace(rules, triggers=rules.triggers.model_copy(update={"min_error_score": 0.5})),
    )
    cycles = Cycles(
        loop.engine,
        observations=loop.observations,
        deployments=loop.deployments,
        stages=stages,
    )
    from tests.cycle.conftest import traffic  # noqa: PLC0415

    one, two = traffic(loop, 2)
    loop.cases.open(one, suspicion=0.49)
    assert cycles.check_trigger().metrics.error_cases == 2
    assert cycles.begin(actor="ann") is None
    loop.cases.open(two, suspicion=0.5)
    assert cycles.check_trigger().metrics.error_cases == 3
    assert cycles.begin(actor="ann") is not None
