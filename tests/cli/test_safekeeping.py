"""`misheard backup`, `restore` and `check`."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from misheard.cli.group import cli
from misheard.database.engine import writing
from misheard.database.schema import hourly, tallies
from misheard.settings import FILE_NAME
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tiny.make(tmp_path / "ws")
    tiny.correct(made, tiny.heard(made, 3))
    made._engine.dispose()
    made._log_engine.dispose()
    return made.root


def run(root: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["-w", str(root), *arguments])
    # As at the end of a process, nothing is left that has the database open.
    gc.collect()
    return done


def told(root: Path, *arguments: str, code: int = 0) -> Any:
    done = run(root, *arguments, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def in_another_process(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from misheard.cli import main; main()"
    command = [sys.executable, "-c", program, "-w", str(root), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_backup_can_be_put_back_and_says_what_it_did(root: Path, tmp_path: Path) -> None:
    made = told(root, "backup", str(tmp_path / "copy.db"))
    assert made["path"] == str(tmp_path / "copy.db")
    assert (made["rows"]["inferences"], made["rows"]["corrections"]) == (3, 3)
    later = Workspace.open(root)
    tiny.heard(later, 2, first=60)
    later._engine.dispose()
    later._log_engine.dispose()
    back = told(root, "restore", str(tmp_path / "copy.db"), "--as", "ann")
    assert back["missing"] == []
    assert Path(back["aside"]).exists()
    workspace = Workspace.open(root)
    assert workspace.inferences.count() == 3
    (entry,) = workspace.audit.entries(limit=1)
    assert (entry.actor, entry.action, entry.evidence) == (
        "ann",
        "restore",
        {"aside": back["aside"], "revoked_tokens": []},
    )
    # The recordings of the two that came later are left over.
    checked = told(root, "check", "--deep")
    assert (checked["is_sound"], checked["unused_files"]) == (True, 2)
    assert "2 files that nothing points at take room" in run(root, "check", "--deep").stdout
    told(root, "retention", "run", "--unknown")
    assert told(root, "check", "--deep")["unused_files"] == 0


def test_without_a_name_a_backup_is_kept_in_the_workspace(root: Path) -> None:
    first, second = (Path(told(root, "backup")["path"]) for _ in range(2))
    assert first.parent == second.parent == root / "backups"
    assert first != second
    assert "whole" in run(root, "backup").stdout


def test_nothing_is_overwritten_and_nothing_made_where_it_cannot_be(
    root: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.db"
    mine.write_bytes(b"mine")
    done = run(root, "backup", str(mine))
    assert (done.exit_code, "is there already" in done.stderr) == (2, True)
    assert mine.read_bytes() == b"mine"
    done = run(root, "backup", str(tmp_path / "no" / "such.db"))
    assert (done.exit_code, "no directory" in done.stderr) == (2, True)


def test_restore_says_which_files_are_missing(root: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(root)
    (heard, *_) = workspace.inferences.recent()
    workspace._engine.dispose()
    workspace._log_engine.dispose()
    told(root, "backup", str(tmp_path / "copy.db"))
    key = heard.audio_sha256
    (root / "blobs" / key[:2] / key).unlink()
    done = run(root, "restore", str(tmp_path / "copy.db"))
    assert done.exit_code == 0
    assert "1 files that it names" in done.stdout
    assert key in done.stdout
    found = told(root, "check", code=1)
    assert [flaw["subject"] for flaw in found["flaws"]] == [key]
    shown = run(root, "check")
    assert shown.exit_code == 1
    assert "Not all is well" in shown.stdout
    assert f"{key[:2]}/{key}" in shown.stdout


def test_restore_says_which_tokens_stay_revoked(root: Path, tmp_path: Path) -> None:
    for name in ("ivr", "ann"):
        run(root, "token", "create", name, "--role", "review")
    copy = tmp_path / "copy.db"
    told(root, "backup", str(copy))
    run(root, "token", "revoke", "ivr")
    done = run(root, "restore", str(copy))
    assert done.exit_code == 0, done.output
    assert "Revoked since, and so they stay: ivr" in done.stdout
    assert [one["name"] for one in told(root, "token", "list") if one["revoked_at"]] == ["ivr"]
    assert told(root, "restore", str(copy))["revoked"] == ["ivr"]
    assert told(root, "audit", "--limit", "1")[0]["evidence"]["revoked_tokens"] == ["ivr"]
    (root / "misheard.db").unlink()
    shown = " ".join(run(root, "restore", str(copy)).stdout.split())
    assert "revoked since the copy was made may be good again" in shown
    assert [one["revoked_at"] for one in told(root, "token", "list")] == [None, None]


def test_restore_refuses_while_another_process_has_the_workspace_open(
    root: Path, tmp_path: Path
) -> None:
    told(root, "backup", str(tmp_path / "copy.db"))
    holder = Workspace.open(root)
    assert holder.inferences.count() == 3
    done = in_another_process(root, "restore", str(tmp_path / "copy.db"))
    assert done.returncode == 1
    assert "stop whatever uses the workspace" in done.stderr
    assert holder.inferences.count() == 3


def test_restore_mends_a_workspace_whose_database_is_lost_or_damaged(
    root: Path, tmp_path: Path
) -> None:
    told(root, "backup", str(tmp_path / "copy.db"))
    database = root / "misheard.db"
    for damage in (b"", b"no database " * 1000):
        database.write_bytes(damage)
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        done = run(root, "check")
        assert done.exit_code == 2, done.output
        told(root, "restore", str(tmp_path / "copy.db"))
        assert told(root, "check", "--deep")["is_sound"] is True
    database.unlink()
    assert "misheard -w" in run(root, "check").stderr
    assert told(root, "restore", str(tmp_path / "copy.db"))["aside"] is None
    assert told(root, "check")["is_sound"] is True


@pytest.mark.parametrize("content", [None, b"", b"no database " * 1000], ids=["no", "empty", "bad"])
def test_what_is_no_backup_changes_nothing(
    root: Path, tmp_path: Path, content: bytes | None
) -> None:
    bad = tmp_path / "bad.db"
    if content is not None:
        bad.write_bytes(content)
    done = run(root, "restore", str(bad))
    assert (done.exit_code, "bad.db" in done.stderr) == (2, True)
    done = run(root, "restore", str(root / "misheard.db"))
    assert (done.exit_code, "itself" in done.stderr) == (2, True)
    assert told(root, "check")["is_sound"] is True


def test_without_a_workspace_there_is_nothing_to_restore(tmp_path: Path) -> None:
    done = run(tmp_path, "restore", str(tmp_path / "copy.db"))
    assert (done.exit_code, FILE_NAME in done.stderr) == (2, True)


def test_wrong_counts_are_mended_and_it_says_which(root: Path) -> None:
    workspace = Workspace.open(root)
    workspace.digest.catch_up()
    with writing(workspace._engine) as connection:
        connection.execute(update(hourly).values(corrected=0))
        connection.execute(update(tallies).values(count=9))
    found = told(root, "check", "--deep", code=1)
    assert {flaw["part"] for flaw in found["flaws"]} == {"counts"}
    assert "mended" not in found
    assert told(root, "check")["is_sound"] is True
    done = told(root, "check", "--mend", "--as", "ann")
    assert (done["is_sound"], done["deep"]) == (True, False)
    assert done["mended"]["counts"] == len(found["flaws"]) == len(done["mended"]["changes"])
    (change,) = [one for one in done["mended"]["changes"] if one["subject"][:9] == "corrected"]
    assert change["detail"] == "it says 0, the rows are 3"
    entries = [one for one in workspace.audit.entries() if one.action == "mend"]
    assert {one.actor for one in entries} == {"ann"}
    shown = run(root, "check", "--mend")
    assert (shown.exit_code, "nothing to mend" in shown.stdout) == (0, True)
    with writing(workspace._engine) as connection:
        connection.execute(update(hourly).values(corrected=0))
    shown = run(root, "check", "--mend")
    assert "Mended 1 counts" in shown.stdout
    assert "it says 0, the rows are 3" in shown.stdout
    with writing(workspace._engine) as connection:
        connection.execute(update(hourly).values(corrected=0, let_go=1))
    shown = run(root, "check", "--mend")
    assert shown.exit_code == 1
    assert "cannot be counted again" in shown.stdout


def test_all_is_well_says_what_was_looked_at(root: Path) -> None:
    done = run(root, "check")
    assert done.exit_code == 0
    assert "All is well: looked at" in done.stdout
