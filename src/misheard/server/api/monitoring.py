"""`/api/v1/monitoring`: how the traffic goes, what is wrong, and who is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, Strict

from misheard.cases.agreement import Agreement
from misheard.cases.audited import AuditedRate
from misheard.database.engine import now
from misheard.errors import BadInputError
from misheard.monitoring.alerts import Alert, Silence
from misheard.monitoring.conditions import Rule
from misheard.monitoring.trends import Metric, Period, TrendLine
from misheard.reports.status import Status, status
from misheard.server.api.callers import REVIEW, Operator
from misheard.server.api.models import Page, model_of, page, page_of, page_of_few
from misheard.server.api.parameters import (
    PAGE,
    Before,
    Given,
    GivenReason,
    InWorkspace,
    Limit,
    Name,
    NumberInPath,
    SinceDays,
    since,
)

MOST_POINTS = 1_000
"""Of a trend."""


class Silencing(Given):
    """A time in which nobody is told."""

    rule: Rule | None = None
    """The rule that tells nobody; null: every rule."""
    hours: Annotated[float, Strict(), Field(gt=0.01, le=8_760.0, allow_inf_nan=False)]
    reason: GivenReason
    """For whoever is on call next."""


def router() -> APIRouter:
    """Routes for monitoring."""
    made = APIRouter(prefix="/monitoring", tags=["monitoring"], dependencies=[REVIEW])

    @made.get("/status", response_model=model_of(Status), summary="Where the loop stands")
    def status_(workspace: InWorkspace) -> Status:
        return status(workspace)

    @made.get(
        "/trends/{metric}",
        response_model=model_of(TrendLine),
        summary="How it went, by hour, day or week",
    )
    def trend(
        workspace: InWorkspace,
        metric: Metric,
        by: Period = Period.DAY,
        days: Annotated[float, Query(gt=0.0, le=7_300.0, allow_inf_nan=False)] = 28.0,
        version_id: Annotated[Name | None, Query(description="Only of this version.")] = None,
        slice_name: Annotated[
            Name | None, Query(alias="slice", description="Only so tagged: channel=mobile.")
        ] = None,
    ) -> TrendLine:
        length = timedelta(days=days)
        if length / by.length > MOST_POINTS:
            told = f"{days:g} days by {by} are more than {MOST_POINTS:,} points. Ask for fewer"
            raise BadInputError(f"{told} days, or for longer periods.")
        until = now()
        return workspace.trends.of(
            metric,
            since=until - length,
            until=until,
            period=by,
            version_id=version_id or "",
            slice_name=slice_name or "",
        )

    @made.get(
        "/audited",
        response_model=model_of(AuditedRate),
        summary="How often transcripts are wrong, by the random audit",
    )
    def audited(workspace: InWorkspace, days: SinceDays = None) -> AuditedRate:
        return workspace.labels.audited(since=since(days))

    @made.get(
        "/agreement",
        response_model=model_of(Agreement),
        summary="How far people agree on the same utterances",
    )
    def agreement(workspace: InWorkspace, days: SinceDays = None, limit: Limit = PAGE) -> Agreement:
        return workspace.labels.agreement(since=since(days), limit=limit)

    @made.get(
        "/alerts", response_model=page_of(Alert), summary="Alerts, open ones first, then the newest"
    )
    def alerts(
        workspace: InWorkspace,
        open_only: Annotated[bool, Query(description="Only those that are not over.")] = False,
        limit: Limit = PAGE,
        before: Before = None,
    ) -> Page[Alert]:
        found = workspace.alerts.listed(open_only=open_only, limit=limit + 1, before=before)
        return page(found, limit)

    @made.get(
        "/silences",
        response_model=page_of(Silence),
        summary="Silences that hold, the first to end first",
    )
    def silences(
        workspace: InWorkspace, limit: Limit = PAGE, before: Before = None
    ) -> Page[Silence]:
        return page_of_few(workspace.alerts.silences(), limit, before, by="number")

    @made.post(
        "/silences",
        status_code=201,
        response_model=model_of(Silence),
        summary="Let a rule, or all of them, tell nobody for a while",
    )
    def silence(workspace: InWorkspace, caller: Operator, given: Silencing) -> Silence:
        return workspace.alerts.silence(
            given.rule or "",
            until=now() + timedelta(hours=given.hours),
            actor=caller.actor,
            reason=given.reason,
        )

    @made.delete("/silences/{number}", status_code=204, summary="End a silence now")
    def unsilence(workspace: InWorkspace, caller: Operator, number: NumberInPath) -> None:
        workspace.alerts.unsilence(number, actor=caller.actor)

    return made
