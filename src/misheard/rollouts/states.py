"""What a rollout is, what it is judged by, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from misheard.rollouts.signals import Signal
from misheard.tags import ROLLOUT


class Kind(StrEnum):
    """How a version is tried on live traffic."""

    SHADOW = "shadow"
    """It hears a share of the traffic, and nobody is given what it heard."""
    CANARY = "canary"
    """It answers a share of the sessions."""


class Arm(StrEnum):
    """Who answers a request."""

    LIVE = "live"
    CANDIDATE = "candidate"


class RolloutState(StrEnum):
    """What a rollout has come to."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    FINISHED = "finished"

    @property
    def is_final(self) -> bool:
        """Whether it has ended: its version is given no more traffic by it."""
        return self is not RolloutState.RUNNING


_S = RolloutState
TRANSITIONS: dict[Kind, dict[RolloutState, tuple[RolloutState, ...]]] = {
    Kind.CANARY: {
        # From one step to the next it goes on running.
        _S.RUNNING: (_S.RUNNING, _S.PROMOTED, _S.ROLLED_BACK, _S.STOPPED, _S.SUPERSEDED),
    },
    Kind.SHADOW: {_S.RUNNING: (_S.FINISHED, _S.STOPPED, _S.SUPERSEDED)},
}
"""From each state, where a rollout of a kind can go; nowhere from those that are not named."""


@dataclass(frozen=True, kw_only=True)
class RolloutRules:
    """What a rollout is judged by, fixed when it begins."""

    alpha: float = 0.01
    """The chance that one that is within the tolerance is ever rolled back."""
    tolerance: float = 1.5
    """How many times as often as the live version's its sessions may go wrong."""
    step_sessions: int = 200
    """Sessions that the candidate hears in each step, at least."""
    step_minutes: float = 10.0
    """How long each step lasts, at least."""
    min_suspicion: float = 0.5
    """What is at least so likely to be wrong is suspicious."""
    slow_s: float = 2.0
    """Whoever waits longer than that waits too long."""
    signals: tuple[Signal, ...] = tuple(Signal)
    """What is looked at."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {**asdict(self), "signals": [str(one) for one in self.signals]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**{**stored, "signals": tuple(map(Signal, stored["signals"]))})


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A version that is tried on live traffic."""

    id: str
    created_at: datetime
    slot: str
    kind: Kind
    version_id: str
    """The candidate."""
    live_version_id: str
    """What it is compared with."""
    deployment_number: int
    """The row of the deployment log by which that is live."""
    state: RolloutState
    shares: tuple[float, ...]
    """Shares of the sessions, one a step."""
    step: int
    """From 0."""
    step_began_at: datetime
    rules: RolloutRules
    actor: str
    reason: str
    ended_at: datetime | None
    detail: str
    """What the last move came to."""

    @property
    def share(self) -> float:
        """Of the sessions, in the step that it is in."""
        return self.shares[self.step]

    @property
    def tags(self) -> dict[str, str]:
        """What an inference is tagged with that it gave to one of its arms; see `read_tag`."""
        return {ROLLOUT: f"{self.id}/{self.step}"}

    @property
    def is_last_step(self) -> bool:
        """Whether no step comes after this one."""
        return self.step + 1 == len(self.shares)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What is looked at; of a shadow not what nobody waits for, and nobody reads."""
        if self.kind is Kind.CANARY:
            return self.rules.signals
        return tuple(one for one in self.rules.signals if one.is_of_shadows)

    def chance(self, step: int) -> float:
        """That of what went wrong in `step` something is the candidate's, if both are alike."""
        return self.shares[step] if self.kind is Kind.CANARY else 0.5


def read_tag(tags: Mapping[str, str]) -> tuple[str, int] | None:
    """The id of the rollout that an inference belongs to, and the step; None where it has none.

    >>> read_tag({"rollout": "rollout-1/2"})
    ('rollout-1', 2)
    """
    rollout_id, _, step = tags.get(ROLLOUT, "").rpartition("/")
    return (rollout_id, int(step)) if rollout_id and step.isdecimal() else None
