"""Somebody reports a transcript: all of it is kept, or nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from misheard.audio import Recording
from misheard.cases.records import CaseStatus
from misheard.errors import MisheardError
from misheard.workspace import Workspace
from tests import tiny

ON_BOTH_DATABASES = True


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Workspace:
    return tiny.make(tmp_path / "ws", database={"url": database_url})


def report(workspace: Workspace, number: int = 1, **given: Any) -> str:
    return workspace.report_case(
        Recording(data=tiny.tone(number), name=f"call-{number}.wav"),
        **{"hypothesis": "press pond", "actor": "ann"} | given,
    )


def test_what_was_never_logged_is_logged_as_reported(workspace: Workspace) -> None:
    case_id = report(
        workspace,
        reference="press pound",
        error_types=["names"],
        suspicion=0.8,
        details={"line": 3},
    )
    case = workspace.cases.get(case_id)
    assert case.status is CaseStatus.CORRECTED
    assert (case.hypothesis, case.reference) == ("press pond", "press pound")
    assert (case.suspicion, case.score, case.source) == (0.8, 0.5, "call-1.wav")
    assert (case.error_types, case.details) == (["names", "substitution"], {"line": 3})
    inference = workspace.inferences.get(case.inference_id)
    assert inference.reported
    assert inference.version_id == workspace.deployments.live().version_id
    assert workspace._blobs.get_bytes(inference.audio_sha256) == tiny.tone(1)
    (correction,) = workspace.cases.corrections()
    assert (correction.author, correction.method) == ("ann", "reported")
    entries = workspace.audit.entries(subject=inference.id)
    assert [(one.actor, one.action) for one in entries] == [
        ("ann", "correct"),
        ("ann", "open_case"),
    ]


def test_what_was_reported_never_enters_the_traffic(workspace: Workspace) -> None:
    report(workspace, 1, reference="press pound")
    report(workspace, 2, version_id="v-elsewhere")
    assert workspace.observations.traffic() == (0, 0)
    assert workspace.observations.inference_statistics().total == 0
    assert workspace.monitor.activity() == []
    metrics = workspace.cycles.check_trigger().metrics
    assert (metrics.error_cases, metrics.corrected_cases) == (2, 1)
    assert (metrics.inferences, metrics.inference_errors) == (0, 0)
    assert math.isnan(metrics.error_rate)
    tiny.heard(workspace, 3)
    assert workspace.observations.traffic() == (0, 3)
    assert [one.inferences for one in workspace.monitor.activity()] == [3]


def test_a_report_belongs_to_the_transcript_that_was_logged(workspace: Workspace) -> None:
    other, same = tiny.heard(workspace, 2, first=1)
    case_id = report(workspace, 2, hypothesis=same.text)
    assert workspace.cases.get(case_id).inference_id == same.id
    assert workspace.inferences.count() == 2
    assert workspace.observations.traffic() == (1, 2)
    # Other words of the same recording are another transcript.
    assert workspace.cases.get(report(workspace, 1)).inference_id != other.id
    assert workspace.inferences.count() == 3


def test_of_the_same_transcript_twice_the_newest_without_a_case_is_meant(
    workspace: Workspace,
) -> None:
    old, new = tiny.heard(workspace, 1, first=1) + tiny.heard(workspace, 1, first=1)
    found = [
        workspace.cases.get(report(workspace, 1, hypothesis=old.text)).inference_id
        for _ in range(3)
    ]
    assert found[:2] == [new.id, old.id]
    assert workspace.inferences.get(found[2]).reported
    # What was reported is a report, not something that production heard.
    again = workspace.cases.get(report(workspace, 1, hypothesis=old.text)).inference_id
    assert again not in found
    assert workspace.observations.traffic() == (2, 2)


@pytest.mark.parametrize(
    "bad",
    [
        {"hypothesis": None},
        {"hypothesis": "nul \0"},
        {"reference": 7},
        {"reference": "lone \ud800"},
        {"reference": "press pound", "actor": None},
        {"reference": "press pound", "method": 5},
        {"error_types": "names"},
        {"error_types": [None]},
        {"suspicion": math.nan},
        {"suspicion": "high"},
        {"suspicion": 2},
        {"details": {"audio": b"bytes"}},
        {"details": {"score": math.inf}},
    ],
    ids=ascii,
)
def test_one_bad_word_in_a_report_and_no_row_is_written(
    workspace: Workspace, bad: dict[str, Any]
) -> None:
    before, blobs = tiny.rows(workspace), set(workspace._blobs)
    with pytest.raises(MisheardError):
        report(workspace, **bad)
    # Its audio came first, was announced as what no row names yet, and goes like all of that.
    workspace.capture_retention.run(actor="ann")
    assert tiny.rows(workspace) == before
    assert set(workspace._blobs) == blobs


@pytest.mark.parametrize("data", [b"", b"no audio at all, only text " * 9])
def test_a_report_without_audio_keeps_nothing(workspace: Workspace, data: bytes) -> None:
    before = tiny.rows(workspace)
    with pytest.raises(MisheardError, match=r"call\.wav"):
        workspace.report_case(
            Recording(data=data, name="call.wav"), hypothesis="press pond", actor="ann"
        )
    assert tiny.rows(workspace) == before


REPORT = """
import json, sys
from misheard.audio import Recording
from misheard.workspace import Workspace
from tests import tiny

workspace = Workspace.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
made = [
    workspace.report_case(
        Recording(data=tiny.tone(number)),
        hypothesis="press pond",
        reference=f"press {number}",
        error_types=["names"],
        actor=sys.argv[2],
    )
    for number in range(25)
]
print(json.dumps(made))
"""


def test_two_processes_that_report_the_same_at_once_lose_nothing(workspace: Workspace) -> None:
    known = tiny.heard(workspace, 25, first=0)
    assert {one.text for one in known} == {"press pound"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", REPORT, str(workspace.root), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for name in ("ann", "bob")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    made = [json.loads(child.communicate()[0]) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    ids = made[0] + made[1]
    assert len(set(ids)) == 50
    assert {case.id for case in workspace.cases.listed(limit=None)} == set(ids)
    totals = workspace.cases.totals()
    assert (totals.cases, totals.corrections) == (50, 50)
    assert totals.by_type["names"] == 50
    words = workspace.cases.corrections(limit=None)
    assert len({one.inference_id for one in words}) == 50
    assert [one.author for one in words].count("bob") == 25
