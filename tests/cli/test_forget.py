"""`misheard forget` and `misheard retention`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard import audio
from misheard.capture.inferences import Heard
from misheard.cli.group import cli
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    # What waits to be reviewed is held, so nothing does.
    nobody_looks = {"audit_share": 0.0, "min_suspicion": 1.0}
    kept = {"keep_audio_gb": 1e-9, "keep_text_days": 30, **nobody_looks}
    made = tiny.make(tmp_path / "ws", capture=kept)
    heard = []
    for number, (speaker, session) in enumerate([("a", "1"), ("a", "2"), ("b", "3")]):
        data = tiny.tone(number)
        transcript = Transcript(text=f"{speaker} speaks", latency_s=0.1, compute_s=0.1)
        one = Heard(
            data=data,
            audio=audio.decode(data),
            transcript=transcript,
            speaker=speaker,
            session=session,
        )
        heard.append(one)
    made.inferences.record(made.deployments.live().version_id, heard)
    return made


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments])


def told(done: Result, *, exit_code: int = 0) -> dict[str, Any]:
    assert done.exit_code == exit_code, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_speaker_is_forgotten(workspace: Workspace) -> None:
    asked = ("forget", "--speaker", "a", "--json")
    dry = told(run(workspace, *asked, "--dry-run"))
    assert (dry["is_dry_run"], dry["found"]["inferences"]) == (True, 2)
    assert workspace.inferences.count() == 3
    done = told(run(workspace, *asked, "--reason", "a letter", "--as", "dora"))
    assert (done["is_complete"], done["found"]) == (True, dry["found"])
    assert [one.speaker for one in workspace.inferences.recent()] == ["b"]
    entry = workspace.audit.entries(subject=done["person_sha256"])[-1]
    assert (entry.actor, entry.reason) == ("dora", "a letter")


def test_a_session_is_forgotten_in_words(workspace: Workspace) -> None:
    done = run(workspace, "forget", "--session", "2", "--reason", "a letter")
    assert done.exit_code == 0, done.output
    assert "Deleted: 1 inferences, 1 recordings." in done.stdout
    again = run(workspace, "forget", "--session", "2", "--reason", "a letter")
    assert "Deleted: nothing was found." in again.stdout


def test_it_leaves_with_1_while_a_backup_is_left(workspace: Workspace) -> None:
    workspace.backups.make(version_id=None, number=1, keep=1)
    asked = ("forget", "--speaker", "a", "--reason", "a letter")
    done = run(workspace, *asked)
    assert done.exit_code == 1
    assert "These copies of the database may hold it still" in done.stdout
    assert told(run(workspace, *asked, "--backups", "--json"))["backups"] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "one of the two"),
        (["--speaker", "a", "--session", "1"], "one of the two"),
        (["--speaker", "a"], "--reason"),
        (["--speaker", "", "--reason", "x"], "empty"),
    ],
)
def test_what_is_not_meant_is_refused(
    workspace: Workspace, arguments: list[str], complaint: str
) -> None:
    done = run(workspace, "forget", *arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert workspace.inferences.count() == 3


def test_retention_is_shown_and_run(workspace: Workspace) -> None:
    shown = told(run(workspace, "retention", "show", "--json"))
    assert shown["kept"]["recordings"] == 3
    assert (shown["keep_audio_gb"], shown["keep_audio_days"]) == (1e-9, 0)
    in_words = run(workspace, "retention", "show").stdout
    assert "3 recordings, 0.000 GB" in in_words
    assert "capture.keep_audio_days = 0 (no limit)" in in_words
    gone = told(run(workspace, "retention", "run", "--json"))
    assert (gone["recordings"], gone["blobs"], gone["is_done"]) == (3, 3, True)
    assert "0 recordings" in run(workspace, "retention", "run").stdout
    assert told(run(workspace, "retention", "show", "--json"))["kept"]["oldest_at"] is None
