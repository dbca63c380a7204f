"""The second gate, as the quick-start guide calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from misheard.database.engine import now
from misheard.datasets.samples import read_samples
from misheard.errors import UnknownIdError
from misheard.gates.contender import Contender
from misheard.gates.suites import Suite, SuiteKind, SuiteRun
from misheard.reports.written import write_report
from misheard.workspace import Workspace
from src.data._cloud import Buckets
from src.data._shared import Plain, iso, open_workspace, present

KINDS = {
    "benchmark": SuiteKind.BENCHMARK,
    "critical_samples": SuiteKind.CRITICAL,
    "edge_cases": SuiteKind.EDGE_CASE,
}
"""The guide's test types."""


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(Plain):
    """When suites run, and how strictly they are judged."""

    run_on_deploy: bool = True
    run_on_schedule: bool = False
    schedule_interval_hours: float = 24
    fail_on_any_degradation: bool = False
    fail_on_critical_degradation: bool = True
    critical_degradation_threshold: float = 0.1
    max_failed_samples_rate: float = 0.05
    sample_degradation_threshold: float = 0.2
    alert_on_failure: bool = True
    alert_on_warning: bool = False

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings of misheard that these are."""
        return {"regression": self.to_dict()}


@dataclass(frozen=True, kw_only=True)
class RegressionResult(Plain):
    """A model on one test."""

    test_id: str
    model_version: str
    model_wer: float
    model_cer: float
    baseline_wer: float
    baseline_cer: float
    wer_degradation: float
    """Model minus baseline: positive is worse."""
    cer_degradation: float
    passed: bool
    failure_reason: str | None
    num_samples: int
    failed_samples: list[dict[str, Any]] = field(default_factory=list)
    timestamp: str | None


class RegressionTester:
    """Keeps tests of what must not get worse, and runs them."""

    def __init__(
        self,
        config: RegressionConfig | None = None,
        storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        project_id: str | None = None,
    ) -> None:
        """Judge by `config`, in the workspace in `storage_dir`."""
        self.config = config or RegressionConfig()
        opened = open_workspace(storage_dir, use_gcs, Buckets(project_id=project_id))
        self.workspace: Workspace = opened.configured(self.config.sections)

    def register_test(
        self,
        test_name: str,
        test_type: str,
        test_data_path: str | Path,
        baseline_wer: float,
        baseline_cer: float,
        baseline_version: str,
        max_wer_degradation: float = 0.05,
        max_cer_degradation: float = 0.05,
        description: str = "",
    ) -> str:
        """Keep a test (benchmark, critical_samples or edge_cases) with its figures; its id."""
        kind = _kind(test_type)
        samples = read_samples(Path(test_data_path))
        suite = self.workspace.suites.add(
            test_name,
            kind,
            self.workspace.evaluation_set(f"suite {test_name}", samples),
            description=description,
            baseline_version=baseline_version,
            baseline_wer=baseline_wer,
            baseline_cer=baseline_cer,
            max_wer_degradation=max_wer_degradation,
            max_cer_degradation=max_cer_degradation,
        )
        return suite.id

    def run_test(
        self, test_id: str, model_version: str, model_transcribe_fn: Callable[[Any], Any]
    ) -> RegressionResult:
        """A model on one test.

        Its rates are held to the figures given with the test, its samples to those of the baseline
        version where that is registered here and has its files, else to the live version.
        """
        suite = self.workspace.suites.get(test_id)
        model = self.workspace.function_contender(model_version, model_transcribe_fn)
        return self._run(suite, model)

    def run_test_suite(
        self,
        model_version: str,
        model_transcribe_fn: Callable[[Any], Any],
        test_types: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """A model on every test, or on those of some types."""
        kinds = [_kind(name) for name in (KINDS if test_types is None else test_types)]
        suites = [suite for suite in self.workspace.suites.listed() if suite.kind in kinds]
        # One for all tests, so that the model hears no recording twice.
        model = self.workspace.function_contender(model_version, model_transcribe_fn)
        results = [self._run(suite, model) for suite in suites]
        passed = sum(result.passed for result in results)
        return {
            "model_version": model_version,
            "total_tests": len(results),
            "passed": passed,
            "failed": len(results) - passed,
            "pass_rate": passed / len(results) if results else math.nan,
            "all_passed": bool(results) and passed == len(results),
            "avg_wer_degradation": _mean([result.wer_degradation for result in results]),
            "avg_cer_degradation": _mean([result.cer_degradation for result in results]),
            "results": [result.to_dict() for result in results],
            "timestamp": present(),
        }

    def get_test_history(
        self,
        test_id: str | None = None,
        model_version: str | None = None,
        time_window_days: float | None = None,
    ) -> list[dict[str, Any]]:
        """Earlier runs, newest first."""
        since = None if time_window_days is None else now() - timedelta(days=time_window_days)
        runs = self.workspace.suites.runs(suite_id=test_id, candidate_id=model_version, since=since)
        return [_result(run).to_dict() for run in runs]

    def generate_regression_report(self, output_path: str | Path | None = None) -> dict[str, Any]:
        """Every run in figures; with `output_path` also as a file, and as a page beside it."""
        return write_report("regression", self.workspace, output_path)

    def _run(self, suite: Suite, model: Contender) -> RegressionResult:
        baseline = suite.baseline_version
        try:
            is_here = self.workspace.registry.get(baseline).pruned_at is None
        except UnknownIdError:
            is_here = False
        if not is_here:
            baseline = self.workspace.deployments.live().version_id
        heard = self.workspace.contender(baseline)
        return _result(self.workspace.suites.run(suite, model, heard))


def _kind(test_type: str) -> SuiteKind:
    if test_type not in KINDS:
        raise UnknownIdError(f"There is no test_type '{test_type}'. Known: {', '.join(KINDS)}.")
    return KINDS[test_type]


def _result(run: SuiteRun) -> RegressionResult:
    model = run.comparison.candidate
    return RegressionResult(
        test_id=run.suite_id,
        model_version=run.candidate_id,
        model_wer=model.wer,
        model_cer=model.cer,
        baseline_wer=run.baseline_wer,
        baseline_cer=run.baseline_cer,
        wer_degradation=run.wer_degradation,
        cer_degradation=run.cer_degradation,
        passed=run.verdict.passed,
        failure_reason="; ".join(run.verdict.failures) or None,
        num_samples=run.comparison.utterances,
        failed_samples=[dict(one) for one in run.failed_utterances],
        timestamp=iso(run.created_at),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
