"""`/api/v1/versions`: the models that there are.

None is registered here: no path, address or file of a client's is ever opened as a model.
"""

from __future__ import annotations

from fastapi import APIRouter

from misheard.reports.versions import Standing, standing, standings
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import PAGE, Before, IdInPath, InWorkspace, Limit


def router() -> APIRouter:
    """Routes for model versions."""
    made = APIRouter(prefix="/versions", tags=["versions"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Standing), summary="Model versions, newest first")
    def listed(
        workspace: InWorkspace, limit: Limit = PAGE, before: Before = None
    ) -> Page[Standing]:
        found = standings(workspace, limit=limit + 1, before=before)
        return page(found, limit, by="version.id")

    @made.get("/{version_id}", response_model=model_of(Standing), summary="One model version")
    def show(workspace: InWorkspace, version_id: IdInPath) -> Standing:
        return standing(workspace, version_id)

    return made
