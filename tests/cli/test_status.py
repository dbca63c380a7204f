"""`misheard status`: what is live, what waits for whom, what happens next."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from sqlalchemy import update

from misheard.capture.captured import Captured
from misheard.cases.records import Correction
from misheard.cli.group import cli
from misheard.cli.status import show
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import CycleState
from misheard.database.engine import now, writing
from misheard.database.schema import cycle_steps
from misheard.errors import DeploymentConflictError
from misheard.gates.suites import SuiteKind
from misheard.monitoring.conditions import Rule
from misheard.reports.status import Status, status
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(tmp_path / "ws", triggers={**tiny.TRIGGERS, "require_approval": True})


def shown(found: Status, width: int = 80) -> str:
    text = io.StringIO()
    show(found, Console(file=text, width=width, highlight=False))
    return text.getvalue()


def next_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments])


def waiting(found: Status) -> list[tuple[str, str]]:
    return [(one.who, one.command) for one in found.waiting]


def test_of_a_new_workspace_it_says_what_is_live_and_what_is_missing(workspace: Workspace) -> None:
    found = status(workspace)
    assert found.waiting == ()
    assert found.cycle is None
    assert found.live_version.id == found.live.version_id
    text = shown(found)
    assert f"{found.live.version_id}  ws-first, in production" in text
    assert "deploy by ann, the first model" in text
    assert "Worth training? not yet" in text
    assert "0 regression suites" in text
    assert "Waiting" not in text
    assert next_line(text) == (
        "Next: more transcripts and corrections: 0 corrected cases of 2 wanted; "
        "0 error cases of 2 wanted"
    )


def test_how_long_callers_of_the_live_version_waited(workspace: Workspace) -> None:
    waits = [0.2] * 93 + [12.0] * 7
    for heard_at in (now(), now() - timedelta(days=3)):
        workspace.capture(
            [
                Captured(audio="a.wav", text="x", heard_at=heard_at, latency_s=one)
                for one in waits[: 100 if heard_at > now() - timedelta(days=1) else 1]
            ]
        )
    before = status(workspace).latency
    workspace.digest.catch_up()
    found = status(workspace)
    assert found.latency.transcripts == 100
    assert (found.latency.p50_s, found.latency.p95_s, found.latency.p99_s) == pytest.approx(
        (0.2, 12.0, 12.0), rel=0.05
    )
    assert before == found.latency
    lines = shown(found).splitlines()
    told = f"{found.latency.p50_s:.2f} s at the median, {found.latency.p95_s:.2f} s at p95"
    assert [line for line in lines if f"latency {told} over the last 24 hours" in line]
    answer = json.loads(run(workspace, "status", "--json").stdout)
    assert answer["latency"]["p95_s"] == pytest.approx(12.0, rel=0.05)


def test_open_cases_wait_for_a_person(workspace: Workspace) -> None:
    one, two = tiny.heard(workspace, 2)
    workspace.cases.open(one.id)
    found = status(workspace)
    assert waiting(found) == [("a person", "misheard cases --status open")]
    assert found.waiting[0].what == "1 error case has no correction"
    assert next_line(shown(found)).endswith("misheard cases --status open")
    workspace.cases.open(two.id)
    assert status(workspace).waiting[0].what == "2 error cases have no correction"
    tiny.correct(workspace, [one, two])
    assert status(workspace).waiting == ()


def test_when_it_is_worth_training_it_says_how_to_begin(workspace: Workspace) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 3))
    found = status(workspace)
    assert found.trigger.should_trigger
    text = shown(found)
    assert "Worth training? yes" in text
    assert next_line(text) == "Next: it is worth training: misheard cycle begin"


def test_a_proposal_waits_for_a_person(workspace: Workspace) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 3))
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    found = status(workspace)
    command = f"misheard cycle approve {cycle.id}"
    assert waiting(found) == [("a person", command)]
    assert "wants to train" in found.waiting[0].what
    text = shown(found)
    assert "1 × proposed" in text
    assert next_line(text).endswith(command)
    assert run(workspace, *command.split()[1:]).exit_code == 0
    assert workspace.cycles.get(cycle.id).state is CycleState.TRIGGERED


def test_a_cycle_that_cannot_go_on_says_why(workspace: Workspace, tmp_path: Path) -> None:
    tiny.hold_out(workspace)
    stuck = tiny.begin_with_model(workspace, tmp_path / "tuned", auto_deploy=True)
    other = workspace.registry.register(
        tiny.model(tmp_path / "other"), name="tiny", source="x", actor="ann"
    )
    workspace.deploy(other.id, actor="ann", reason="by hand", force=True)
    with pytest.raises(DeploymentConflictError) as caught:
        workspace.cycles.run(stuck.id)
    # Others that began later do not hide it.
    for _ in range(11):
        begun = workspace.cycles.begin(actor="ann", force=True)
        assert begun is not None
        workspace.cycles.cancel(begun.id, actor="ann")
    found = status(workspace)
    (one,) = found.waiting
    assert (one.what, one.error) == ("a cycle stands at 'regression'", str(caught.value))
    text = shown(found)
    # The last line wraps as the terminal does.
    *lines, _ = text.splitlines()
    assert max(map(len, lines)) <= 80
    # Each word of it, whatever lines it takes.
    assert set(one.error.split()) <= set(text.split())
    assert one.command in text
    with writing(workspace._engine) as connection:
        connection.execute(update(cycle_steps).values(created_at=now() - timedelta(days=30)))
    (alert,), _ = workspace.alerts.evaluate()
    assert alert.rule is Rule.CYCLE_STUCK
    assert str(caught.value) in alert.detail
    assert set(alert.detail.split()) <= set(shown(status(workspace)).split())


def test_a_proposal_comes_before_the_training_that_new_errors_ask_for(
    workspace: Workspace,
) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 3))
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    tiny.correct(workspace, tiny.heard(workspace, 3, first=50))
    found = status(workspace)
    assert found.trigger.objections == (f"{cycle.id} is proposed",)
    assert cycle.id in next_line(shown(found))
    assert f"✗ {cycle.id} is proposed\n" in shown(found)


def test_a_candidate_that_passed_waits_for_a_person(workspace: Workspace, tmp_path: Path) -> None:
    tiny.hold_out(workspace)
    cycle = workspace.cycles.run(tiny.begin_with_model(workspace, tmp_path / "tuned").id)
    assert cycle.state is CycleState.AWAITING_APPROVAL
    found = status(workspace)
    command = f"misheard cycle approve {cycle.id}"
    assert waiting(found) == [("a person", command)]
    assert "passed every gate" in found.waiting[0].what
    # Nothing else is begun over it.
    tiny.correct(workspace, tiny.heard(workspace, 3))
    assert status(workspace).trigger.objections == (f"{cycle.id} is awaiting_approval",)
    assert next_line(shown(status(workspace))).endswith(command)


def test_a_trainer_elsewhere_is_waited_for(workspace: Workspace, tmp_path: Path) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 3))
    options = CycleOptions(trained_elsewhere=True)
    cycle = workspace.cycles.begin(actor="ann", approved=True, options=options)
    assert cycle is not None
    assert waiting(status(workspace)) == [("a process", f"misheard cycle run {cycle.id}")]
    workspace.cycles.run(cycle.id)
    for _ in range(2):
        command = f"misheard cycle take-model {cycle.id} DIRECTORY"
        assert waiting(status(workspace)) == [("a trainer", command)]
        if workspace.cycles.get(cycle.id).state is CycleState.DATASET:
            workspace.cycles.train_elsewhere(cycle.id, actor="trainer")


def test_a_cycle_that_nobody_works_on_waits_for_a_process(workspace: Workspace) -> None:
    cycle = workspace.cycles.begin(actor="ann", force=True, approved=True)
    assert cycle is not None
    (one,) = status(workspace).waiting
    assert (one.who, one.command) == ("a process", f"misheard cycle run {cycle.id}")
    assert "'triggered'" in one.what


def test_what_has_ended_waits_for_nobody(workspace: Workspace) -> None:
    cycle = workspace.cycles.begin(actor="ann", force=True)
    assert cycle is not None
    workspace.cycles.reject(cycle.id, actor="boss", reason="no")
    found = status(workspace)
    assert found.waiting == ()
    assert found.cycles == {CycleState.REJECTED: 1}


def test_what_was_measured_of_what_is_live_stands_beside_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    tiny.hold_out(workspace)
    begun = tiny.begin_with_model(workspace, tmp_path / "tuned", auto_deploy=True)
    assert workspace.cycles.run(begun.id).state is CycleState.DEPLOYED
    text = shown(status(workspace))
    assert "WER 0.00% (0.00% to 0.00%) on 'held-out', 20 utterances" in text


def test_the_figures_are_the_workspaces_own(workspace: Workspace) -> None:
    made = tiny.heard(workspace, 4)
    tiny.correct(workspace, made[:1])
    workspace.cases.open(made[1].id)
    workspace.suites.add("pins", SuiteKind.CRITICAL, tiny.hold_out(workspace, "pins", 2))
    found = status(workspace)
    assert found.cases == workspace.cases.standings()
    assert found.trigger == workspace.cycles.check_trigger()
    assert (found.rules.min_error_cases, found.suites) == (2, 1)
    assert [one.inferences for one in found.activity] == [4]
    lines = shown(found).splitlines()
    (corrected,) = (line.split() for line in lines if line.split()[:1] == ["corrected"])
    (errors,) = (line.split() for line in lines if line.split()[:2] == ["error", "cases"])
    assert (corrected[1:3], corrected[-1]) == (["1", "2"], "1")
    assert (errors[2:4], errors[-1]) == (["2", "2"], "2")
    assert "1 regression suite\n" in shown(found)


def test_the_error_rate_has_its_row_where_it_may_trigger(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws")
    (row,) = (
        line for line in shown(status(workspace)).splitlines() if line.startswith("  error rate")
    )
    assert row.split()[2:4] == ["–", "15.00%"]
    made = tiny.heard(workspace, 4)
    tiny.correct(workspace, made[:1])
    (row,) = (
        line for line in shown(status(workspace)).splitlines() if line.startswith("  error rate")
    )
    assert row.split()[2:4] == ["25.00%", "15.00%"]
    without = tiny.make(tmp_path / "other", triggers=tiny.RATES_OFF)
    assert "error rate" not in shown(status(without))


def everything_at_once(workspace: Workspace, tmp_path: Path) -> Status:
    made = tiny.heard(workspace, 5)
    tiny.correct(workspace, made[:3])
    workspace.cases.open(made[3].id)
    tiny.hold_out(workspace)
    workspace.cycles.begin(actor="watch")
    workspace.cycles.run(tiny.begin_with_model(workspace, tmp_path / "tuned").id)
    elsewhere = workspace.cycles.begin(
        actor="ann", force=True, approved=True, options=CycleOptions(trained_elsewhere=True)
    )
    assert elsewhere is not None
    workspace.cycles.run(elsewhere.id)
    return status(workspace)


def test_it_can_be_read_at_80_columns_and_every_command_stands_on_one_line(
    workspace: Workspace, tmp_path: Path
) -> None:
    found = everything_at_once(workspace, tmp_path)
    assert len(found.waiting) == 4
    *lines, last = shown(found).strip().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    for one in found.waiting:
        assert any(one.command in line for line in lines), one.command
        assert any(one.what in line for line in lines), one.what
    # The last line is one to copy from, so it is not broken.
    assert last.startswith("Next: ")


def test_texts_in_brackets_are_shown_as_they_are(workspace: Workspace, tmp_path: Path) -> None:
    """They look like the markup of the library that draws the tables."""
    folder = tiny.model(tmp_path / "second")
    made = workspace.registry.register(folder, name="tiny [v2]", source="x", actor="ann")
    workspace.deploy(made.id, actor="ann [ops]", reason="[/hotfix] now", force=True)
    text = shown(status(workspace))
    assert "tiny [v2], in production" in text
    assert "deploy by ann [ops], [/hotfix] now" in text


def test_json_holds_all_of_it(workspace: Workspace, tmp_path: Path) -> None:
    found = everything_at_once(workspace, tmp_path)
    done = run(workspace, "status", "--json")
    assert done.exit_code == 0
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["live"]["version_id"] == found.live.version_id
    assert told["next_step"] == found.next_step
    assert [one["command"] for one in told["waiting"]] == [c for _, c in waiting(found)]
    assert told["cycles"] == {"awaiting_approval": 1, "dataset": 1, "proposed": 1}
    assert told["cases"]["error_cases"] == 4
    assert told["trigger"]["should_trigger"] is False
    assert told["live_validation"] is None
    # What the trigger came to last, and what the training that it asked for may buy.
    assert told["evaluation"]["decision"]["expected"]["answer"] == "unknown"
    assert run(workspace, "status").exit_code == 0


def test_it_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    everything_at_once(workspace, tmp_path)
    before = tiny.rows(workspace)
    run(workspace, "status")
    assert tiny.rows(workspace) == before


def test_where_nobody_told_how_long_callers_waited_it_shows_a_dash(workspace: Workspace) -> None:
    workspace.capture([Captured(audio="a.wav", text="press one", heard_at=now(), duration_s=60.0)])
    (line,) = (one for one in shown(status(workspace)).splitlines() if " 1.0 " in one)
    assert line.split() == [workspace.deployments.live().version_id, "1", "1.0", "–", "–"]


def test_the_rate_that_counts_is_the_one_that_is_shown(tmp_path: Path) -> None:
    asked = {**tiny.TRIGGERS, "trigger_on_error_rate": True, "min_audited": 5}
    workspace = tiny.make(tmp_path / "audited", triggers=asked, capture={"audit_share": 1.0})
    heard = tiny.heard(workspace, 6)
    workspace.digest.catch_up()

    def rows() -> list[str]:
        return [one.strip() for one in shown(status(workspace)).splitlines()]

    assert any(one.startswith("error rate ") for one in rows())
    tiny.correct(workspace, heard[:3])
    workspace.cases.correct(
        [Correction(inference_id=one.id, reference=one.text, author="ann") for one in heard[3:]]
    )
    assert not any(one.startswith("error rate ") for one in rows())
    assert any("audited error rate at least" in one for one in rows())


def test_how_often_a_recogniser_that_is_none_of_ours_is_wrong_stands_beside_it(
    tmp_path: Path,
) -> None:
    workspace = tiny.make(tmp_path / "theirs", capture={"audit_share": 1.0})
    workspace.capture(
        [
            Captured(audio=f"{n}.wav", text=f"press {n}", heard_at=now(), recogniser="acme-2")
            for n in range(8)
        ]
    )
    workspace.digest.catch_up()
    said = [
        Correction(inference_id=one.id, reference=f"press {max(n, 2)}", author="ann")
        for n, one in enumerate(sorted(workspace.inferences.recent(), key=lambda one: one.text))
    ]
    workspace.cases.correct(said)
    (line,) = (one for one in shown(status(workspace)).splitlines() if "acme-2" in one)
    assert line.split() == ["acme-2", "8", "0.0", "–", "25.0%", "of", "8"]
