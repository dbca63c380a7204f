"""The loop in figures: four reports as plain dicts, ready for JSON.

Times are ISO 8601 in UTC. A figure that does not exist is NaN, and so that JSON's readers can read
it, `to_json` writes it as null.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from misheard.database.engine import now
from misheard.gates.validation import Validation
from misheard.monitoring.observations import METRICS
from misheard.workspace import Workspace

RECENT = 10
"""Rows of a log that stand in a report."""
WEEK = timedelta(days=7)
STATISTICS_HOURS = 24


def validation_report(workspace: Workspace) -> dict[str, Any]:
    """What the first gate decided so far; `best_*_model` is None where nothing was passed."""
    counts = workspace.validations.counts()
    alpha = workspace.settings.validation.alpha
    recent = workspace.validations.listed(limit=RECENT)
    return {
        "generated_at": now().isoformat(),
        "config": workspace.settings.validation.model_dump(),
        "total_validations": counts.passed + counts.failed,
        "passed_validations": counts.passed,
        "failed_validations": counts.failed,
        "recent_validations": [_validation(one, alpha) for one in recent],
        "best_wer_model": _best(workspace.validations.best("wer"), "wer"),
        "best_cer_model": _best(workspace.validations.best("cer"), "cer"),
    }


def deployment_report(workspace: Workspace) -> dict[str, Any]:
    """What is live and what was; `active_version` is None where nothing ever was.

    Versions are those of the registry, with the figures of their newest validation.
    """
    rows = registered(workspace)
    versions = {row["version_id"]: row for row in rows}
    live = [row for row in rows if row["is_live"]]
    history = []
    for one in workspace.deployments.history(limit=RECENT):
        known = versions[one.version_id]
        fields = ("version_id", "model_name", "status", "wer", "cer", "validation_passed")
        history.append(
            {
                **{field: known[field] for field in fields},
                "deployed_at": one.created_at,
                "action": one.action,
                "deployed_by": one.actor,
                "reason": one.reason,
            }
        )
    report = {
        "generated_at": now(),
        "active_version": live[0] if live else None,
        "total_versions": len(rows),
        "versions_by_status": dict(sorted(Counter(row["status"] for row in rows).items())),
        "deployment_history": history,
        "config": workspace.settings.deployment.model_dump(),
    }
    made: dict[str, Any] = _plain(report)
    return made


def regression_report(workspace: Workspace) -> dict[str, Any]:
    """What the suites found so far; degradations are candidate minus what it was held to."""
    made_at = now()
    runs = workspace.suites.runs()
    recent = [run for run in runs if run.created_at >= made_at - WEEK]
    passed = sum(run.verdict.passed for run in runs)
    return {
        "generated_at": made_at.isoformat(),
        "config": workspace.settings.regression.model_dump(),
        "registered_tests": len(workspace.suites.listed()),
        "total_test_runs": len(runs),
        "passed_runs": passed,
        "failed_runs": len(runs) - passed,
        "pass_rate": passed / len(runs) if runs else math.nan,
        "degradation_stats": {
            "wer": _spread([run.wer_degradation for run in runs]),
            "cer": _spread([run.cer_degradation for run in runs]),
        },
        "recent_results_7days": len(recent),
        "recent_pass_rate": (
            sum(run.verdict.passed for run in recent) / len(recent) if recent else math.nan
        ),
    }


def performance_report(workspace: Workspace) -> dict[str, Any]:
    """Trends of every metric, the traffic of the last day, what was learnt, and all models."""
    made_at, observations = now(), workspace.observations
    day = observations.inference_statistics(made_at - timedelta(hours=STATISTICS_HOURS))
    report = {
        "generated_at": made_at,
        "trends": {metric: asdict(observations.trend(metric)) for metric in METRICS},
        "inference_statistics": {
            "time_window_hours": STATISTICS_HOURS,
            "total_inferences": day.total,
            "avg_inference_time": day.mean_inference_time_s,
            "min_inference_time": day.min_inference_time_s,
            "max_inference_time": day.max_inference_time_s,
            "error_detection_rate": day.error_detection_rate,
            "correction_rate": day.correction_rate,
            "errors_detected": day.errors_detected,
            "corrections_applied": day.corrections_applied,
        },
        "learning_summary": observations.learning_summary(),
        "models": observations.model_rows(),
    }
    made: dict[str, Any] = _plain(report)
    return made


REPORTS: dict[str, Callable[[Workspace], dict[str, Any]]] = {
    "validation": validation_report,
    "deployment": deployment_report,
    "regression": regression_report,
    "performance": performance_report,
}
"""The reports on the whole loop, by name."""


def registered(workspace: Workspace) -> list[dict[str, Any]]:
    """The rows of `Observations.model_rows` that the registry holds, oldest first."""
    return [row for row in workspace.observations.model_rows() if row["status"] != "told"]


def to_json(report: Mapping[str, Any]) -> str:
    """A report as strict JSON, indented; NaN becomes null."""
    return json.dumps(_without_nan(report), ensure_ascii=False, indent=2, allow_nan=False)


def _validation(one: Validation, alpha: float) -> dict[str, Any]:
    figures = one.comparison
    before, after = figures.baseline, figures.candidate
    return {
        "id": one.id,
        "model_id": one.candidate_id,
        "baseline_id": one.baseline_id,
        "validation_set": one.set_name,
        "timestamp": one.created_at.isoformat(),
        "passed": one.verdict.passed,
        "failure_reason": "; ".join(one.verdict.failures) or None,
        "num_samples": figures.utterances,
        "model_wer": after.wer,
        "model_cer": after.cer,
        "baseline_wer": before.wer,
        "baseline_cer": before.cer,
        "wer_improvement": before.wer - after.wer,
        "cer_improvement": before.cer - after.cer,
        "is_significant": figures.p_value < alpha,
        "p_value": figures.p_value,
    }


def _best(found: Validation | None, metric: str) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "model_id": found.candidate_id,
        metric: getattr(found.comparison.candidate, metric),
        "timestamp": found.created_at.isoformat(),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Of the values that are numbers: where nobody speaks there is no rate."""
    known = [value for value in values if math.isfinite(value)]
    return {
        "mean": statistics.fmean(known) if known else math.nan,
        "std": statistics.pstdev(known) if known else math.nan,
        "min": min(known, default=math.nan),
        "max": max(known, default=math.nan),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
