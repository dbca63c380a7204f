"""A list of nothing is a sentence: an empty table leaves open whether something went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.gates.suites import SuiteKind
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(tmp_path / "ws")


def shown(workspace: Workspace, command: str) -> str:
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), *command.split()])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("cycle list", "No cycle yet. To begin one: misheard cycle begin"),
        ("cycle list --state failed", "No cycle is failed."),
        ("dataset list", "No dataset yet"),
        ("suite list", "No regression suite yet"),
        ("inferences", "No transcript yet"),
        ("audit --subject nobody", "Nothing was done to 'nobody'."),
        ("cases", "No error case yet."),
        ("cases --status open", "No error case is like that."),
        ("alerts list", "No alerts."),
        ("trigger --history", "The trigger was not asked to act yet"),
        ("trend suspicion --each-version", "Nothing was heard in the last 28 days."),
        ("review next", "Waiting: "),
        ("review rate", "Nothing was drawn for an audit yet"),
        ("review agreement", "No utterance was labelled by two people yet"),
        ("review suspects", "Doubtful: 0."),
    ],
)
def test_where_there_is_nothing_to_list(workspace: Workspace, command: str, told: str) -> None:
    text = shown(workspace, command)
    assert text.startswith(told)
    # No line of a table.
    assert "──" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_suite_that_was_not_run_yet(workspace: Workspace) -> None:
    workspace.suites.add("pins", SuiteKind.CRITICAL, tiny.hold_out(workspace, "pins", 3))
    assert shown(workspace, "suite history pins") == (
        "Suite 'pins' was not run yet: misheard regress\n"
    )
