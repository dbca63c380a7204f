from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.workspace import Workspace

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


@pytest.mark.model
def test_what_trickles_in_is_kept_within_a_second_or_two(workspace: str) -> None:
    """As from `tail -f`: a quoted CSV line that is only half there waits for its other half."""
    header = "audio,text,heard_at\n"
    program = "from misheard.cli.group import cli; cli()"
    arguments = ["-w", workspace, "record", "-", "--format", "csv"]
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as piped:
        assert piped.stdin is not None
        piped.stdin.write(f'{header}s3://1,one,2026-01-31\ns3://2,"two')
        piped.stdin.flush()
        log = Workspace.open(workspace).inferences
        deadline = time.monotonic() + 240
        while not log.count():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        piped.kill()
    assert [one.text for one in log.recent()] == ["one"]


def test_a_column_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    columns = ["--column", "text=a", "--column", "text=b"]
    done = CliRunner().invoke(cli, ["-w", str(tmp_path), "record", "x.csv", *columns])
    assert done.exit_code != 0
