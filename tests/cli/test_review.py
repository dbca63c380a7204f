"""`misheard review`: what a person sees of the queue and of labels, at 80 columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from misheard.cases.records import Correction
from misheard.cli.group import cli
from misheard.cli.output import out
from misheard.database.engine import now, writing
from misheard.database.schema import selections
from misheard.workspace import Workspace
from tests import tiny

Run = Callable[..., str]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny.make(tmp_path / "ws", capture={"audit_share": 1.0})


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(out, "_width", 80)

    def call(*arguments: str, exit_code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["-w", str(workspace.root), "review", *arguments])
        assert done.exit_code == exit_code, done.output
        return done.output

    return call


def say(workspace: Workspace, inference_id: str, text: str, author: str = "ann") -> None:
    workspace.cases.correct([Correction(inference_id=inference_id, reference=text, author=author)])


def test_the_queue_page_by_page(workspace: Workspace, run: Run) -> None:
    heard = tiny.heard(workspace, 3)
    told = json.loads(run("next", "--limit", "2", "--json"))
    assert told["waiting"]["audit"] == {"count": 3, "is_more": False}
    assert [one["probability"] for one in told["items"]] == [1.0, 1.0]
    rest = json.loads(run("next", "--after", told["after"], "--json"))
    assert rest["after"] == ""
    both = told["items"] + rest["items"]
    assert {one["inference_id"] for one in both} == {one.id for one in heard}
    shown = run("next", "--stream", "audit", "--limit", "2")
    assert told["items"][0]["inference_id"] in shown
    assert "press pound" in shown
    assert "Waiting: audit 3, reported 0, suspicious 0" in shown
    assert f"More: misheard review next --stream audit --after {told['after']}" in shown
    for one in heard:
        say(workspace, one.id, "press pound")
    assert run("next").strip() == "Waiting: audit 0, reported 0, suspicious 0"
    assert "no place in the queue" in run("next", "--after", "???", exit_code=2)


def test_suspicion_and_source_are_shown(workspace: Workspace, run: Run) -> None:
    (one, other) = tiny.heard(workspace, 2)
    workspace.digest.catch_up()
    with writing(workspace._engine) as connection:
        connection.execute(selections.delete())
        row: dict[str, Any] = {"created_at": now(), "stream": "suspicious", "probability": 1.0}
        connection.execute(insert(selections), [row | {"inference_id": one.id, "priority": 0.934}])
    workspace.cases.open(other.id)
    shown = run("next")
    assert "suspicious" in shown
    assert "93%" in shown
    assert "reported" in shown
    assert one.audio_sha256[:20] in shown


def test_the_rate_and_what_it_rests_on(workspace: Workspace, run: Run) -> None:
    assert "Nothing was drawn" in run("rate")
    heard = tiny.heard(workspace, 20)
    assert "20 were drawn and none is labelled" in run("rate")
    for number, one in enumerate(heard[:10]):
        say(workspace, one.id, "press pound" if number else "press pond")
    found = json.loads(run("rate", "--json"))
    everything = found["all"]
    assert (everything["labelled"], everything["drawn"]) == (10, 20)
    assert everything["error_rate"]["estimate"] == pytest.approx(0.1)
    assert everything["wer"]["estimate"] == pytest.approx(0.05)
    live = workspace.deployments.live().version_id
    assert found["versions"] == {live: everything}
    shown = " ".join(run("rate", "--days", "1").split())
    assert "10.00%" in shown
    assert "heard in the last 1 days" in shown
    assert "10 labels of 10 speakers, calls or sessions" in shown
    assert "10 were drawn and are not labelled yet" in shown


def test_people_side_by_side(workspace: Workspace, run: Run) -> None:
    (one,) = tiny.heard(workspace, 1)
    say(workspace, one.id, "press pound")
    assert "No utterance was labelled by two people" in run("agreement")
    say(workspace, one.id, "press pond", "bob")
    shown = run("agreement")
    assert "ann and bob" in shown
    assert "50.00%" in shown
    assert "ann: press pound" in shown
    assert json.loads(run("agreement", "--json"))["everybody"]["errors"] == 1


def test_doubtful_labels(workspace: Workspace, run: Run) -> None:
    assert "Doubtful: 0. Labels looked at: 0." in run("suspects")
    one, two = tiny.heard(workspace, 2)
    for inference in (one, two):
        say(workspace, inference.id, "press pond")
        say(workspace, inference.id, "press bond", "bob")
    shown = run("suspects", "--limit", "1")
    assert "people" in shown
    assert "bob: press bond" in shown
    assert "ann: press pond" in shown
    assert "misheard review suspects --before 4" in shown
    assert two.id in shown
    older = json.loads(run("suspects", "--before", "4", "--json"))
    assert [suspect["inference_id"] for suspect in older["found"]] == [one.id]
