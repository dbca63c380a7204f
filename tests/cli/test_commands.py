"""Every command on a real workspace with the real model."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.demo.phone_prompts import read_prompts, read_samples

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six short prompts as files, and a manifest of them."""
    folder = tmp_path_factory.mktemp("recordings")
    chosen = [p for p in read_prompts() if p.reference and 1 < p.duration_s < 1.5][:6]
    lines = []
    for number, sample in enumerate(read_samples(chosen)):
        (folder / f"{number}.gsm").write_bytes(sample.data)
        line = {"audio_path": f"{number}.gsm", "reference": sample.reference}
        lines.append(json.dumps(line) + "\n")
    (folder / "test.jsonl").write_text("".join(lines[:3]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "calls"
    done = CliRunner().invoke(cli, ["init", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["live"].startswith("v-")
    return folder


def run(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(workspace), *arguments])


def ok(workspace: Path, *arguments: str) -> object:
    done = run(workspace, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_init_refuses_a_second_time_and_keeps_the_first(workspace: Path) -> None:
    before = (workspace / "misheard.toml").read_bytes()
    again = CliRunner().invoke(cli, ["init", str(workspace)])
    assert again.exit_code == 2
    assert (workspace / "misheard.toml").read_bytes() == before


def test_init_with_a_missing_model_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "calls"
    done = CliRunner().invoke(cli, ["init", str(target), "--model", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "nowhere" in done.output
    assert not target.exists()


def test_transcribe_correct_and_look(workspace: Path, recordings: Path) -> None:
    files = sorted(str(path) for path in recordings.glob("*.gsm"))[3:]
    made = ok(workspace, "transcribe", *files, "--group", "agent 4")
    assert isinstance(made, list)
    assert [one["speaker_group"] for one in made] == ["agent 4"] * 3
    assert all(one["text"] for one in made)
    first, second = made[0]["id"], made[1]["id"]
    assert ok(workspace, "correct", first, "entirely different words") == {
        "inference_id": first,
        "is_error": True,
    }
    assert ok(workspace, "correct", second, "--right")["is_error"] is False  # type: ignore[index]
    cases = ok(workspace, "cases")
    assert cases["counts"]["error_cases"] == 1  # type: ignore[index]
    assert cases["cases"][0]["reference"] == "entirely different words"  # type: ignore[index]
    trigger = ok(workspace, "trigger")
    assert trigger["should_trigger"] is False  # type: ignore[index]
    assert trigger["metrics"] == {  # type: ignore[index]
        "error_cases": 1,
        "corrected_cases": 1,
        "inferences": 3,
        "inference_errors": 1,
    }
    audit = ok(workspace, "audit")
    assert [entry["action"] for entry in audit][:2] == ["confirm", "correct"]  # type: ignore[index]
    for listing in ("status", "inferences", "cases", "versions", "audit", "settings", "trigger"):
        shown = run(workspace, listing)
        assert shown.exit_code == 0, shown.output
        assert shown.output.strip()


def test_one_bad_file_among_good_ones_logs_nothing(workspace: Path, recordings: Path) -> None:
    bad = recordings / "notes.txt"
    bad.write_text("these are my notes, not a recording\n" * 20, encoding="utf-8")
    before = ok(workspace, "status")["activity"]  # type: ignore[index]
    done = run(workspace, "transcribe", str(recordings / "0.gsm"), str(bad))
    assert done.exit_code == 2
    assert "notes.txt" in done.output
    assert ok(workspace, "status")["activity"] == before  # type: ignore[index]


def test_a_cycle_that_is_not_worth_it_is_not_begun(workspace: Path, recordings: Path) -> None:
    held_out = ok(workspace, "dataset", "hold-out", str(recordings / "test.jsonl"))
    assert held_out["counts"] == {"test": 3}  # type: ignore[index]
    done = run(workspace, "cycle", "begin")
    assert done.exit_code == 1
    assert "--force" in done.output
    assert ok(workspace, "cycle", "list") == []


def test_suites_and_export(workspace: Path, recordings: Path, tmp_path: Path) -> None:
    manifest = str(recordings / "test.jsonl")
    ok(workspace, "suite", "add", "short", manifest, "--kind", "critical")
    assert [one["name"] for one in ok(workspace, "suite", "list")] == ["short"]  # type: ignore[attr-defined]
    listed = ok(workspace, "dataset", "list")
    assert isinstance(listed, list)
    target = tmp_path / "out"
    ok(workspace, "dataset", "export", listed[0]["id"], str(target))
    rows = (target / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert (target / json.loads(rows[0])["audio_path"]).stat().st_size > 0


def test_a_first_version_cannot_be_rolled_back(workspace: Path) -> None:
    done = run(workspace, "rollback")
    assert done.exit_code == 2
    assert "no earlier version" in done.output


def test_unknown_ids_are_bad_input(workspace: Path) -> None:
    for arguments in (
        ("deploy", "v-nothing"),
        ("correct", "inf-nothing", "x"),
        ("cycle", "show", "cycle-nothing"),
        ("report", "cycle-nothing"),
    ):
        done = run(workspace, *arguments)
        assert done.exit_code == 2, arguments
        assert "nothing" in done.output


def test_transcribe_says_when_each_word_was_said(workspace: Path, recordings: Path) -> None:
    (file, *_) = sorted(str(path) for path in recordings.glob("*.gsm"))[3:]
    (made,) = ok(workspace, "transcribe", file, "--words", "--prompt", "Voicemail.")
    assert made["language"] == "en"
    times = [word[end] for word in made["words"] for end in ("start_s", "end_s")]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= made["duration_s"]
    (plain,) = ok(workspace, "transcribe", file, "--language", "auto")
    assert "words" not in plain
