"""Rollouts as records, without a database; and what requests of one came to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from misheard.rollouts.counting import Observed, Shadowed
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Kind, Rollout, RolloutRules, RolloutState
from misheard.speech.transcriber import Transcript

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def canary(**fields: Any) -> Rollout:
    known: dict[str, Any] = {
        "id": "rollout-1",
        "created_at": AT,
        "slot": "production",
        "kind": Kind.CANARY,
        "version_id": "v-2",
        "live_version_id": "v-1",
        "deployment_number": 1,
        "state": RolloutState.RUNNING,
        "shares": (0.05, 0.25, 0.5),
        "step": 0,
        "step_began_at": AT,
        "rules": RolloutRules(),
        "actor": "ann",
        "reason": "to see",
        "ended_at": None,
        "detail": "",
    }
    return Rollout(**known | fields)


def shadow(*, share: float = 0.2, **fields: Any) -> Rollout:
    return canary(kind=Kind.SHADOW, shares=(share,), **fields)


def observed(
    rollout: Rollout, arm: Arm, *wrong: Signal, session: str | None = None, step: int | None = None
) -> Observed:
    return Observed(
        rollout_id=rollout.id,
        step=rollout.step if step is None else step,
        arm=arm,
        session=session,
        wrong=frozenset(wrong),
    )


def shadowed(
    rollout: Rollout,
    *,
    live: str | None = "press one",
    candidate: str | None = "press one",
    live_wrong: tuple[Signal, ...] = (),
    candidate_wrong: tuple[Signal, ...] = (),
    session: str | None = None,
    inference_id: str | None = None,
) -> Shadowed:
    heard = None
    if candidate is not None:
        heard = Transcript(text=candidate, avg_logprob=-0.2, latency_s=0.3, compute_s=0.3)
    return Shadowed(
        rollout_id=rollout.id,
        session=session,
        inference_id=inference_id,
        live_text=live,
        live_wrong=frozenset(live_wrong),
        candidate=heard,
        candidate_wrong=frozenset(candidate_wrong),
    )
