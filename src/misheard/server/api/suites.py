"""`/api/v1/suites`: what must never get worse, and how it went."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from misheard.gates.suite_history import SuitePoint
from misheard.gates.suites import Suite
from misheard.server.api.callers import REVIEW
from misheard.server.api.models import Page, model_of, page, page_of, page_of_few
from misheard.server.api.parameters import PAGE, Before, InWorkspace, Limit, Name


def router() -> APIRouter:
    """Routes for regression suites."""
    made = APIRouter(prefix="/suites", tags=["suites"], dependencies=[REVIEW])

    @made.get("", response_model=page_of(Suite), summary="Suites, the oldest name first")
    def listed(workspace: InWorkspace, limit: Limit = PAGE, before: Before = None) -> Page[Suite]:
        return page_of_few(workspace.suites.listed(), limit, before, by="name")

    @made.get("/{name}", response_model=model_of(Suite), summary="The newest suite of a name")
    def show(workspace: InWorkspace, name: Annotated[Name, Path()]) -> Suite:
        return workspace.suites.named(name)

    @made.get("/{name}/runs", response_model=page_of(SuitePoint), summary="Its runs, newest first")
    def runs(
        workspace: InWorkspace,
        name: Annotated[Name, Path()],
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[SuitePoint]:
        suite = workspace.suites.named(name)
        found = workspace.suites.history.of_suite(suite.name, limit=limit + 1, before=before)
        return page(found, limit, by="run_id")

    return made
