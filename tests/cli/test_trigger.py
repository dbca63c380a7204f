"""`misheard trigger`: the answer of now, and what it came to before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.workspace import Workspace
from tests import tiny

ALL = {
    **tiny.TRIGGERS,
    "trigger_on_error_rate": True,
    "corrected_cases_alone": 100,
    "trigger_on_drift": True,
    "every_days": 30.0,
    "cooldown_hours": 24.0,
    "max_training_hours_per_month": 20.0,
    "max_cost_per_month": 200.0,
    "price_per_hour": 2.5,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = tiny.make(tmp_path / "ws", triggers=ALL)
    tiny.hold_out(made)
    tiny.correct(made, tiny.heard(made, 3))
    return made


def run(workspace: Workspace, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "trigger", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def told(workspace: Workspace, *arguments: str) -> Any:
    return json.loads(run(workspace, *arguments, "--json"))


def test_it_can_be_read_at_80_columns(workspace: Workspace) -> None:
    text = run(workspace)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Worth training: yes"
    assert "…" not in text
    for part in (
        "3 error cases of 2 wanted",
        "3 corrected cases of 100 that are a cause",
        "the suspicion of what is heard has not risen",
        "no cycle yet, one every 30 days",
        "0.0 of 20 training hours of this month are spent",
        "0.00 of this month's 200 for training are spent",
        "Expected gain",
        "50% of word errors, before the first one",
    ):
        assert part in text, part


def test_json_has_every_condition_and_the_expected_gain(workspace: Workspace) -> None:
    found = told(workspace)
    assert found["should_trigger"] is True
    met = {one["name"]: one["is_met"] for one in found["conditions"]}
    assert met["error cases"] is True
    assert met["drift of suspicion"] is False
    assert found["expected"]["answer"] == "unknown"
    assert found["expected"]["word_errors"] == 9


def test_the_history_says_what_it_came_to_and_what_it_began(workspace: Workspace) -> None:
    assert "was not asked to act yet" in run(workspace, "--history")
    cycle = workspace.cycles.begin(actor="watch")
    assert cycle is not None
    for _ in range(3):
        assert workspace.cycles.begin(actor="watch") is None
    no, yes = told(workspace, "--history")
    assert (yes["should_trigger"], yes["cycle_id"]) == (True, cycle.id)
    assert (no["should_trigger"], no["times"]) == (False, 3)
    text = run(workspace, "--history")
    assert max(map(len, text.splitlines())) <= 80
    assert "3 times" in text
    assert cycle.id in text
    assert len(told(workspace, "--history", "--limit", "1")) == 1


def test_a_cost_without_a_price_is_refused(workspace: Workspace) -> None:
    file = workspace.root / "misheard.toml"
    text = file.read_text(encoding="utf-8").replace("price_per_hour = 2.5", "price_per_hour = 0.0")
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "trigger"])
    assert done.exit_code == 2
    assert "needs a price_per_hour" in done.output
