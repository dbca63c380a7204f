"""What a cycle is, which states it can be in, and how it gets from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from misheard.cycle.options import CycleOptions
from misheard.finetune.events import TrainingEvent
from misheard.speech.transcriber import Progress, no_progress


class CycleState(StrEnum):
    """What a cycle has reached."""

    PROPOSED = "proposed"
    TRIGGERED = "triggered"
    DATASET = "dataset"
    TRAINING = "training"
    CONVERTED = "converted"
    VALIDATED = "validated"
    REGRESSION = "regression"
    AWAITING_APPROVAL = "awaiting_approval"
    DEPLOYED = "deployed"
    WATCHED = "watched"
    CLOSED = "closed"
    REFUSED = "refused"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"

    @property
    def is_final(self) -> bool:
        """Whether it has ended: nothing follows by itself. A person may still take it up again."""
        return self in _FINAL

    @property
    def went_live(self) -> bool:
        """Whether its candidate went live, and was not rolled back since."""
        return self in (CycleState.DEPLOYED, CycleState.WATCHED, CycleState.CLOSED)

    @property
    def is_decided(self) -> bool:
        """Whether its candidate is live, or never will be: at most a watch over it is left.

        Such a cycle holds up nothing, and keeps no other from beginning.
        """
        return self.is_final or self.went_live

    @property
    def waits_for_person(self) -> bool:
        """Whether only a person can move it on."""
        return self in (CycleState.PROPOSED, CycleState.AWAITING_APPROVAL)

    @property
    def holds_up_others(self) -> bool:
        """Whether the trigger begins no other cycle meanwhile: it works, or waits for a person.

        What comes of a version once it is live holds up nobody.
        """
        return self in _BEFORE_LIVE


_S = CycleState
TRANSITIONS: dict[CycleState, tuple[CycleState, ...]] = {
    _S.PROPOSED: (_S.TRIGGERED, _S.REJECTED, _S.CANCELLED),
    _S.TRIGGERED: (_S.DATASET, _S.CONVERTED, _S.FAILED, _S.CANCELLED),
    _S.DATASET: (_S.TRAINING, _S.FAILED, _S.CANCELLED),
    _S.TRAINING: (_S.CONVERTED, _S.FAILED, _S.CANCELLED),
    _S.CONVERTED: (_S.VALIDATED, _S.REFUSED, _S.CANCELLED),
    _S.VALIDATED: (_S.REGRESSION, _S.REFUSED, _S.CANCELLED),
    _S.REGRESSION: (_S.AWAITING_APPROVAL, _S.DEPLOYED, _S.REFUSED, _S.CANCELLED),
    _S.AWAITING_APPROVAL: (_S.DEPLOYED, _S.REJECTED, _S.CANCELLED),
    _S.DEPLOYED: (_S.WATCHED, _S.ROLLED_BACK),
    _S.WATCHED: (_S.CLOSED, _S.ROLLED_BACK),
    _S.CLOSED: (_S.ROLLED_BACK,),
    _S.ROLLED_BACK: (_S.DEPLOYED,),
    _S.REFUSED: (),
    _S.REJECTED: (),
    _S.FAILED: (_S.TRIGGERED, _S.DATASET),
    _S.CANCELLED: (),
}
"""From each state, where a cycle can go."""
_BEFORE_LIVE = frozenset(
    {
        _S.PROPOSED,
        _S.TRIGGERED,
        _S.DATASET,
        _S.TRAINING,
        _S.CONVERTED,
        _S.VALIDATED,
        _S.REGRESSION,
        _S.AWAITING_APPROVAL,
    }
)
_FINAL = frozenset({_S.CLOSED, _S.REFUSED, _S.REJECTED, _S.FAILED, _S.CANCELLED, _S.ROLLED_BACK})


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One pass of the loop."""

    id: str
    created_at: datetime
    state: CycleState
    actor: str
    """Who or what began it."""
    baseline_id: str
    """The version that was live then: what a candidate is compared with."""
    held_out_id: str | None
    """The evaluation set that decides; None until it is made from the corrections."""
    options: CycleOptions
    decision: dict[str, Any]
    """Why it was triggered."""
    dataset_id: str | None
    job_id: str | None
    version_id: str | None
    """The candidate."""
    validation_id: str | None
    detail: str
    """What the last step came to."""
    error: str = ""
    """Why it could not go on when that was last tried; empty where it could."""

    @property
    def waits_for_trainer(self) -> bool:
        """Whether somebody else's program has to train, or trains, for it to go on."""
        at = (CycleState.DATASET, CycleState.TRAINING)
        return self.options.trained_elsewhere and self.state in at

    def id_of(self, prefix: str) -> str:
        """The id of what a cycle makes, the same whenever it is made again."""
        return self.id.replace("cycle-", f"{prefix}-", 1)


@dataclass(frozen=True, kw_only=True)
class CycleStep:
    """One step that a cycle took."""

    created_at: datetime
    from_state: str
    to_state: str
    detail: str


class Observer:
    """Is told how long work goes; this one looks away."""

    def progress(self, what: str, total: int) -> Progress:
        """Work of `total` clips begins; call the answer as they are done."""
        del what, total
        return no_progress

    def training(self, event: TrainingEvent) -> None:
        """The training program has reported."""

    def waiting(self) -> None:
        """A job is still running, without news."""

    def step(self, cycle: Cycle) -> None:
        """A cycle has reached a state."""
