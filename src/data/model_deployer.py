"""Model versions and what is live, as the quick-start guide calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from misheard.cli.output import out
from misheard.cli.versions import show
from misheard.database.engine import new_id
from misheard.errors import (
    DeploymentConflictError,
    GateRefusedError,
    InvalidSettingError,
    NoEarlierVersionError,
    StagingFailedError,
    UnknownIdError,
    VersionPrunedError,
)
from misheard.reports.written import write_report
from misheard.workspace import Workspace, current_actor
from src.data._cloud import Buckets
from src.data._shared import Plain, iso, log, open_workspace

Status = Literal["registered", "deployed", "archived", "failed"]


@dataclass(frozen=True, kw_only=True)
class DeploymentConfig(Plain):
    """How a version goes live."""

    deployment_strategy: str = "replace"
    keep_previous_versions: int = 5
    auto_backup_before_deploy: bool = True
    enable_auto_rollback: bool = True
    rollback_on_error_threshold: float = 0.5
    sync_to_gcs: bool = True
    """With `use_gcs=True`: files of models are in the bucket, too, not only audio and datasets."""
    gcs_models_prefix: str = "deployed_models"
    """The folder that they have there."""

    def __post_init__(self) -> None:
        if self.deployment_strategy != "replace":
            raise InvalidSettingError(
                f"deployment_strategy = {self.deployment_strategy!r}: the new version replaces the "
                "one before at once, which is called 'replace'; there is no other."
            )

    def buckets(self, project_id: str | None) -> Buckets:
        """Where files are with `use_gcs=True`."""
        return Buckets(
            project_id=project_id,
            models_prefix=self.gcs_models_prefix,
            sync_models=self.sync_to_gcs,
        )

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings of misheard that these are."""
        names = (
            "keep_previous_versions",
            "auto_backup_before_deploy",
            "enable_auto_rollback",
            "rollback_on_error_threshold",
        )
        return {"deployment": {name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Plain):
    """A model that can be live, and where it came from."""

    version_id: str
    model_name: str
    model_path: str
    """Where its files were when it was registered."""
    status: Status
    wer: float
    cer: float
    deployed_at: str | None
    deployed_by: str | None
    parent_version: str | None
    training_job_id: str | None
    training_dataset_id: str | None
    training_samples: int | None
    validation_passed: bool | None
    validation_timestamp: str | None
    metadata: dict[str, Any] = field(default_factory=dict)


class ModelDeployer:
    """Registers versions, deploys them, and rolls back."""

    def __init__(
        self,
        config: DeploymentConfig | None = None,
        storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        project_id: str | None = None,
    ) -> None:
        """Deploy in the workspace in `storage_dir`."""
        self.config = config or DeploymentConfig()
        opened = open_workspace(storage_dir, use_gcs, self.config.buckets(project_id))
        self.workspace: Workspace = opened.configured(self.config.sections)

    def register_model(
        self,
        model_name: str,
        model_path: str | Path,
        version_id: str | None = None,
        training_job_id: str | None = None,
        training_dataset_id: str | None = None,
        validation_result: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a copy of the model's files as a version; its id. Each call makes a version."""
        version = self.workspace.registry.register(
            Path(model_path),
            version_id=version_id or new_id("v"),
            name=model_name,
            source=str(model_path),
            actor=current_actor(),
            job_id=training_job_id,
            dataset_id=training_dataset_id,
            verdict=None if validation_result is None else summary_of(validation_result),
            details=dict(metadata or {}),
        )
        return version.id

    def deploy_model(self, version_id: str, force: bool = False) -> bool:
        """Make a version live; False, with the reason logged, when it may not be."""
        try:
            self.workspace.deploy(
                version_id, actor=current_actor(), reason="deploy_model", force=force
            )
        except (
            GateRefusedError,
            UnknownIdError,
            VersionPrunedError,
            DeploymentConflictError,
            StagingFailedError,
        ) as error:
            log.warning("%s was not deployed. %s", version_id, error)
            return False
        return True

    def rollback(self, target_version_id: str | None = None) -> bool:
        """Make live again what was live before, or the target; False, logged, where none was."""
        try:
            self.workspace.roll_back(actor=current_actor(), reason="rollback", to=target_version_id)
        except (NoEarlierVersionError, UnknownIdError, VersionPrunedError) as error:
            log.warning("Not rolled back. %s", error)
            return False
        return True

    def get_active_version(self) -> ModelVersion | None:
        """What is live."""
        return next((one for one in self._versions() if one.status == "deployed"), None)

    def get_version(self, version_id: str) -> ModelVersion | None:
        """One version, or None."""
        return next((one for one in self._versions() if one.version_id == version_id), None)

    def list_versions(self, status: str | None = None, limit: int = 20) -> list[ModelVersion]:
        """Versions, newest first."""
        found = [one for one in reversed(self._versions()) if status in (None, one.status)]
        return found[:limit]

    def get_deployment_history(self) -> list[dict[str, Any]]:
        """Every deployment and rollback, newest first."""
        return [
            {
                "version_id": one.version_id,
                "action": one.action,
                "deployed_at": iso(one.created_at),
                "deployed_by": one.actor,
                "reason": one.reason,
            }
            for one in self.workspace.deployments.history()
        ]

    def generate_deployment_report(self, output_path: str | Path | None = None) -> dict[str, Any]:
        """Versions and deployments; with `output_path` also as a file, and as a page beside it."""
        return write_report("deployment", self.workspace, output_path)

    def print_status(self) -> None:
        """What is live, and every version, as a table."""
        show(self.workspace, out)

    def _versions(self) -> list[ModelVersion]:
        kept = {version.id: version for version in self.workspace.registry.listed()}
        # Oldest first, so that the newest deployment of a version is the one that stays.
        deployed = {one.version_id: one for one in reversed(self.workspace.deployments.history())}
        made = []
        for row in self.workspace.observations.model_rows():
            version = kept.get(row["version_id"])
            if version is None:
                continue
            last = deployed.get(version.id)
            made.append(
                ModelVersion(
                    version_id=version.id,
                    model_name=version.name,
                    model_path=version.source,
                    status=row["status"],
                    wer=row["wer"],
                    cer=row["cer"],
                    deployed_at=iso(last.created_at) if last else None,
                    deployed_by=last.actor if last else None,
                    parent_version=version.parent_id,
                    training_job_id=version.job_id,
                    training_dataset_id=version.dataset_id,
                    training_samples=row["training_data_size"],
                    validation_passed=row["validation_passed"],
                    validation_timestamp=iso(row["validated_at"]),
                    metadata=version.details,
                )
            )
        return made


def summary_of(validation_result: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict without its samples, which the validator keeps; NaN, which JSON lacks, is None."""
    samples = ("per_sample_results", "failed_samples")
    kept = {name: value for name, value in validation_result.items() if name not in samples}
    return {name: None if value != value else value for name, value in kept.items()}  # noqa: PLR0124 - NaN
