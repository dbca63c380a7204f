"""All tables, at one glance; each module holds those of one part of the loop.

Rows are added, not rewritten: a change is a new row. The exceptions are `jobs` and `cycles`, whose
state moves forward, and each step of a cycle is a row of `cycle_steps` besides; `rollouts`,
`servers` and `rentals` likewise.
"""

from __future__ import annotations

from misheard.database.schema.base import UtcDateTime, metadata
from misheard.database.schema.capture import (
    KEEPS_AUDIO,
    inferences,
    speaker_norms,
    suspicion_models,
)
from misheard.database.schema.cases import (
    LABELLED_AUDIT,
    case_types,
    corrections,
    error_cases,
    selections,
)
from misheard.database.schema.counts import hourly, latency_totals, marks, tallies, traffic_totals
from misheard.database.schema.cycle import cycle_steps, cycles, trigger_evaluations
from misheard.database.schema.gates import (
    hypotheses,
    infrastructure_checks,
    suite_baselines,
    suite_cases,
    suite_results,
    suite_runs,
    suites,
    validations,
)
from misheard.database.schema.models import datasets, deployments, jobs, versions
from misheard.database.schema.monitoring import alerts, deliveries, observations, silences
from misheard.database.schema.rented import OPEN, rentals
from misheard.database.schema.safekeeping import audit, discarded, forgotten
from misheard.database.schema.serving import (
    RUNNING,
    rollout_counts,
    rollout_sessions,
    rollouts,
    servers,
    shadow_transcripts,
    stagings,
    tokens,
)

REVISION = "0005"
"""The newest migration; a workspace at another revision is upgraded or refused."""

__all__ = [
    "KEEPS_AUDIO",
    "LABELLED_AUDIT",
    "OPEN",
    "REVISION",
    "RUNNING",
    "UtcDateTime",
    "alerts",
    "audit",
    "case_types",
    "corrections",
    "cycle_steps",
    "cycles",
    "datasets",
    "deliveries",
    "deployments",
    "discarded",
    "error_cases",
    "forgotten",
    "hourly",
    "hypotheses",
    "inferences",
    "infrastructure_checks",
    "jobs",
    "latency_totals",
    "marks",
    "metadata",
    "observations",
    "rentals",
    "rollout_counts",
    "rollout_sessions",
    "rollouts",
    "selections",
    "servers",
    "shadow_transcripts",
    "silences",
    "speaker_norms",
    "stagings",
    "suite_baselines",
    "suite_cases",
    "suite_results",
    "suite_runs",
    "suites",
    "suspicion_models",
    "tallies",
    "tokens",
    "traffic_totals",
    "trigger_evaluations",
    "validations",
    "versions",
]
