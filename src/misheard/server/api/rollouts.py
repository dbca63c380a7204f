"""`/api/v1/rollouts`: versions that are tried on live traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field, Strict, model_validator

from misheard.rollouts.judging import Evidence
from misheard.rollouts.states import Kind, Rollout
from misheard.server.api.callers import REVIEW, Operator
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import (
    PAGE,
    SLOT,
    Before,
    Flag,
    Given,
    GivenReason,
    Id,
    IdInPath,
    InWorkspace,
    Limit,
    Name,
)
from misheard.workspace import Workspace

Share = Annotated[float, Strict(), Field(gt=0.0, le=1.0, allow_inf_nan=False)]


class Trying(Given):
    """A version that is to be tried."""

    kind: Kind
    """A canary answers a share of the sessions, a shadow only hears it."""
    version_id: Id
    reason: GivenReason
    shares: Annotated[tuple[Share, ...], Field(min_length=1, max_length=20)] | None = None
    """Of the sessions, one a step, each more than the one before; a shadow has one. Null: as the
    settings say."""
    slot: Name = SLOT
    force: Flag = False
    """A canary even if it has passed no validation."""

    @model_validator(mode="after")
    def _one_of_a_shadow(self) -> Self:
        if self.kind is Kind.SHADOW and len(self.shares or (1.0,)) > 1:
            raise ValueError("a shadow has one share")
        return self


class Ending(Given):
    """Why it is ended, for the audit log."""

    reason: GivenReason


@dataclass(frozen=True, kw_only=True)
class RolloutStory:
    """A rollout, what it has shown so far, and what that leads to."""

    rollout: Rollout
    evidence: Evidence
    next: str
    """What it waits for, or what is to be done with it; empty once it has ended."""


def told(workspace: Workspace, rollout: Rollout) -> RolloutStory:
    """Ask the room for all that is known of a rollout."""
    decision = None if rollout.state.is_final else workspace.rollouts.decision(rollout.slot)
    return RolloutStory(
        rollout=rollout,
        evidence=workspace.rollouts.evidence(rollout.id),
        next=decision.reason if decision is not None else "",
    )


def router() -> APIRouter:
    """Routes for shadows and canaries."""
    made = APIRouter(prefix="/rollouts", tags=["rollouts"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Rollout), summary="Rollouts, newest first")
    def listed(
        workspace: InWorkspace,
        slot: Annotated[Name | None, Query(description="Only of this slot.")] = None,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[Rollout]:
        return page(workspace.rollouts.listed(slot, limit=limit + 1, before=before), limit)

    @made.post(
        "",
        status_code=201,
        response_model=model_of(Rollout),
        summary="Try a version on live traffic",
    )
    def begin(workspace: InWorkspace, caller: Operator, given: Trying) -> Rollout:
        if given.kind is Kind.SHADOW:
            return workspace.begin_shadow(
                given.version_id,
                actor=caller.actor,
                reason=given.reason,
                share=given.shares[0] if given.shares else None,
                slot=given.slot,
            )
        return workspace.begin_canary(
            given.version_id,
            actor=caller.actor,
            reason=given.reason,
            shares=given.shares,
            force=given.force,
            slot=given.slot,
        )

    @made.get(
        "/{rollout_id}",
        response_model=model_of(RolloutStory),
        summary="What a rollout has shown so far, signal by signal, and how sure that is",
    )
    def show(workspace: InWorkspace, rollout_id: IdInPath) -> RolloutStory:
        return told(workspace, workspace.rollouts.get(rollout_id))

    @made.post(
        "/{rollout_id}/stop",
        response_model=model_of(Rollout),
        summary="End it: its version is given no more traffic",
    )
    def stop(
        workspace: InWorkspace, caller: Operator, rollout_id: IdInPath, given: Ending
    ) -> Rollout:
        return workspace.rollouts.stop(rollout_id, actor=caller.actor, reason=given.reason)

    @made.post(
        "/{rollout_id}/promote",
        response_model=model_of(Rollout),
        summary="Make the version of a canary live now, whichever step it is in",
    )
    def promote(
        workspace: InWorkspace, caller: Operator, rollout_id: IdInPath, given: Ending
    ) -> Rollout:
        return workspace.rollouts.promote(rollout_id, actor=caller.actor, reason=given.reason)

    return made
