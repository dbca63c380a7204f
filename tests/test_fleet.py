"""What servers say of themselves, and how a deployer waits for them. The rows are real; no model is
loaded, for `tests/serving` does that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from misheard.cycle.states import CycleState
from misheard.database.engine import now, writing
from misheard.database.schema import stagings, versions
from misheard.errors import (
    DeploymentConflictError,
    RolloutConflictError,
    StagingFailedError,
    VersionPrunedError,
)
from misheard.fleet import ALIVE, ServerState
from misheard.rollouts.counting import Observed
from misheard.rollouts.judging import Action
from misheard.rollouts.states import Arm
from misheard.workspace import Workspace
from tests import tiny

ON_BOTH_DATABASES = True
LONG_AGO = 2 * ALIVE
PATIENCE_S = 120.0


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Workspace:
    """With `first`, `second` and `third` registered, and `first` live."""
    made = tiny.make(
        tmp_path / "ws",
        database={"url": database_url},
        deployment={"auto_backup_before_deploy": False, "max_staging_s": PATIENCE_S},
    )
    for version_id in ("first", "second", "third"):
        model = tiny.model(tmp_path / version_id)
        made.registry.register(model, name="t", source="", actor="ann", version_id=version_id)
    deploy(made, "first")
    return made


def deploy(workspace: Workspace, version_id: str, actor: str = "ann", **given: Any) -> Any:
    return workspace.deploy(version_id, actor=actor, reason="test", force=True, **given)


def state(workspace: Workspace, **fields: Any) -> ServerState:
    """A server that follows what is live, with what is `first`.

    Its sign of life is good for long, so that it does not die because the machine is busy.
    """
    live = workspace.deployments.live()
    known: dict[str, Any] = {
        "id": "server-1",
        "started_at": now(),
        "seen_at": now() + timedelta(seconds=PATIENCE_S),
        "address": "10.0.0.1:8000",
        "slot": "production",
        "version_id": live.version_id,
        "deployment_number": live.number,
        "staging_number": 0,
        "loaded": (live.version_id,),
        "failed": {},
    }
    return ServerState(**known | fields)


@contextmanager
def in_another_thread(do: Callable[[], Any]) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(do)


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def staged(workspace: Workspace) -> int:
    """The number of the request, once there is one."""
    return wait_for(lambda: workspace.fleet.staged("production"))[0].number


def test_a_server_is_known_until_it_leaves_and_alive_while_it_gives_signs(
    workspace: Workspace,
) -> None:
    fleet, server = workspace.fleet, state(workspace)
    fleet.tell(server)
    changed = replace(server, loaded=("first", "second"), failed={"third": "It is damaged."})
    fleet.tell(changed)
    fleet.tell(replace(server, id="server-2", slot="canary"))
    fleet.tell(replace(server, id="server-3", seen_at=now() - LONG_AGO))
    assert fleet.known("production")[0] == changed
    assert [one.id for one in fleet.known()] == ["server-1", "server-2", "server-3"]
    assert [one.id for one in fleet.alive()] == ["server-1", "server-2"]
    assert [one.id for one in fleet.alive("production")] == ["server-1"]
    fleet.forget(LONG_AGO / 2)
    assert [one.id for one in fleet.known()] == ["server-1", "server-2"]
    fleet.leave("server-1")
    assert fleet.alive("production") == []


def test_where_no_server_runs_nobody_is_asked(workspace: Workspace) -> None:
    workspace.fleet.tell(state(workspace, seen_at=now() - LONG_AGO))
    workspace.fleet.tell(state(workspace, id="server-2", slot="canary"))
    assert workspace.get_ready("second", "ann").servers == 0
    assert workspace.fleet.staged("production") == []


def test_the_pointer_moves_once_every_server_has_it_loaded(workspace: Workspace) -> None:
    fleet, seen = workspace.fleet, list[int]()
    servers = [state(workspace, id=name) for name in ("server-1", "server-2")]
    for server in servers:
        fleet.tell(server)

    def watching(states: Any) -> None:
        seen.append(sum("second" in one.loaded for one in states))

    with in_another_thread(lambda: deploy(workspace, "second", watching=watching)) as deploying:
        number = staged(workspace)
        loaded = {"staging_number": number, "loaded": ("first", "second")}
        fleet.tell(replace(servers[0], **loaded))
        # Seen twice, it was thought about once.
        wait_for(lambda: seen.count(1) > 1)
        assert workspace.deployments.live().version_id == "first"
        # What it said before it was asked does not count.
        fleet.tell(replace(servers[1], loaded=("first", "second")))
        wait_for(lambda: seen.count(2) > 1)
        assert workspace.deployments.live().version_id == "first"
        fleet.tell(replace(servers[1], **loaded))
        assert deploying.result(timeout=PATIENCE_S).version_id == "second"
    assert seen == sorted(seen)
    assert {1, 2} <= set(seen)
    # What is live need not be staged any more.
    assert fleet.staged("production") == []


def test_a_server_that_cannot_load_it_keeps_it_from_going_live(workspace: Workspace) -> None:
    fleet, server = workspace.fleet, state(workspace, failed={"second": "That was yesterday."})
    fleet.tell(server)
    with in_another_thread(lambda: deploy(workspace, "second")) as deploying:
        number = staged(workspace)
        time.sleep(0.3)
        assert not deploying.done()
        failed = {"second": "It is damaged."}
        fleet.tell(replace(server, staging_number=number, failed=failed))
        with pytest.raises(StagingFailedError, match=r"10\.0\.0\.1:8000 .* It is damaged\."):
            deploying.result(timeout=PATIENCE_S)
    assert workspace.deployments.live().version_id == "first"
    assert fleet.staged("production") == []


def test_a_server_that_dies_of_it_keeps_it_from_going_live(workspace: Workspace) -> None:
    fleet, server = workspace.fleet, state(workspace)
    fleet.tell(server)
    with in_another_thread(lambda: deploy(workspace, "second")) as deploying:
        gone = {"staging_number": staged(workspace), "seen_at": now() - LONG_AGO}
        fleet.tell(replace(server, **gone))
        with pytest.raises(StagingFailedError, match="has died, or stands still"):
            deploying.result(timeout=PATIENCE_S)
    assert workspace.deployments.live().version_id == "first"


def test_a_server_that_was_dead_before_or_stops_meanwhile_is_not_waited_for(
    workspace: Workspace,
) -> None:
    fleet, server = workspace.fleet, state(workspace)
    fleet.tell(server)
    fleet.tell(replace(server, id="server-2"))
    with in_another_thread(lambda: deploy(workspace, "second")) as deploying:
        number = staged(workspace)
        fleet.tell(replace(server, seen_at=now() - LONG_AGO))
        time.sleep(0.3)
        assert not deploying.done()
        fleet.leave("server-2")
        assert deploying.result(timeout=PATIENCE_S).version_id == "second"
    assert number


def test_servers_that_take_too_long_are_named_with_what_to_do(workspace: Workspace) -> None:
    workspace.fleet.tell(state(workspace))
    hurried = workspace.configured({"deployment": {"max_staging_s": 0.3}})
    with pytest.raises(StagingFailedError, match=r"10\.0\.0\.1:8000.*deployment\.max_staging_s"):
        deploy(hurried, "second")
    assert workspace.deployments.live().version_id == "first"
    assert workspace.fleet.staged("production") == []


def test_who_gives_up_waiting_leaves_nothing_behind(workspace: Workspace) -> None:
    workspace.fleet.tell(state(workspace))

    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(workspace, "second", watching=interrupted)
    assert workspace.fleet.staged("production") == []
    assert workspace.deployments.live().version_id == "first"


def test_what_has_lost_its_files_is_not_staged(workspace: Workspace) -> None:
    workspace.fleet.tell(state(workspace))
    with writing(workspace._engine) as connection:
        row = versions.c.id == "second"
        connection.execute(update(versions).where(row).values(pruned_at=now()))
    with pytest.raises(VersionPrunedError):
        workspace.get_ready("second", "ann")
    assert workspace.fleet.staged("production") == []


def test_of_a_deployment_and_a_rollback_meanwhile_the_rollback_holds(workspace: Workspace) -> None:
    deploy(workspace, "third")
    fleet, server = workspace.fleet, state(workspace)
    fleet.tell(server)
    with in_another_thread(lambda: deploy(workspace, "second")) as deploying:
        number = staged(workspace)
        back = workspace.roll_back(actor="bob", reason="it is worse")
        fleet.tell(replace(server, staging_number=number, loaded=("second",)))
        with pytest.raises(DeploymentConflictError, match="rollback by bob, it is worse"):
            deploying.result(timeout=PATIENCE_S)
    assert workspace.deployments.live() == back
    assert fleet.staged("production") == []


def test_of_two_deployers_at_once_one_wins_and_the_other_is_told(workspace: Workspace) -> None:
    """Both have looked before either writes: they meet where a server has loaded for both."""
    met = threading.Barrier(2)

    def attempt(version_id: str) -> str:
        own = Workspace.open(workspace.root)
        try:
            deploy(own, version_id, actor=version_id, watching=lambda _: met.wait(PATIENCE_S))
        except DeploymentConflictError as error:
            return str(error)
        return "won"

    for _ in range(3):
        ready = {"staging_number": 10**6, "loaded": ("first", "second", "third")}
        workspace.fleet.tell(state(workspace, **ready))
        before = len(workspace.deployments.history())
        both = ("second", "third")
        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(both, pool.map(attempt, both), strict=True))
        winner = workspace.deployments.live().version_id
        (loser,) = set(both) - {winner}
        assert results[winner] == "won"
        assert f"{winner} has gone live since: deploy by {winner}" in results[loser]
        assert len(workspace.deployments.history()) == before + 1
        deploy(workspace, "first")


def test_of_two_who_deploy_the_same_the_other_is_told_at_once(workspace: Workspace) -> None:
    """Though no server ever gets to see what it has asked for."""
    fleet, server = workspace.fleet, state(workspace)
    fleet.tell(server)
    with in_another_thread(lambda: deploy(workspace, "second", "ann")) as first:
        number = staged(workspace)
        with in_another_thread(lambda: deploy(workspace, "second", "bob")) as other:
            wait_for(lambda: staged(workspace) != number)
            loaded = {"staging_number": number, "loaded": ("first", "second")}
            fleet.tell(replace(server, **loaded))
            assert first.result(timeout=PATIENCE_S).actor == "ann"
            with pytest.raises(DeploymentConflictError, match=r"second has gone .* by ann"):
                other.result(timeout=PATIENCE_S / 2)
    assert fleet.staged("production") == []


def test_of_two_who_roll_back_at_once_one_does_and_the_other_is_told(workspace: Workspace) -> None:
    """Both have looked before either writes."""
    deploy(workspace, "second")
    deploy(workspace, "third")
    met = threading.Barrier(2)

    def attempt(actor: str) -> str:
        own, seen = Workspace.open(workspace.root), list[str]()

        @event.listens_for(own._engine, "after_cursor_execute")
        def looked(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "FROM deployments" in statement and not seen:
                seen.append(statement)
                met.wait(PATIENCE_S)

        try:
            return own.roll_back(actor=actor, reason="it is worse").version_id
        except DeploymentConflictError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        back, told = sorted(pool.map(attempt, ("ann", "bob")), key=len)
    assert back == "second"
    assert "second has gone live since: rollback by " in told
    assert workspace.deployments.live().version_id == "second"


def test_a_cycle_deploys_once_every_server_has_its_candidate_loaded(
    workspace: Workspace, tmp_path: Path
) -> None:
    tiny.hold_out(workspace)
    cycle = workspace.cycles.run(tiny.begin_with_model(workspace, tmp_path / "tuned").id)
    assert cycle.state is CycleState.AWAITING_APPROVAL, cycle.detail
    candidate, server = str(cycle.version_id), state(workspace)
    workspace.fleet.tell(server)

    def approve() -> Any:
        return workspace.cycles.approve(cycle.id, actor="bob")

    with in_another_thread(approve) as approving:
        failed = {"staging_number": staged(workspace), "failed": {candidate: "No memory."}}
        workspace.fleet.tell(replace(server, **failed))
        with pytest.raises(StagingFailedError, match="No memory"):
            approving.result(timeout=PATIENCE_S)
    assert workspace.cycles.get(cycle.id).state is CycleState.AWAITING_APPROVAL
    assert workspace.deployments.live().version_id == "first"
    # With more memory, the same word from the same person does it.
    with in_another_thread(approve) as approving:
        loaded = {"staging_number": staged(workspace), "loaded": (candidate,)}
        workspace.fleet.tell(replace(server, **loaded))
        assert approving.result(timeout=PATIENCE_S).state is CycleState.DEPLOYED
    assert workspace.deployments.live().version_id == candidate


def test_a_canary_goes_live_once_every_server_can_answer_with_it(workspace: Workspace) -> None:
    quick = workspace.configured({"rollouts": {"step_sessions": 1, "step_minutes": 0.0}})
    canary = quick.begin_canary("second", actor="ann", reason="try", shares=(0.5,), force=True)
    heard = Observed(
        rollout_id=canary.id, step=0, arm=Arm.CANDIDATE, session="call", wrong=frozenset()
    )
    quick.rollouts.note([heard])
    server = state(quick)
    quick.fleet.tell(server)
    decision = quick.judge_rollout(actor="worker")
    assert decision and decision.action is Action.WAIT
    assert decision.reason == f"{server.called} cannot answer with it yet"
    with in_another_thread(
        lambda: quick.rollouts.promote(canary.id, actor="bob", reason="sure")
    ) as promoting:
        failed = {"staging_number": staged(quick), "failed": {"second": "No memory."}}
        quick.fleet.tell(replace(server, **failed))
        with pytest.raises(StagingFailedError, match="No memory"):
            promoting.result(timeout=PATIENCE_S)
    assert quick.deployments.live().version_id == "first"
    quick.fleet.tell(replace(server, loaded=("first", "second")))
    decision = quick.judge_rollout(actor="worker")
    assert decision and decision.action is Action.PROMOTE
    assert quick.deployments.live().version_id == "second"


def test_a_canary_that_does_not_begin_leaves_nothing_staged(workspace: Workspace) -> None:
    server = state(workspace, staging_number=10**6, loaded=("first", "second", "third"))
    workspace.fleet.tell(server)
    begin = partial(workspace.begin_canary, actor="ann", reason="try", force=True)
    begin("second")
    with pytest.raises(RolloutConflictError):
        begin("third")
    assert workspace.fleet.staged("production") == []


def test_the_row_that_a_caller_has_seen_must_still_be_the_newest(workspace: Workspace) -> None:
    seen = workspace.deployments.live().number
    deploy(workspace, "second", expected=seen)
    for version_id in ("third", "second"):
        with pytest.raises(DeploymentConflictError, match="second has gone live since"):
            deploy(workspace, version_id, expected=seen)
    with pytest.raises(DeploymentConflictError, match="Nothing was ever live in 'canary'"):
        deploy(workspace, "third", slot="canary", expected=7)
    deploy(workspace, "third", slot="canary", expected=0)
    assert workspace.deployments.live_by_slot() == {"canary": "third", "production": "second"}


def test_followers_are_told_from_those_that_cannot(workspace: Workspace) -> None:
    fleet = workspace.fleet
    live = workspace.deployments.live()
    assert fleet.follow("production", live.version_id, live.number, within_s=0).answering == ()
    fleet.tell(state(workspace))
    fleet.tell(state(workspace, id="late", deployment_number=live.number - 1))
    fleet.tell(
        state(workspace, id="unable", deployment_number=live.number - 1, failed={"first": "No."})
    )
    found = fleet.follow("production", "first", live.number, within_s=0.2)
    assert [one.id for one in found.answering] == ["server-1"]
    assert [one.id for one in found.behind] == ["late", "unable"]
    # Whoever cannot is not waited for.
    fleet.leave("late")
    started = time.monotonic()
    found = fleet.follow("production", "first", live.number, within_s=PATIENCE_S)
    assert time.monotonic() - started < PATIENCE_S
    assert [one.id for one in found.behind] == ["unable"]


def test_retention_keeps_what_servers_have_loaded_or_are_asked_to(workspace: Workspace) -> None:
    for version_id in ("second", "third", "first", "second"):
        deploy(workspace, version_id)
    fleet = workspace.fleet

    def pruned() -> tuple[str, ...]:
        return workspace.retention.prune(keep=0, actor="ann").versions

    fleet.tell(state(workspace, loaded=("second", "third"), seen_at=now()))
    assert "third" not in pruned()
    # A server that died holds nothing for ever.
    fleet.forget(timedelta(0))
    moment = now()
    until = moment + timedelta(seconds=PATIENCE_S)
    request = {"created_at": moment, "slot": "production", "version_id": "third", "actor": "bob"}
    with writing(workspace._engine) as connection:
        connection.execute(insert(stagings).values(**request, until=until))
    assert "third" not in pruned()
    tried = workspace.begin_shadow("third", actor="ann", reason="test")
    with writing(workspace._engine) as connection:
        connection.execute(update(stagings).values(until=moment - LONG_AGO))
    assert "third" not in pruned()
    workspace.rollouts.stop(tried.id, actor="ann", reason="test")
    assert "third" in pruned()
