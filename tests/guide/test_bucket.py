"""`use_gcs` never falls back in silence: it stops, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.errors import BucketUnavailableError
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningOrchestrator
from src.data.metadata_tracker import MetadataTracker
from src.data.model_deployer import DeploymentConfig, ModelDeployer
from src.data.model_validator import ModelValidator
from src.data.regression_tester import RegressionTester

CLASSES = (
    DataManager,
    FinetuningOrchestrator,
    ModelValidator,
    ModelDeployer,
    RegressionTester,
    FinetuningCoordinator,
    MetadataTracker,
)


@pytest.fixture(autouse=True)
def _without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def _meant(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace that is meant where none is named."""
    monkeypatch.setenv("MISHEARD_WORKSPACE", str(root))


@pytest.mark.usefixtures("_meant")
@pytest.mark.parametrize("cls", CLASSES)
def test_a_bucket_without_credentials_stops_and_says_how_to_authenticate(
    cls: Callable[..., Any],
) -> None:
    with pytest.raises(BucketUnavailableError) as raised:
        cls(use_gcs=True, project_id="my-project")
    assert "gcloud auth application-default login" in str(raised.value)
    assert "use_gcs=False" in str(raised.value)


@pytest.mark.usefixtures("_meant")
@pytest.mark.parametrize("cls", CLASSES)
def test_a_bucket_with_credentials_stops_too_and_names_the_buckets(
    cls: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(BucketUnavailableError, match="gs://my-project-datasets"):
        cls(use_gcs=True, project_id="my-project")


@pytest.mark.parametrize("cls", [FinetuningOrchestrator, FinetuningCoordinator])
def test_a_local_data_manager_does_not_excuse_a_bucket(
    cls: Callable[..., Any], data: DataManager
) -> None:
    with pytest.raises(BucketUnavailableError):
        cls(data_manager=data, use_gcs=True)


@pytest.mark.usefixtures("_meant")
@pytest.mark.parametrize("cls", CLASSES)
def test_left_out_it_means_the_files_of_the_workspace_at_hand(
    cls: Callable[..., Any], root: Path
) -> None:
    assert cls().workspace.root == root


@pytest.mark.parametrize("cls", CLASSES)
def test_left_out_where_there_is_no_workspace_it_is_an_error_that_makes_nothing(
    cls: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BucketUnavailableError, match="use_gcs=False"):
        cls()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_named_wins_over_the_one_that_is_meant(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_WORKSPACE", str(tmp_path / "other"))
    assert DataManager(local_storage_dir=root, use_gcs=False).workspace.root == root
    assert MetadataTracker(local_storage_dir=root).workspace.root == root
    assert ModelDeployer(storage_dir=root).workspace.root == root


def test_without_a_bucket_the_fields_about_buckets_are_kept_and_nothing_is_synced(
    root: Path, model: Callable[[str], Path]
) -> None:
    """They take effect with `use_gcs=True` alone."""
    config = DeploymentConfig(sync_to_gcs=True, gcs_models_prefix="elsewhere")
    deployer = ModelDeployer(config=config, storage_dir=root, use_gcs=False)
    version = deployer.register_model("mine", model("a"))
    assert deployer.deploy_model(version, force=True) is True
    assert deployer.config.to_dict()["sync_to_gcs"] is True
    assert deployer.config.to_dict()["gcs_models_prefix"] == "elsewhere"
