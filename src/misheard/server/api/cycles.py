"""`/api/v1/cycles`: the loop, cycle by cycle."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from misheard.cycle.states import Cycle, CycleState
from misheard.reports.cycle_story import Story, story
from misheard.server.api.callers import REVIEW, Operator
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import (
    PAGE,
    Before,
    Flag,
    Given,
    GivenReason,
    Id,
    IdInPath,
    InWorkspace,
    Limit,
    Reason,
)


class Beginning(Given):
    """How a cycle is begun."""

    force: Flag = False
    """Train even if the trigger says not yet."""
    held_out_id: Id | None = None
    """The set that decides; null: the newest "held-out", else the corrections' test split."""
    approved: Flag | None = None
    """Whether a person has said yes already; null: as the settings say."""
    reason: Reason = ""


class Why(Given):
    """Why something is done, for the audit log."""

    reason: Reason = ""


class Refusal(Given):
    """Why not."""

    reason: GivenReason


_CYCLE = model_of(Cycle)


def router() -> APIRouter:
    """Routes for cycles; whoever changes one is audited."""
    made = APIRouter(prefix="/cycles", tags=["cycles"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Cycle), summary="Cycles, newest first")
    def listed(
        workspace: InWorkspace,
        state: Annotated[CycleState | None, Query(description="Only those.")] = None,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[Cycle]:
        found = workspace.cycles.listed(state=state, limit=limit + 1, before=before)
        return page(found, limit)

    @made.post(
        "",
        status_code=202,
        response_model=_CYCLE,
        summary="Begin a cycle; a worker takes it on",
        description="Where a proposal waits, that is given. 409: the trigger says not yet.",
    )
    def begin(workspace: InWorkspace, caller: Operator, given: Beginning) -> Cycle:
        cycle = workspace.cycles.begin(
            actor=caller.actor,
            held_out_id=given.held_out_id,
            force=given.force,
            approved=given.approved,
            reason=given.reason,
        )
        if cycle is None:
            told = "Not worth training yet: see /api/v1/triggers. To train all the same, use force."
            raise HTTPException(409, told)
        return cycle

    @made.get(
        "/{cycle_id}",
        response_model=model_of(Story),
        summary="Where a cycle stands, why, what happens next, and who has to act",
    )
    def show(workspace: InWorkspace, cycle_id: IdInPath) -> Story:
        return story(workspace, cycle_id)

    @made.post(
        "/{cycle_id}/approve",
        response_model=_CYCLE,
        summary="Say yes: a proposed cycle begins, a candidate that waits goes live",
    )
    def approve(workspace: InWorkspace, caller: Operator, cycle_id: IdInPath, given: Why) -> Cycle:
        return workspace.cycles.approve(cycle_id, actor=caller.actor, reason=given.reason)

    @made.post(
        "/{cycle_id}/reject",
        response_model=_CYCLE,
        summary="Say no: nothing is trained, or the candidate does not go live",
    )
    def reject(
        workspace: InWorkspace, caller: Operator, cycle_id: IdInPath, given: Refusal
    ) -> Cycle:
        return workspace.cycles.reject(cycle_id, actor=caller.actor, reason=given.reason)

    @made.post("/{cycle_id}/cancel", response_model=_CYCLE, summary="Stop a cycle and its training")
    def cancel(workspace: InWorkspace, caller: Operator, cycle_id: IdInPath, given: Why) -> Cycle:
        return workspace.cycles.cancel(cycle_id, actor=caller.actor, reason=given.reason)

    @made.post(
        "/{cycle_id}/retry",
        response_model=_CYCLE,
        summary="Take up a cycle that failed where it did",
    )
    def retry(workspace: InWorkspace, caller: Operator, cycle_id: IdInPath, given: Why) -> Cycle:
        return workspace.cycles.retry(cycle_id, actor=caller.actor, reason=given.reason)

    return made
