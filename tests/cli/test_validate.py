"""`misheard validate` and `misheard compare` with the real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.demo.phone_prompts import read_prompts, read_samples

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short prompts and a manifest of them."""
    folder = tmp_path_factory.mktemp("recordings")
    chosen = [p for p in read_prompts() if p.reference and 1 < p.duration_s < 1.5][:8]
    lines = []
    for number, sample in enumerate(read_samples(chosen)):
        (folder / f"{number}.gsm").write_bytes(sample.data)
        tags = {"channel": "mobile" if number % 2 else "desk"}
        line = {"audio_path": f"{number}.gsm", "reference": sample.reference, "tags": tags}
        lines.append(json.dumps(line) + "\n")
    (folder / "test.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, recordings: Path, bundled: Path
) -> tuple[Path, str, str]:
    """A real live model, and the same one again under another name; both ids."""
    from misheard.workspace import Workspace  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("cli") / "calls"
    made = Workspace.create(folder, actor="ann")
    again = made.registry.register(bundled, version_id="v-again", name="x", source="x", actor="ann")
    done = run(folder, "dataset", "hold-out", str(recordings / "test.jsonl"))
    assert done.exit_code == 0, done.output
    return folder, made.deployments.live().version_id, again.id


def run(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace), *arguments])


def test_the_newest_candidate_is_judged_against_what_is_live(
    workspace: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder, live, candidate = workspace
    page = tmp_path / "verdict.html"
    done = run(folder, "validate", "-o", str(page), "--json")
    made = json.loads(done.stdout.splitlines()[-1])
    # The same model twice: no gain at all, whatever the number of words.
    assert (made["answer"], done.exit_code) == ("fail", 1)
    assert made["validation"]["candidate_id"] == candidate
    assert made["validation"]["baseline_id"] == live
    assert "<html" in page.read_text(encoding="utf-8")
    found = made["validation"]["comparison"]
    assert found["baseline"]["errors"] == found["candidate"]["errors"]
    assert {one["kind"] for one in found["slices"]} >= {"channel", "length"}


def test_people_are_shown_every_criterion_and_what_nobody_looked_at(
    workspace: tuple[Path, str, str],
) -> None:
    done = run(workspace[0], "validate")
    assert done.exit_code == 1
    for text in ("word error rate", "criterion", "no improvement", "not looked at", "fail"):
        assert text in done.output


def test_compare_judges_and_keeps_nothing(workspace: tuple[Path, str, str]) -> None:
    folder, live, candidate = workspace
    from misheard.workspace import Workspace  # noqa: PLC0415

    before = len(Workspace.open(folder).validations.listed())
    done = run(folder, "compare", live, candidate, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["comparison"]["p_value"] == 1.0
    shown = run(folder, "compare", live, candidate)
    assert "channel" in shown.output
    assert len(Workspace.open(folder).validations.listed()) == before


def test_what_cannot_be_compared_is_an_error_that_says_why(
    workspace: tuple[Path, str, str],
) -> None:
    folder, live, candidate = workspace
    for arguments, told in (
        (("compare", live, live), "compared with itself"),
        (("compare", live, "v-nothing"), "v-nothing"),
        (("validate", candidate, "--set", "nowhere"), "nowhere"),
        (("validate", candidate, "--against", candidate), "compared with itself"),
    ):
        done = run(folder, *arguments)
        assert done.exit_code == 2, done.output
        assert told in done.output
