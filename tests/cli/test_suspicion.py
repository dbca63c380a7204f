from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misheard.capture.captured import Captured
from misheard.cases.records import Correction
from misheard.cli.group import cli
from tests import tiny

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace whose model is surest where it is wrong, as the defaults do not expect."""
    root = tmp_path / "calls"
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
    rows = sorted(workspace.inferences.recent(limit=120), key=lambda row: int(row.client_id or 0))
    workspace.cases.correct(
        [
            Correction(
                inference_id=row.id,
                reference="hold the line" if n >= 40 else "told a lie",
                author="ann",
            )
            for n, row in enumerate(rows)
        ]
    )
    return root


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(folder), "suspicion", *arguments])


def test_before_and_after_a_fit(folder: Path) -> None:
    told = json.loads(run(folder, "show", "--json").stdout)
    assert told["current"]["number"] == 0
    assert told["newest"] is None
    assert told["labels"] == {"errors": 40, "right": 80}
    shown = run(folder, "show").stdout
    assert "The default weights" in shown
    assert "40 wrong, 80 right" in shown

    done = run(folder, "fit", "--as", "ann", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["number"] == 1
    figures = made["figures"]
    assert figures["is_used"] is True
    assert figures["average_precision"] > 0.9
    assert [one["share"] for one in figures["budgets"]] == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert figures["budgets"][-1]["precision"] > 0.9
    assert figures["error_rate"] == pytest.approx(1 / 3)

    told = json.loads(run(folder, "show", "--json").stdout)
    assert told["current"] == told["newest"] == made
    shown = run(folder, "show").stdout
    assert "Model 1" in shown
    assert "at random" in shown
    again = run(folder, "fit")
    assert again.exit_code == 0
    assert "average precision" in again.stdout


def test_too_few_labels_say_how_many_are_needed(tmp_path: Path) -> None:
    tiny.make(tmp_path / "new")
    done = run(tmp_path / "new", "fit")
    assert done.exit_code == 2
    assert "needed are 20 of each" in done.output
    assert "From 20 of each on" in run(tmp_path / "new", "show").stdout
