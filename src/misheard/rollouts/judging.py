"""Is a candidate surely worse on live traffic, and what follows from that? Pure.

Each signal has a bet of its own against the candidate, with an equal part of what may go wrong
(Bonferroni), so that whatever is told of a signal holds for all of them together. A mean of the
bets would find a little more, but it is no fair game: a session that went wrong in one way tells
who had it, and may go wrong in another way later (Y. J. Choe and A. Ramdas, "Combining evidence
across filtrations using adjusters", 2024). Each bet for itself is fair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Kind, Rollout
from misheard.scoring.risk_ratio import Wrong, estimate, log_evidence, lower_bound

HARMLESS = 0.5
"""Of the way to the limit, in logarithm: with more evidence of harm no step is taken."""
_LITTLE = 10
"""Sessions in which just one of the two went wrong: fewer say little of which is worse."""


class Action(StrEnum):
    """What is to be done with a rollout."""

    WAIT = "wait"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    FINISH = "finish"
    SUPERSEDE = "supersede"


@dataclass(frozen=True, kw_only=True)
class SignalEvidence:
    """What one signal says."""

    signal: Signal
    candidate: int
    """Sessions of the candidate that went wrong in this way; of a shadow, it alone of the two."""
    live: int
    ratio: float
    """How many times as often the candidate's do, most likely; NaN where none did."""
    lower: float
    """It is at least so many times as often, surely, for all signals and all looks together."""
    log_evidence: float
    """That it is more than the tolerance."""
    progress: float
    """Of the way to the limit: 1 and more is an alarm, and 0 or less speaks for the candidate."""

    @property
    def is_alarm(self) -> bool:
        """Whether the candidate is surely worse in this."""
        return self.progress >= 1.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the requests of a rollout have come to so far."""

    requests: Mapping[Arm, int]
    sessions: Mapping[Arm, int]
    step_sessions: int
    """Of the candidate, in the step that it is in."""
    signals: tuple[SignalEvidence, ...]
    words: int
    """Of a shadow: words of both texts, the longer each time, and how many of them differ."""
    differences: int

    @property
    def alarms(self) -> tuple[SignalEvidence, ...]:
        """What the candidate is surely worse in, the surest first."""
        found = [one for one in self.signals if one.is_alarm]
        return tuple(sorted(found, key=lambda one: -one.progress))

    @property
    def worst(self) -> SignalEvidence | None:
        """What speaks most against the candidate."""
        return max(self.signals, key=lambda one: one.progress, default=None)

    def to_dict(self) -> dict[str, Any]:
        """For the audit log; what is no number is None there."""
        return {
            "requests": {str(arm): count for arm, count in self.requests.items()},
            "sessions": {str(arm): count for arm, count in self.sessions.items()},
            "signals": {str(one.signal): _finite(asdict(one)) for one in self.signals},
            "words": self.words,
            "differences": self.differences,
        }


@dataclass(frozen=True, kw_only=True)
class RolloutDecision:
    """What is to be done, and why."""

    rollout: Rollout
    """As it was when this was decided."""
    action: Action
    reason: str
    evidence: Evidence

    @property
    def told(self) -> str:
        """In a line."""
        done = {
            Action.WAIT: "goes on",
            Action.ADVANCE: "takes its next step",
            Action.PROMOTE: "goes live",
            Action.ROLL_BACK: "is rolled back",
            Action.FINISH: "is finished",
            Action.SUPERSEDE: "is superseded",
        }
        one = self.rollout
        return f"{one.kind} {one.id} of {one.version_id} {done[self.action]}: {self.reason}"


def weigh(rollout: Rollout, counts: Mapping[tuple[int, str, str], int]) -> Evidence:
    """The evidence of what was counted: step, arm and what → how often."""
    signals = rollout.signals
    alpha = rollout.rules.alpha / max(len(signals), 1)

    def total(arm: Arm, what: str) -> int:
        return sum(counts.get((step, arm, what), 0) for step in range(len(rollout.shares)))

    def of(signal: Signal) -> SignalEvidence:
        wrong = [
            Wrong(
                share=rollout.chance(step),
                candidate=counts.get((step, Arm.CANDIDATE, signal), 0),
                live=counts.get((step, Arm.LIVE, signal), 0),
            )
            for step in range(len(rollout.shares))
        ]
        found = log_evidence(wrong, rollout.rules.tolerance)
        return SignalEvidence(
            signal=signal,
            candidate=total(Arm.CANDIDATE, signal),
            live=total(Arm.LIVE, signal),
            ratio=estimate(wrong),
            lower=lower_bound(wrong, alpha=alpha),
            log_evidence=found,
            progress=found / -math.log(alpha),
        )

    return Evidence(
        requests={arm: total(arm, "requests") for arm in Arm},
        sessions={arm: total(arm, "sessions") for arm in Arm},
        step_sessions=counts.get((rollout.step, Arm.CANDIDATE, "sessions"), 0),
        signals=tuple(map(of, signals)),
        words=total(Arm.CANDIDATE, "words"),
        differences=total(Arm.CANDIDATE, "differences"),
    )


def judge(rollout: Rollout, evidence: Evidence, moment: datetime) -> RolloutDecision:
    """What is to be done at `moment` with a rollout that goes on.

    A canary that is surely worse in any signal is rolled back at once. Else it takes its next step,
    or goes live after the last one, when the candidate has had enough sessions in this one, for
    long enough, and nothing is half as sure as it would have to be for an alarm. A shadow is
    finished when it is surely worse, or has heard enough.
    """

    def decided(action: Action, reason: str) -> RolloutDecision:
        return RolloutDecision(rollout=rollout, action=action, reason=reason, evidence=evidence)

    rules = rollout.rules
    alarms = evidence.alarms
    if alarms:
        told = "; ".join(_told(rollout, evidence, one) for one in alarms)
        action = Action.ROLL_BACK if rollout.kind is Kind.CANARY else Action.FINISH
        return decided(action, f"surely worse: {told}")
    left = rules.step_sessions - evidence.step_sessions
    if left > 0:
        return decided(
            Action.WAIT, f"{left} sessions of the candidate are still to come in this step"
        )
    until = rollout.step_began_at + timedelta(minutes=rules.step_minutes)
    if moment < until:
        return decided(Action.WAIT, f"this step lasts until {until:%Y-%m-%d %H:%M} UTC at least")
    if rollout.kind is Kind.SHADOW:
        return decided(Action.FINISH, verdict_of(rollout, evidence))
    worst = evidence.worst
    if worst is not None and worst.progress > HARMLESS:
        return decided(
            Action.WAIT,
            f"not sure yet: {_told(rollout, evidence, worst)}, {worst.progress:.0%} of the way to "
            "an alarm",
        )
    return decided(
        Action.PROMOTE if rollout.is_last_step else Action.ADVANCE,
        f"{evidence.sessions[Arm.CANDIDATE]:,} sessions of the candidate, not surely worse",
    )


def verdict_of(rollout: Rollout, evidence: Evidence) -> str:
    """What a shadow has shown: surely worse, not surely worse, or too little to say."""
    if evidence.alarms:
        told = "; ".join(_told(rollout, evidence, one) for one in evidence.alarms)
        return f"surely worse: {told}"
    apart = max((one.candidate + one.live for one in evidence.signals), default=0)
    sessions = f"{evidence.sessions[Arm.CANDIDATE]:,} sessions"
    if apart < _LITTLE:
        return f"too little to say: in {sessions} just {apart} went wrong with one of the two alone"
    return f"not surely worse in {sessions}"


def _told(rollout: Rollout, evidence: Evidence, one: SignalEvidence) -> str:
    if rollout.kind is Kind.SHADOW:
        return (
            f"{one.signal} in {one.candidate:,} sessions of the candidate alone and in "
            f"{one.live:,} of the live version alone, at least {one.lower:.1f} times as many"
        )
    candidate, live = (evidence.sessions[arm] for arm in (Arm.CANDIDATE, Arm.LIVE))
    return (
        f"{one.signal} in {one.candidate:,} of {candidate:,} sessions of the candidate and in "
        f"{one.live:,} of {live:,} of the live version, at least {one.lower:.1f} times as often"
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
