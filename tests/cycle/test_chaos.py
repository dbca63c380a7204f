"""The chaos harness, shorter than its committed run: see `docs/lifecycle.md` for that one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cycle.chaos import differences
from tests.cycle.chaos_points import POINTS
from tests.postgres import PROGRAMS

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cycle.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        # Threads of a library that is forked are gone in the child.
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_worker_killed_at_any_point_of_any_stage_loses_and_repeats_nothing() -> None:
    told = chaos("--points")
    assert (told["missed"], told["differing"]) == ([], 0)
    assert told["points"] == told["kills"] == len(POINTS)


def test_so_it_is_with_two_that_compete_and_die_at_random() -> None:
    told = chaos("--kills", "10")
    assert told["kills"] >= 10
    assert told["differing"] == 0


@pytest.mark.skipif(not PROGRAMS, reason="wants Debian's package postgresql")
def test_so_it_is_on_postgresql() -> None:
    told = chaos("--points", "--every", "4", "--database", "postgresql")
    assert (told["missed"], told["differing"]) == ([], 0)
    assert told["points"] >= 10


def test_what_was_done_twice_or_not_at_all_is_told() -> None:
    calm = {"jobs": {"a": 1}, "audit": {"x": 1, "y": 2}, "backups": 1}
    assert differences(calm, calm) == []
    assert differences(calm, {"jobs": {}, "audit": {"x": 2, "y": 2}, "backups": 2}) == [
        "audit: 2 instead of 1 of x",
        "backups: 2 instead of 1",
        "jobs: 0 instead of 1 of a",
    ]
