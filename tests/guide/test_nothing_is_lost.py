"""Ways in which a system of this kind is known to lose what people gave it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import InvalidManifestError, MisheardError
from src.data.data_manager import DataManager
from src.data.finetuning_orchestrator import FinetuningOrchestrator
from src.data.model_deployer import DeploymentConfig, ModelDeployer
from src.data.model_validator import ModelValidator, ValidationConfig
from src.data.regression_tester import RegressionTester
from tests.guide.conftest import EASY, hears, misses, rows, sentence

CHECKOUT = Path(__file__).parents[2]
Fill = Callable[..., list[str]]
Model = Callable[[str], Path]
Everything = Callable[[], Any]


def test_a_correction_survives_a_reopen_and_a_trigger_check(root: Path, fill: Fill) -> None:
    (case_id,) = fill([1])
    for _ in range(2):
        reopened = DataManager(root, use_gcs=False)
        FinetuningOrchestrator(reopened, EASY).check_trigger_conditions()
        case = DataManager(root, use_gcs=False).get_failed_case(case_id)
        assert case is not None
        assert case.corrected_transcript == sentence(1)


def test_finishing_a_job_deletes_no_case(
    data: DataManager, fill: Fill, model: Model, everything: Everything
) -> None:
    fill(range(20))
    before = everything()
    orchestrator = FinetuningOrchestrator(data, EASY)
    job = orchestrator.trigger_finetuning()
    assert job is not None
    assert orchestrator.complete_training(job.job_id, model("tuned"), {"loss": 0.1}) is True
    assert everything() == before


@pytest.mark.parametrize("fate", ["refused", "rejected", "failed"])
def test_a_model_that_is_not_deployed_leaves_every_case_as_it_was(
    coordinate: Callable[..., Any], fill: Fill, model: Model, everything: Everything, fate: str
) -> None:
    fill(range(20))
    before = everything()
    coordinator = coordinate()
    if fate == "refused":
        coordinator.set_model_transcribe_function_factory(lambda _: misses(range(60)))
        done = coordinator.run_complete_workflow(model_path=model("worse"), auto_deploy=True)
        assert done["status"] == "validation_failed"
    elif fate == "rejected":
        done = coordinator.run_complete_workflow(model_path=model("fine"))
        coordinator.orchestrator.reject_job(done["job_id"], "not before the holidays")
        info = coordinator.orchestrator.get_job_info(done["job_id"])
        assert (info["status"], "holidays" in info["error_message"]) == ("failed", True)
    else:
        coordinator.set_training_callback(lambda job, params: False)
        assert coordinator.run_complete_workflow(force_trigger=True)["status"] == "failed"
    assert everything() == before
    assert len(coordinator.deployer.get_deployment_history()) == 1


def test_two_registrations_within_a_second_are_two_versions(root: Path, model: Model) -> None:
    deployer = ModelDeployer(storage_dir=root)
    same = [deployer.register_model("mine", model("same")) for _ in range(2)]
    other = deployer.register_model("mine", model("other"))
    assert len({*same, other}) == 3
    assert {one.version_id for one in deployer.list_versions()} >= {*same, other}


def test_a_second_rollback_does_not_return_to_the_rejected_version(
    root: Path, model: Model
) -> None:
    deployer = ModelDeployer(storage_dir=root)
    (first,) = (one.version_id for one in deployer.list_versions())
    good, bad = (deployer.register_model("mine", model(name)) for name in ("good", "bad"))
    for version_id in (good, bad):
        assert deployer.deploy_model(version_id, force=True)
    lives = []
    for _ in range(3):
        lives.append((deployer.rollback(), deployer.get_active_version().version_id))
    assert lives == [(True, good), (True, first), (False, first)]


def test_retention_leaves_directories_of_the_user_alone_and_kept_versions_deployable(
    root: Path, model: Model
) -> None:
    deployer = ModelDeployer(DeploymentConfig(keep_previous_versions=2), storage_dir=root)
    versions = []
    for name in "abcdef":
        versions.append(deployer.register_model("mine", model(name)))
        assert deployer.deploy_model(versions[-1], force=True)
    assert [(model(name) / "weights.pt").read_text() for name in "abcdef"] == list("abcdef")
    never_live = deployer.register_model("mine", model("g"))
    kept = [*versions[-3:], never_live]
    # Each in turn, without another being let go of in between.
    deployer = ModelDeployer(DeploymentConfig(keep_previous_versions=9), storage_dir=root)
    for version_id in [*reversed(kept), *kept]:
        assert deployer.deploy_model(version_id, force=True)
        files = deployer.workspace.registry.directory(version_id)
        assert (files / "weights.pt").exists()


JOBS = """
import sys
from src.data.finetuning_orchestrator import FinetuningOrchestrator
made = FinetuningOrchestrator(storage_dir=sys.argv[1], use_gcs=False)
for number in range(100):
    made.create_finetuning_job(f"{sys.argv[2]} {number}")
"""
CASES = """
import sys
from src.data.data_manager import DataManager
from tests.conftest import make_wav
made = DataManager(sys.argv[1], use_gcs=False)
for number in range(50):
    path = f"{sys.argv[1]}/{sys.argv[2]}-{number}.wav"
    open(path, "wb").write(make_wav(hertz=300 + 10 * number + 5 * (sys.argv[2] == "b")))
    made.store_failed_case(path, "heard", f"said {number}")
"""


def at_once(program: str, root: Path) -> None:
    command = [sys.executable, "-c", program, str(root)]
    started = [
        subprocess.Popen([*command, name], cwd=CHECKOUT, stderr=subprocess.PIPE) for name in "ab"
    ]
    for one in started:
        _, errors = one.communicate(timeout=600)
        assert one.returncode == 0, errors.decode()


def test_jobs_that_two_processes_create_at_once_are_all_there(root: Path) -> None:
    at_once(JOBS, root)
    jobs = FinetuningOrchestrator(storage_dir=root).list_jobs(limit=1000)
    wanted = {f"{name} {number}" for name in "ab" for number in range(100)}
    assert len(jobs) == len({job.job_id for job in jobs}) == 200
    assert {job.trigger_reason for job in jobs} == wanted


def test_cases_that_two_processes_store_at_once_are_all_there(root: Path) -> None:
    at_once(CASES, root)
    found = DataManager(root, use_gcs=False).get_statistics()
    assert (found["total_failed_cases"], found["corrected_cases"]) == (100, 100)
    assert found["total_corrections"] == 100


def damaged_sets(clip: Callable[[int], str]) -> dict[str, str]:
    good = json.dumps({"audio_path": clip(1), "text": sentence(1)})
    return {
        "cut": f"{good}\n{good[:-9]}\n{good}\n",
        "garbage": f"{good}\n\0\0\0\0\n",
        "no text": f"{good}\n" + json.dumps({"audio_path": clip(2)}) + "\n",
        "no audio": f"{good}\n" + json.dumps({"text": "hello"}) + "\n",
        "no object": f"{good}\n17\n",
        "gone": f"{good}\n" + json.dumps({"audio_path": "gone.wav", "text": "hello"}) + "\n",
    }


@pytest.mark.parametrize("damage", ["cut", "garbage", "no text", "no audio", "no object", "gone"])
def test_a_damaged_line_of_an_evaluation_set_is_an_error_and_not_a_smaller_set(
    root: Path, tmp_path: Path, clip: Callable[[int], str], damage: str
) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(damaged_sets(clip)[damage], encoding="utf-8")
    content = path.read_bytes()
    validator = ModelValidator(storage_dir=root)
    with pytest.raises(MisheardError) as raised:
        validator.validate_model("new", hears(), "old", hears(), evaluation_set_path=path)
    assert ("gone.wav" if damage == "gone" else "test.jsonl") in str(raised.value)
    tester = RegressionTester(storage_dir=root)
    with pytest.raises(MisheardError):
        tester.register_test("t", "benchmark", path, 0.1, 0.1, "v")
    assert path.read_bytes() == content
    for table in ("datasets", "validations", "suites"):
        assert rows(root, f"SELECT count(*) FROM {table}") == [(0,)]


def test_the_damaged_line_is_named(root: Path, tmp_path: Path, clip: Callable[[int], str]) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text("\n" + damaged_sets(clip)["cut"], encoding="utf-8")
    with pytest.raises(InvalidManifestError, match="line 3"):
        ModelValidator(storage_dir=root).validate_model(
            "new", hears(), "old", hears(), evaluation_set_path=path
        )


def checkpointed(root: Path) -> Path:
    """The database as one file, as it lies there when nobody has it open."""
    path = root / "misheard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for extra in root.glob("misheard.db-*"):
        extra.unlink()
    return path


@pytest.mark.parametrize("damage", ["garbage", "half", "header only", "empty", "missing"])
def test_a_damaged_database_never_opens_as_an_empty_one(
    root: Path, fill: Fill, damage: str
) -> None:
    fill([1, 2])
    path = checkpointed(root)
    content = path.read_bytes()
    cut = {"garbage": b"garbage " * 999, "half": content[: len(content) // 2]}
    cut |= {"header only": content[:100], "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(cut[damage])
    left = path.read_bytes() if path.exists() else None
    for _ in range(2):
        with pytest.raises(MisheardError, match=r"misheard\.db"):
            DataManager(root, use_gcs=False)
        assert (path.read_bytes() if path.exists() else None) == left
    path.write_bytes(content)
    assert DataManager(root, use_gcs=False).get_statistics()["total_failed_cases"] == 2


@pytest.mark.parametrize("damage", ["garbage", "half", "cut in a value"])
def test_a_damaged_settings_file_is_an_error_and_left_as_it_is(
    root: Path, fill: Fill, damage: str
) -> None:
    fill([1, 2])
    path = root / "misheard.toml"
    content = path.read_bytes()
    where = content.index(b'"')
    damaged = {"garbage": b"\xff\xfe[[", "half": content[: where + 2], "cut in a value": b"a = \n"}
    path.write_bytes(damaged[damage])
    with pytest.raises(MisheardError, match=r"misheard\.toml"):
        DataManager(root, use_gcs=False)
    assert path.read_bytes() == damaged[damage]
    path.write_bytes(content)
    assert DataManager(root, use_gcs=False).get_statistics()["total_failed_cases"] == 2


def test_settings_that_were_cut_to_nothing_lose_no_case(root: Path, fill: Fill) -> None:
    fill([1, 2])
    (root / "misheard.toml").write_bytes(b"")
    assert DataManager(root, use_gcs=False).get_statistics()["total_failed_cases"] == 2


def test_settings_that_were_deleted_lose_neither_a_case_nor_a_version(
    root: Path, fill: Fill, model: Model
) -> None:
    fill([1, 2])
    version_id = ModelDeployer(storage_dir=root).register_model("mine", model("tuned"))
    (root / "misheard.toml").unlink()
    assert DataManager(root, use_gcs=False).get_statistics()["total_failed_cases"] == 2
    assert ModelDeployer(storage_dir=root).deploy_model(version_id, force=True)


def test_a_comparison_deletes_nothing(
    root: Path, fill: Fill, samples: Callable[..., Any], everything: Everything
) -> None:
    fill(range(4))
    before = everything()
    ModelValidator(ValidationConfig(), storage_dir=root).validate_model(
        "new", hears(), "old", misses(range(5)), evaluation_set=samples()
    )
    assert everything() == before
