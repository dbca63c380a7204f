"""`/api/v1/validations`: what the first gate said of whom, on which evidence."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from misheard.gates.validation import Validation
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import PAGE, Before, Id, IdInPath, InWorkspace, Limit


def router() -> APIRouter:
    """Routes for validations; each has its page at `/reports/validation/ID`."""
    made = APIRouter(prefix="/validations", tags=["validations"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Validation), summary="Validations, newest first")
    def listed(
        workspace: InWorkspace,
        candidate_id: Annotated[Id | None, Query(description="Of this version.")] = None,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[Validation]:
        found = workspace.validations.listed(
            limit=limit + 1, candidate_id=candidate_id, before=before
        )
        return page(found, limit)

    @made.get("/{validation_id}", response_model=model_of(Validation), summary="One validation")
    def show(workspace: InWorkspace, validation_id: IdInPath) -> Validation:
        return workspace.validations.get(validation_id)

    return made
