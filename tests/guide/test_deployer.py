from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import BadInputError, InvalidSettingError, ModelNotFoundError
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.model_deployer import DeploymentConfig, ModelDeployer, ModelVersion
from src.data.model_validator import ModelValidator
from tests.guide.conftest import LENIENT, hears, misses, rows

Model = Callable[[str], Path]
Put = Callable[..., str]

PASSED = {"passed": True, "model_wer": 0.1, "model_cer": 0.05, "p_value": 0.01}


@pytest.fixture
def deployer(root: Path) -> ModelDeployer:
    return ModelDeployer(storage_dir=root, use_gcs=False)


@pytest.fixture
def put(deployer: ModelDeployer, model: Model) -> Put:
    """Register a version and make it live."""

    def make(name: str, **given: Any) -> str:
        version_id = deployer.register_model("mine", model(name), **given)
        assert deployer.deploy_model(version_id, force=True)
        return version_id

    return make


def live(root: Path) -> str:
    active = ModelDeployer(storage_dir=root).get_active_version()
    assert active is not None
    return active.version_id


def test_the_defaults_are_those_of_the_guide() -> None:
    assert DeploymentConfig().to_dict() == {
        "deployment_strategy": "replace",
        "keep_previous_versions": 5,
        "auto_backup_before_deploy": True,
        "enable_auto_rollback": True,
        "rollback_on_error_threshold": 0.5,
        "sync_to_gcs": True,
        "gcs_models_prefix": "deployed_models",
    }


@pytest.mark.parametrize("strategy", ["canary", "blue_green", ""])
def test_another_strategy_than_replacing_is_refused(strategy: str) -> None:
    with pytest.raises(InvalidSettingError, match="'replace'"):
        DeploymentConfig(deployment_strategy=strategy)


@pytest.mark.parametrize(
    "changed", [{"keep_previous_versions": -1}, {"rollback_on_error_threshold": 1.5}]
)
def test_a_config_that_cannot_be_is_refused(root: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match=next(iter(changed))):
        ModelDeployer(DeploymentConfig(**changed), storage_dir=root)


def test_a_version_remembers_all_that_was_given_with_it(
    deployer: ModelDeployer, model: Model
) -> None:
    (first,) = (one.version_id for one in deployer.list_versions())
    version_id = deployer.register_model(
        model_name="fine-tuned-stt",
        model_path=model("a"),
        training_job_id="job-7",
        validation_result={**PASSED, "per_sample_results": [1], "failed_samples": [2]},
        metadata={"by": "ann"},
    )
    assert deployer.get_version(version_id) == ModelVersion(
        version_id=version_id,
        model_name="fine-tuned-stt",
        model_path=str(model("a")),
        status="registered",
        wer=0.1,
        cer=0.05,
        deployed_at=None,
        deployed_by=None,
        parent_version=None,
        training_job_id="job-7",
        training_dataset_id=None,
        training_samples=None,
        validation_passed=True,
        validation_timestamp=None,
        metadata={"by": "ann"},
    )
    assert first != version_id
    assert set(deployer.get_version(version_id).to_dict()) == set(ModelVersion.__dataclass_fields__)


def test_a_version_may_have_an_id_of_its_own(deployer: ModelDeployer, model: Model) -> None:
    assert deployer.register_model("mine", model("a"), version_id="v2.1") == "v2.1"
    assert deployer.deploy_model("v2.1", force=True) is True
    assert deployer.get_active_version().version_id == "v2.1"


def test_a_version_knows_how_many_samples_it_was_trained_on(
    coordinate: Callable[..., FinetuningCoordinator], fill: Any, model: Model
) -> None:
    fill(range(30))
    coordinator = coordinate()
    job = coordinator.orchestrator.trigger_finetuning()
    assert job is not None
    datasets = coordinator.workspace.datasets
    version = coordinator.deployer.get_version(
        coordinator.deployer.register_model("mine", model("a"), training_dataset_id=job.dataset_id)
    )
    assert version.training_dataset_id == job.dataset_id
    assert version.training_samples == datasets.get(str(job.dataset_id)).counts["train"]


def test_registering_copies_the_files_and_leaves_the_users_own(
    deployer: ModelDeployer, model: Model
) -> None:
    folder = model("a")
    version_id = deployer.register_model("mine", folder)
    assert (folder / "weights.pt").read_text() == "a"
    (folder / "weights.pt").unlink()
    copied = deployer.workspace.registry.directory(version_id)
    assert (copied / "weights.pt").read_text() == "a"


def test_a_model_may_be_a_single_file(deployer: ModelDeployer, model: Model) -> None:
    version_id = deployer.register_model("mine", str(model("a") / "weights.pt"))
    assert (deployer.workspace.registry.directory(version_id) / "weights.pt").exists()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"model_path": "/no/such/model"}, ModelNotFoundError),
        ({"version_id": "../up"}, BadInputError),
        ({"metadata": {"at": object()}}, BadInputError),
    ],
)
def test_a_model_that_cannot_be_registered_is_an_error_and_no_version(
    root: Path,
    deployer: ModelDeployer,
    model: Model,
    given: dict[str, Any],
    error: type[Exception],
) -> None:
    before = rows(root, "SELECT * FROM versions")
    with pytest.raises(error):
        deployer.register_model(**{"model_name": "mine", "model_path": model("a")} | given)
    assert rows(root, "SELECT * FROM versions") == before


def test_an_empty_folder_is_no_model(deployer: ModelDeployer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="empty"):
        deployer.register_model("mine", tmp_path / "empty")


def test_what_did_not_pass_validation_is_deployed_only_by_force(
    root: Path, deployer: ModelDeployer, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    before = live(root)
    for given in ({}, {"validation_result": PASSED | {"passed": False}}):
        version_id = deployer.register_model("mine", model("a"), **given)
        assert deployer.deploy_model(version_id) is False
        assert f"{version_id} has not passed validation" in caplog.text
        assert live(root) == before
    assert deployer.deploy_model(version_id, force=True) is True
    assert live(root) == version_id


def test_what_passed_validation_elsewhere_is_deployed(
    root: Path, deployer: ModelDeployer, model: Model
) -> None:
    version_id = deployer.register_model("mine", model("a"), validation_result=PASSED)
    assert deployer.deploy_model(version_id) is True
    assert live(root) == version_id


@pytest.mark.parametrize(("model_hears", "passes"), [(hears(), True), (misses(range(9)), False)])
def test_the_validators_own_verdict_on_a_version_decides(
    root: Path, deployer: ModelDeployer, model: Model, samples: Any, model_hears: Any, passes: bool
) -> None:
    version_id = deployer.register_model("mine", model("a"))
    found = ModelValidator(LENIENT, storage_dir=root).validate_model(
        version_id, model_hears, "old", misses([1]), evaluation_set=samples()
    )
    assert deployer.deploy_model(version_id) is passes
    version = deployer.get_version(version_id)
    assert (version.wer, version.validation_passed) == (found.model_wer, passes)
    assert version.validation_timestamp == found.timestamp
    assert version.status == ("deployed" if passes else "failed")


def test_an_unknown_version_is_none_and_is_not_deployed(
    deployer: ModelDeployer, caplog: pytest.LogCaptureFixture
) -> None:
    assert deployer.get_version("v-x") is None
    assert deployer.deploy_model("v-x", force=True) is False
    assert deployer.rollback("v-x") is False
    assert caplog.text.count("v-x") >= 2


def test_what_was_live_is_archived_and_may_come_back_without_force(
    deployer: ModelDeployer, put: Put
) -> None:
    first, second = put("a"), put("b")
    archived = deployer.get_version(first)
    assert archived.status == "archived"
    assert datetime.fromisoformat(str(archived.deployed_at)).tzinfo is not None
    assert archived.deployed_by
    assert deployer.deploy_model(first) is True
    assert deployer.get_version(second).status == "archived"


def test_rollback_goes_to_what_was_live_before_or_to_the_version_named(
    deployer: ModelDeployer, put: Put
) -> None:
    first, second, third = put("a"), put("b"), put("c")
    assert deployer.rollback() is True
    assert deployer.get_active_version().version_id == second
    put("d")
    assert deployer.rollback(target_version_id=first) is True
    assert deployer.get_active_version().version_id == first
    assert deployer.rollback(target_version_id=first) is False
    assert deployer.get_active_version().version_id == first
    assert deployer.get_version(third).status == "archived"


def test_where_nothing_was_live_before_there_is_no_rollback(
    root: Path, deployer: ModelDeployer, caplog: pytest.LogCaptureFixture
) -> None:
    before = live(root)
    assert deployer.rollback() is False
    assert "no other version before" in caplog.text
    assert live(root) == before


def test_a_version_that_was_never_live_is_no_aim_of_a_rollback(
    deployer: ModelDeployer, put: Put, model: Model
) -> None:
    put("a")
    never = deployer.register_model("mine", model("b"))
    assert deployer.rollback(never) is False


def test_versions_are_listed_newest_first_and_by_status(
    deployer: ModelDeployer, put: Put, model: Model
) -> None:
    (bundled,) = (one.version_id for one in deployer.list_versions())
    first, second = put("a"), put("b")
    third = deployer.register_model("mine", model("c"))
    listed = [one.version_id for one in deployer.list_versions()]
    assert listed == [third, second, first, bundled]
    assert [one.version_id for one in deployer.list_versions(limit=2)] == [third, second]
    by_status = {
        status: [one.version_id for one in deployer.list_versions(status=status)]
        for status in ("registered", "deployed", "archived", "failed")
    }
    assert by_status == {
        "registered": [third],
        "deployed": [second],
        "archived": [first, bundled],
        "failed": [],
    }


def test_twenty_versions_are_listed_where_no_limit_is_given(
    deployer: ModelDeployer, model: Model
) -> None:
    for _ in range(22):
        deployer.register_model("mine", model("a"))
    assert len(deployer.list_versions()) == 20


def test_the_history_tells_of_every_deployment_and_rollback(
    deployer: ModelDeployer, put: Put
) -> None:
    first, second = put("a"), put("b")
    deployer.rollback()
    found = deployer.get_deployment_history()
    assert [(one["action"], one["version_id"]) for one in found][:3] == [
        ("rollback", first),
        ("deploy", second),
        ("deploy", first),
    ]
    assert set(found[0]) == {"version_id", "action", "deployed_at", "deployed_by", "reason"}


def test_only_so_many_earlier_versions_keep_their_files(
    root: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    deployer = ModelDeployer(DeploymentConfig(keep_previous_versions=2), storage_dir=root)
    versions = []
    for name in "abcde":
        versions.append(deployer.register_model("mine", model(name)))
        assert deployer.deploy_model(versions[-1], force=True)
    assert [deployer.deploy_model(one) for one in versions[:2]] == [False, False]
    assert "pruned" in caplog.text
    assert deployer.get_active_version().version_id == versions[-1]
    assert [deployer.deploy_model(one) for one in versions[2:4]] == [True, True]


def test_what_is_live_and_the_version_before_it_always_keep_their_files(
    root: Path, model: Model
) -> None:
    deployer = ModelDeployer(DeploymentConfig(keep_previous_versions=0), storage_dir=root)
    versions = []
    for name in "abc":
        versions.append(deployer.register_model("mine", model(name)))
        assert deployer.deploy_model(versions[-1], force=True)
    assert deployer.rollback() is True
    assert live(root) == versions[1]
    assert deployer.rollback() is False


@pytest.mark.parametrize("wanted", [True, False])
def test_the_database_is_copied_before_a_deployment_where_that_is_wanted(
    root: Path, model: Model, wanted: bool
) -> None:
    deployer = ModelDeployer(DeploymentConfig(auto_backup_before_deploy=wanted), storage_dir=root)
    before = live(root)
    version_id = deployer.register_model("mine", model("a"))
    assert deployer.deploy_model(version_id, force=True) is True
    copies = list((root / "backups").glob("*.db")) if wanted else []
    assert (root / "backups").exists() is wanted
    for copy in copies:
        with closing(sqlite3.connect(copy)) as connection:
            query = "SELECT version_id FROM deployments ORDER BY number DESC"
            assert connection.execute(query).fetchone() == (before,)
    assert len(copies) == wanted


def record(coordinator: FinetuningCoordinator, *, errors: int, of: int) -> None:
    for number in range(of):
        coordinator.metadata_tracker.record_inference_stats(
            f"{number}.wav", 0.1, error_detected=number < errors
        )


@pytest.mark.parametrize(
    ("changed", "rolls_back"),
    [
        ({}, True),
        ({"enable_auto_rollback": False}, False),
        ({"rollback_on_error_threshold": 0.95}, False),
    ],
)
def test_a_version_that_errs_too_often_is_rolled_back_where_that_is_wanted(
    root: Path,
    coordinate: Callable[..., FinetuningCoordinator],
    model: Model,
    changed: dict[str, Any],
    rolls_back: bool,
) -> None:
    coordinator = coordinate(deployment_config=DeploymentConfig(**changed))
    before = live(root)
    bad = coordinator.deployer.register_model("mine", model("bad"))
    assert coordinator.deployer.deploy_model(bad, force=True)
    record(coordinator, errors=36, of=40)
    coordinator.orchestrator.run_monitoring_loop(max_iterations=1)
    assert live(root) == (before if rolls_back else bad)
    if rolls_back:
        newest = coordinator.deployer.get_deployment_history()[0]
        assert newest["action"] == "rollback"
        # Of 40 that name no session each is one of its own.
        assert "an error rate of 90.0% in 40 sessions" in newest["reason"]


def test_a_few_errors_right_after_a_deployment_roll_nothing_back(
    root: Path, coordinate: Callable[..., FinetuningCoordinator], model: Model
) -> None:
    coordinator = coordinate(deployment_config=DeploymentConfig(rollback_on_error_threshold=0.5))
    record(coordinator, errors=40, of=40)
    new = coordinator.deployer.register_model("mine", model("new"))
    assert coordinator.deployer.deploy_model(new, force=True)
    record(coordinator, errors=2, of=3)
    coordinator.orchestrator.run_monitoring_loop(max_iterations=1)
    assert live(root) == new


def test_the_report_tells_of_versions_in_a_file_and_on_a_page(
    deployer: ModelDeployer, put: Put, tmp_path: Path
) -> None:
    first, second = put("a"), put("b")
    path = tmp_path / "deployment.json"
    found = deployer.generate_deployment_report(output_path=path)
    assert set(found) == {
        "generated_at",
        "active_version",
        "total_versions",
        "versions_by_status",
        "deployment_history",
        "config",
    }
    assert found["active_version"]["version_id"] == second
    assert (found["total_versions"], found["versions_by_status"]) == (
        3,
        {"archived": 2, "deployed": 1},
    )
    assert [one["version_id"] for one in found["deployment_history"]][:2] == [second, first]
    assert json.loads(path.read_text())["active_version"]["version_id"] == second
    assert second in path.with_suffix(".html").read_text()
    assert found["config"]["keep_previous_versions"] == 5


def test_the_printed_status_has_every_version_whole_on_a_narrow_screen(
    deployer: ModelDeployer,
    put: Put,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first, second = put("a"), put("b")
    deployer.print_status()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if second in line)
    assert "live" in line
    (line,) = (line for line in lines if first in line)
    assert "was live" in line


def test_why_nothing_was_deployed_is_logged_as_a_warning(
    deployer: ModelDeployer, caplog: pytest.LogCaptureFixture
) -> None:
    deployer.deploy_model("v-x")
    assert ("misheard.guide", logging.WARNING) in {
        (record.name, record.levelno) for record in caplog.records
    }
