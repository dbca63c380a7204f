"""`misheard cycle`: a person's word, and models that were trained elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleState
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    # The models here are files with nothing in them, which no fresh process could load.
    made = tiny.make(
        tmp_path / "ws",
        triggers={**tiny.TRIGGERS, "require_approval": True},
        deployment={"check_files": False},
    )
    tiny.hold_out(made)
    tiny.correct(made, tiny.heard(made, 3))
    return made


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), "cycle", *arguments])


def ok(workspace: Workspace, *arguments: str) -> Any:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def proposed(workspace: Workspace) -> Cycle:
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    return cycle


def test_begin_proposes_where_training_needs_a_yes(workspace: Workspace) -> None:
    told = ok(workspace, "begin", "--as", "ann")
    assert (told["state"], told["actor"]) == ("proposed", "ann")
    assert ok(workspace, "begin")["id"] == told["id"]
    assert len(workspace.cycles.listed()) == 1


def test_approve_begins_a_proposal(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    told = ok(workspace, "approve", cycle.id, "--as", "boss")
    assert (told["state"], told["detail"]) == ("triggered", "approved by boss")
    (entry,) = workspace.audit.entries(subject=cycle.id)
    assert (entry.actor, entry.action) == ("boss", "approve")
    again = run(workspace, "approve", cycle.id)
    assert again.exit_code == 2
    assert "awaits no approval" in again.stderr


def test_reject_says_why(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    assert run(workspace, "reject", cycle.id).exit_code == 2
    done = run(workspace, "reject", cycle.id, "--reason", "too [/expensive] [now]")
    assert done.exit_code == 0, done.output
    assert "too [/expensive] [now]" in " ".join(done.stdout.split())
    assert workspace.cycles.get(cycle.id).state is CycleState.REJECTED


def test_cancel_ends_a_proposal(workspace: Workspace) -> None:
    told = ok(workspace, "cancel", proposed(workspace).id, "--as", "ann")
    assert (told["state"], told["detail"]) == ("cancelled", "cancelled by ann")


def test_a_model_whose_files_do_not_load_is_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_DEPLOYMENT__CHECK_FILES", "true")
    cycle = elsewhere(workspace)
    ok(workspace, "run", cycle.id)
    told = ok(workspace, "take-model", cycle.id, str(tiny.model(tmp_path / "tuned", tuned=True)))
    assert told["state"] == "refused"
    assert "does not work in a fresh process" in told["detail"]
    checked = workspace.infrastructure.latest_of(told["version_id"])
    assert checked is not None
    assert not checked.passed


def elsewhere(workspace: Workspace) -> Cycle:
    options = CycleOptions(trained_elsewhere=True, skip_validation=True)
    cycle = workspace.cycles.begin(actor="ann", approved=True, options=options)
    assert cycle is not None
    return workspace.cycles.run(cycle.id)


def test_take_model_takes_it_and_runs_the_gates(workspace: Workspace, tmp_path: Path) -> None:
    cycle = elsewhere(workspace)
    assert ok(workspace, "run", cycle.id)["state"] == "dataset"
    told = ok(workspace, "take-model", cycle.id, str(tiny.model(tmp_path / "tuned", tuned=True)))
    assert told["state"] == "awaiting_approval"
    version = workspace.registry.get(told["version_id"])
    assert (version.source, version.dataset_id) == (str(tmp_path / "tuned"), cycle.dataset_id)
    assert ok(workspace, "approve", cycle.id)["state"] == "deployed"
    assert workspace.deployments.live().version_id == version.id
    assert (tmp_path / "tuned" / "model.bin").exists()


def test_take_model_of_what_is_no_model_changes_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    cycle = elsewhere(workspace)
    before = tiny.rows(workspace)
    done = run(workspace, "take-model", cycle.id, str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "nowhere" in done.stderr
    assert tiny.rows(workspace) == before


def test_take_model_for_a_proposal_is_refused_and_keeps_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    cycle = proposed(workspace)
    before = tiny.rows(workspace)
    done = run(workspace, "take-model", cycle.id, str(tiny.model(tmp_path / "tuned")))
    assert done.exit_code == 2
    assert "it takes no model" in done.stderr
    assert tiny.rows(workspace) == before


def test_list_and_show_tell_what_happened(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    workspace.cycles.reject(cycle.id, actor="boss", reason="no [noise]")
    assert [one["id"] for one in ok(workspace, "list")] == [cycle.id]
    told = ok(workspace, "show", cycle.id)
    assert [step["to_state"] for step in told["steps"]] == ["proposed", "rejected"]
    assert told["cycle"]["decision"]["error_cases"] == 3
    assert "rejected by boss: no [noise]" in " ".join(
        run(workspace, "show", cycle.id).stdout.split()
    )
    assert cycle.id in run(workspace, "list").stdout


def test_unknown_cycles_are_bad_input(workspace: Workspace, tmp_path: Path) -> None:
    for arguments in (
        ("approve", "cycle-x"),
        ("reject", "cycle-x", "--reason", "no"),
        ("cancel", "cycle-x"),
        ("run", "cycle-x"),
        ("take-model", "cycle-x", str(tmp_path)),
    ):
        done = run(workspace, *arguments)
        assert done.exit_code == 2, arguments
        assert "cycle-x" in done.stderr


def test_words_in_brackets_are_shown_as_they_were_heard_and_said(workspace: Workspace) -> None:
    """Noise is often written so, and a table must neither hide it nor stumble over it."""
    (one,) = tiny.heard(workspace, 1, first=60)
    tiny.correct(workspace, [one], words="[noise] hello [/noise]")
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "cases"])
    assert done.exit_code == 0, done.output
    assert "[noise]" in done.stdout
    assert "[/noise]" in done.stdout


def test_approval_keeps_who_and_why(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    told = ok(workspace, "approve", cycle.id, "--as", "boss", "--reason", "names are bad")
    assert told["detail"] == "approved by boss: names are bad"
    (entry,) = workspace.audit.entries(subject=cycle.id)
    assert (entry.actor, entry.action, entry.reason) == ("boss", "approve", "names are bad")


def test_retry_takes_up_what_failed(workspace: Workspace) -> None:
    cycle = elsewhere(workspace)
    workspace.cycles.train_elsewhere(cycle.id, actor="trainer")
    workspace.cycles.fail(cycle.id, reason="out of memory")
    told = ok(workspace, "retry", cycle.id, "--as", "ann", "--reason", "a larger machine")
    assert (told["state"], told["detail"]) == ("dataset", "attempt 2, by ann: a larger machine")
    again = run(workspace, "retry", cycle.id)
    assert again.exit_code == 2
    assert "only what has failed is tried again" in again.stderr


def test_advance_takes_one_step_at_a_time_and_says_what_comes_next(
    workspace: Workspace, tmp_path: Path
) -> None:
    assert ok(workspace, "advance") == {"moved": False, "cycle": None, "next": None}
    assert run(workspace, "advance").stdout == "Nothing to do.\n"
    waiting = proposed(workspace)
    told = ok(workspace, "advance")
    assert (told["moved"], told["cycle"]["state"]) == (False, "proposed")
    assert told["next"]["who"] == "a person"
    assert told["next"]["commands"][0] == f"misheard cycle approve {waiting.id} --reason WHY"
    chosen = {"skip_validation": True, "auto_deploy": True}
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", **chosen)
    seen = []
    while True:
        told = ok(workspace, "advance")
        if not told["moved"]:
            break
        assert told["cycle"]["id"] == begun.id
        seen.append((told["cycle"]["state"], told["next"]["who"]))
    assert seen == [
        ("converted", "misheard"),
        ("validated", "misheard"),
        ("regression", "misheard"),
        ("deployed", "time"),
    ]
    shown = run(workspace, "advance", begun.id)
    assert shown.exit_code == 0
    assert "stays: it is deployed" in shown.stdout
    assert "it is watched until" in " ".join(shown.stdout.split())


def test_advance_leaves_a_cycle_to_who_works_on_it(workspace: Workspace, tmp_path: Path) -> None:
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", skip_validation=True)
    workspace.cycles._store.take_lease(begun.id)
    told = ok(workspace, "advance")
    assert (told["moved"], told["cycle"]["state"]) == (False, "triggered")
    assert "Now" in run(workspace, "show", begun.id).stdout


def test_what_keeps_a_cycle_from_going_on_ends_advance_with_1_and_is_shown(
    workspace: Workspace, tmp_path: Path
) -> None:
    chosen = {"skip_validation": True, "auto_deploy": True}
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", **chosen)
    for _ in range(3):
        ok(workspace, "advance", begun.id)
    folder = tiny.model(tmp_path / "second")
    made = workspace.registry.register(folder, name="tiny", source="x", actor="ann")
    workspace.deploy(made.id, actor="ann", reason="in a hurry", force=True)
    done = run(workspace, "advance", begun.id, "--json")
    assert done.exit_code == 1
    assert made.id in done.stderr
    shown = run(workspace, "show", begun.id).stdout
    assert "Trouble" in shown
    assert made.id in shown


def test_show_says_where_why_what_next_and_who(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    told = ok(workspace, "show", cycle.id)
    assert told["next"]["who"] == "a person"
    assert (told["validation"], told["suites"], told["held_until"]) == ("", [], None)
    shown = run(workspace, "show", cycle.id).stdout
    for what in (
        f"{cycle.id}  is proposed",
        "begun by watch",
        "3 corrected cases of 2 wanted",
        "it trains once somebody says yes",
        "waits for a person",
        f"misheard cycle approve {cycle.id} --reason WHY",
    ):
        assert what in shown
    # Commands are there to be copied, so they are never folded; all else fits a terminal.
    lines = [line for line in shown.splitlines() if "misheard cycle" not in line]
    assert max(map(len, lines)) <= 80


def test_list_can_be_narrowed_to_a_state(workspace: Workspace) -> None:
    cycle = proposed(workspace)
    assert [one["id"] for one in ok(workspace, "list", "--state", "proposed")] == [cycle.id]
    assert ok(workspace, "list", "--state", "closed") == []
