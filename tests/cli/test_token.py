"""`misheard token`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.access.roles import Role
from misheard.cli.group import cli
from misheard.errors import RevokedTokenError
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(tmp_path / "ws")


def run(workspace: Workspace, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), "token", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(workspace: Workspace, *arguments: str) -> Any:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_from_making_to_revoking(workspace: Workspace) -> None:
    assert "No token yet. Make one: misheard token create" in run(workspace, "list").stdout
    made = run(workspace, "create", "ivr", "--role", "transcribe", "--rate-per-minute", "1200")
    secret = made.stdout.strip()
    # Alone on standard output, so that it can be put into a file.
    assert made.stdout == f"{secret}\n"
    assert "shown this once" in made.stderr
    assert secret[16:] not in made.stderr
    token = workspace.tokens.check(secret)
    assert token.role is Role.TRANSCRIBE
    assert "never used" in run(workspace, "list").stdout
    workspace.tokens.note_used([token.id])
    listed = run(workspace, "list").stdout
    assert all(word in listed for word in ("ivr", "transcribe", "1,200", "good", "used 20"))
    assert secret[16:] not in listed
    assert "'ivr' is revoked." in run(workspace, "revoke", "ivr", "--as", "bob").stdout
    assert "revoked 20" in run(workspace, "list").stdout
    with pytest.raises(RevokedTokenError):
        workspace.tokens.check(secret)
    (first, second) = workspace.audit.entries(limit=2)
    assert (first.actor, first.action, second.action) == ("bob", "revoke_token", "create_token")


def test_as_json(workspace: Workspace) -> None:
    made = told(workspace, "create", "ann", "--role", "review", "--expires", "30d")
    secret = made.pop("secret")
    in_days = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29.9) < in_days <= timedelta(days=30)
    assert told(workspace, "list") == [made]
    assert workspace.tokens.check(secret).name == "ann"
    ended = told(workspace, "revoke", made["id"])
    assert ended["revoked_at"] is not None
    assert "secret" not in ended and "secret_sha256" not in ended


@pytest.mark.parametrize(
    ("given", "meant"),
    [("45m", {"minutes": 45}), ("12h", {"hours": 12}), ("8w", {"weeks": 8})],
)
def test_when_it_expires(workspace: Workspace, given: str, meant: dict[str, int]) -> None:
    before = datetime.now(UTC)
    made = told(workspace, "create", "a", "--role", "review", "--expires", given)
    expires_at = datetime.fromisoformat(made["expires_at"])
    assert before <= expires_at - timedelta(**meant) <= datetime.now(UTC)
    assert (
        "until 20" in run(workspace, "create", "b", "--role", "review", "--expires", given).stderr
    )


def test_what_cannot_be_is_told(workspace: Workspace) -> None:
    assert run(workspace, "create", "a", "--role", "review").exit_code == 0
    for arguments, words in (
        (["create", "a", "--role", "review"], "'a-2'"),
        (["create", "a b", "--role", "review"], "cannot be the name"),
        (["create", "b", "--role", "root"], "administer"),
        (["create", "b"], "--role"),
        (["create", "b", "--role", "review", "--expires", "soon"], "30d"),
        (["create", "b", "--role", "review", "--expires", "0d"], "30d"),
        (["create", "b", "--role", "review", "--rate-per-minute", "-1"], "0<=x"),
        (["revoke", "nobody"], "misheard token list"),
    ):
        done = run(workspace, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr
    assert [one.name for one in workspace.tokens.listed()] == ["a"]


def test_the_list_fits_80_columns(workspace: Workspace) -> None:
    run(workspace, "create", "x" * 64, "--role", "administer", "--expires", "30d")
    assert max(map(len, run(workspace, "list").stdout.splitlines())) <= 80


def test_the_roles_are_in_the_help(workspace: Workspace) -> None:
    shown = CliRunner().invoke(cli, ["token", "create", "--help"], terminal_width=80).output
    assert all(f"\n    {role} " in shown for role in Role)
