"""`/api/v1/audit`: who did what, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from misheard.database.audit import AuditEntry
from misheard.server.api.callers import ADMINISTER
from misheard.server.api.models import Page, page, page_of
from misheard.server.api.parameters import PAGE, BeforeNumber, Id, InWorkspace, Limit


def router() -> APIRouter:
    """Routes for the audit log."""
    made = APIRouter(prefix="/audit", tags=["audit"], dependencies=[ADMINISTER])

    @made.get("", response_model=page_of(AuditEntry), summary="The audit log, newest first")
    def entries(
        workspace: InWorkspace,
        subject: Annotated[Id | None, Query(description="What was done to this id.")] = None,
        limit: Limit = PAGE,
        before: BeforeNumber = None,
    ) -> Page[AuditEntry]:
        found = workspace.audit.entries(limit=limit + 1, subject=subject, before=before)
        return page(found, limit, by="number")

    return made
