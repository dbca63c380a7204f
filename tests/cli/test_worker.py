"""`misheard worker`: a process that works until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

MAIN = "import misheard.cli; misheard.cli.main()"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_did_and_stops_when_it_is_told_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    workspace = tiny.make(tmp_path / "ws", triggers={**tiny.TRIGGERS, "require_approval": True})
    tiny.correct(workspace, tiny.heard(workspace, 3))
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN, "-w", str(workspace.root), "worker", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    first = [json.loads(child.stdout.readline()) for _ in range(2)]
    assert {one["duty"] for one in first} == {"digest", "trigger"}
    child.send_signal(number)
    _, told = child.communicate(timeout=240)
    assert child.returncode == 0, told
    assert f"{number.name}: stopping" in told
    (cycle,) = workspace.cycles.listed()
    assert cycle.actor == "worker"


def test_without_a_workspace_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "-w", str(tmp_path), "worker"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "misheard init" in done.stderr
