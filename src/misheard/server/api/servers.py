"""`/api/v1/servers`: the processes that answer, and what each has loaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from misheard.fleet import ServerState
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, page_of, page_of_few
from misheard.server.api.parameters import PAGE, Before, InWorkspace, Limit, Name


def router() -> APIRouter:
    """Routes for the servers of a workspace."""
    made = APIRouter(prefix="/servers", tags=["deployments"], dependencies=[REVIEW])

    @made.get(
        "",
        response_model=page_of(ServerState),
        summary="Servers that gave a sign of life in the last seconds, the oldest first",
    )
    def listed(
        workspace: InWorkspace,
        slot: Annotated[Name | None, Query(description="Only of this slot.")] = None,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[ServerState]:
        return page_of_few(workspace.fleet.alive(slot), limit, before)

    return made
