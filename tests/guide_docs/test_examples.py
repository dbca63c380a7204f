"""The examples, as a reader runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from misheard.workspace import Workspace
from tests.guide_docs.conftest import ROOT
from tests.tiny import model

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SAYS = {
    "approval.py": ["1. A job is begun", "wants to train", "passed every gate", "as before"],
    "custom_training.py": ["'epochs': 1", "validation_failed"],
    "custom_transcribe_functions.py": ["faster-whisper on 6 clips", "WER changes by"],
    "rollback_practice.py": ["rolled back again", "to a named version", "deploy v-"],
}
"""What each must have got as far as to say."""


def run(script: Path, *arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    # Elsewhere than in the checkout, with the default workspace: ./data.
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=where,
        env=os.environ | {"COLUMNS": "120", "MISHEARD_ACTOR": "ada"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1000,
    )


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES] == sorted(SAYS)
    for path in EXAMPLES:
        assert f"]({path.name})" in listed


@pytest.mark.model
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_does_what_it_says_and_leaves_live_what_was_live(
    script: Path, copy_of_filled: Callable[[str], Path]
) -> None:
    folder = copy_of_filled(script.stem)
    before = Workspace.open(folder / "data")
    live, cases = before.deployments.live().version_id, before.cases.totals()
    done = run(script, where=folder)
    assert done.returncode == 0, done.stderr
    for said in SAYS[script.name]:
        assert said in done.stdout
    after = Workspace.open(folder / "data")
    assert after.deployments.live().version_id == live
    assert after.cases.totals() == cases
    # Nothing is left half-way, and there is still a version to roll back to.
    assert all(cycle.state.is_decided for cycle in after.cycles.listed())
    assert after.roll_back(actor="ada", reason="a test").version_id != live


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("made", [True, False], ids=["empty workspace", "no workspace"])
def test_an_example_says_what_an_empty_workspace_lacks(
    script: Path, made: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "calls"
    if made:
        Workspace.create(folder, model=str(model(tmp_path / "first")))
    done = run(script, "--workspace", str(folder), where=tmp_path)
    assert done.returncode == 1
    assert "make demo" in done.stderr
    assert "Traceback" not in done.stderr
