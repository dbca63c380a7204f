"""`/api/v1/triggers`: is it worth training now, and why?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from misheard.cycle.evaluations import Evaluation
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import PAGE, BeforeNumber, InWorkspace, Limit
from misheard.triggers import TriggerDecision


def router() -> APIRouter:
    """Routes for the trigger."""
    made = APIRouter(prefix="/triggers", tags=["triggers"], dependencies=[REVIEW])

    @made.get("", response_model=model_of(TriggerDecision), summary="The answer of now")
    def check(
        workspace: InWorkspace,
        expect: Annotated[
            bool, Query(description="Also what a training may buy; it takes a part of a second.")
        ] = False,
    ) -> TriggerDecision:
        return workspace.cycles.check_trigger(expect=expect)

    @made.get(
        "/evaluations",
        response_model=page_of(Evaluation),
        summary="What it came to whenever it was asked to act, newest first",
    )
    def evaluations(
        workspace: InWorkspace, limit: Limit = PAGE, before: BeforeNumber = None
    ) -> Page[Evaluation]:
        found = workspace.cycles.evaluations(limit=limit + 1, before=before)
        return page(found, limit, by="number")

    return made
