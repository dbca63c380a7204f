from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misheard.capture.captured import Captured
from misheard.cases.records import Correction
from misheard.cli.group import cli
from misheard.workspace import Workspace
from tests import tiny

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def traffic(root: Path) -> Workspace:
    workspace = tiny.make(root)
    workspace.capture(
        Captured(
            audio=f"{n}.wav",
            text="hold the line",
            heard_at=AT,
            client_id=str(n),
            duration_s=1.0 + n / 100,
            avg_logprob=-0.1 - n / 100,
            speaker_group=f"group {n % 10}",
        )
        for n in range(120)
    )
    return workspace


def label(workspace: Workspace, is_wrong: Callable[[int], bool], first: int = 0) -> None:
    """Say of each transcript from the `first` on whether it is wrong."""
    rows = sorted(workspace.inferences.recent(limit=120), key=lambda row: int(row.client_id or 0))
    workspace.cases.correct(
        [
            Correction(
                inference_id=row.id,
                reference="told a lie" if is_wrong(n) else "hold the line",
                author="ann",
            )
            for n, row in enumerate(rows)
            if n >= first
        ]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace whose model is surest where it is wrong, as the defaults do not expect."""
    workspace = traffic(tmp_path / "calls")
    label(workspace, lambda n: n < 40)
    return workspace.root


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(folder), "suspicion", *arguments])


def test_before_and_after_a_fit(folder: Path) -> None:
    told = json.loads(run(folder, "show", "--json").stdout)
    assert told["current"]["number"] == 0
    assert told["newest"] is None
    assert told["labels"] == {"errors": 40, "right": 80, "groups": 10, "new": 120}
    shown = run(folder, "show").stdout
    assert "The default weights" in shown
    assert "40 wrong, 80 right" in shown

    done = run(folder, "fit", "--as", "ann", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["number"] == 1
    figures = made["figures"]
    assert figures["is_used"] is True
    assert figures["fitted"]["average_precision"] > 0.9
    budgets = figures["fitted"]["budgets"]
    assert [one["share"] for one in budgets] == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert budgets[-1]["precision"] > 0.9
    assert figures["defaults"]["budgets"][-1]["precision"] < budgets[-1]["precision"]
    assert figures["gain"]["low"] > 0
    assert figures["error_rate"] == pytest.approx(1 / 3)

    told = json.loads(run(folder, "show", "--json").stdout)
    assert told["current"] == told["newest"] == made
    shown = run(folder, "show").stdout
    assert "In use: Model 1, of 20" in shown
    assert "by 120 labels" in shown
    assert "by defaults" in shown
    assert "40 of 120 labels are wrong, from 10 speaker groups" in shown
    assert "Labels: 40 wrong, 80 right, of 10 speaker groups; 0 of them since model 1." in shown


def test_where_no_label_has_come_there_is_nothing_to_fit(folder: Path) -> None:
    run(folder, "fit")
    again = run(folder, "fit")
    assert again.exit_code == 0
    assert "No label has come since the newest fit" in again.stdout
    assert run(folder, "fit", "--json").stdout == "null\n"


def test_a_fit_that_was_refused_says_why(folder: Path) -> None:
    run(folder, "fit")
    workspace = Workspace.open(folder)
    label(workspace, lambda _: False, first=119)
    done = run(folder, "fit", "--json")
    assert json.loads(done.stdout)["figures"]["is_used"] is False
    told = json.loads(run(folder, "show", "--json").stdout)
    assert (told["current"]["number"], told["newest"]["number"]) == (1, 2)
    shown = " ".join(run(folder, "show").stdout.split())
    assert "In use: Model 1" in shown
    assert "Model 2, of 20" in shown
    assert "by 120 labels, is not used: average precision" in shown
    assert "not surely better, still in use: model 1." in shown
    assert "0 of them since model 2." in shown


def test_how_well_the_defaults_do_is_known_from_a_fit_that_was_refused(tmp_path: Path) -> None:
    """Nothing tells what is wrong here."""
    workspace = traffic(tmp_path / "calls")
    label(workspace, lambda n: n % 3 == n // 10 % 3)
    run(workspace.root, "fit")
    shown = run(workspace.root, "show").stdout
    assert "In use: The default weights" in shown
    assert "What reviewing finds by model 1, out of fold" in shown
    assert "of the defaults." in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_too_few_labels_say_how_many_are_needed(tmp_path: Path) -> None:
    tiny.make(tmp_path / "new")
    done = run(tmp_path / "new", "fit")
    assert done.exit_code == 2
    assert "needed are 20 of each" in done.output
    assert "From 20 of each on" in run(tmp_path / "new", "show").stdout
