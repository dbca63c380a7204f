"""`misheard rollout`: begun, looked at, ended; and what the other commands say of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm
from misheard.watch import look
from misheard.workspace import Workspace
from tests import tiny
from tests.rollouts.made import observed, shadowed


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(
        tmp_path / "ws",
        rollouts={"step_sessions": 5, "step_minutes": 0.0},
        deployment={"check_files": False},
    )


@pytest.fixture
def candidate(workspace: Workspace, tmp_path: Path) -> str:
    files = tiny.model(tmp_path / "candidate", tuned=True)
    return workspace.registry.register(files, name="tuned", source="x", actor="ann").id


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments])


def told(workspace: Workspace, *arguments: str) -> Any:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_canary_needs_the_gates_or_somebody_who_knows_better(
    workspace: Workspace, candidate: str
) -> None:
    refused = run(workspace, "rollout", "canary", candidate)
    assert refused.exit_code == 1
    assert "has not passed validation" in refused.stderr
    made = run(workspace, "rollout", "canary", candidate, "--force", "--shares", "0.1,0.5")
    assert made.stdout.startswith(f"{candidate} answers 10% of the sessions in production.")
    rollout = workspace.rollouts.running()
    assert rollout is not None
    assert (rollout.shares, rollout.reason) == ((0.1, 0.5), "by hand")
    workspace.rollouts.stop(rollout.id, actor="ann", reason="r")
    tiny.hold_out(workspace)
    workspace.validate(candidate)
    assert run(workspace, "rollout", "canary", candidate).exit_code == 0


def test_shares_that_cannot_be(workspace: Workspace, candidate: str) -> None:
    for shares in ("", "a", "0.5,0.1", "1", "0.1;0.5", "nan"):
        done = run(workspace, "rollout", "canary", candidate, "--force", "--shares", shares)
        assert done.exit_code == 2, shares
    assert workspace.rollouts.listed() == []


def test_one_is_shown_signal_by_signal(workspace: Workspace, candidate: str) -> None:
    rollout = workspace.begin_canary(candidate, actor="ann", reason="to see", force=True)
    workspace.rollouts.note(
        [observed(rollout, Arm.CANDIDATE, Signal.SLOW), observed(rollout, Arm.LIVE)] * 2
    )
    shown = run(workspace, "rollout", "show", rollout.id)
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0] in set(Signal)] == list(Signal)
    assert ["slow", "2", "0", "∞", ">", "0.3", "66%"] in lines
    assert ["candidate", "2", "2"] in lines
    assert "now: 3 sessions of the candidate are still to come in this step" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    found = told(workspace, "rollout", "show", rollout.id)
    assert found["evidence"]["requests"] == {"live": 2, "candidate": 2}
    assert found["version_id"] == candidate
    assert run(workspace, "rollout", "show", "rollout-0").exit_code == 2


def test_a_bad_canary_is_taken_back_by_a_look_and_told_of(
    workspace: Workspace, candidate: str
) -> None:
    rollout = workspace.begin_canary(candidate, actor="ann", reason="to see", force=True)
    status = run(workspace, "status").stdout
    assert f"Tried  {candidate} answers 5% of the sessions, step 1 of 3" in status
    workspace.rollouts.note([observed(rollout, Arm.CANDIDATE, Signal.FAILED)] * 4)
    looked = run(workspace, "watch", "--once")
    assert looked.exit_code == 0, looked.output
    assert f"Canary {rollout.id} of {candidate} is rolled back: surely" in looked.stdout.replace(
        "\n", " "
    )
    alerts = run(workspace, "alerts", "list", "--json").stdout
    assert [one["rule"] for one in json.loads(alerts)["alerts"]] == ["canary_rolled_back"]
    listed = run(workspace, "rollout", "list").stdout
    assert "rolled back" in listed
    assert rollout.id in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert "Tried" not in run(workspace, "status").stdout
    # The next one begins, and the alert is over once that has lasted.
    workspace.begin_shadow(candidate, actor="ann", reason="again")
    assert [one.action for one in look(workspace).rollouts] == ["wait"]


def test_a_canary_is_stopped_or_promoted_by_hand(workspace: Workspace, candidate: str) -> None:
    first = workspace.begin_canary(candidate, actor="ann", reason="r", force=True)
    done = run(workspace, "rollout", "stop", first.id, "--reason", "no", "--as", "bob")
    assert done.stdout == f"{first.id} is stopped.\n"
    assert run(workspace, "rollout", "stop", first.id).exit_code == 2
    second = workspace.begin_canary(candidate, actor="ann", reason="r", force=True)
    done = run(workspace, "rollout", "promote", second.id)
    assert done.stdout == f"{second.id} is promoted.\n"
    assert workspace.deployments.live().version_id == candidate
    assert [one["state"] for one in told(workspace, "rollout", "list")] == ["promoted", "stopped"]
    assert told(workspace, "audit", "--subject", first.id)[0]["actor"] == "bob"


def test_a_shadow_says_how_far_the_two_texts_differ(workspace: Workspace, candidate: str) -> None:
    made = told(workspace, "rollout", "shadow", candidate, "--share", "1")
    rollout = workspace.rollouts.get(made["id"])
    assert (rollout.kind, rollout.shares) == ("shadow", (1.0,))
    workspace.rollouts.note_shadows([shadowed(rollout, candidate="press pound")] * 2)
    shown = run(workspace, "rollout", "show", rollout.id).stdout
    assert "The two texts differ in 2 of 4 words, 50.0%." in shown
    assert "slow" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    refused = run(workspace, "rollout", "promote", rollout.id)
    assert refused.exit_code == 2
    assert run(workspace, "rollout", "shadow", candidate, "--share", "0").exit_code == 2


def test_a_promotion_is_a_step_of_the_cycle_that_made_the_version(
    workspace: Workspace, tmp_path: Path
) -> None:
    tiny.hold_out(workspace)
    cycle = tiny.begin_with_model(workspace, tmp_path / "made")
    cycle = workspace.cycles.run(cycle.id)
    assert cycle.state == "awaiting_approval"
    assert cycle.version_id is not None
    rollout = workspace.begin_canary(cycle.version_id, actor="ann", reason="first see")
    workspace.rollouts.promote(rollout.id, actor="ann", reason="well")
    assert workspace.cycles.get(cycle.id).state == "deployed"


def test_what_is_tried_keeps_its_files(workspace: Workspace, tmp_path: Path) -> None:
    """Also a version that was live long ago, which retention would have let go of."""
    first = workspace.deployments.live().version_id
    for number in range(3):
        files = tiny.model(tmp_path / f"later-{number}")
        later = workspace.registry.register(files, name="x", source="x", actor="ann").id
        workspace.deployments.deploy(later, actor="ann", reason="r")
    rollout = workspace.begin_canary(first, actor="ann", reason="back to it")
    workspace.retention.prune(keep=0, actor="ann")
    assert workspace.registry.get(first).pruned_at is None
    workspace.rollouts.stop(rollout.id, actor="ann", reason="r")
    assert first in workspace.retention.prune(keep=0, actor="ann").versions
