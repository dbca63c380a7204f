"""`/api/v1/datasets`: what was trained and tested on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from misheard.datasets.datasets import Dataset, Purpose
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of
from misheard.server.api.parameters import PAGE, Before, IdInPath, InWorkspace, Limit


def router() -> APIRouter:
    """Routes for dataset versions."""
    made = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Dataset), summary="Dataset versions, newest first")
    def listed(
        workspace: InWorkspace,
        purpose: Annotated[Purpose | None, Query(description="Only for this.")] = None,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[Dataset]:
        found = workspace.datasets.listed(purpose=purpose, limit=limit + 1, before=before)
        return page(found, limit)

    @made.get("/{dataset_id}", response_model=model_of(Dataset), summary="One dataset version")
    def show(workspace: InWorkspace, dataset_id: IdInPath) -> Dataset:
        return workspace.datasets.get(dataset_id)

    return made
