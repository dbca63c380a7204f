"""The row that a cycle begins with: what it trains against, what decides, and why it was begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from misheard.cycle.evaluations import told
from misheard.cycle.options import CycleOptions
from misheard.cycle.stages import Stages
from misheard.cycle.states import Cycle, CycleState
from misheard.database.details import checked_details
from misheard.database.engine import new_id, now
from misheard.triggers import TriggerDecision


def new_cycle(
    decision: TriggerDecision,
    stages: Stages,
    *,
    actor: str,
    held_out_id: str | None,
    approved: bool | None,
    reason: str,
    evidence: Mapping[str, Any] | None,
    options: CycleOptions | None,
) -> Cycle:
    """A cycle against what is live, that is not kept yet; see `Cycles.begin`."""
    if held_out_id is None:
        newest = stages.datasets.latest("held-out")
        held_out_id = newest.id if newest else None
    else:
        held_out_id = stages.datasets.get(held_out_id).id
    asks = stages.rules.triggers.require_approval
    needs_approval = asks if approved is None else not approved
    return Cycle(
        id=new_id("cycle"),
        created_at=now(),
        state=CycleState.PROPOSED if needs_approval else CycleState.TRIGGERED,
        actor=actor,
        baseline_id=stages.deployments.live().version_id,
        held_out_id=held_out_id,
        options=options or CycleOptions(),
        decision={
            "forced": not decision.should_trigger,
            **_kept(decision),
            "reason": reason,
            "evidence": checked_details(evidence, what="a cycle"),
        },
        dataset_id=None,
        job_id=None,
        version_id=None,
        validation_id=None,
        detail=reason or "; ".join(decision.reasons) or "forced",
    )


def _kept(decision: TriggerDecision) -> dict[str, Any]:
    """What the row of a cycle keeps of the decision that began it."""
    values = told(decision)
    del values["should_trigger"]
    metrics: dict[str, Any] = values.pop("metrics")
    return metrics | values
