"""`/api/v1/deployments`: what is live, and what was."""

from __future__ import annotations

from fastapi import APIRouter

from misheard.deployment import Deployment
from misheard.server.api.callers import REVIEW, Operator
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import (
    PAGE,
    SLOT,
    BeforeNumber,
    ExpectedNumber,
    Flag,
    Given,
    GivenReason,
    Id,
    InWorkspace,
    Limit,
    Name,
    Slot,
)


class Deploying(Given):
    """A version that is to go live."""

    version_id: Id
    reason: GivenReason
    slot: Name = SLOT
    force: Flag = False
    """Even if it has passed no validation."""
    expected: ExpectedNumber | None = None
    """The number of the deployment that is live as the caller saw it: where another one is by now,
    nothing happens. 0: none yet."""


class RollingBack(Given):
    """Back to what was live before."""

    reason: GivenReason
    to: Id | None = None
    """An earlier version; null: the one before."""
    slot: Name = SLOT
    expected: ExpectedNumber | None = None
    """The number of the deployment that is to be left: where another one is live by now, nothing
    happens."""


_DEPLOYMENT = model_of(Deployment)


def router() -> APIRouter:
    """Routes for the deployment log."""
    made = APIRouter(prefix="/deployments", tags=["deployments"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Deployment), summary="The log, newest first")
    def listed(
        workspace: InWorkspace,
        slot: Slot = SLOT,
        limit: Limit = PAGE,
        before: BeforeNumber = None,
    ) -> Page[Deployment]:
        found = workspace.deployments.history(slot, limit=limit + 1, before=before)
        return page(found, limit, by="number")

    @made.get("/live", response_model=_DEPLOYMENT, summary="What is live")
    def live(workspace: InWorkspace, slot: Slot = SLOT) -> Deployment:
        return workspace.deployments.live(slot)

    @made.post(
        "",
        status_code=201,
        response_model=_DEPLOYMENT,
        summary="Make a version live, once every server has it loaded",
        description="Answers when it is live, within `deployment.max_staging_s` or with a problem.",
    )
    def deploy(workspace: InWorkspace, caller: Operator, given: Deploying) -> Deployment:
        return workspace.deploy(
            given.version_id,
            actor=caller.actor,
            reason=given.reason,
            slot=given.slot,
            force=given.force,
            expected=given.expected,
        )

    @made.post(
        "/rollback",
        status_code=201,
        response_model=_DEPLOYMENT,
        summary="Make live again what was live before",
    )
    def roll_back(workspace: InWorkspace, caller: Operator, given: RollingBack) -> Deployment:
        return workspace.roll_back(
            actor=caller.actor,
            reason=given.reason,
            to=given.to,
            slot=given.slot,
            leaving=given.expected,
        )

    return made
