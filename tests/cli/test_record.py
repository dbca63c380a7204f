from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli

LINE = (
    '{"audio": "s3://a/1.wav", "text": "hi", "heard_at": "2026-01-31T09:30:00Z", '
    '"client_id": "1"}\n'
)


@pytest.fixture
def workspace(tmp_path: Path, bundled: Path) -> str:
    root = str(tmp_path / "calls")
    done = CliRunner().invoke(cli, ["init", root, "--model", str(bundled)])
    assert done.exit_code == 0, done.output
    return root


@pytest.mark.model
def test_a_file_is_recorded_once_however_often_it_is_sent(workspace: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(LINE, encoding="utf-8")
    for wanted in ({"new": 1, "known": 0}, {"new": 0, "known": 1}):
        done = CliRunner().invoke(cli, ["-w", workspace, "record", str(path), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == wanted
    piped = CliRunner().invoke(cli, ["-w", workspace, "record", "-"], input=LINE)
    assert "0 recorded, 1 were known already." in piped.stdout
    single = ["record", "--audio", "x.wav", "--text", "", "--at", "2026-02-01T00:00Z"]
    assert "1 recorded." in CliRunner().invoke(cli, ["-w", workspace, *single]).stdout
    listed = CliRunner().invoke(cli, ["-w", workspace, "inferences", "--json"])
    assert [one["source"] for one in json.loads(listed.stdout)] == ["x.wav", "s3://a/1.wav"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["record"], "Give files"),
        (["record", "--audio", "x.wav"], "Give files"),
        (["record", "a.jsonl", "--text", "x", "--audio", "y"], "Give files"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert complaint in done.output
