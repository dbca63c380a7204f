"""`misheard watch`: one look for cron, or one after the other."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.cycle.states import CycleState
from misheard.database.engine import open_engine
from misheard.datasets.samples import Sample
from misheard.workspace import Workspace
from tests import tiny

NOTHING = {
    "rolled_back": None,
    "rollouts": [],
    "runs": [],
    "begun": None,
    "suspicion": None,
    "advanced": [],
    "let_go": {"recordings": 0, "bytes": 0, "transcripts": 0, "blobs": 0, "is_done": True},
    "swept": [],
    "failed": [],
}
ASKING = {"triggers": {**tiny.TRIGGERS, "require_approval": True}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(tmp_path / "ws", **ASKING)


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), "watch", *arguments])


def once(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    done = run(workspace, "--once", "--json", *arguments)
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(line)
    return told


def second(workspace: Workspace, tmp_path: Path) -> str:
    folder = tiny.model(tmp_path / "second")
    made = workspace.registry.register(folder, name="tiny", source="x", actor="ann")
    workspace.deploy(made.id, actor="ann", reason="try", force=True)
    return made.id


def test_where_there_is_nothing_to_do_it_says_so(workspace: Workspace) -> None:
    assert once(workspace) == NOTHING
    assert run(workspace, "--once").stdout == "Nothing to do.\n"


def test_it_says_what_it_has_begun(workspace: Workspace) -> None:
    tiny.correct(workspace, tiny.heard(workspace, 3))
    told = once(workspace)
    cycle = workspace.cycles.latest()
    assert cycle is not None
    assert told["begun"]["id"] == cycle.id
    assert told["begun"]["state"] == "proposed"
    assert told["begun"]["actor"] == "watch"
    assert once(workspace)["begun"] is None


def test_it_says_what_it_has_rolled_back_and_why(workspace: Workspace, tmp_path: Path) -> None:
    first = workspace.deployments.live().version_id
    second(workspace, tmp_path)
    tiny.correct(workspace, tiny.heard(workspace, 12))
    done = run(workspace, "--once")
    assert f"Rolled back to {first}: an error rate of 100.0% in 12 sessions" in done.stdout
    assert "more than 50.0%" in " ".join(done.stdout.split())
    assert workspace.deployments.live().version_id == first


def test_the_rollback_is_json_as_well(workspace: Workspace, tmp_path: Path) -> None:
    first = workspace.deployments.live().version_id
    second(workspace, tmp_path)
    tiny.correct(workspace, tiny.heard(workspace, 12))
    told = once(workspace)["rolled_back"]
    assert (told["version_id"], told["action"], told["actor"]) == (first, "rollback", "watch")


def test_with_no_train_a_cycle_is_begun_and_left_to_others(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws", triggers=tiny.TRIGGERS)
    tiny.correct(workspace, tiny.heard(workspace, 3))
    told = once(workspace, "--no-train")
    assert told["begun"]["state"] == "triggered"
    assert told["advanced"] == []
    assert workspace.cycles.counts() == {CycleState.TRIGGERED: 1}


def test_it_says_what_it_has_let_go_of(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws", capture={"keep_audio_gb": 1e-9})
    tiny.heard(workspace, 3)
    done = run(workspace, "--once")
    assert done.exit_code == 0, done.output
    assert "Let go of 3 recordings (" in done.stdout
    assert "and 0 transcripts." in done.stdout
    assert "Nothing to do." in run(workspace, "--once").stdout


def test_a_look_for_cron_says_that_something_failed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(open_engine, patience_s=0.05)
    monkeypatch.setattr("misheard.rooms.opened.open_engine", quick)
    with closing(sqlite3.connect(workspace.root / "misheard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = run(workspace, "--once")
    assert done.exit_code == 1
    assert done.stdout == "Could not be done now: trigger, alerts.\n"
    assert once(workspace) == NOTHING


@pytest.mark.parametrize("interval", ["0", "-1", "soon", "nan", "inf"])
def test_an_interval_is_a_time_above_nothing(workspace: Workspace, interval: str) -> None:
    done = run(workspace, "--once", "--interval", interval)
    assert done.exit_code == 2
    assert "interval" in done.stderr


@pytest.mark.model
def test_one_look_trains_a_real_model_and_puts_it_live(tmp_path: Path, short_prompts: list) -> None:
    """A dozen clips are too few to learn from, so the gates let everything pass."""
    settings = {
        "backend": "inprocess",
        "triggers": tiny.TRIGGERS,
        "datasets": {"train_percent": 100, "validation_percent": 0, "test_percent": 0},
        "recipe": {"epochs": 1},
        "validation": {
            "require_significance": False,
            "min_wer_improvement": -1000.0,
            "min_cer_improvement": -1000.0,
            "max_slowdown": 1000.0,
            "max_real_time_factor": 1000.0,
            "max_wer_degradation_rate": 1.0,
            "require_no_major_degradation": False,
        },
        "deployment": {"require_approval": False},
    }
    workspace = Workspace.create(tmp_path / "ws", settings=settings, actor="ann")
    first = workspace.deployments.live().version_id
    training = [Sample(data=p.data, reference=p.reference) for p in short_prompts[:6]]
    tested = [Sample(data=p.data, reference=p.reference) for p in short_prompts[40:43]]
    tiny.correct(workspace, workspace.transcribe(training), words="hello this is a test")
    workspace.evaluation_set("held-out", tested)
    done = run(workspace, "--once", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["begun"]["state"] == "triggered"
    (advanced,) = told["advanced"]
    assert advanced["id"] == told["begun"]["id"]
    assert advanced["state"] == "deployed", advanced["detail"]
    live = workspace.deployments.live()
    assert live.version_id == advanced["version_id"] != first
    assert workspace.registry.get(live.version_id).parent_id == first
    # The next look finds nothing new.
    assert once(workspace) == NOTHING
