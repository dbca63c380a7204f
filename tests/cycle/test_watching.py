"""After it went live: a version is watched for a while, and its cycle is closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.cycle.watching import WatchRules
from misheard.errors import IllegalTransitionError
from misheard.watch import look
from misheard.workspace import Workspace
from tests import tiny
from tests.cycle.conftest import hours_pass

S = CycleState
QUIET: dict[str, dict[str, Any]] = {
    "triggers": {"min_error_cases": 1000, "trigger_on_error_rate": False},
    # What a clock says must not decide on a busy machine.
    "validation": {"max_slowdown": 1e9, "max_real_time_factor": 1e9},
}
LoopOf = Callable[..., Any]


def deployed(loop: Any) -> Any:
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id, force=True)
    loop.cycles.run(cycle.id)
    return loop.cycles.approve(cycle.id, actor="boss")


def test_a_deployed_version_is_watched_for_a_day_and_then_its_cycle_is_closed(loop: Any) -> None:
    cycle = deployed(loop)
    assert loop.cycles.run(cycle.id).state is S.DEPLOYED
    with pytest.raises(IllegalTransitionError, match="nothing follows by itself"):
        loop.cycles.advance(cycle.id)
    hours_pass(loop.engine, 23.9)
    assert loop.cycles.run(cycle.id).state is S.DEPLOYED
    hours_pass(loop.engine, 0.1)
    assert loop.cycles.run(cycle.id).state is S.CLOSED
    *_, live, watched, closed = loop.cycles.steps(cycle.id)
    assert [one.to_state for one in (live, watched, closed)] == ["deployed", "watched", "closed"]
    assert watched.detail == "0 transcripts, 0 of them found wrong in 24.0 hours"
    assert loop.cycles.run(cycle.id).state is S.CLOSED


def test_it_is_watched_over_so_many_transcripts_as_well(loop_of: LoopOf) -> None:
    loop = loop_of(watch=WatchRules(hours=1.0, inferences=2))
    cycle = deployed(loop)
    hours_pass(loop.engine, 2.0)
    assert loop.cycles.run(cycle.id).state is S.DEPLOYED
    assert "2 transcripts, of which 0 are there" in loop.cycles.outlook(cycle).what
    base, loop.base_id = loop.base_id, cycle.version_id
    from tests.cycle.conftest import traffic  # noqa: PLC0415

    traffic(loop, 2)
    loop.base_id = base
    assert loop.cycles.run(cycle.id).state is S.CLOSED
    assert "2 transcripts, 0 of them found wrong" in loop.cycles.steps(cycle.id)[-2].detail


def test_what_takes_its_place_ends_the_watch(loop: Any, tmp_path: Path) -> None:
    cycle = deployed(loop)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.bin").write_bytes(b"other")
    other = loop.registry.register(tmp_path / "other", name="tiny", source="x", actor="ann")
    loop.deployments.deploy(other.id, actor="ann", reason="in a hurry")
    assert loop.cycles.run(cycle.id).state is S.CLOSED
    assert loop.cycles.steps(cycle.id)[-2].detail.endswith(f"{other.id} has gone live")


def test_a_rollback_that_nobody_noted_ends_it_as_rolled_back(loop: Any) -> None:
    """As if the process had been killed between the two, by a misheard that could be."""
    cycle = deployed(loop)
    loop.deployments.roll_back(actor="bob", reason="worse")
    assert loop.cycles.run(cycle.id).state is S.ROLLED_BACK
    assert loop.cycles.get(cycle.id).detail == "bob: worse"


def test_what_was_closed_can_still_be_rolled_back_and_watched_again(loop: Any) -> None:
    cycle = deployed(loop)
    hours_pass(loop.engine, 25.0)
    assert loop.cycles.run(cycle.id).state is S.CLOSED
    loop.cycles.note_left(cycle.version_id, actor="bob", reason="worse after all")
    assert loop.cycles.get(cycle.id).state is S.ROLLED_BACK
    loop.cycles.note_live(cycle.version_id, actor="bob", reason="it was not it")
    assert loop.cycles.get(cycle.id).state is S.DEPLOYED


def test_a_watched_cycle_keeps_nothing_waiting_and_cannot_be_cancelled(loop: Any) -> None:
    cycle = deployed(loop)
    assert loop.cycles.unfinished() == []
    assert [one.id for one in loop.cycles.under_watch()] == [cycle.id]
    with pytest.raises(IllegalTransitionError, match="misheard rollback"):
        loop.cycles.cancel(cycle.id, actor="ann")
    with pytest.raises(IllegalTransitionError, match="misheard rollback"):
        loop.cycles.change(cycle.id, auto_deploy=True)


def test_a_look_closes_what_was_watched_for_long_enough(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws", **QUIET)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", auto_deploy=True)
    assert workspace.cycles.run(begun.id).state is S.DEPLOYED
    assert look(workspace).advanced == ()
    hours_pass(workspace._engine, 25.0)
    assert [one.state for one in look(workspace).advanced] == [S.CLOSED]
    assert workspace.cycles.under_watch() == []


def test_a_rollback_and_its_note_stand_or_fall_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tiny.make(tmp_path / "ws", **QUIET)
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", auto_deploy=True)
    cycle = workspace.cycles.run(begun.id)
    before = tiny.rows(workspace)

    def power_cut(*_: Any, **__: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(type(workspace.cycles), "note_live_in", power_cut)
        with pytest.raises(RuntimeError):
            workspace.roll_back(actor="bob", reason="worse")
    assert tiny.rows(workspace) == before
    workspace.roll_back(actor="bob", reason="worse")
    assert workspace.cycles.get(cycle.id).state is S.ROLLED_BACK


def test_of_two_who_see_the_same_trouble_one_rolls_back(tmp_path: Path) -> None:
    """The second would go back once more, to what nobody meant."""
    from misheard.errors import DeploymentConflictError  # noqa: PLC0415

    workspace: Workspace = tiny.make(tmp_path / "ws", **QUIET)
    for name in ("second", "third"):
        folder = tiny.model(tmp_path / name)
        made = workspace.registry.register(folder, name="tiny", source="x", actor="ann")
        workspace.deploy(made.id, actor="ann", reason="try", force=True)
    seen = workspace.deployments.live().number
    back = workspace.roll_back(actor="one", reason="worse", leaving=seen)
    with pytest.raises(DeploymentConflictError, match="has gone live since: rollback by one"):
        workspace.roll_back(actor="two", reason="worse", leaving=seen)
    assert workspace.deployments.live() == back
