"""The first gate, as the quick-start guide calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from misheard.datasets.samples import Sample, parse_samples, read_samples
from misheard.gates.validation import Validation
from misheard.reports.written import write_report
from misheard.workspace import Workspace
from src.data._cloud import Buckets
from src.data._shared import Plain, iso, open_workspace

Transcribe = Callable[[Any], Any]
"""Takes an audio path (or an array); gives a str, or a dict with `transcript`."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Plain):
    """What a model must show against the baseline."""

    min_wer_improvement: float = 0.0
    min_cer_improvement: float = 0.0
    require_significance: bool = True
    significance_alpha: float = 0.05
    max_wer_degradation_rate: float = 0.1
    require_no_major_degradation: bool = True

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings of misheard that these are."""
        values = self.to_dict()
        return {"validation": values | {"alpha": values.pop("significance_alpha")}}


@dataclass(frozen=True, kw_only=True)
class ValidationResult(Plain):
    """A model that was compared with a baseline."""

    model_id: str
    baseline_id: str
    model_wer: float
    model_cer: float
    baseline_wer: float
    baseline_cer: float
    wer_improvement: float
    """Baseline minus model: positive is better."""
    cer_improvement: float
    is_significant: bool
    p_value: float
    num_samples: int
    per_sample_results: list[dict[str, Any]] = field(default_factory=list)
    validation_set: str
    timestamp: str | None
    passed: bool
    failure_reason: str | None
    failed_samples: list[dict[str, Any]] = field(default_factory=list)
    """Those on which the model makes more errors than the baseline, or could not answer."""


class ModelValidator:
    """Compares a model with a baseline, and keeps every verdict."""

    def __init__(
        self,
        config: ValidationConfig | None = None,
        evaluation_data_path: str | Path | None = None,
        storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        project_id: str | None = None,
    ) -> None:
        """Judge by `config`; `evaluation_data_path` is the set where a call names none."""
        self.config = config or ValidationConfig()
        self._path = evaluation_data_path
        opened = open_workspace(storage_dir, use_gcs, Buckets(project_id=project_id))
        self.workspace: Workspace = opened.configured(self.config.sections)

    def validate_model(
        self,
        model_id: str,
        model_transcribe_fn: Transcribe,
        baseline_id: str,
        baseline_transcribe_fn: Transcribe,
        evaluation_set: Sequence[Mapping[str, Any]] | None = None,
        evaluation_set_path: str | Path | None = None,
        validation_set_name: str = "default",
    ) -> ValidationResult:
        """Compare two functions on the same speech, and judge.

        With no set given, the workspace's held-out test split serves. A sample that a function
        fails on counts against it.
        """
        workspace, path = self.workspace, evaluation_set_path or self._path
        samples: list[Sample] = []
        if evaluation_set is not None:
            samples = parse_samples(evaluation_set)
        elif path is not None:
            samples = read_samples(Path(path))
        if evaluation_set is None and path is None:
            dataset = workspace.held_out()
        else:
            dataset = workspace.evaluation_set(validation_set_name, samples)
        validation = workspace.validations.run(
            workspace.function_contender(model_id, model_transcribe_fn, samples),
            workspace.function_contender(baseline_id, baseline_transcribe_fn, samples),
            dataset,
            set_name=validation_set_name,
        )
        return self._result(validation)

    def compare_multiple_models(
        self,
        model_configs: Sequence[Mapping[str, Any]],
        baseline_config: Mapping[str, Any],
        evaluation_set: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[ValidationResult]:
        """Each of several models against one baseline; a config has `model_id`, `transcribe_fn`."""
        return [
            self.validate_model(
                model["model_id"],
                model["transcribe_fn"],
                baseline_config["model_id"],
                baseline_config["transcribe_fn"],
                evaluation_set=evaluation_set,
            )
            for model in model_configs
        ]

    def get_best_model(
        self, metric: str = "wer", only_passed: bool = True
    ) -> ValidationResult | None:
        """The verdict with the lowest `metric` (wer or cer); None where there is none."""
        found = self.workspace.validations.best(metric, only_passed=only_passed)
        return None if found is None else self._result(found)

    def generate_validation_report(self, output_path: str | Path | None = None) -> dict[str, Any]:
        """Every verdict in figures; with `output_path` also as a file, and as a page beside it."""
        return write_report("validation", self.workspace, output_path)

    def _result(self, validation: Validation) -> ValidationResult:
        found, model = validation.comparison, validation.comparison.candidate
        baseline, verdict = validation.comparison.baseline, validation.verdict
        samples = self.workspace.validations.utterances(validation)
        return ValidationResult(
            model_id=validation.candidate_id,
            baseline_id=validation.baseline_id,
            model_wer=model.wer,
            model_cer=model.cer,
            baseline_wer=baseline.wer,
            baseline_cer=baseline.cer,
            wer_improvement=baseline.wer - model.wer,
            cer_improvement=baseline.cer - model.cer,
            is_significant=found.p_value < self.config.significance_alpha,
            p_value=found.p_value,
            num_samples=found.utterances,
            per_sample_results=samples,
            validation_set=validation.set_name,
            timestamp=iso(validation.created_at),
            passed=verdict.passed,
            failure_reason="; ".join(verdict.failures) or None,
            failed_samples=[
                one
                for one in samples
                if one["candidate_errors"] > one["baseline_errors"] or one.get("candidate_error")
            ],
        )
