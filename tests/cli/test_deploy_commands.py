"""deploy, rollback and versions on a real workspace; no model is loaded, so a small one will do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace that keeps two previous versions, with the first one live."""
    settings = {"deployment": {"keep_previous_versions": 2}}
    model = folder(tmp_path, "first")
    return Workspace.create(tmp_path / "calls", model=str(model), settings=settings, actor="ann")


def folder(tmp_path: Path, content: str) -> Path:
    made = tmp_path / "models-of-mine" / content
    made.mkdir(parents=True)
    for name in ("model.bin", "tokenizer.json"):
        (made / name).write_text(content, encoding="utf-8")
    return made


def register(workspace: Workspace, tmp_path: Path, version_id: str, **given: Any) -> str:
    made = workspace.registry.register(
        folder(tmp_path, version_id),
        name="t",
        source="test",
        actor="ann",
        version_id=version_id,
        **given,
    )
    return made.id


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments])


def ok(workspace: Workspace, *arguments: str) -> Any:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def statuses(workspace: Workspace) -> dict[str, str]:
    return {one["id"]: one["status"] for one in ok(workspace, "versions")}


def test_what_passed_no_validation_is_deployed_only_by_force(
    workspace: Workspace, tmp_path: Path
) -> None:
    register(workspace, tmp_path, "plain")
    register(workspace, tmp_path, "worse", verdict={"passed": False})
    register(workspace, tmp_path, "better", verdict={"passed": True})
    for refused in ("plain", "worse"):
        done = run(workspace, "deploy", refused)
        assert done.exit_code == 1
        assert "--force" in done.stderr
    assert ok(workspace, "deploy", "better")["version_id"] == "better"
    assert ok(workspace, "deploy", "plain", "--force")["version_id"] == "plain"
    # What was live before is known.
    assert ok(workspace, "deploy", "better")["version_id"] == "better"


def test_rollback_goes_back_one_or_to_a_named_version(workspace: Workspace, tmp_path: Path) -> None:
    first = workspace.deployments.live().version_id
    for version_id in ("two", "three"):
        register(workspace, tmp_path, version_id, verdict={"passed": True})
        ok(workspace, "deploy", version_id)
    assert ok(workspace, "rollback", "--reason", "worse")["version_id"] == "two"
    shown = run(workspace, "rollback", "--to", "three")
    assert "three is live again in production." in shown.stdout
    made = ok(workspace, "rollback", "--to", first, "--as", "bob")
    assert (made["version_id"], made["actor"], made["action"]) == (first, "bob", "rollback")
    never = run(workspace, "rollback", "--to", "four")
    assert never.exit_code == 2
    assert "'four' was never live in 'production'" in never.stderr


def test_a_rollback_that_names_what_it_leaves_happens_once(
    workspace: Workspace, tmp_path: Path
) -> None:
    for version_id in ("two", "three"):
        register(workspace, tmp_path, version_id, verdict={"passed": True})
        row = str(ok(workspace, "deploy", version_id)["number"])
    assert f"(row {row})" in run(workspace, "status").stdout
    assert ok(workspace, "rollback", "--leaving", row, "--as", "bob")["version_id"] == "two"
    again = run(workspace, "rollback", "--leaving", row)
    assert again.exit_code == 1
    assert f"Row {row} of the log was the newest" in again.stderr
    assert "rollback by bob" in again.stderr
    assert workspace.deployments.live().version_id == "two"


def test_versions_shows_what_became_of_each(workspace: Workspace, tmp_path: Path) -> None:
    first = workspace.deployments.live().version_id
    for version_id in ("two", "three", "four"):
        register(workspace, tmp_path, version_id, verdict={"passed": True})
        ok(workspace, "deploy", version_id)
    register(workspace, tmp_path, "five")
    ok(workspace, "deploy", "five", "--force", "--slot", "canary")
    register(workspace, tmp_path, "six")
    assert statuses(workspace) == {
        "six": "candidate",
        "five": "live in canary",
        "four": "live",
        "three": "was live",
        "two": "was live",
        first: "pruned",
    }
    shown = run(workspace, "versions").stdout
    assert "status" in shown
    assert "live in canary" in shown
    assert [one["id"] for one in ok(workspace, "versions", "--limit", "2")] == ["six", "five"]


def test_a_pruned_version_is_not_deployed(workspace: Workspace, tmp_path: Path) -> None:
    first = workspace.deployments.live().version_id
    for version_id in ("two", "three", "four"):
        register(workspace, tmp_path, version_id)
        ok(workspace, "deploy", version_id, "--force")
    for arguments in (("deploy", first, "--force"), ("rollback", "--to", first)):
        done = run(workspace, *arguments)
        assert done.exit_code == 2
        assert "Register its files again" in done.stderr
    assert ok(workspace, "status")["live"]["version_id"] == "four"


def test_every_deployment_by_hand_makes_a_backup(workspace: Workspace, tmp_path: Path) -> None:
    register(workspace, tmp_path, "two")
    before = workspace.deployments.live().number
    ok(workspace, "deploy", "two", "--force")
    (made,) = workspace.backups.listed()
    assert made.name.endswith(f"Z-{before}.db")
