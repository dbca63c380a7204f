"""What a person decides on a cycle, as the step that it comes to.

Each raises `IllegalTransitionError` for a cycle on which that cannot be decided any more, or yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from misheard.cycle.stages import Stages, Step
from misheard.cycle.states import TRANSITIONS, Cycle, CycleState
from misheard.database import audit
from misheard.database.details import checked_details
from misheard.errors import IllegalTransitionError

_S = CycleState


def approval(cycle: Cycle, stages: Stages, *, actor: str, reason: str) -> Step:
    """A proposed cycle is begun, a candidate that waits is deployed."""
    _require_awaiting(cycle)
    detail = _told(f"approved by {actor}", reason)
    if cycle.state is _S.PROPOSED:
        return _audited(_S.TRIGGERED, detail, actor, "approve", cycle.id, reason)
    return stages.deploy(cycle, actor, detail, reason)


def rejection(cycle: Cycle, *, actor: str, reason: str) -> Step:
    """A person's no."""
    _require_awaiting(cycle)
    detail = f"rejected by {actor}: {reason}"
    return _audited(_S.REJECTED, detail, actor, "reject", cycle.id, reason)


def cancellation(cycle: Cycle, *, actor: str, reason: str) -> Step:
    """The end of a cycle that has not ended."""
    require_undecided(cycle)
    detail = _told(f"cancelled by {actor}", reason)
    return _audited(_S.CANCELLED, detail, actor, "cancel", cycle.id, reason)


def another_attempt(cycle: Cycle, live: str, *, actor: str, reason: str) -> Step:
    """From where it failed; `live` is the version that is live now."""
    if cycle.state is not _S.FAILED:
        raise IllegalTransitionError(
            f"{cycle.id} is {cycle.state}; only what has failed is tried again."
        )
    if live != cycle.baseline_id:
        raise IllegalTransitionError(
            f"{cycle.id} was begun against {cycle.baseline_id}, but {live} is live now. Begin "
            "another: misheard cycle begin"
        )
    to = _S.DATASET if cycle.dataset_id is not None else _S.TRIGGERED
    options = replace(cycle.options, attempt=cycle.options.attempt + 1)
    detail = _told(f"attempt {options.attempt}, by {actor}", reason)
    step = _audited(to, detail, actor, "retry", cycle.id, reason)
    return replace(step, values={"options": options, "job_id": None})


def training_elsewhere(cycle: Cycle, *, actor: str) -> Step:
    """Somebody else's program trains on its dataset."""
    options = replace(cycle.options, trained_elsewhere=True)
    return Step(_S.TRAINING, f"trained elsewhere by {actor}", {"options": options})


def adoption(
    cycle: Cycle, stages: Stages, model: Path, figures: Mapping[str, Any] | None, *, actor: str
) -> Step:
    """The model at `model` becomes the candidate; its files are copied now."""
    if cycle.job_id is not None:
        raise IllegalTransitionError(
            f"{cycle.id} is trained by {cycle.job_id}. To use another model: "
            f"misheard cycle cancel {cycle.id}"
        )
    if cycle.state is not _S.DATASET and _S.CONVERTED not in TRANSITIONS[cycle.state]:
        raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; it takes no model.")
    return stages.adopt(cycle, model, checked_details(figures, what="a training"), actor)


def require_undecided(cycle: Cycle) -> None:
    """Whether it may still come to something else."""
    if cycle.state.is_final:
        raise IllegalTransitionError(f"{cycle.id} has ended as {cycle.state}.")
    if cycle.state.went_live:
        raise IllegalTransitionError(f"{cycle.id} has gone live. To go back: misheard rollback")


def _require_awaiting(cycle: Cycle) -> None:
    if not cycle.state.waits_for_person:
        raise IllegalTransitionError(f"{cycle.id} is {cycle.state}; it awaits no approval.")


def _told(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what


def _audited(
    to: CycleState, detail: str, actor: str, action: str, subject: str, reason: str = ""
) -> Step:
    """A step that is a person's decision."""
    entry = audit.AuditEntry(actor=actor, action=action, subject=subject, reason=reason)
    return Step(to, detail, {}, lambda connection: audit.record(connection, entry))
