"""Bad input: a clear error, exit code 2, and nothing lost or half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from misheard.cli.group import cli
from misheard.database.engine import open_engine, writing


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the bundled model in it; none of these tests gets as far as loading it."""
    folder = tmp_path_factory.mktemp("bad") / "calls"
    assert CliRunner().invoke(cli, ["init", str(folder)]).exit_code == 0
    return folder


def _state(workspace: Path) -> tuple[object, ...]:
    """Everything that must not change: all rows that a command could add, and the blobs."""
    engine = open_engine(f"sqlite:///{workspace / 'misheard.db'}")
    tables = ("inferences", "error_cases", "corrections", "datasets", "versions", "deployments")
    with engine.connect() as connection:
        counts = [connection.execute(text(f"SELECT count(*) FROM {t}")).scalar() for t in tables]
    return (*counts, sorted(path.name for path in (workspace / "blobs").rglob("*")))


def _refused(workspace: Path, *arguments: str) -> Result:
    before = _state(workspace)
    done = CliRunner().invoke(cli, ["-w", str(workspace), *arguments])
    assert done.exit_code == 2, done.output
    assert any(line.startswith(("error: ", "Error: ")) for line in done.stderr.splitlines())
    assert "Traceback" not in done.output
    assert _state(workspace) == before
    return done


def _nan(wav: Callable[..., bytes]) -> bytes:
    samples = np.zeros(1600, np.float32)
    samples[7] = np.nan
    return wav(samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda wav: b"Dear diary, this is no recording. " * 9, "no audio"),
        (lambda wav: b"", "holds no samples"),
        (lambda wav: wav(np.zeros(0, np.float32)), "holds no samples"),
        (_nan, "not finite"),
        (lambda wav: wav(np.zeros(1600))[:20], "no audio"),
    ],
    ids=["no audio", "empty file", "no samples", "NaN", "cut off"],
)
def test_a_bad_recording(
    workspace: Path, tmp_path: Path, wav: Callable[..., bytes], content, says: str
) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(content(wav))
    done = _refused(workspace, "transcribe", str(path))
    assert says in done.stderr
    assert "call.wav" in done.stderr


def test_a_recording_that_is_not_there(workspace: Path) -> None:
    assert "There is no file" in _refused(workspace, "transcribe", "nowhere.wav").stderr


@pytest.mark.parametrize("reference", [None, 7, ["press", "one"], "nul \0 inside"])
def test_a_reference_of_the_wrong_type(
    workspace: Path, tmp_path: Path, wav: Callable[..., bytes], reference: object
) -> None:
    (tmp_path / "call.wav").write_bytes(wav(np.zeros(1600)))
    manifest = tmp_path / "test.jsonl"
    line = {"audio_path": "call.wav", "reference": reference}
    manifest.write_text(json.dumps(line), encoding="utf-8")
    done = _refused(workspace, "dataset", "hold-out", str(manifest))
    assert "A transcript must be text" in done.stderr


@pytest.mark.parametrize("listed", ["{not json", "[1, 2]", '{"audio_path": "call.wav"}'])
def test_a_manifest_that_is_none(workspace: Path, tmp_path: Path, listed: str) -> None:
    manifest = tmp_path / "test.jsonl"
    manifest.write_text(listed, encoding="utf-8")
    done = _refused(workspace, "dataset", "hold-out", str(manifest))
    assert "test.jsonl" in done.stderr


def test_a_missing_model_makes_no_workspace(tmp_path: Path) -> None:
    target = tmp_path / "calls"
    done = CliRunner().invoke(cli, ["init", str(target), "--model", "bundled:whisper-huge"])
    assert done.exit_code == 2
    assert "There is no such model" in done.stderr
    assert not target.exists()


def test_an_unknown_setting_in_the_file(workspace: Path) -> None:
    path = workspace / "misheard.toml"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(before + "\n[triggers]\nmin_eror_cases = 3\n", encoding="utf-8")
        done = _refused(workspace, "status")
    finally:
        path.write_text(before, encoding="utf-8")
    assert "triggers.min_eror_cases" in done.stderr
    assert "min_error_cases" in done.stderr


def test_an_unknown_setting_in_the_environment(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_TRIGGERS__MIN_EROR_CASES", "3")
    assert "triggers.min_eror_cases" in _refused(workspace, "status").stderr


def test_an_unknown_recipe_setting(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISHEARD_RECIPE__EPOCHES", "3")
    assert "recipe.epoches" in _refused(workspace, "settings").stderr


def test_a_workspace_of_a_newer_misheard(workspace: Path) -> None:
    engine = open_engine(f"sqlite:///{workspace / 'misheard.db'}")

    def set_revision(revision: str) -> None:
        with writing(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})

    set_revision("9999")
    try:
        done = _refused(workspace, "status")
    finally:
        set_revision("0001")
    assert "newer misheard" in done.stderr
    assert "9999" in done.stderr
