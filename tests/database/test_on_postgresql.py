"""A workspace on PostgreSQL: the whole loop, and what a server has that a file has not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.cycle.states import CycleState
from misheard.database.engine import open_engine
from misheard.errors import DatabaseUnreachableError, WorkspaceNotFoundError
from misheard.reports.status import status
from misheard.watch import look
from misheard.workspace import Workspace
from tests import tiny
from tests.busy import busy
from tests.postgres import PROGRAMS, Cluster


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    made = postgres.new_database()
    yield made.render_as_string(hide_password=False)
    postgres.drop(made)


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(root), *arguments])


def told(root: Path, *arguments: str) -> Any:
    done = run(root, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_whole_loop_on_a_server(url: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "database": {"url": url},
        "triggers": tiny.TRIGGERS,
        "deployment": {"check_files": False},
        "capture": {"audit_share": 1.0},
    }
    workspace = tiny.make(tmp_path / "ws", **settings)
    assert not (workspace.root / "misheard.db").exists()
    tiny.hold_out(workspace)
    heard = tiny.heard(workspace, 6)
    assert workspace.digest.catch_up() == 6
    tiny.correct(workspace, heard[:4])
    assert (workspace.cases.counts().corrected, workspace.cases.since_cycle()) == (4, (4, 4))
    first = workspace.deployments.live().version_id
    cycle = tiny.begin_with_model(workspace, tmp_path / "tuned")
    waiting = workspace.cycles.run(cycle.id)
    assert waiting.state is CycleState.AWAITING_APPROVAL, waiting.detail
    root = workspace.root
    shown = told(root, "status")
    assert shown["live"]["version_id"] == first
    assert shown["waiting"]
    again = tiny.with_functions(Workspace.open(root))
    again.cycles.approve(cycle.id, actor="boss")
    ended = again.cycles.run(cycle.id)
    assert ended.state is CycleState.DEPLOYED, ended.detail
    assert told(root, "versions")
    assert told(root, "check", "--deep")["is_sound"] is True
    assert told(root, "rollback", "--as", "ann")["version_id"] == first
    assert look(again).rolled_back is None
    assert status(Workspace.open(root)).live.version_id == first
    assert told(root, "audit")
    assert told(root, "cases")
    # Another open finds what there is, and makes nothing anew.
    assert Workspace.open(root).inferences.count() == 6


@pytest.mark.model
def test_real_speech_on_a_server(url: str, tmp_path: Path, short_prompts: list[Any]) -> None:
    root = tmp_path / "calls"
    Workspace.create(root, settings={"database": {"url": url}}, actor="ann")
    clip = tmp_path / "clip.gsm"
    clip.write_bytes(short_prompts[0].data)
    (heard,) = told(root, "transcribe", str(clip))
    told(root, "correct", heard["id"], "something else entirely")
    assert [case["status"] for case in told(root, "cases")["cases"]] == ["corrected"]


def test_the_copying_of_a_server_s_database_is_left_to_its_tools(url: str, tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws", database={"url": url})
    for arguments in (["backup"], ["restore", str(tmp_path / "copy.db")]):
        done = run(workspace.root, *arguments)
        assert done.exit_code == 2, done.output
        assert "pg_dump" in done.stderr
        assert "pg_restore" in done.stderr


def test_its_tools_copy_it_under_load_and_put_it_back(
    postgres: Cluster, url: str, tmp_path: Path
) -> None:
    workspace = tiny.make(tmp_path / "ws", database={"url": url})
    dump, tools = tmp_path / "misheard.dump", PROGRAMS[-1].parent
    plain = url.replace("postgresql+psycopg", "postgresql")
    with busy(url, str(tmp_path / "blobs")):
        command = [tools / "pg_dump", "--format=custom", f"--file={dump}", plain]
        subprocess.run(list(map(str, command)), check=True)
    live = workspace.inferences.count()
    command = [tools / "pg_restore", "--clean", "--if-exists", f"--dbname={plain}", dump]
    subprocess.run(list(map(str, command)), check=True)
    again = Workspace.open(workspace.root)
    assert 0 < again.inferences.count() <= live
    found = again.integrity.check(deep=True)
    assert found.is_sound, found.flaws
    # Numbers go on where they were, so the digest misses nothing.
    tiny.heard(again, 2)
    again.digest.catch_up()
    assert again.integrity.check(deep=True).is_sound


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    nowhere = f"postgresql+psycopg://tests:secret@/none?host={tmp_path}"
    engine = open_engine(nowhere)
    with pytest.raises(DatabaseUnreachableError) as caught, engine.connect():
        pass
    assert "secret" not in str(caught.value)


def test_an_empty_database_is_no_workspace(url: str, tmp_path: Path, postgres: Cluster) -> None:
    root = tmp_path / "ws"
    tiny.make(root, database={"url": url})
    other = postgres.new_database()
    file = root / "misheard.toml"
    emptied = other.render_as_string(hide_password=False)
    file.write_text(file.read_text().replace(url, emptied), encoding="utf-8")
    with pytest.raises(WorkspaceNotFoundError, match="no tables"):
        Workspace.open(root)
    postgres.drop(other)


def test_a_server_that_is_stopped_in_the_middle_is_missed_and_found_again(
    url: str, tmp_path: Path, postgres: Cluster
) -> None:
    workspace = tiny.make(tmp_path / "ws", database={"url": url})
    tiny.heard(workspace, 2)
    postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{url.partition('?')[0].rpartition('/')[2]}'"
    )
    with pytest.raises(DatabaseUnreachableError):
        workspace.inferences.count()
    assert workspace.inferences.count() == 2
