"""Trends and statistics, as the quick-start guide calls them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from misheard.database.engine import now
from misheard.errors import NothingDeployedError
from misheard.optional import optional
from misheard.reports.written import write_report
from src.data._cloud import Buckets
from src.data._shared import open_workspace, plain


class MetadataTracker:
    """Records figures and reads them back by window."""

    def __init__(
        self,
        local_storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        gcs_bucket_name: str | None = None,
        gcs_prefix: str = "",
        project_id: str | None = None,
    ) -> None:
        """Track the workspace in `local_storage_dir`."""
        buckets = Buckets(project_id=project_id, bucket_name=gcs_bucket_name, prefix=gcs_prefix)
        self.workspace = open_workspace(local_storage_dir, use_gcs, buckets)

    def record_performance(
        self,
        wer: float | None = None,
        cer: float | None = None,
        error_rate: float | None = None,
        correction_rate: float | None = None,
        inference_time: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Figures of what is live, measured by you; rates are shares, times are seconds."""
        self.workspace.observations.record_performance(
            self._live() or "unknown",
            wer=wer,
            cer=cer,
            error_rate=error_rate,
            correction_rate=correction_rate,
            inference_time_s=inference_time,
            details=metadata,
        )

    def record_inference_stats(
        self,
        audio_path: str | Path,
        inference_time: float,
        model_confidence: float | None = None,
        error_detected: bool = False,
        corrected: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """One transcript that production made; its audio need not be here."""
        self.workspace.observations.record_inference(
            str(audio_path),
            inference_time_s=inference_time,
            confidence=model_confidence,
            is_error=error_detected,
            is_corrected=corrected,
            version_id=self._live(),
            details=metadata,
        )

    def record_model_version(
        self,
        version_id: str,
        model_name: str,
        training_data_size: int,
        training_metadata: Mapping[str, Any] | None = None,
        performance_metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """A model that was made elsewhere."""
        self.workspace.observations.record_model_version(
            version_id,
            model_name=model_name,
            training_data_size=training_data_size,
            training=training_metadata,
            performance=performance_metrics,
        )

    def record_learning_progress(
        self, stage: str, metrics: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """How far a stage of learning has come."""
        self.workspace.observations.record_learning(stage, metrics, metadata)

    def get_performance_trend(
        self, metric: str = "wer", time_window_days: float | None = None
    ) -> dict[str, Any]:
        """wer, cer, error_rate, correction_rate or inference_time over a window."""
        since = None if time_window_days is None else now() - timedelta(days=time_window_days)
        return plain(self.workspace.observations.trend(metric, since))  # type: ignore[no-any-return]

    def get_inference_statistics(self, time_window_hours: float | None = 24) -> dict[str, Any]:
        """The traffic of the last hours: what was logged here, and what was recorded."""
        since = None if time_window_hours is None else now() - timedelta(hours=time_window_hours)
        found = self.workspace.observations.inference_statistics(since)
        return {
            "time_window_hours": time_window_hours,
            "total_inferences": found.total,
            "avg_inference_time": found.mean_inference_time_s,
            "min_inference_time": found.min_inference_time_s,
            "max_inference_time": found.max_inference_time_s,
            "error_detection_rate": found.error_detection_rate,
            "correction_rate": found.correction_rate,
            "errors_detected": found.errors_detected,
            "corrections_applied": found.corrections_applied,
        }

    def get_learning_summary(self) -> dict[str, Any]:
        """What the loop has done so far."""
        return plain(self.workspace.observations.learning_summary())  # type: ignore[no-any-return]

    def get_model_comparison(self) -> Any:
        """A pandas DataFrame, one row a model version."""
        pandas = optional("pandas", extra="dataframes")
        return pandas.DataFrame(self.workspace.observations.model_rows())

    def generate_performance_report(self, output_path: str | Path | None = None) -> dict[str, Any]:
        """Trends, traffic and models; with `output_path` also as a file, and as a page beside."""
        return write_report("performance", self.workspace, output_path)

    def _live(self) -> str | None:
        try:
            return self.workspace.deployments.live().version_id
        except NothingDeployedError:
            return None
