"""`use_gcs`: the files of a workspace in buckets, and never anything else in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.opening import open_bucket
from misheard.errors import BucketUnavailableError, InvalidSettingError
from misheard.rooms.claiming import MARKER
from misheard.workspace import Workspace
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
from src.data.finetuning_orchestrator import FinetuningOrchestrator
from src.data.metadata_tracker import MetadataTracker
from src.data.model_deployer import DeploymentConfig, ModelDeployer
from src.data.model_validator import ModelValidator
from src.data.regression_tester import RegressionTester
from tests.emulators import GcsEmulator

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
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    # Were this a machine of Google's, its own account would do.
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def project(gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project that has both buckets."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    name = gcs.new_bucket()
    for what in ("datasets", "models"):
        gcs.new_bucket(f"{name}-{what}")
    return name


@pytest.fixture
def _meant(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace that is meant where none is named."""
    monkeypatch.setenv("MISHEARD_WORKSPACE", str(root))


def keys(address: str) -> set[str]:
    """Of the blobs below an address."""
    found = (one.name for one in open_bucket(address).listed())
    return {name.partition("/")[2] for name in found if name != MARKER}


def here(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs").glob("??/*")}


@pytest.mark.usefixtures("_meant")
@pytest.mark.parametrize("cls", CLASSES)
def test_a_bucket_without_credentials_stops_and_says_how_to_authenticate(
    cls: Callable[..., Any],
) -> None:
    with pytest.raises(BucketUnavailableError) as raised:
        cls(use_gcs=True, project_id="my-project")
    assert "gcloud auth application-default login" in str(raised.value)
    assert "use_gcs=False" in str(raised.value)


@pytest.mark.usefixtures("_meant", "project")
@pytest.mark.parametrize("cls", CLASSES)
def test_a_bucket_that_is_not_there_stops_too_and_says_how_to_make_it(
    cls: Callable[..., Any],
) -> None:
    with pytest.raises(BucketUnavailableError, match="gs://my-project-datasets") as raised:
        cls(use_gcs=True, project_id="my-project")
    assert "gcloud storage buckets create" in str(raised.value)
    assert "use_gcs=False" in str(raised.value)


@pytest.mark.usefixtures("_meant", "project")
def test_without_a_project_it_says_how_to_name_one() -> None:
    with pytest.raises(BucketUnavailableError, match="GOOGLE_CLOUD_PROJECT"):
        DataManager(use_gcs=True)


@pytest.mark.usefixtures("_meant")
def test_the_project_may_come_from_the_environment(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    storage = MetadataTracker(use_gcs=True).workspace.settings.storage
    assert storage.buckets == (f"gs://{project}-datasets", f"gs://{project}-models/deployed_models")


def test_a_new_workspace_is_made_in_the_buckets_and_is_there_for_everybody(
    tmp_path: Path, project: str, tiny: Path
) -> None:
    # The bundled model is large, and any will do.
    root = tmp_path / "new"
    manager = DataManager(local_storage_dir=root, use_gcs=True, project_id=project)
    assert here(root) == set()
    (version,) = manager.workspace.registry.listed()
    assert keys(f"gs://{project}-models/deployed_models") == set(version.files.values())
    text = (root / "misheard.toml").read_text(encoding="utf-8")
    assert f'blobs = "gs://{project}-datasets"' in text
    assert f'models = "gs://{project}-models/deployed_models"' in text
    # use_gcs left out, and any other program.
    assert DataManager(local_storage_dir=root).workspace.settings.storage.buckets
    assert Workspace.open(root).integrity.check(deep=True).is_sound
    made = ModelDeployer(storage_dir=root).register_model("mine", tiny)
    files = set(Workspace.open(root).registry.get(made).files.values())
    assert files <= keys(f"gs://{project}-models/deployed_models")


def test_a_case_of_a_workspace_that_is_there_goes_to_the_bucket_and_the_old_ones_are_found(
    root: Path, project: str, clip: Callable[[int], str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = (root / "misheard.toml").read_bytes()
    local = DataManager(root, use_gcs=False)
    local.store_failed_case(clip(1), "wrong")
    before = here(root)
    with caplog.at_level(logging.WARNING):
        manager = DataManager(root, use_gcs=True, project_id=project)
    assert f'blobs = "gs://{project}-datasets"' in caplog.text
    manager.store_failed_case(clip(2), "wrong too")
    assert here(root) == before
    (new,) = keys(f"gs://{project}-datasets")
    sounds = {one.audio_sha256 for one in manager.workspace.inferences.recent()}
    assert new in sounds
    for sound in sounds:
        assert manager.workspace.recording(sound)
    assert (root / "misheard.toml").read_bytes() == settings


def test_a_bucket_and_a_folder_may_be_named(root: Path, project: str, gcs: GcsEmulator) -> None:
    bucket = gcs.new_bucket()
    manager = DataManager(
        root,
        use_gcs=True,
        gcs_bucket_name=bucket,
        gcs_prefix="speech/calls",
        project_id=project,
    )
    storage = manager.workspace.settings.storage
    assert storage.blobs == f"gs://{bucket}/speech/calls"
    assert storage.models == f"gs://{project}-models/deployed_models"


def test_models_have_a_folder_of_their_own_or_stay_here(
    root: Path, project: str, model: Callable[[str], Path]
) -> None:
    def registered(**config: Any) -> set[str]:
        deployer = ModelDeployer(
            config=DeploymentConfig(**config), storage_dir=root, use_gcs=True, project_id=project
        )
        version_id = deployer.register_model("mine", model("-".join(config) or "usual"))
        return set(deployer.workspace.registry.get(version_id).files.values())

    assert registered() <= keys(f"gs://{project}-models/deployed_models")
    assert registered(gcs_models_prefix="mine") <= keys(f"gs://{project}-models/mine")
    local = registered(sync_to_gcs=False)
    assert local <= here(root)


def test_local_files_are_refused_where_the_workspace_has_a_bucket(
    root: Path, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", f"gs://{project}-datasets")
    for cls in CLASSES:
        where = {"local_storage_dir" if cls in (DataManager, MetadataTracker) else "storage_dir"}
        with pytest.raises(InvalidSettingError, match=r"misheard .*sync --home"):
            cls(use_gcs=False, **dict.fromkeys(where, root))
    manager = DataManager(root)
    for cls in (FinetuningOrchestrator, FinetuningCoordinator):
        with pytest.raises(InvalidSettingError):
            cls(data_manager=manager, use_gcs=False)
        assert cls(data_manager=manager).workspace.settings.storage.buckets


def test_another_bucket_than_the_workspaces_is_refused(
    root: Path, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", f"gs://{project}-datasets")
    with pytest.raises(InvalidSettingError, match="gcs_bucket_name"):
        DataManager(root, use_gcs=True, gcs_bucket_name="another")
    assert DataManager(root, use_gcs=True, project_id="any").workspace.root == root


@pytest.mark.parametrize(
    ("cls", "given", "name"),
    [
        (DataManager, {"project_id": "other"}, "project_id"),
        (MetadataTracker, {"gcs_prefix": "folder"}, "gcs_prefix"),
        (ModelDeployer, {"config": DeploymentConfig(sync_to_gcs=False)}, "sync_to_gcs"),
        (
            ModelDeployer,
            {"config": DeploymentConfig(gcs_models_prefix="elsewhere")},
            "gcs_models_prefix",
        ),
    ],
)
def test_what_is_given_and_says_otherwise_than_the_workspace_is_refused(
    cls: Callable[..., Any], given: dict[str, Any], name: str, project: str, tmp_path: Path
) -> None:
    where = {"storage_dir": tmp_path / "ws"}
    same = ModelDeployer(**where, use_gcs=True, project_id=project)
    assert ModelDeployer(**where, use_gcs=True).workspace.root == same.workspace.root
    if cls is not ModelDeployer:
        where = {"local_storage_dir": tmp_path / "ws"}
    with pytest.raises(InvalidSettingError, match=rf"{name}: .*gs://{project}-datasets"):
        cls(**where, use_gcs=True, **given)


def test_what_is_in_the_bucket_is_fetched(
    root: Path, project: str, clip: Callable[[int], str]
) -> None:
    manager = DataManager(root, use_gcs=True, project_id=project)
    manager.store_failed_case(clip(1), "wrong")
    manager.store_failed_case(clip(2), "wrong too")
    there = keys(f"gs://{project}-datasets")
    assert not there & here(root)
    assert manager.sync_from_gcs() is True
    assert there <= here(root)
    assert DataManager(root, use_gcs=False).workspace.integrity.check(deep=True).is_sound
    lost = min(there)
    (root / "blobs" / lost[:2] / lost).unlink()
    bucket = open_bucket(f"gs://{project}-datasets")
    bucket.put(f"{lost[:2]}/{lost}", b"something else")
    assert manager.sync_from_gcs() is False


@pytest.mark.parametrize("cls", [FinetuningOrchestrator, FinetuningCoordinator])
def test_a_local_data_manager_does_not_excuse_a_bucket(
    cls: Callable[..., Any], data: DataManager, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cls(data_manager=data, use_gcs=True, project_id=project)
    assert made.workspace.root == data.workspace.root
    assert made.workspace.settings.storage.blobs == f"gs://{project}-datasets"
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
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
