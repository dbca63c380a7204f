"""Two processes that do the same at the same moment: one does it, and the other learns of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.workspace import Workspace
from tests import tiny

AT_ONCE = """
import json, sys
from misheard.errors import MisheardError
from misheard.workspace import Workspace
workspace = Workspace.open(sys.argv[1])
cycles = workspace.cycles
cycles.check_trigger()
print("ready", flush=True)
sys.stdin.readline()
try:
    made = {call}
    print(json.dumps([made.id, made.state] if made else None))
except MisheardError as error:
    print(json.dumps(type(error).__name__))
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    settings = {"triggers": {**tiny.TRIGGERS, "require_approval": True}}
    made = tiny.make(tmp_path / "ws", **settings)
    tiny.hold_out(made)
    tiny.correct(made, tiny.heard(made, 3))
    return made


def at_once(workspace: Workspace, *calls: str) -> list[Any]:
    """What each of these calls gives, made in processes of their own at the same moment."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE.format(call=call), str(workspace.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for call in calls
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(calls)
    return [json.loads(answer) for answer in answers]


def test_of_two_that_approve_one_proposal_one_wins(workspace: Workspace) -> None:
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    call = f"cycles.approve('{cycle.id}', actor='boss')"
    answers = at_once(workspace, call, call, call)
    won = [answer for answer in answers if isinstance(answer, list)]
    assert won == [[cycle.id, "triggered"]]
    lost = [answer for answer in answers if isinstance(answer, str)]
    assert set(lost) <= {"LeaseLostError", "IllegalTransitionError"}
    assert len(lost) == 2
    steps = [step.to_state for step in workspace.cycles.steps(cycle.id)]
    assert steps == ["proposed", "triggered"]
    assert len(workspace.audit.entries(subject=cycle.id)) == 1


def test_a_yes_and_a_no_at_once_are_one_of_the_two(workspace: Workspace) -> None:
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    answers = at_once(
        workspace,
        f"cycles.approve('{cycle.id}', actor='boss')",
        f"cycles.reject('{cycle.id}', actor='bob', reason='no')",
    )
    (won,) = (answer for answer in answers if isinstance(answer, list))
    assert workspace.cycles.get(cycle.id).state == won[1]
    (entry,) = workspace.audit.entries(subject=cycle.id)
    assert entry.action == {"triggered": "approve", "rejected": "reject"}[won[1]]


def test_of_two_that_approve_one_candidate_one_deploys_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned")
    cycle = workspace.cycles.run(begun.id)
    assert cycle.state is CycleState.AWAITING_APPROVAL
    call = f"cycles.approve('{cycle.id}', actor='boss')"
    answers = at_once(workspace, call, call)
    assert [cycle.id, "deployed"] in answers
    assert sum(isinstance(answer, list) for answer in answers) == 1
    assert len(workspace.deployments.history()) == 2
    assert len(workspace.audit.entries(subject=cycle.id)) == 1


def test_two_that_watch_the_same_errors_propose_once(workspace: Workspace) -> None:
    call = "cycles.begin(actor='watch')"
    answers = at_once(workspace, call, call, call)
    proposed = workspace.cycles.listed()
    assert len(proposed) == 1
    assert answers == [[proposed[0].id, "proposed"]] * 3


def test_forced_jobs_of_two_processes_are_all_there(workspace: Workspace) -> None:
    call = "[cycles.begin(actor='ann', force=True, approved=True) for _ in range(100)][-1]"
    answers = at_once(workspace, call, call)
    assert all(state == "triggered" for _, state in answers)
    found = workspace.cycles.listed(limit=1000)
    assert len({cycle.id for cycle in found}) == 200
    assert workspace.cycles.counts() == {CycleState.TRIGGERED: 200}
    assert all(len(workspace.cycles.steps(cycle.id)) == 1 for cycle in found)
