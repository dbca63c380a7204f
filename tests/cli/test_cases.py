"""`misheard cases`: found by what they are, and one of them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.capture.captured import Captured
from misheard.cases.records import Correction
from misheard.cli.group import cli
from misheard.database.engine import now
from misheard.workspace import Workspace
from tests import tiny


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three cases: one on a mobile phone, one that nobody has corrected, one on a landline."""
    made = tiny.make(tmp_path / "ws")
    heard = [
        Captured(
            audio=f"calls/{number}.wav",
            text=text,
            heard_at=now(),
            speaker="anna",
            speaker_group=f"agent {number}",
            tags={"channel": channel} if channel else {},
        )
        for number, (text, channel) in enumerate(
            [("press [one]", "mobile"), ("thank you", ""), ("hold the lime", "landline")]
        )
    ]
    made.capture(heard)
    by_text = {one.text: one.id for one in made.inferences.recent()}
    made.cases.open(by_text["thank you"], ["names"], suspicion=0.75)
    for author, reference in (("ben", "hold the line"), ("ann", "hold that line")):
        made.cases.correct(
            [
                Correction(
                    inference_id=by_text["hold the lime"], reference=reference, author=author
                ),
                Correction(inference_id=by_text["press [one]"], reference="", author=author),
            ]
        )
    return made


def run(workspace: Workspace, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["-w", str(workspace.root), *arguments], env={"COLUMNS": "80"})
    assert done.exit_code in (0, 2), done.output
    return done


def found(workspace: Workspace, *arguments: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(run(workspace, "cases", *arguments, "--json").stdout)[
        "cases"
    ]
    return cases


def heard(workspace: Workspace, *arguments: str) -> list[str]:
    return sorted(case["hypothesis"] for case in found(workspace, *arguments))


def test_cases_are_found_by_what_they_are(workspace: Workspace) -> None:
    assert heard(workspace) == ["hold the lime", "press [one]", "thank you"]
    assert heard(workspace, "--status", "open") == ["thank you"]
    assert heard(workspace, "--type", "hallucination") == ["press [one]"]
    assert heard(workspace, "--type", "names") == ["thank you"]
    assert heard(workspace, "--tag", "channel=landline") == ["hold the lime"]
    assert heard(workspace, "--tag", "channel=mobile", "--tag", "noise=high") == []
    assert heard(workspace, "--group", "agent 1") == ["thank you"]
    refused = run(workspace, "cases", "--tag", "mobile")
    assert refused.exit_code == 2
    assert "Write channel=mobile" in refused.output


def test_the_list_fits_a_terminal_and_shows_what_was_spoken_below_what_was_heard(
    workspace: Workspace,
) -> None:
    shown = run(workspace, "cases").stdout
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80
    (at,) = (number for number, line in enumerate(lines) if line.endswith("hold the lime"))
    assert "corrected" in lines[at]
    assert lines[at + 1].split() == ["substitution", "hold", "that", "line"]
    assert any(line.endswith("press [one]") for line in lines)
    assert sum(line.endswith("(nothing)") for line in lines) == 1


def test_one_case_is_shown_with_all_that_people_said_of_it(workspace: Workspace) -> None:
    (case,) = found(workspace, "--tag", "channel=landline")
    whole = json.loads(run(workspace, "cases", "show", case["id"], "--json").stdout)
    assert whole["case"] == case
    assert (case["speaker"], case["speaker_group"]) == ("anna", "agent 2")
    assert [(one["author"], one["reference"]) for one in whole["corrections"]] == [
        ("ann", "hold that line"),
        ("ben", "hold the line"),
    ]
    shown = run(workspace, "cases", "show", case["inference_id"]).stdout
    for text in ("hold the lime", "channel=landline", "anna, of the group agent 2", "ben", "ann"):
        assert text in shown
    (waits,) = found(workspace, "--status", "open")
    shown = run(workspace, "cases", "show", waits["id"]).stdout
    assert "75%" in shown
    assert f"misheard correct {waits['inference_id']}" in shown
    unknown = run(workspace, "cases", "show", "case-0")
    assert unknown.exit_code == 2
    assert "misheard cases" in unknown.stderr


def test_transcripts_without_a_length_are_listed(workspace: Workspace) -> None:
    assert "press [one]" in run(workspace, "inferences").stdout
