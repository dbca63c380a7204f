"""How rollouts begin, go on and end, whoever looks at them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, update

from misheard.capture.captured import Captured
from misheard.capture.inferences import InferenceLog
from misheard.database.audit import AuditEntry, AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import rollout_sessions, versions
from misheard.database.schema import rollouts as table
from misheard.deployment import Deployments
from misheard.errors import (
    BackupFailedError,
    BadInputError,
    DeploymentConflictError,
    NothingDeployedError,
    PromotionFailedError,
    RolloutConflictError,
    RolloutStateError,
    UnknownIdError,
    VersionPrunedError,
)
from misheard.registry import ModelVersion
from misheard.rollouts.judging import Action
from misheard.rollouts.rollouts import Rollouts
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Kind, Rollout, RolloutRules, RolloutState
from tests.rollouts.made import observed

ON_BOTH_DATABASES = True
QUICK = RolloutRules(step_sessions=10, step_minutes=0.0)
LIVE, CANDIDATE = Arm.LIVE, Arm.CANDIDATE


def begin(rollouts: Rollouts, version_id: str, **fields: Any) -> Rollout:
    known: dict[str, Any] = {"shares": (0.05, 0.5), "rules": QUICK, "actor": "ann", "reason": "r"}
    kind = fields.pop("kind", Kind.CANARY)
    if kind is Kind.SHADOW:
        known["shares"] = (0.2,)
    return rollouts.begin(kind, version_id, **known | fields)


def hear(rollouts: Rollouts, one: Rollout, live: int, candidate: int, **wrong: Any) -> None:
    """Requests without a session; `wrong_live` and `wrong_candidate` of them are empty."""
    rows = []
    for arm, count in ((LIVE, live), (CANDIDATE, candidate)):
        bad = wrong.get(f"wrong_{arm}", 0)
        rows += [observed(one, arm, *([Signal.EMPTY] if n < bad else [])) for n in range(count)]
    rollouts.note(rows)


def entries(engine: Engine, rollout_id: str) -> list[AuditEntry]:
    return AuditLog(engine).entries(subject=rollout_id)[::-1]


def test_it_begins_with_what_it_is_judged_by(
    rollouts: Rollouts, live: str, candidate: str, engine: Engine
) -> None:
    made = begin(rollouts, candidate)
    assert rollouts.get(made.id) == rollouts.running() == made
    assert rollouts.listed() == rollouts.all_running() == [made]
    assert (made.version_id, made.live_version_id, made.state) == (candidate, live, "running")
    assert (made.share, made.rules, made.ended_at) == (0.05, QUICK, None)
    (entry,) = entries(engine, made.id)
    assert (entry.action, entry.actor, entry.to_value) == ("begin canary", "ann", candidate)
    assert entry.evidence["alpha"] == 0.01


def test_what_cannot_be_tried_is_refused_and_leaves_nothing(
    rollouts: Rollouts, live: str, candidate: str, engine: Engine
) -> None:
    with pytest.raises(BadInputError, match="is live in"):
        begin(rollouts, live)
    with pytest.raises(UnknownIdError):
        begin(rollouts, "v-nobody")
    with pytest.raises(NothingDeployedError):
        begin(rollouts, candidate, slot="staging")
    for shares in ((), (0.5, 0.5), (0.5, 0.1), (0.0, 0.1), (0.5, 1.0), (float("nan"),)):
        with pytest.raises(BadInputError, match="Shares of a canary"):
            begin(rollouts, candidate, shares=shares)
    for shares in ((), (0.1, 0.2), (0.0,), (1.1,)):
        with pytest.raises(BadInputError, match="A shadow has one share"):
            begin(rollouts, candidate, kind=Kind.SHADOW, shares=shares)
    with writing(engine) as connection:
        gone = update(versions).where(versions.c.id == candidate).values(pruned_at=now())
        connection.execute(gone)
    with pytest.raises(VersionPrunedError):
        begin(rollouts, candidate)
    assert rollouts.listed() == []


def test_one_at_a_time_in_a_slot(
    rollouts: Rollouts, deployments: Deployments, live: str, candidate: str
) -> None:
    first = begin(rollouts, candidate)
    with pytest.raises(RolloutConflictError, match=first.id):
        begin(rollouts, candidate, kind=Kind.SHADOW)
    deployments.deploy(live, actor="ann", reason="first", slot="staging")
    other = begin(rollouts, candidate, slot="staging")
    assert rollouts.running("staging") == other
    assert {one.id for one in rollouts.all_running()} == {first.id, other.id}
    rollouts.stop(first.id, actor="bob", reason="enough")
    assert begin(rollouts, candidate, kind=Kind.SHADOW).kind is Kind.SHADOW
    assert [one.kind for one in rollouts.listed("production")] == [Kind.SHADOW, Kind.CANARY]


def test_of_several_that_begin_at_once_one_wins(rollouts: Rollouts, candidate: str) -> None:
    start = threading.Barrier(4)

    def attempt(_: int) -> bool:
        start.wait()
        try:
            begin(rollouts, candidate)
        except RolloutConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]


def test_a_good_one_goes_step_by_step_and_then_live(
    rollouts: Rollouts,
    deployments: Deployments,
    candidate: str,
    live: str,
    told: list[str],
    engine: Engine,
) -> None:
    one = begin(rollouts, candidate)
    hear(rollouts, one, 190, 9, wrong_live=10)
    decision = rollouts.judge(actor="worker")
    assert decision is not None
    assert decision.action is Action.WAIT
    hear(rollouts, one, 0, 1)
    decision = rollouts.judge(actor="worker")
    assert decision is not None
    assert (decision.action, decision.rollout) == (Action.ADVANCE, one)
    second = rollouts.get(one.id)
    assert (second.step, second.share, second.state) == (1, 0.5, "running")
    assert deployments.live().version_id == live
    hear(rollouts, second, 10, 10)
    decision = rollouts.judge(actor="worker")
    assert decision is not None
    assert decision.action is Action.PROMOTE
    done = rollouts.get(one.id)
    assert (done.state, rollouts.running()) == (RolloutState.PROMOTED, None)
    newest = deployments.live()
    assert (newest.version_id, newest.actor) == (candidate, "worker")
    assert newest.reason == f"{one.id}: 20 sessions of the candidate, not surely worse"
    assert told == ["before: production", f"live: {candidate}", "after"]
    actions = [entry.action for entry in entries(engine, one.id)]
    assert actions == ["begin canary", "canary next step", "canary promoted"]
    assert entries(engine, one.id)[2].evidence["sessions"] == {"live": 200, "candidate": 20}
    assert rollouts.judge(actor="worker") is None


def test_a_bad_one_is_taken_back_and_what_was_live_stays(
    rollouts: Rollouts, deployments: Deployments, candidate: str, live: str, engine: Engine
) -> None:
    one = begin(rollouts, candidate)
    rollouts.note([observed(one, CANDIDATE, Signal.FAILED, session=f"s{n}") for n in range(4)])
    decision = rollouts.judge(actor="server")
    assert decision is not None
    assert decision.action is Action.ROLL_BACK
    done = rollouts.get(one.id)
    assert (done.state, done.detail) == (RolloutState.ROLLED_BACK, decision.reason)
    assert "failed in 4 of 4 sessions of the candidate" in done.detail
    assert decision.told == f"canary {one.id} of {candidate} is rolled back: {decision.reason}"
    assert deployments.live().version_id == live
    last = entries(engine, one.id)[-1]
    assert (last.action, last.actor, last.to_value) == (
        "canary rolled back",
        "server",
        "rolled_back",
    )
    assert last.evidence["signals"]["failed"]["candidate"] == 4
    with engine.connect() as connection:
        left = connection.execute(select(func.count()).select_from(rollout_sessions))
        assert left.scalar_one() == 0
    # What comes late counts no more, and leaves nothing behind.
    rollouts.note([observed(one, CANDIDATE, Signal.FAILED, session="late")])
    assert rollouts.evidence(one.id).requests[CANDIDATE] == 4
    with engine.connect() as connection:
        left = connection.execute(select(func.count()).select_from(rollout_sessions))
        assert left.scalar_one() == 0


def test_many_who_judge_at_once_make_each_move_once(
    rollouts: Rollouts, deployments: Deployments, candidate: str, engine: Engine
) -> None:
    one = begin(rollouts, candidate)
    for step in range(2):
        hear(rollouts, rollouts.get(one.id), 190, 10)
        assert rollouts.get(one.id).step == step
        start = threading.Barrier(4)

        def look(_: int, start: threading.Barrier = start) -> None:
            start.wait()
            rollouts.judge(actor="server")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(look, range(4)))
    actions = [entry.action for entry in entries(engine, one.id)]
    assert actions == ["begin canary", "canary next step", "canary promoted"]
    assert [row.version_id for row in deployments.history()].count(candidate) == 1


def test_a_promotion_that_fails_is_not_tried_again_within_a_minute(
    engine: Engine,
    candidate: str,
    live: str,
    deployments: Deployments,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = list[str]()

    def back_up(one: Rollout) -> None:
        tried.append(one.id)
        raise BackupFailedError("No room.")

    rollouts = Rollouts(engine, engine, before_deployment=back_up)
    one = begin(rollouts, candidate, shares=(0.5,))
    hear(rollouts, one, 10, 10)
    with pytest.raises(PromotionFailedError, match=rf"{candidate}, of {one.id}, .* No room"):
        rollouts.judge(actor="server")
    for _ in range(3):
        hear(rollouts, one, 1, 1)
        decision = rollouts.judge(actor="server")
        assert decision and decision.action is Action.WAIT
    assert tried == [one.id]
    monkeypatch.setattr("misheard.rollouts.rollouts._TRIED_AGAIN_S", 0.0)
    with pytest.raises(PromotionFailedError):
        rollouts.judge(actor="server")
    assert (len(tried), deployments.live().version_id) == (2, live)
    monkeypatch.undo()
    # What it does meanwhile is judged all the same.
    hear(rollouts, one, 40, 40, wrong_candidate=40)
    decision = rollouts.judge(actor="server")
    assert decision and decision.action is Action.ROLL_BACK


def test_whoever_deploys_something_else_ends_it(
    rollouts: Rollouts,
    deployments: Deployments,
    candidate: str,
    register: Callable[..., ModelVersion],
) -> None:
    one = begin(rollouts, candidate)
    hear(rollouts, one, 100, 100)
    other = register("other").id
    deployments.deploy(other, actor="bob", reason="a fix")
    with pytest.raises(DeploymentConflictError, match=f"{other} is live"):
        rollouts.promote(one.id, actor="ann", reason="r")
    assert rollouts.get(one.id).state is RolloutState.RUNNING
    decision = rollouts.judge(actor="worker")
    assert decision is not None
    assert decision.action is Action.SUPERSEDE
    done = rollouts.get(one.id)
    assert (done.state, done.detail) == (
        RolloutState.SUPERSEDED,
        f"{other} went live: deploy by bob, a fix",
    )
    assert deployments.live().version_id == other


def test_a_person_may_promote_or_stop_at_any_time(
    rollouts: Rollouts, deployments: Deployments, candidate: str, live: str, engine: Engine
) -> None:
    first = begin(rollouts, candidate)
    stopped = rollouts.stop(first.id, actor="bob", reason="not now")
    assert (stopped.state, stopped.detail) == (RolloutState.STOPPED, "not now")
    for act in (rollouts.stop, rollouts.promote):
        with pytest.raises(RolloutStateError, match="is stopped"):
            act(first.id, actor="bob", reason="again")
    second = begin(rollouts, candidate)
    promoted = rollouts.promote(second.id, actor="bob", reason="long enough")
    assert promoted.state is RolloutState.PROMOTED
    assert deployments.live().version_id == candidate
    assert deployments.roll_back(actor="ann", reason="no").version_id == live
    assert entries(engine, second.id)[-1].actor == "bob"
    with pytest.raises(UnknownIdError):
        rollouts.stop("rollout-nobody", actor="bob", reason="r")


def test_a_shadow_is_finished_and_deploys_nothing(
    rollouts: Rollouts, deployments: Deployments, candidate: str, live: str
) -> None:
    one = begin(rollouts, candidate, kind=Kind.SHADOW)
    with pytest.raises(RolloutStateError, match="a shadow, is running, and cannot be promoted"):
        rollouts.promote(one.id, actor="ann", reason="r")
    stopped = rollouts.stop(one.id, actor="ann", reason="enough")
    assert stopped.detail.startswith("enough; too little to say: in 0 sessions")
    assert deployments.live().version_id == live


def test_slow_is_what_is_twice_as_slow_as_it_was_the_day_before(
    rollouts: Rollouts, candidate: str, live: str, log: InferenceLog
) -> None:
    def logged(latency_s: float, count: int) -> None:
        log.capture(
            [
                Captured(audio="a", text="x", heard_at=now(), latency_s=latency_s)
                for _ in range(count)
            ],
            live=live,
        )

    logged(3.0, 99)
    one = begin(rollouts, candidate)
    assert one.rules.slow_s == 2.0
    rollouts.stop(one.id, actor="ann", reason="r")
    logged(3.0, 1)
    assert begin(rollouts, candidate).rules.slow_s == pytest.approx(6.0, rel=0.05)


def test_time_is_of_the_step_and_not_of_the_rollout(rollouts: Rollouts, candidate: str) -> None:
    rules = RolloutRules(step_sessions=1, step_minutes=10.0)
    one = begin(rollouts, candidate, rules=rules)
    hear(rollouts, one, 9, 5)
    later = one.created_at + timedelta(minutes=10)
    decision = rollouts.judge(actor="w", moment=later - timedelta(seconds=1))
    assert decision is not None
    assert decision.action is Action.WAIT
    assert rollouts.judge(actor="w", moment=later) is not None
    second = rollouts.get(one.id)
    assert (second.step, second.step_began_at) == (1, later)
    hear(rollouts, second, 5, 5)
    decision = rollouts.judge(actor="w", moment=later + timedelta(minutes=9))
    assert decision is not None
    assert decision.action is Action.WAIT


def test_the_database_itself_lets_only_one_run_in_a_slot(
    rollouts: Rollouts, candidate: str, engine: Engine
) -> None:
    one = begin(rollouts, candidate)
    with engine.connect() as connection:
        row = dict(connection.execute(select(table)).mappings().one())
    with pytest.raises(Exception, match=r"(?i)unique"), writing(engine) as connection:
        connection.execute(insert(table).values(**row | {"id": f"{one.id}-2"}))


def test_who_has_lost_the_candidate_during_a_backup_is_waited_for(
    engine: Engine, live: str, candidate: str, deployments: Deployments
) -> None:
    """Looked at before and after it; a backup takes as long as it takes."""
    unready: list[str] = []
    backups: list[str] = []

    def back_up(rollout: Rollout) -> None:
        backups.append(rollout.id)
        if len(backups) == 1:
            unready.append("srv-2")

    rollouts = Rollouts(
        engine, engine, before_deployment=back_up, unready=lambda _rollout: tuple(unready)
    )
    one = begin(rollouts, candidate, shares=(0.5,))
    hear(rollouts, one, 20, 20)
    decision = rollouts.judge(actor="worker")
    assert decision is not None and decision.action is Action.WAIT
    assert decision.reason == "srv-2 cannot answer with it yet"
    assert rollouts.get(one.id).state is RolloutState.RUNNING
    assert deployments.live().version_id == live
    unready.clear()
    decision = rollouts.judge(actor="worker")
    assert decision is not None and decision.action is Action.PROMOTE
    assert deployments.live().version_id == candidate
    assert backups == [one.id, one.id]
