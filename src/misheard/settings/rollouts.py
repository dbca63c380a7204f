"""The section `[rollouts]`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from misheard.settings.section import Minutes, Seconds, Section

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class RolloutSettings(Section):
    """How a version is tried on live traffic, and when it is taken back."""

    shares: tuple[Share, ...] = Field(default=(0.05, 0.25, 0.5), min_length=1)
    """Of the sessions that a canary answers, one a step. A bad one is found after about as many
    sessions of its own at 1 % as at 5 %, so a smaller share harms no fewer callers, and takes
    longer."""
    step_sessions: int = Field(default=200, ge=1)
    """Sessions that the candidate hears in each step, at least: with 100, one that goes wrong three
    times as often as a live version that does in 5 % is found in 45 % of all rollouts, with 200 in
    84 %."""
    step_minutes: Minutes = Field(default=10.0, ge=0.0)
    """How long each step lasts, at least."""
    shadow_share: float = Field(default=0.2, gt=0.0, le=1.0)
    """Of the sessions that a shadow hears, too."""
    shadow_sessions: int = Field(default=500, ge=1)
    """After so many sessions a shadow is finished."""
    alpha: float = Field(default=0.01, gt=0.0, lt=0.5)
    """The chance that a candidate within the tolerance is ever taken back: of a whole rollout, over
    all signals and however often one looks."""
    tolerance: float = Field(default=1.5, ge=1.0, le=100.0)
    """How many times as often as the live version's its sessions may go wrong: no two models are
    alike in everything, and of enough traffic a tenth more is sure. The gates judge small
    differences; this is to find damage."""
    signals: tuple[Literal["suspicious", "empty", "phrase", "slow", "failed", "corrected"], ...] = (
        Field(
            default=("suspicious", "empty", "phrase", "slow", "failed", "corrected"), min_length=1
        )
    )
    """What is looked at."""
    slow_s: Seconds = Field(default=2.0, gt=0.0)
    """Whoever waits longer waits too long; twice what 95 % waited at most on the day before, where
    that is more."""

    @field_validator("shares")
    @classmethod
    def _rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(after <= before for before, after in pairwise(value)):
            raise ValueError("each share is larger than the one before")
        return value

    @field_validator("signals")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each signal is named once")
        return value
