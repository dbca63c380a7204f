"""The trigger over a whole loop: what it looks at, what it keeps, what it expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from misheard.cases.queries import corrected_since
from misheard.cases.records import Correction
from misheard.cycle.cycles import Cycles
from misheard.cycle.pace import training_hours
from misheard.cycle.states import Cycle, CycleState
from misheard.database.engine import now, writing
from misheard.database.schema import (
    cycle_steps,
    cycles,
    inferences,
    jobs,
    selections,
    trigger_evaluations,
)
from misheard.scoring.expected_gain import Provable
from misheard.settings import TriggerSettings
from misheard.triggers import Drift, Name
from tests.cycle.conftest import traffic

ON_BOTH_DATABASES = True
S = CycleState
LoopOf = Callable[..., Any]
EAGER = TriggerSettings(
    min_error_cases=3, min_corrected_cases=1, trigger_on_error_rate=False, error_rate_threshold=1.0
)


def eager(**changed: Any) -> TriggerSettings:
    return TriggerSettings(**EAGER.model_dump() | changed)


def begin(loop: Any, **given: Any) -> Cycle:
    cycle: Cycle | None = loop.cycles.begin(actor="watch", **given)
    assert cycle is not None
    return cycle


def correct(loop: Any, count: int, *, first: int = 90) -> list[str]:
    ids = traffic(loop, count, first=first)
    for number, inference_id in enumerate(ids):
        word = f"please hold {first + number}"
        loop.cases.correct([Correction(inference_id=inference_id, reference=word, author="ann")])
    return ids


def kept(loop: Any) -> list[tuple[bool, int, str | None]]:
    """Oldest first."""
    found = loop.cycles.evaluations()
    return [(one.should_trigger, one.times, one.cycle_id) for one in reversed(found)]


def test_looking_keeps_nothing(loop: Any) -> None:
    loop.cycles.check_trigger()
    loop.cycles.check_trigger(expect=True)
    assert loop.cycles.evaluations() == []


def test_an_evaluation_that_comes_to_the_same_makes_no_row(loop_of: LoopOf) -> None:
    loop = loop_of(min_error_cases=8, corrected=6)
    for _ in range(3):
        assert loop.cycles.begin(actor="watch") is None
    correct(loop, 1)
    # The figures are others, and the answer is the same for the same reasons.
    assert loop.cycles.begin(actor="watch") is None
    (one,) = loop.cycles.evaluations()
    assert (one.should_trigger, one.times) == (False, 4)
    assert one.last_at > one.created_at
    assert one.decision["objections"] == ["6 error cases of 8 wanted"]
    assert one.decision["metrics"]["error_cases"] == 6
    assert one.decision["expected"]["cases"] == 6


def test_each_change_of_the_answer_or_its_reasons_makes_a_row(loop_of: LoopOf) -> None:
    loop = loop_of(min_error_cases=3, corrected=0)
    assert loop.cycles.begin(actor="watch") is None
    correct(loop, 1)
    assert loop.cycles.begin(actor="watch") is None
    correct(loop, 2, first=95)
    cycle = begin(loop)
    assert loop.cycles.begin(actor="watch") is None
    assert kept(loop) == [(False, 1, None), (False, 1, None), (True, 1, cycle.id), (False, 1, None)]
    newest, begun, *_ = loop.cycles.evaluations()
    assert f"{cycle.id} is triggered" in newest.decision["objections"]
    assert begun.decision["reasons"] == cycle.decision["reasons"]


def test_what_a_person_forced_is_told_from_what_the_trigger_wanted(loop_of: LoopOf) -> None:
    loop = loop_of(min_error_cases=100)
    cycle = begin(loop, force=True)
    assert kept(loop) == [(False, 1, cycle.id)]
    assert cycle.decision["forced"] is True
    assert {one["name"] for one in cycle.decision["conditions"]} == {
        "corrected cases",
        "error cases",
    }


def test_a_cycle_that_lost_a_race_leaves_no_evaluation(loop: Any) -> None:
    cycle = begin(loop)
    store, kept_before = loop.cycles._store, kept(loop)
    other = replace(cycle, id="cycle-other")
    written: list[Any] = []
    assert not store.add(other, after="cycle-that-was-newest", write=written.append)
    assert (written, kept(loop)) == ([], kept_before)


def test_while_a_cycle_works_or_waits_no_other_is_begun(loop_of: LoopOf) -> None:
    loop = loop_of()
    cycle = begin(loop)
    correct(loop, 5)
    assert loop.cycles.check_trigger().objections == (f"{cycle.id} is triggered",)
    assert loop.cycles.begin(actor="watch") is None
    assert begin(loop, force=True).id != cycle.id


@pytest.mark.parametrize("state", list(S))
def test_what_holds_up_others_is_whatever_is_not_decided(loop: Any, state: CycleState) -> None:
    cycle = begin(loop)
    with writing(loop.engine) as connection:
        connection.execute(update(cycles).values(state=state))
    correct(loop, 5)
    decision = loop.cycles.check_trigger()
    assert decision.should_trigger is not state.holds_up_others
    holding = {one for one in S if one.holds_up_others}
    assert state.waits_for_person <= state.holds_up_others
    assert holding == {
        S.PROPOSED,
        S.TRIGGERED,
        S.DATASET,
        S.TRAINING,
        S.CONVERTED,
        S.VALIDATED,
        S.REGRESSION,
        S.AWAITING_APPROVAL,
    }
    assert (cycle.id in decision.circumstances.running) is state.holds_up_others


def test_a_cooldown_counts_from_the_end_and_a_rollback_does_not_begin_it_anew(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(triggers=eager(cooldown_hours=24.0), require_approval=False)
    assert loop.cycles.check_trigger().should_trigger
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.DEPLOYED
    correct(loop, 5)
    decision = loop.cycles.check_trigger()
    assert decision.objections == ("0.0 h since the last cycle ended, of 24 h between two",)
    with writing(loop.engine) as connection:
        earlier = now() - timedelta(hours=25)
        connection.execute(update(cycle_steps).values(created_at=earlier))
    loop.cycles.note_left(str(cycle.version_id), actor="ann", reason="worse")
    assert loop.cycles.get(cycle.id).state is S.ROLLED_BACK
    decision = loop.cycles.check_trigger()
    assert decision.should_trigger
    assert decision.circumstances.hours_since_end == pytest.approx(25.0, abs=0.1)


def test_a_schedule_counts_from_the_beginning_of_the_last_cycle(loop_of: LoopOf) -> None:
    rules = eager(min_error_cases=1_000, every_days=30.0)
    loop = loop_of(triggers=rules, require_approval=False)
    cycle = begin(loop)
    assert "no cycle yet, one every 30 days is scheduled" in cycle.decision["reasons"]
    loop.cycles.run(cycle.id)
    correct(loop, 2)
    assert not loop.cycles.check_trigger().should_trigger
    with writing(loop.engine) as connection:
        connection.execute(update(cycles).values(created_at=now() - timedelta(days=31)))
    assert loop.cycles.check_trigger().should_trigger


def test_a_clock_that_was_set_back_makes_no_cycle_after_cycle(loop_of: LoopOf) -> None:
    loop = loop_of(triggers=eager())
    begun = begin(loop)
    loop.cycles.cancel(begun.id, actor="ann")
    with writing(loop.engine) as connection:
        connection.execute(update(cycles).values(created_at=now() + timedelta(hours=2)))
    correct(loop, 3)
    again = begin(loop)
    loop.cycles.cancel(again.id, actor="ann")
    assert loop.cycles.begin(actor="watch") is None
    assert [one.id for one in loop.cycles.listed()] == [again.id, begun.id]


def test_a_drift_is_asked_for_only_where_it_may_be_a_cause(loop_of: LoopOf) -> None:
    asked: list[int] = []

    def drift() -> Drift:
        asked.append(1)
        return Drift(detail="0.21 to 0.34", has_drifted=True)

    loop = loop_of()
    stages = loop.cycles._stages
    for wanted in (False, True):
        rules = eager(min_error_cases=1_000, trigger_on_drift=wanted)
        made = Cycles(
            loop.engine,
            observations=loop.observations,
            deployments=loop.deployments,
            stages=replace(stages, rules=replace(stages.rules, triggers=rules)),
            drift=drift,
        )
        assert made.check_trigger().should_trigger is wanted
        assert len(asked) == wanted


def test_a_budget_counts_the_training_of_this_month(loop_of: LoopOf) -> None:
    rules = eager(max_training_hours_per_month=2.0)
    loop = loop_of(triggers=rules, require_approval=False)
    cycle = loop.cycles.run(begin(loop).id)
    moment = now()
    with writing(loop.engine) as connection:
        values = {"created_at": moment - timedelta(hours=2), "ended_at": moment}
        connection.execute(update(jobs).values(**values))
    correct(loop, 5)
    decision = loop.cycles.check_trigger()
    spent = decision.circumstances.training_hours
    month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    expected = min(2.0, (moment - month).total_seconds() / 3600)
    assert spent == pytest.approx(expected, abs=1e-3)
    assert decision.should_trigger is (spent < 2.0)
    assert cycle.job_id is not None


def test_the_hours_of_a_job_are_those_within_the_month(loop_of: LoopOf) -> None:
    loop = loop_of(require_approval=False)
    loop.cycles.run(begin(loop).id)
    noon = datetime(2026, 3, 15, 12, tzinfo=UTC)

    def spent(began_at: datetime, ended_at: datetime | None) -> float:
        with writing(loop.engine) as connection:
            values = {"created_at": began_at, "ended_at": ended_at}
            connection.execute(update(jobs).values(**values))
        with loop.engine.connect() as connection:
            return training_hours(connection, noon)

    hour = timedelta(hours=1)
    assert spent(noon - 3 * hour, noon - hour) == pytest.approx(2.0)
    # It still runs.
    assert spent(noon - 3 * hour, None) == pytest.approx(3.0)
    # It began in February, or ended there.
    month = datetime(2026, 3, 1, tzinfo=UTC)
    assert spent(month - 5 * hour, month + hour) == pytest.approx(1.0)
    assert spent(month - 5 * hour, month - hour) == 0.0


def drawn(loop: Any, count: int) -> list[str]:
    """Traffic of which everything was drawn."""
    ids = traffic(loop, count, first=100)
    with writing(loop.engine) as connection:
        chosen = [
            {
                "inference_id": one,
                "created_at": now(),
                "stream": "audit",
                "probability": 0.01,
                "priority": 0.0,
            }
            for one in ids
        ]
        connection.execute(insert(selections), chosen)
    return ids


def label_as_audited(loop: Any, *, wrong: int, right: int) -> None:
    """The same, looked at."""
    for number, one in enumerate(drawn(loop, wrong + right)):
        word = "please hold" if number < wrong else "press pound"
        loop.cases.correct([Correction(inference_id=one, reference=word, author="ann")])


def test_the_audit_says_how_much_of_the_traffic_is_wrong(loop_of: LoopOf) -> None:
    rules = eager(
        min_error_cases=1_000,
        trigger_on_error_rate=True,
        error_rate_threshold=0.5,
        min_audited=20,
    )
    loop = loop_of(triggers=rules, corrected=0)
    label_as_audited(loop, wrong=12, right=7)
    # Not enough labels: 12 of 19 are known to be wrong.
    decision = loop.cycles.check_trigger()
    assert decision.should_trigger
    assert "error rate 63.2% of 50.0% wanted (19 inferences)" in decision.reasons
    label_as_audited(loop, wrong=0, right=1)
    decision = loop.cycles.check_trigger()
    assert not decision.should_trigger
    assert [one.name for one in decision.conditions if not one.is_met] == [
        Name.ERRORS,
        Name.AUDITED_RATE,
    ]
    # What was heard before the last cycle is not of this one, whenever it is labelled.
    (late,) = drawn(loop, 1)
    begin(loop, force=True)
    loop.cases.correct([Correction(inference_id=late, reference="please hold", author="ann")])
    assert loop.cycles.check_trigger().circumstances.audited is None


def test_before_the_first_validation_nobody_knows_and_that_is_said(loop: Any) -> None:
    expected = loop.cycles.check_trigger(expect=True).expected
    assert expected is not None
    assert expected.answer is Provable.UNKNOWN
    assert "how often the live version errs is not known" in expected.told
    # "please press N again" was heard as "press N now" four times, and twice as "press pound".
    assert (expected.cases, expected.word_errors) == (6, 4 * 2 + 2 * 3)
    assert (expected.words, expected.groups, expected.trainings) == (60, 20, 0)


def test_with_the_audit_it_is_estimated_before_the_first_training(loop_of: LoopOf) -> None:
    loop = loop_of(triggers=eager(min_audited=20), corrected=6)
    label_as_audited(loop, wrong=10, right=10)
    expected = loop.cycles.check_trigger(expect=True).expected
    assert expected is not None
    # Two words of two are wrong in ten of twenty.
    assert expected.wer == pytest.approx(0.5)
    assert expected.wer_from == "by 20 labels of the random audit"
    assert expected.removed == 0.5
    assert expected.gain == pytest.approx(0.25)
    assert expected.answer is Provable.NOT_PROVABLE
    assert expected.words_needed
    # What a recogniser of somebody else's makes of it says nothing of the version that is live.
    with writing(loop.engine) as connection:
        for table in (inferences, selections):
            connection.execute(update(table).values(version_id="vendor"))
    decision = loop.cycles.check_trigger(expect=True)
    assert decision.expected is not None
    assert decision.expected.wer is None


def test_after_a_training_it_goes_by_what_that_came_to(loop_of: LoopOf) -> None:
    loop = loop_of(require_approval=False, tuned_hears_all=True)
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.DEPLOYED
    assert cycle.decision["expected"]["trainings"] == 0
    correct(loop, 5)
    expected = loop.cycles.check_trigger(expect=True).expected
    assert expected is not None
    assert (expected.removed, expected.trainings) == (1.0, 1)
    # What is live now hears all of the held-out set, so there is nothing to gain.
    assert expected.wer == 0.0
    assert expected.answer is Provable.NOT_PROVABLE
    # Seen from the version before, everything was to be gained.
    loop.deployments.roll_back(actor="ann", reason="to see")
    before = loop.cycles.check_trigger(expect=True).expected
    assert before is not None
    assert before.wer is not None
    assert before.wer > 0
    assert before.wer_from == "on 'held-out'"


def test_where_it_must_be_provable_it_is_not_begun_before(loop_of: LoopOf) -> None:
    loop = loop_of(triggers=eager(require_provable=True))
    decision = loop.cycles.check_trigger()
    assert not decision.should_trigger
    assert decision.expected is not None
    assert decision.objections == (decision.expected.told,)
    assert loop.cycles.begin(actor="watch") is None
    assert loop.cycles.begin(actor="watch") is None
    assert kept(loop) == [(False, 2, None)]
    assert begin(loop, force=True).decision["forced"] is True


def test_the_newest_word_on_an_utterance_is_what_was_corrected(loop_of: LoopOf) -> None:
    loop = loop_of(corrected=0)
    one, two = traffic(loop, 2)
    for inference_id, reference in (
        (one, "press nine"),
        (two, "press ten"),
        (one, "press eleven"),
        (two, "press pound"),
    ):
        word = Correction(inference_id=inference_id, reference=reference, author="ann")
        loop.cases.correct([word])

    def found(**given: Any) -> list[tuple[str, str]]:
        with loop.engine.connect() as connection:
            return corrected_since(connection, **{"since": None, "limit": 10} | given)

    assert found() == [("press eleven", "press pound")]
    assert found(limit=1) == []
    assert found(since=now()) == []


def test_the_history_stays_small_whatever_is_asked(loop_of: LoopOf) -> None:
    loop = loop_of(min_error_cases=100)
    for _ in range(50):
        loop.cycles.begin(actor="watch")
    with loop.engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(trigger_evaluations)).scalar()
    assert count == 1
